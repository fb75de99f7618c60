"""Pretrained weights for backbones of timm, from a file and by ``timm://``."""

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_backbone
from detectron2.utils.file_io import PathManager
from torch import nn

from lt_det.errors import LtDetError
from lt_det.modeling.backbones import timm_weights
from lt_det.modeling.backbones.timm_fpn import feature_extractor
from lt_det.training.weights.address import check_remote_weights, remote_weights
from lt_det.training.weights.reading import read_weights
from tests.helpers.timm_backbones import LITE, timm_config

timm = pytest.importorskip("timm")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def pretrained(monkeypatch):
    """timm's download, replaced by random weights: no network here reaches it."""
    create_model, made = timm.create_model, []

    def without_network(name, *, pretrained=False, **options):
        network = create_model(name, **options)
        made.extend([network] if pretrained else [])
        return network

    monkeypatch.setattr(timm, "create_model", without_network)
    return made


class Detector(nn.Module):
    def __init__(self, name=LITE):
        super().__init__()
        self.backbone = build_backbone(timm_config("MODEL.TIMM.NAME", name))


def test_an_address_of_timm_fills_the_backbone(cache, pretrained):
    model = Detector()
    DetectionCheckpointer(model).load(f"timm://{LITE}")
    (network,) = pretrained
    loaded = model.backbone.bottom_up.body.state_dict()
    assert loaded
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.items())


def test_the_download_is_kept(cache, pretrained):
    file = PathManager.get_local_path(f"timm://{LITE}")
    PathManager.get_local_path(f"timm://{LITE}")
    assert len(pretrained) == 1
    assert file == str(cache / "timm" / f"{LITE}.pth")
    assert set(read_weights(file)) == {"model", "__author__", "matching_heuristics"}
    assert check_remote_weights(f"timm://{LITE}") == f"timm://{LITE}, cached at {file}"


def test_the_address_behind_a_name(cache):
    remote = remote_weights(f"timm://{LITE}")
    assert remote.url == "https://huggingface.co/timm/tf_efficientnet_lite0.in1k/resolve/main/model.safetensors"


def test_a_failed_download_is_one_sentence(cache, monkeypatch):
    def fails(*args, **options):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", fails)
    with pytest.raises(LtDetError, match=r"tf_efficientnet_lite0 from https://.*no route to host.*imagenet.weights"):
        PathManager.get_local_path(f"timm://{LITE}")
    assert list(cache.rglob("*.pth")) == []


@pytest.mark.parametrize(
    ("name", "message"), [("resnet19", "no such model"), ("coatnet_0_224", "no pretrained weights")]
)
def test_a_name_that_timm_cannot_serve(name, message):
    with pytest.raises(LtDetError, match=f"timm://{name}.*{message}"):
        remote_weights(f"timm://{name}")


def test_weights_keep_their_names_in_the_detector():
    body = feature_extractor("resnet18")
    names = set(timm_weights.as_checkpoint("resnet18", body.state_dict())["model"])
    model = set(Detector("resnet18").state_dict())
    assert names
    assert names - model == {name for name in names if name.endswith("num_batches_tracked")}


def test_an_unknown_tag_is_refused(cache):
    with pytest.raises(LtDetError, match="no pretrained weights"):
        remote_weights("timm://resnet50.my_run")


def test_a_mirror_of_the_hub(cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    assert remote_weights("timm://resnet18").url.startswith("https://hub.example/timm/")


def test_what_timm_has_downloaded_before_needs_no_network(cache, tmp_path, monkeypatch):
    """The cache of Hugging Face as its own library writes it."""
    constants = pytest.importorskip("huggingface_hub.constants")
    save_file = pytest.importorskip("safetensors.torch").save_file
    network = timm.create_model(LITE)
    repository = tmp_path / "hub" / "models--timm--tf_efficientnet_lite0.in1k"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert str(snapshot / "model.safetensors") in check_remote_weights(f"timm://{LITE}")
    model = Detector()
    DetectionCheckpointer(model).load(f"timm://{LITE}")
    assert torch.equal(model.backbone.bottom_up.body.conv_stem.weight, network.conv_stem.weight)


def test_existence_is_answered_without_a_download(cache, pretrained):
    assert PathManager.exists(f"timm://{LITE}")
    assert not PathManager.exists("timm://resnet19")
    assert pretrained == []
