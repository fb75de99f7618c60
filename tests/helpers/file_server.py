"""A server of files for downloads: with ranges, and with the failures of real servers."""

from __future__ import annotations

import http.server
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import urlparse


@dataclass
class FileServer:
    """What a server answers; tests change it while it runs.

    Attributes:
        url: address of the server.
        files: content by path.
        tags: ETag by path; the server sends none for other paths.
        ranges: whether it supports ranges.
        obeys_if_range: whether a range of another file than the client's is refused.
        sends_length: whether it says how long an answer is.
        content_range: what it says about the position of a range: None for the truth, else a text with {start}, {end}.
        errors: status and headers of the next answers, before files are served again.
        cuts: after so many bytes each of the next answers is cut off.
        resets: whether a cut resets the connection, by which the client loses what it has not read yet; otherwise it
            closes the connection, as at the end of an answer.
        stalls: send so many bytes and then nothing; None to send everything.
        requests: path and headers of each request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    obeys_if_range: bool = True
    sends_length: bool = True
    content_range: str | None = None
    errors: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    resets: bool = False
    stalls: int | None = None
    requests: list[tuple[str, Message]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def starts(self) -> list[int]:
        """The first byte of each request."""
        return [int(headers.get("Range", "bytes=0-")[6:-1]) for _, headers in self.requests]


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Serve files until the context ends. As a proxy (HTTP_PROXY) it serves the paths of all hosts."""
    state = FileServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlparse(self.path).path
            state.requests.append((path, self.headers))
            if state.errors:
                status, headers = state.errors.pop(0)
                self._head(status, headers | {"Content-Length": "0"})
            elif path not in state.files:
                self._head(404, {"Content-Length": "0"})
            else:
                self._file(state.files[path], state.tags.get(path))

        def _file(self, content: bytes, tag: str | None) -> None:
            start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if state.ranges else 0
            if state.obeys_if_range and self.headers.get("If-Range", tag) != tag:
                start = 0
            headers = {"ETag": tag} if tag else {}
            if start and start >= len(content):
                self._head(416, headers | {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
            if state.sends_length:
                headers["Content-Length"] = str(len(content) - start)
            if start:
                said = state.content_range or f"bytes {{start}}-{{end}}/{len(content)}"
                headers["Content-Range"] = said.format(start=start, end=len(content) - 1)
            self._head(206 if start else 200, headers)
            self._body(content[start:])

        def _body(self, content: bytes) -> None:
            cut = state.cuts.pop(0) if state.cuts else None
            self.wfile.write(content[: state.stalls if cut is None else cut])
            if state.stalls is not None:
                state.stopped.wait(60)
            elif cut is not None and state.resets:
                time.sleep(0.05)  # for the client to read most of it
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def shutdown_request(self, request: Any) -> None:
            self.close_request(request)  # without the shutdown before, which would hide a reset

        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exc_info()[1], ConnectionError):  # of a client that does not read to the end
                super().handle_error(request, client_address)

    with Server(("127.0.0.1", 0), Handler) as running:
        state.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield state
        finally:
            state.stopped.set()
            running.shutdown()
            thread.join()


class Report:
    """What a transfer reports. It can be interrupted at a number of bytes, as by Ctrl-C."""

    def __init__(self) -> None:
        self.interrupt_at: int | None = None
        self.started: list[tuple[str, int | None, int]] = []
        self.sentences: list[str] = []
        self.received = 0

    def start(self, text: str, total: int | None, done: int = 0) -> None:
        self.started.append((text, total, done))

    def advance(self, number: int) -> None:
        self.received += number
        if self.received == self.interrupt_at:
            raise KeyboardInterrupt

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)
