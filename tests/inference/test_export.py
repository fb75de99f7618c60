"""lt_det's heads can be traced and exported like stock Detectron2's, and the file gives the model's output."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from lt_det.errors import LtDetError
from lt_det.inference import export
from lt_det.inference.export import difference, export_onnx, export_torchscript, output_names, traceable
from lt_det.losses import LOSSES
from tests.helpers.models import seeded_model, small_config, synthetic_batch

pytestmark = pytest.mark.filterwarnings("ignore")  # tracing Detectron2 warns a hundred times
HEADS = ["LongTailROIHeads", "LongTailCascadeROIHeads", "LongTailRes5ROIHeads"]
SMALL_BACKBONE = {
    "MODEL.BACKBONE.NAME": "build_mini_backbone",
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32]],
    "MODEL.RPN.IN_FEATURES": ["p3"],
    "MODEL.ROI_HEADS.IN_FEATURES": ["p3"],
}


def model_and_image(head="LongTailROIHeads", loss="softmax", threshold=0.02, **overrides):
    """A model whose scores lie all over (0, 1), and an image for it."""
    overrides |= {"MODEL.PIXEL_STD": [64.0, 64.0, 64.0], "MODEL.ROI_HEADS.SCORE_THRESH_TEST": threshold}
    if "Res5" not in head:
        overrides |= SMALL_BACKBONE
    model = seeded_model(small_config(head, loss, **overrides)).eval()
    predictors = model.roi_heads.box_predictor
    for predictor in predictors if isinstance(predictors, torch.nn.ModuleList) else [predictors]:
        weight = predictor.cls_score.weight.data
        weight.copy_(0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
        if predictor.cls_score.bias is not None:
            torch.nn.init.zeros_(predictor.cls_score.bias)  # sigmoid losses start near 0
    return model, synthetic_batch()[0]["image"].float()


def adapter(cfg):
    return traceable(seeded_model(cfg), synthetic_batch()[0]["image"].float())


def assert_same(adapter, exported, image):
    """On the image, one of another size, a black one, and one too small for as many proposals."""
    larger = torch.nn.functional.interpolate(image[None], size=(128, 160))[0]
    for shown in (image, larger):
        found = difference(adapter, exported, shown)
        assert found.eager > 5
        assert found.unmatched == 0
    assert difference(adapter, exported, image * 0).unmatched == 0
    assert difference(adapter, exported, image[:, :32, :32]).unmatched == 0


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_torchscript_file_of_every_loss(loss, stats_file, tmp_path):
    model, image = model_and_image(loss=loss, **{"MODEL.LONG_TAIL.CLASS_STATS": stats_file})
    wrapped = traceable(model, image)
    assert_same(wrapped, export_torchscript(wrapped, image, tmp_path / "model.ts"), image)


@pytest.mark.parametrize("head", HEADS)
def test_torchscript_file_of_every_head_with_masks(head, tmp_path):
    mask = {"MODEL.MASK_ON": True, "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead"}
    model, image = model_and_image(head, **mask, **{"MODEL.ROI_MASK_HEAD.CONV_DIM": 16})
    wrapped = traceable(model, image)
    assert output_names(wrapped) == ["pred_boxes", "pred_classes", "pred_masks", "scores", "image_size"]
    assert_same(wrapped, export_torchscript(wrapped, image, tmp_path / "model.ts"), image)


def test_image_without_detections(tmp_path):
    _, image = model_and_image()
    strict, _ = model_and_image(threshold=0.9999999)
    empty = traceable(strict, image)
    boxes, classes, scores, size = export_torchscript(empty, image, tmp_path / "empty.ts")(image)
    assert (boxes.shape, classes.shape, scores.shape, size.tolist()) == ((0, 4), (0,), (0,), [96, 96])


ALONE = """
import sys

class Forbid:
    def find_spec(self, name, *_):
        assert name.split(".")[0] not in ("detectron2", "lt_det"), name

sys.meta_path.insert(0, Forbid())
import numpy as np, torch, torchvision
model = torch.jit.load("model.ts")
outputs = model(torch.from_numpy(np.load("image.npy")))
np.savez("outputs.npz", *(output.detach().numpy() for output in outputs))
"""


def test_torchscript_file_runs_without_detectron2_and_lt_det(tmp_path):
    model, image = model_and_image(loss="seesaw")
    wrapped = traceable(model, image)
    export_torchscript(wrapped, image, tmp_path / "model.ts")
    np.save(tmp_path / "image.npy", image.numpy())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "ignore", "-c", ALONE]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    outputs = np.load(tmp_path / "outputs.npz")
    for alone, eager in zip(outputs.values(), wrapped(image), strict=True):
        np.testing.assert_allclose(alone, eager.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("head", "loss"), [*((head, "softmax") for head in HEADS), *((HEADS[0], loss) for loss in sorted(LOSSES))]
)
def test_onnx_file(head, loss, stats_file, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model, image = model_and_image(head, loss, **{"MODEL.LONG_TAIL.CLASS_STATS": stats_file})
    wrapped = traceable(model, image)
    assert_same(wrapped, export_onnx(wrapped, image, tmp_path / "model.onnx"), image)


def test_onnx_without_its_packages(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    model, image = model_and_image()
    with pytest.raises(LtDetError, match=r"onnx and onnxruntime.*lt-det\[export\]"):
        export_onnx(traceable(model, image), image, tmp_path / "model.onnx")


@pytest.mark.parametrize(
    "spoil",
    {
        "one missing": lambda boxes, classes, scores, size: (boxes[1:], classes[1:], scores[1:], size),
        "another class": lambda boxes, classes, scores, size: (boxes, (classes + 1) % 5, scores, size),
        "a pixel off": lambda boxes, classes, scores, size: (boxes + 1, classes, scores, size),
        "other scores": lambda boxes, classes, scores, size: (boxes, classes, scores * 0.9, size),
    }.items(),
    ids=lambda spoil: spoil[0],
)
def test_a_difference_is_noticed_and_another_order_is_not_one(spoil):
    model, image = model_and_image()
    wrapped = traceable(model, image)
    arrays = [output.numpy() for output in wrapped(image)]
    turned = (*(array[::-1] for array in arrays[:3]), arrays[3])
    assert difference(wrapped, lambda _: turned, image).unmatched == 0
    assert difference(wrapped, lambda _: spoil[1](*arrays), image).unmatched > 0


@pytest.mark.skipif(not hasattr(torch.export, "Dim"), reason="before torch 2.2")
@pytest.mark.parametrize("loss", ["softmax", "sigmoid", "eql"])
def test_torch_export_of_the_predictor(loss, stats_file):
    """With any number of RoIs. torch.export does not support a whole R-CNN: test_whole_model_export_is_as_stock."""
    predictor = (
        seeded_model(small_config(loss=loss, **{"MODEL.LONG_TAIL.CLASS_STATS": stats_file})).roi_heads.box_predictor
    ).eval()

    class Scores(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.predictor = predictor

        def forward(self, features):
            logits, deltas = self.predictor(features)
            return self.predictor.loss.scores(logits), deltas

    features = torch.randn(7, 64)
    rows = torch.export.Dim("rows", min=2, max=2000)
    program = torch.export.export(Scores(), (features,), dynamic_shapes=({0: rows},))
    other = torch.randn(11, 64)
    for exported, eager in zip(program.module()(other), Scores()(other), strict=True):
        torch.testing.assert_close(exported, eager)


def test_whole_model_export_is_as_stock():
    """torch.export of the whole detector fails in stock Detectron2; if that changes, lt_det has to follow."""
    outcome = {}
    for head in ("StandardROIHeads", "LongTailROIHeads"):
        wrapped = adapter(small_config(head))
        try:
            torch.export.export(wrapped, wrapped.flattened_inputs)
            outcome[head] = "exported"
        except Exception as error:  # whatever the exporter says
            outcome[head] = type(error).__name__
    assert outcome["StandardROIHeads"] == outcome["LongTailROIHeads"]
