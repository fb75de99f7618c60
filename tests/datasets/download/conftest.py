"""A server, and downloads that do not wait between attempts."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from lt_det.datasets.download import http_response, transfer
from tests.helpers.file_server import FileServer, Report, file_server


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture
def report() -> Report:
    return Report()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that downloads would have waited between attempts; for a server that stalls they wait less, too."""
    waited: list[float] = []
    monkeypatch.setattr(http_response, "TIMEOUT", 5.0)
    monkeypatch.setattr(transfer, "time", SimpleNamespace(sleep=waited.append))
    return waited
