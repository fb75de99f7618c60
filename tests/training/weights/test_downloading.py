"""Weights that several processes download at the same time, and servers that send something else."""

import io
import pickle
import threading

import numpy as np
import pytest
import torch

from lt_det.errors import LtDetError
from lt_det.io.lock import file_lock
from lt_det.training.weights.address import remote_weights
from lt_det.training.weights.downloading import download_weights
from tests.helpers.file_server import file_server

WEIGHTS = {"a.weight": np.arange(1000, dtype=np.float32)}
ZOO = pickle.dumps({"model": WEIGHTS, "__author__": "Detectron2 Model Zoo"})


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
        running.files["/zoo/a.pkl"] = ZOO
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
    assert (tmp_path / "zoo/a.pkl").read_bytes() == ZOO


def saved(new_format):
    content = io.BytesIO()
    weights = {name: torch.from_numpy(weight) for name, weight in WEIGHTS.items()}
    torch.save({"model": weights}, content, _use_new_zipfile_serialization=new_format)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("a.pkl", ZOO[:-100]),
        ("zip.pth", saved(True)[:-100]),
        ("old.pth", saved(False)[:-100]),
        ("page.pth", b"<!DOCTYPE html><title>Log in</title>"),
        ("empty.pth", b""),
    ],
)
def test_what_is_no_checkpoint_is_set_aside(server, tmp_path, monkeypatch, name, sent):
    """The server does not say the length, so that a truncated answer looks complete."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    address = f"{server.url}/zoo/{name}"
    server.sends_length, server.files[f"/zoo/{name}"] = False, sent
    with pytest.raises(LtDetError, match=rf"{address} .*set aside as .*{name}\.wrong"):
        download_weights(address, remote_weights(address), Report())
    server.files[f"/zoo/{name}"] = ZOO if name.endswith("pkl") else saved(True)
    assert download_weights(address, remote_weights(address), Report())


def test_weights_beside_other_values_are_kept(server, tmp_path, monkeypatch):
    """`lt-det strip-weights` extracts them."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    address = f"{server.url}/zoo/a.pkl"
    server.files["/zoo/a.pkl"] = pickle.dumps({"model": WEIGHTS, "path": tmp_path})
    remote = remote_weights(address)
    assert download_weights(address, remote, Report())
    assert remote.file.read_bytes() == server.files["/zoo/a.pkl"]
