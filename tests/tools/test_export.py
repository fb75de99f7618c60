"""tools/export.py: the file, its description, and the check."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.engine import DefaultPredictor

from lt_det.errors import LtDetError
from lt_det.statistics.class_stats import ClassStats
from lt_det.training import LongTailCheckpointer
from tests.helpers import load_tool
from tests.helpers.configs import SEESAW
from tests.helpers.models import seeded_model, small_config

pytestmark = pytest.mark.filterwarnings("ignore")
export = load_tool("export")


def run(weights, samples, output, threshold="0.2", form="torchscript"):
    arguments = ["--config", SEESAW, "--weights", weights, "--sample-image", *samples, "--output", output]
    arguments += ["--format", form, "--threshold", threshold, "MODEL.ROI_HEADS.NUM_CLASSES", "12"]
    export.main(export.parser().parse_args(list(map(str, arguments))))


def test_model_description_and_check(weights, mini, tmp_path, capsys):
    run(weights, [mini.val_json.parent / "val"], tmp_path / "out")
    said = json.loads((tmp_path / "out" / "model.ts.json").read_text())
    stats = ClassStats.from_json(mini.train_json)
    assert tuple(said["classes"]) == stats.names
    assert said["buckets"][int(stats.image_counts.argmax())] == "frequent"
    assert said["outputs"] == ["pred_boxes", "pred_classes", "scores", "image_size"]
    assert (said["score_threshold"], said["loss"], said["input"]["channels"]) == (0.2, "seesaw", "BGR")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 5 + 3 + 1  # weights, heading; samples; another size, a corner, gray; what was written
    assert sum(int(line.split()[0]) for line in lines[2:-1]) > 5
    model = torch.jit.load(str(tmp_path / "out" / "model.ts"))
    assert len(model(torch.rand(3, 96, 160) * 255)) == len(said["outputs"])


def test_formats_in_one_folder_have_their_own_descriptions(weights, mini, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    for form, threshold in (("torchscript", "0.2"), ("onnx", "0.3")):
        run(weights, [mini.val_json.parent / "val"], tmp_path, threshold, form)
    files = ["model.onnx", "model.onnx.json", "model.ts", "model.ts.json"]
    assert sorted(file.name for file in tmp_path.iterdir()) == files
    thresholds = [json.loads((tmp_path / f"{file}.json").read_text())["score_threshold"] for file in files[::2]]
    assert thresholds == [0.3, 0.2]


def test_model_that_differs_is_refused(weights, mini, tmp_path, monkeypatch):
    def spoiled(adapter, image, file):
        file.touch()
        return lambda shown: tuple(output.numpy()[:-1] for output in adapter(shown))

    monkeypatch.setitem(export.FORMATS, "torchscript", ("model.ts", spoiled))
    with pytest.raises(LtDetError, match=r"differs from the eager one on .* 1 detection; "):
        run(weights, [mini.val_json.parent / "val"], tmp_path / "out")


def test_without_detections_nothing_is_checked(weights, mini, tmp_path):
    with pytest.raises(LtDetError, match="Nothing is detected in the sample images"):
        run(weights, [mini.val_json.parent / "val"], tmp_path / "out", threshold="0.99999")


@pytest.mark.parametrize("form", ["torchscript", "onnx"])
def test_a_full_disk_is_an_error(form, weights, mini, small_disk):
    if form == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    with pytest.raises(LtDetError, match=r"small_disk/.* cannot be written \(No space left on device\)"):
        run(weights, [mini.val_json.parent / "val"], small_disk, form=form)
    assert not list(small_disk.iterdir())


def test_a_disk_without_room_for_the_description(weights, mini, small_disk, monkeypatch):
    def eager(adapter, image, file):
        (small_disk / "other").write_bytes(bytes(256 * 1024))  # after the check at the start
        return lambda shown: tuple(output.numpy() for output in adapter(shown))

    monkeypatch.setitem(export.FORMATS, "torchscript", ("model.ts", eager))
    with pytest.raises(LtDetError, match=r"json cannot be written \(No space left on device\)"):
        run(weights, [mini.val_json.parent / "val"], small_disk)
    assert [file.name for file in small_disk.iterdir()] == ["other"]


def run_detectron2(folder, samples, output, *words):
    arguments = ["--config", folder / "config.yaml", *words, "--sample-image", samples, "--output", output]
    arguments += ["--format", "detectron2", "--threshold", "0.1", "OUTPUT_DIR", folder]
    export.main(export.parser().parse_args(list(map(str, arguments))))


def test_checkpoint_and_config_for_detectron2(mini, stats_file, tmp_path):
    """Its DefaultPredictor detects with them; the files of the training are not replaced, but an earlier export is."""
    samples, out = mini.val_json.parent / "val", tmp_path / "out"
    cfg = small_config(loss="eql", **{"MODEL.LONG_TAIL.CLASS_STATS": stats_file, "INPUT.MIN_SIZE_TEST": 96})
    model = seeded_model(cfg)
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight)
    LongTailCheckpointer(model, str(tmp_path)).save("model_final")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    with pytest.raises(LtDetError, match=r"--output .*\bconfig\.yaml\b"):
        run_detectron2(tmp_path, samples, tmp_path)
    assert (tmp_path / "config.yaml").read_text() == cfg.dump()

    out.mkdir()
    (out / "config.yaml").write_text("of an earlier export")
    run_detectron2(tmp_path, samples, out)
    assert sorted(file.name for file in out.iterdir()) == ["config.yaml", "model.pth"]
    stock = get_cfg()
    stock.merge_from_file(str(out / "config.yaml"))
    assert Path(stock.MODEL.WEIGHTS) == out / "model.pth"
    assert stock.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.1
    noise = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    assert len(DefaultPredictor(stock)(noise)["instances"])

    with pytest.raises(LtDetError, match=r"--output .*\bmodel\.pth\b"):
        run_detectron2(tmp_path, samples, out, "--weights", out / "model.pth")
