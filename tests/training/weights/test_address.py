"""Weights at an address: cached, reachable, or not."""

import re

import pytest

from lt_det.errors import LtDetError
from lt_det.training.preflight import check_config
from lt_det.training.weights.address import check_remote_weights, remote_weights
from tests.helpers import free_port
from tests.helpers.file_server import file_server


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("FVCORE_CACHE", str(folder))
    return folder


@pytest.fixture
def server():
    """The address of a server that has zoo/a.pkl of 3 MB."""
    with file_server() as running:
        running.files["/zoo/a.pkl"] = b"0" * 3_000_000
        yield running.url


def test_weights_that_can_be_fetched_are_not_downloaded(server, cache):
    found = check_remote_weights(f"{server}/zoo/a.pkl?matching_heuristics=True")
    assert f"will be downloaded from {server}/zoo/a.pkl (3 MB)" in found
    assert f"put the file at {cache}/zoo/a.pkl" in found
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_weights_in_the_cache_need_no_network(cache):
    address = f"http://127.0.0.1:{free_port()}/zoo/a.pkl"
    (cache / "zoo").mkdir(parents=True)
    (cache / "zoo" / "a.pkl").write_bytes(b"0")
    assert f"cached at {cache}/zoo/a.pkl" in check_remote_weights(address)


def test_detectron2_downloads_to_the_same_file(server, cache):
    from detectron2.utils.file_io import PathManager

    address = f"{server}/zoo/a.pkl"
    assert PathManager.get_local_path(address) == str(remote_weights(address).file)


def test_weights_that_cannot_be_fetched(server, cache):
    with pytest.raises(LtDetError, match=rf"{server}/zoo/b\.pkl \(HTTP Error 404.*put the file at {cache}/zoo/b\.pkl"):
        check_remote_weights(f"{server}/zoo/b.pkl")
    nowhere = f"http://127.0.0.1:{free_port()}/zoo/a.pkl"
    with pytest.raises(LtDetError, match=rf"{nowhere} \(.*refused.*put the file at {cache}/zoo/a\.pkl"):
        check_remote_weights(nowhere)


def test_names_of_detectron2(cache):
    residual = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    assert remote_weights(residual).file == cache / "detectron2/ImageNetPretrained/MSRA/R-50.pkl"
    assert remote_weights("catalog://ImageNetPretrained/MSRA/R-50").url.endswith("/ImageNetPretrained/MSRA/R-50.pkl")
    with pytest.raises(LtDetError, match="catalog://nothing"):
        remote_weights("catalog://nothing")
    for address in ("http://[::1/a.pkl", "http://data.invalid/", "https://data.invalid/zoo/?a=1"):
        with pytest.raises(LtDetError, match=re.escape(address)):
            remote_weights(address)
    assert remote_weights("model.pth") is None
    assert check_remote_weights("s3://bucket/model.pth") == ""


def test_a_training_reaches_the_address_first(cache, tmp_path):
    from tests.helpers.models import small_config

    cfg = small_config()
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    cfg.MODEL.WEIGHTS = f"http://127.0.0.1:{free_port()}/zoo/a.pkl"
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("no such set",)
    with pytest.raises(LtDetError, match="cannot be fetched"):
        check_config(cfg, training=True, resume=False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "last_checkpoint").write_text("model_final.pth")
    with pytest.raises(LtDetError, match="no such set"):  # a resumed training does not need the weights
        check_config(cfg, training=True, resume=True)
