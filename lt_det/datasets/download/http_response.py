"""One HTTP request for the rest of a file."""

from __future__ import annotations

import http.client
import re
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from types import TracebackType
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse

from lt_det.errors import LtDetError

TIMEOUT = 30.0  # seconds without a byte

_TEMPORARY = {408, 429, 500, 502, 503, 504}
_NUMBER = r"[0-9]{1,18}"
_RANGE = re.compile(rf"bytes ({_NUMBER})-({_NUMBER})/({_NUMBER}|\*)", re.IGNORECASE)
_LOST = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
_MOST_PATIENCE = 60.0  # seconds; the longest wait that a server may ask for


class TemporaryError(Exception):
    """The server or the connection failed in a way that may soon be over.

    Args:
        reason: the reason, as a part of a sentence.
        wait: seconds that the server asks the client to wait.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class UnreachableError(TemporaryError):
    """No connection to the server: if there has been none before, there is no network."""


class RangeError(Exception):
    """The server has no such range, or does not say which range it sends.

    Args:
        total: bytes of the file; None if the server does not say it.
        reason: the reason, as a part of a sentence.
    """

    def __init__(self, total: int | None, reason: str = "the file on the server has changed") -> None:
        super().__init__(reason)
        self.total = total


@dataclass
class Response:
    """An open HTTP response.

    Attributes:
        raw: the response itself.
        start: position in the file of the first byte of the response.
        end: position after its last byte; None if the server does not say it.
        total: bytes of the whole file; None if the server does not say it.
        validator: value that changes with the file: a strong ETag, otherwise Last-Modified; empty if the server sends
            neither.
    """

    raw: http.client.HTTPResponse
    start: int
    end: int | None
    total: int | None
    validator: str

    def read(self, most: int) -> bytes:
        """Bytes that have arrived, at most `most`; empty at the end, or where the connection ended.

        Raises:
            TemporaryError: the connection is lost.
        """
        try:
            return self.raw.read1(most)
        except (OSError, http.client.HTTPException) as error:
            raise TemporaryError(_reason(error)) from error

    def __enter__(self) -> Response:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.raw.close()


def open_at(url: str, start: int, validator: str) -> Response:
    """Request a file from a position on, through the proxy of HTTP_PROXY and HTTPS_PROXY if one is set.

    Args:
        url: address.
        start: position of the first byte. The response begins at 0 if the server does not support ranges, or if its
            file no longer has this `validator`.
        validator: validator of the response from which the bytes before `start` came; empty to accept any range.

    Raises:
        TemporaryError: the request may succeed later.
        RangeError: the file ends before `start`, or the response is a part of the file without its position.
        LtDetError: the request will not succeed.
    """
    headers = {"User-Agent": "lt_det"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    try:
        opener = request.build_opener()  # request.urlopen would keep the proxies of its first call
        raw = opener.open(request.Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        with closing(error):
            raise _refusal(url, error) from error
    except URLError as error:
        raise _failure(url, error.reason) from error
    except (http.client.InvalidURL, ValueError) as error:
        raise LtDetError(f"{url} is not a valid address ({error}); correct it.") from error
    except (OSError, http.client.HTTPException) as error:
        raise TemporaryError(_reason(error)) from error
    if raw.status == http.client.PARTIAL_CONTENT:
        given = raw.headers.get("Content-Range", "").strip()
        if not (found := _RANGE.fullmatch(given)):
            raw.close()
            raise RangeError(None, f"the server sent a part of the file, with the Content-Range '{given:.60}'")
        return Response(raw, int(found[1]), int(found[2]) + 1, _number(found[3]), _validator(raw.headers))
    length = _number(raw.headers.get("Content-Length", ""))
    return Response(raw, 0, length, length, _validator(raw.headers))


def _refusal(url: str, error: HTTPError) -> Exception:
    """What to raise for an error status."""
    status = f"{error.code} {error.reason}"
    if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        return RangeError(_number(error.headers.get("Content-Range", "").rpartition("/")[2]))
    if error.code in _TEMPORARY:
        asked = _number(error.headers.get("Retry-After", ""))
        return TemporaryError(f"the server responded {status}", min(float(asked or 0), _MOST_PATIENCE))
    if error.code == http.client.PROXY_AUTHENTICATION_REQUIRED:
        return LtDetError(
            f"The proxy for {url} responded {status}; put user and password into HTTP_PROXY or HTTPS_PROXY."
        )
    return LtDetError(
        f"{url} cannot be downloaded: the server responded {status}; if the file has moved, download it by hand "
        "(see --dry-run for where it goes)."
    )


def _failure(url: str, reason: object) -> Exception:
    """What to raise if there is no response at all."""
    if isinstance(reason, _LOST):
        return TemporaryError(_reason(reason))
    if "CERTIFICATE" in str(reason):
        return LtDetError(
            f"The certificate of {urlparse(url).hostname} is not valid ({_reason(reason)}); if a proxy replaces "
            "certificates here, name the file with its own in SSL_CERT_FILE."
        )
    return UnreachableError(_reason(reason))


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"no response for {TIMEOUT:.0f} s"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended early"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__


def _validator(headers: Message) -> str:
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")  # W/"...": not allowed in If-Range


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(_NUMBER, text.strip()) else None
