"""Weights that several processes download at the same time."""

import threading

import pytest

from lt_det.io.lock import file_lock
from lt_det.training.weights.address import remote_weights
from lt_det.training.weights.downloading import download_weights
from tests.helpers.file_server import file_server


class Report:
    """Sets an event when a download waits."""

    def __init__(self):
        self.waits = threading.Event()

    def start(self, text, total, done=0):
        pass

    def advance(self, number):
        pass

    def say(self, sentence):
        if "waiting" in sentence:
            self.waits.set()


@pytest.fixture
def server():
    with file_server() as running:
        running.files["/zoo/a.pkl"] = b"weights" * 1000
        yield running


def test_two_processes_do_not_write_the_same_file(server, tmp_path, monkeypatch):
    """They would both append to what has been received. Detectron2 holds the same lock while it downloads."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    address = f"{server.url}/zoo/a.pkl"
    remote, report, downloaded = remote_weights(address), Report(), []
    second = threading.Thread(target=lambda: downloaded.append(download_weights(address, remote, report)))
    remote.file.parent.mkdir()
    with file_lock(remote.file.with_name("a.pkl.lock"), pytest.fail):
        second.start()
        assert report.waits.wait(60)
        remote.file.write_bytes(b"weights")
    second.join()
    assert downloaded == [False]
    assert server.requests == []


def test_weights_are_downloaded_once(server, tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    address = f"{server.url}/zoo/a.pkl"
    assert [download_weights(address, remote_weights(address), Report()) for _ in range(2)] == [True, False]
    assert (tmp_path / "zoo/a.pkl").read_bytes() == b"weights" * 1000
