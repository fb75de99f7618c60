"""Download a file so that an interruption costs only what was not received yet."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Protocol

from lt_det.datasets.download.http_response import RangeError, Response, TemporaryError, UnreachableError, open_at
from lt_det.errors import LtDetError, writing_advice
from lt_det.io.atomic import write_atomically
from lt_det.io.transfer_progress import size_text
from lt_det.terminal import count_of

DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)  # seconds before the next attempt, as long as nothing is received

_CHUNK = 2**20  # bytes


class Reporter(Protocol):
    """Where a transfer reports to, see `lt_det.io.transfer_progress.TransferProgress`."""

    def start(self, text: str, total: int | None, done: int = 0) -> None: ...

    def advance(self, number: int) -> None: ...

    def say(self, sentence: str) -> None: ...


class Part:
    """What has been received of a file, next to it: ``NAME.part``, and ``NAME.part.json`` about its origin.

    Args:
        target: the file.
        url: its address. What was received from another address is not continued.
    """

    def __init__(self, target: Path, url: str) -> None:
        self.name = target.name
        self.file = target.with_name(f"{target.name}.part")
        self._origin_file = target.with_name(f"{target.name}.part.json")
        self._url = url
        self.validator = ""  # of the server's file, see `Response`
        self.total: int | None = None  # bytes of the server's file, if known
        try:
            origin = json.loads(self._origin_file.read_bytes())
            if origin["url"] == url and self.file.is_file():
                self.validator, self.total = str(origin["validator"]), origin["total"]
                return
        except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: where the part comes from is unknown
            pass
        self.discard()

    @property
    def length(self) -> int:
        """Bytes received."""
        return self.file.stat().st_size if self.file.exists() else 0

    def begin(self, response: Response) -> None:
        """Make room for a file from its first byte on, and remember which file that is."""
        self.file.write_bytes(b"")
        self.validator, self.total = response.validator, response.total
        origin = {"url": self._url, "validator": self.validator, "total": self.total}
        write_atomically(self._origin_file, json.dumps(origin))

    def discard(self) -> None:
        self.file.unlink(missing_ok=True)
        self._origin_file.unlink(missing_ok=True)

    def become(self, target: Path) -> None:
        self.file.replace(target)
        self._origin_file.unlink(missing_ok=True)


def download(url: str, target: Path, report: Reporter, size: int | None = None, sha256: str | None = None) -> None:
    """Download a file, or the rest of it. After a lost connection, try again a few times, waiting longer each time.

    Args:
        url: HTTP or HTTPS address.
        target: the file. It appears when it is complete and its checksum is right.
        report: shows progress.
        size: bytes; None to believe the server.
        sha256: None to check nothing.

    Raises:
        LtDetError: the file cannot be downloaded or written, or is not the right one. What was received is kept, and
            another call continues; a file with a wrong checksum is set aside.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Part(target, url)
        _receive(url, part, report, size, can_verify=sha256 is not None)
        if sha256:
            verify(part.file, sha256, report, name=target.name, origin=url)
        part.become(target)
    except OSError as error:
        raise LtDetError(
            f"{target.name} cannot be written to {target.parent} ({error.strerror or error}); what was received is "
            f"kept: {writing_advice(error, elsewhere='')}, and run the same command again to continue."
        ) from error


def verify(file: Path, sha256: str, report: Reporter, *, name: str, origin: str) -> None:
    """Verify the checksum of a file; a file that does not match is renamed to ``NAME.wrong``.

    Args:
        file: the file, complete or a part.
        sha256: in hexadecimal digits.
        report: shows progress.
        name: name of the complete file.
        origin: where the file comes from, for the message.

    Raises:
        LtDetError: the checksum does not match.
    """
    found = hashlib.sha256()
    report.start(f"{name}: checksum", file.stat().st_size)
    with file.open("rb", buffering=0) as content:
        while chunk := content.read(_CHUNK):
            found.update(chunk)
            report.advance(len(chunk))
    if found.hexdigest() != sha256:
        aside = set_aside(file, name)
        raise LtDetError(
            f"{name} from {origin} has the SHA-256 {found.hexdigest()}, not {sha256}; it is set aside as {aside}: "
            "remove it, and run the same command again to download the file from the beginning."
        )


def set_aside(file: Path, name: str) -> Path:
    """Rename a file with wrong content, in its folder, replacing an earlier one; return its new path."""
    return file.replace(file.with_name(f"{name}.wrong"))


def _receive(url: str, part: Part, report: Reporter, size: int | None, can_verify: bool) -> None:
    """Fill the part until it is complete."""
    failures, most, connected = 0, part.length, False
    while True:
        try:
            if _receive_once(url, part, report, size, can_verify):
                return
            failure = TemporaryError("the connection ended early")
        except UnreachableError as error:
            if not connected:
                raise LtDetError(
                    f"{url} cannot be reached ({error}); check the network and HTTP_PROXY or HTTPS_PROXY, or download "
                    "the file on another machine (--dry-run shows how and where it goes)."
                ) from error
            failure = error
        except TemporaryError as error:
            failure = error
        connected = True
        failures = 1 if part.length > most else failures + 1
        most = max(most, part.length)
        if failures > len(DELAYS):
            raise LtDetError(
                f"The download of {url} has failed {failures} times in a row ({failure}); {size_text(part.length)} are "
                "kept: run the same command later to continue."
            )
        wait = max(DELAYS[failures - 1], failure.wait)
        report.say(f"{part.name}: {failure}; trying again in {wait:.0f} s")
        time.sleep(wait)


def _receive_once(url: str, part: Part, report: Reporter, size: int | None, can_verify: bool) -> bool:
    """Receive the body of one response, and return whether the part is then complete.

    Raises:
        TemporaryError: the request failed.
    """
    total = size or part.total
    start = part.length if part.validator or can_verify else 0
    if start and start == total:
        return True
    try:
        response = open_at(url, start, part.validator)
    except RangeError as error:
        if error.total == start:
            return True
        part.discard()
        raise TemporaryError(str(error)) from error
    with response:
        if response.start not in (0, start) or (response.start and not _continues(response, part)):
            part.discard()
            raise TemporaryError("the file on the server has changed")
        _check_size(url, response.total, size)
        if start and not response.start:
            report.say(
                f"{part.name}: the server starts again at the first byte, because it does not support ranges or the "
                "file has changed"
            )
        if not response.start:
            part.begin(response)
        # The range that was asked for ends where the file does.
        total = response.total or part.total or size or response.end
        report.start(part.name, total, response.start)
        _append(response, part.file, report)
    return total is None or part.length == total


def _continues(response: Response, part: Part) -> bool:
    """Whether a response with a range belongs to the file of the part. Not every server obeys If-Range."""
    same_file = not part.validator or response.validator in ("", part.validator)
    return same_file and (None in (response.total, part.total) or response.total == part.total)


def _check_size(url: str, total: int | None, size: int | None) -> None:
    if size and total is not None and total != size:
        raise LtDetError(
            f"{url} has {count_of(total, 'byte')}, not {size}: a proxy or a login page may have responded instead of "
            f"the server; find out with `curl --head {url}`."
        )


def _append(response: Response, file: Path, report: Reporter) -> None:
    left = response.end - response.start if response.end is not None else None
    with file.open("ab", buffering=0) as output:
        while left != 0 and (chunk := response.read(_CHUNK)):
            rest = memoryview(chunk)
            while rest:  # a disk that is nearly full takes less than all
                rest = rest[output.write(rest) :]
            left = left and left - len(chunk)
            report.advance(len(chunk))
