"""The two training tools, run as a user runs them, on a small mini_lvis."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lt_det.errors import LtDetError
from lt_det.statistics.class_stats import ClassStats
from lt_det.training import argument_parser, setup
from tests.helpers import REPOSITORY

SMALL = ["SOLVER.MAX_ITER", "6", "SOLVER.IMS_PER_BATCH", "4", "MODEL.ROI_HEADS.NUM_CLASSES", "12"]
SMALL += ["DATALOADER.NUM_WORKERS", "0", "TEST.EVAL_PERIOD", "3"]


def run_script(code):
    """In a script, because spawned processes import their main module."""
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "script.py"
        script.write_text(code)
        return subprocess.run(
            [sys.executable, "-W", "ignore", str(script)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )


def tool(name, *arguments, root):
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(REPOSITORY / "tools" / name), *map(str, arguments)],
        env={**os.environ, "DETECTRON2_DATASETS": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def trained(mini, datasets_root, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    config = REPOSITORY / "configs" / "mini_lvis_eql.yaml"
    result = tool("train_net.py", "--config", config, *SMALL, "OUTPUT_DIR", output, root=datasets_root)
    assert result.returncode == 0, result.stderr
    return output, result.stdout


def test_loss_state_reaches_the_log(mini, datasets_root, tmp_path):
    config = REPOSITORY / "configs" / "mini_lvis_eqlv2.yaml"
    result = tool(
        "train_net.py", "--config", config, *SMALL, "DATASETS.TEST", "()", "OUTPUT_DIR", tmp_path, root=datasets_root
    )
    assert result.returncode == 0, result.stderr
    last = json.loads((tmp_path / "metrics.json").read_text().splitlines()[-1])
    assert 0 < last["loss_state/gradient_ratio/frequent"] < 100


def test_training_ends_with_table_and_report(trained):
    output, stdout = trained
    assert "APr" in stdout
    report = output / "report" / "report.html"
    assert stdout.rstrip().endswith(f"Report: {report}")
    assert report.is_file()


def test_bucket_ap_is_in_metrics_json_and_tensorboard(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output, _ = trained
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert any("bbox/APr" in line and "bbox/APf" in line for line in lines)
    events = EventAccumulator(str(output)).Reload()
    assert [event.step for event in events.Scalars("bbox/APr")] == [2, 6]  # during training and after it
    assert {"fast_rcnn/cls_accuracy", "loss_cls"} <= set(events.Tags()["scalars"])


def test_counts_are_kept_beside_the_checkpoint(trained, mini):
    cached = ClassStats.from_json(trained[0] / "class_stats.json")
    assert cached.image_counts.tolist() == ClassStats.from_json(mini.train_json).image_counts.tolist()


def test_eval_only_gives_the_same_numbers(trained, datasets_root, tmp_path):
    output, _ = trained
    config = REPOSITORY / "configs" / "mini_lvis_eql.yaml"
    weights = ["MODEL.WEIGHTS", output / "model_final.pth", "OUTPUT_DIR", tmp_path]
    result = tool("train_net.py", "--config-file", config, "--eval-only", *SMALL, *weights, root=datasets_root)
    assert result.returncode == 0, result.stderr
    evaluation = Path("inference/mini_lvis_val/evaluation.json")
    assert json.loads((tmp_path / evaluation).read_text()) == json.loads((output / evaluation).read_text())


def test_lazy_twin_trains(mini, datasets_root, tmp_path):
    small = ["train.max_iter=4", "dataloader.train.total_batch_size=4", "dataloader.train.num_workers=0"]
    small += ["model.roi_heads.num_classes=12"]
    config = REPOSITORY / "configs" / "lazy" / "mini_lvis_eql.py"
    arguments = ["--config", config, *small, f"train.output_dir={tmp_path}"]
    result = tool("lazyconfig_train_net.py", *arguments, root=datasets_root)
    assert result.returncode == 0, result.stderr
    assert f"Report: {tmp_path}/report/report.html" in result.stdout
    again = ["--config", config, "--eval-only", *small, f"train.init_checkpoint={tmp_path}/model_final.pth"]
    result = tool("lazyconfig_train_net.py", *again, f"train.output_dir={tmp_path}/again", root=datasets_root)
    assert result.returncode == 0, result.stderr


ON_DETECTRON2S_FILES = f"""
from detectron2 import model_zoo
from detectron2.config import LazyConfig

twin = LazyConfig.load("{REPOSITORY}/configs/lazy/mini_lvis_eql.py")
model, optimizer, lr_multiplier = twin.model, twin.optimizer, twin.lr_multiplier
dataloader = model_zoo.get_config("common/data/coco.py").dataloader
dataloader.train.dataset.names, dataloader.test.dataset.names = "mini_lvis_train", "mini_lvis_val"
dataloader.test.num_workers = 0
dataloader.train.mapper.use_instance_mask = False
dataloader.train.mapper.augmentations[0].short_edge_length = [144]
dataloader.test.mapper.augmentations[0].short_edge_length = 144
dataloader.evaluator = twin.dataloader.evaluator
train = model_zoo.get_config("common/train.py").train
train.device = "cpu"
del twin
"""


def test_lazy_config_on_detectron2s_common_files(mini, datasets_root, tmp_path):
    """They lack lt_det's keys, and their test mapper takes the image format from the training mapper's node."""
    (tmp_path / "zoo.py").write_text(ON_DETECTRON2S_FILES)
    small = ["train.max_iter=2", "dataloader.train.total_batch_size=4", "dataloader.train.num_workers=0"]
    small += ["model.roi_heads.num_classes=12", f"train.output_dir={tmp_path}/out"]
    result = tool("lazyconfig_train_net.py", "--config", tmp_path / "zoo.py", *small, root=datasets_root)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("MODEL.LONG_TAIL.REWEIGHTING.START", "5000", "REWEIGHTING.START is 5000"),
        ("DATALOADER.SAMPLER_START", "0.5", "SAMPLER_START defers DATALOADER.SAMPLER_TRAIN, .* TrainingSampler"),
        ("TEST.BUCKETS.BY", "boxes", "TEST.BUCKETS.BY is 'boxes'"),
        ("TEST.BUCKETS.EDGES", "[100,10]", "edges must be"),
        (
            "TEST.BUCKETS.EQUAL_GROUPS",
            "99",
            r"\d+ classes .* into 99 groups",
        ),
        ("TEST.BUCKETS.MAP", "gone.json", "gone.json does not exist"),
        ("SOLVER.AMP.PRECISION", "half", "SOLVER.AMP.PRECISION .* is 'half'"),
    ],
)
def test_invalid_key_is_reported_before_anything_is_written(key, value, sentence, tmp_path):
    config = str(REPOSITORY / "configs" / "mini_lvis_softmax.yaml")
    arguments = ["--config", config, key, value, "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path / "out")]
    with pytest.raises(LtDetError, match=sentence):
        setup(argument_parser().parse_args(arguments))
    assert not (tmp_path / "out").exists()


def test_mistake_in_two_processes_is_one_sentence(mini, datasets_root, tmp_path):
    config = REPOSITORY / "configs" / "mini_lvis_eql.yaml"
    arguments = ["--num-processes", "2", "--dist-url", "auto", "--config", config, "OUTPUT_DIR", tmp_path]
    result = tool("train_net.py", *arguments, "SOLVER.IMS_PER_BATCH", "5", root=datasets_root)
    assert result.returncode == 1
    # Process 0 has two seconds to say it before the other does.
    assert len(re.findall(r"error(?: in process 1)?: A batch of 5 images", result.stderr)) == 1
    assert result.stderr.count("error") == 1
    assert "2 processes" in result.stderr
    assert "Traceback" not in result.stderr


def test_processes_stop_together_on_ctrl_c():
    """Only process 1 is asked; both stop after the same iteration, and process 0 saves."""
    code = """
import os, signal
from detectron2.engine import HookBase, TrainerBase
from detectron2.utils import comm
from lt_det.training import argument_parser, run
from lt_det.training.preemption import StopOnInterrupt

class Saver:
    def save(self, name, iteration):
        os.write(1, f"saved {name}\\n".encode())

class Trainer(TrainerBase):
    def run_step(self):
        if comm.get_rank() == 1 and self.iter == 3:
            os.kill(os.getpid(), signal.SIGINT)

def main(args):
    trainer = Trainer()
    trainer.register_hooks([StopOnInterrupt(Saver())])
    try:
        trainer.train(0, 10)
    finally:
        os.write(1, f"process {comm.get_rank()} stopped at {trainer.iter}\\n".encode())  # whole, in one piece

if __name__ == "__main__":
    raise SystemExit(run(main, argument_parser().parse_args(["--num-processes", "2", "--dist-url", "auto"])))
"""
    result = run_script(code)
    assert "process 0 stopped at 3" in result.stdout, result.stderr
    assert "process 1 stopped at 3" in result.stdout
    assert result.stdout.count("saved model_0000003") == 1
    assert result.returncode == 130


def test_lazy_class_count(mini, datasets_root, tmp_path):
    config = REPOSITORY / "configs" / "lazy" / "mini_lvis_eql.py"
    arguments = ["--config", config, f"train.output_dir={tmp_path}"]
    result = tool("lazyconfig_train_net.py", *arguments, root=datasets_root)
    assert result.returncode == 1
    assert "error: MODEL.ROI_HEADS.NUM_CLASSES is 62, but mini_lvis_train" in result.stderr
    assert "Traceback" not in result.stderr


def saved_counts(tmp_path, num_classes):
    names = tuple(f"c{k}" for k in range(num_classes))
    path = tmp_path / f"counts{num_classes}.json"
    ClassStats(names, np.ones(num_classes, dtype=np.int64), None, 1, "counts of a test").save(path)
    return path


class TestBadInput:
    """One sentence on standard error, exit code 1. In this process, because each import takes seconds; that there is
    no traceback, test_mistake_in_two_processes_is_one_sentence sees from outside."""

    @pytest.fixture
    def fails(self, mini, datasets_root, tmp_path, capsys, monkeypatch):
        import importlib.util

        from detectron2.data import DatasetCatalog, MetadataCatalog

        from lt_det.data.registration import BUILTIN, register_builtin
        from lt_det.training import argument_parser, run

        def forget_builtin():
            for name in BUILTIN:
                DatasetCatalog.remove(name)
                MetadataCatalog.remove(name)

        monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets_root))
        forget_builtin()
        register_builtin()
        spec = importlib.util.spec_from_file_location("train_net", REPOSITORY / "tools" / "train_net.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)

        def fails(*arguments, config=REPOSITORY / "configs" / "mini_lvis_eql.yaml"):
            words = ["--config", str(config), *map(str, arguments)]
            if "OUTPUT_DIR" not in arguments:
                words += ["OUTPUT_DIR", str(tmp_path / "out")]
            capsys.readouterr()
            assert run(module.main, argument_parser().parse_args(words)) == 1
            # Detectron2's logger keeps the stream it first saw and complains, under pytest, when that is closed.
            errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
            assert len(errors) == 1
            return errors[0]

        yield fails
        forget_builtin()
        monkeypatch.undo()
        register_builtin()

    def test_configs(self, fails, tmp_path):
        assert "gone.yaml does not exist" in fails(config=tmp_path / "gone.yaml")
        (tmp_path / "a.yaml").write_text("MODEL: [")
        assert "a.yaml is not valid yaml" in fails(config=tmp_path / "a.yaml")
        (tmp_path / "b.yaml").write_text("MODEL: {TYPO: 1}")
        assert "b.yaml: there is no key MODEL.TYPO" in fails(config=tmp_path / "b.yaml")
        (tmp_path / "c.yaml").write_text("SOLVER: {MAX_ITER: many}")
        assert "SOLVER.MAX_ITER" in fails(config=tmp_path / "c.yaml")
        (tmp_path / "d.yaml").write_text("_BASE_: gone.yaml")
        assert "_BASE_" in fails(config=tmp_path / "d.yaml")
        (tmp_path / "loop.yaml").write_text("_BASE_: loop.yaml")
        assert "leads back to" in fails(config=tmp_path / "loop.yaml")
        (tmp_path / "empty.yaml").touch()
        assert "empty.yaml" in fails(config=tmp_path / "empty.yaml")
        (tmp_path / "e.yaml").write_text("just words")
        assert "e.yaml" in fails(config=tmp_path / "e.yaml")
        assert "train it with tools/lazyconfig_train_net.py" in fails(config="configs/lazy/lvis_eql.py")

    def test_overrides(self, fails):
        assert "KEY VALUE" in fails("SOLVER.MAX_ITER")
        assert "Override on the command line: there is no key SOLVER.TYPO" in fails("SOLVER.TYPO", 1)

    def test_unknown_loss(self, fails):
        assert "There is no loss 'eqlv9'; did you mean 'eqlv2'?" in fails("MODEL.LONG_TAIL.LOSS.NAME", "eqlv9")

    def test_class_count(self, fails):
        assert "NUM_CLASSES is 62, but mini_lvis_train" in fails()
        softmax = REPOSITORY / "configs" / "mini_lvis_softmax.yaml"
        assert "has 12 classes; set MODEL.ROI_HEADS.NUM_CLASSES to 12" in fails(config=softmax)

    def test_no_statistics(self, fails):
        error = fails("MODEL.LONG_TAIL.CLASS_STATS", "gone.json", *SMALL)
        assert "The annotation file gone.json does not exist" in error

    def test_missing_data(self, fails, mini, tmp_path):
        assert "'typo_train' is not registered" in fails("DATASETS.TRAIN", "('typo_train',)")
        assert "lvis_v1_train.json of the dataset 'lvis_v1_train' does not exist" in fails(
            "DATASETS.TRAIN", "('lvis_v1_train',)"
        )
        (tmp_path / "empty").mkdir()
        (tmp_path / "c.yaml").write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_eql.yaml
DATASETS:
  REGISTER:
    imageless: {{JSON: {mini.train_json}, IMAGES: {tmp_path}/empty}}
  TRAIN: ("imageless",)
""")
        assert "image 1: " in fails(*SMALL, config=tmp_path / "c.yaml")

    def test_devices(self, fails):
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        assert "torch sees no GPU" in fails("MODEL.DEVICE", "cuda")
        assert "(AMP) needs a GPU" in fails("SOLVER.AMP.ENABLED", True)

    def test_evaluation_is_checked_before_training(self, fails, mini, tmp_path):
        counts = ["MODEL.LONG_TAIL.CLASS_STATS", saved_counts(tmp_path, 12)]
        assert "Class 0 is " in fails(*SMALL, *counts)  # counts of other classes than those of the test set
        assert "TEST.BUCKETS.BY is 'pixels'" in fails(*SMALL, "TEST.BUCKETS.BY", "pixels")
        assert "TEST.BUCKETS.EDGES is ['a']" in fails(*SMALL, "TEST.BUCKETS.EDGES", "['a']")
        assert not list(tmp_path.glob("out/*.pth"))

    def test_eval_only_without_weights(self, fails):
        assert "No weights are given" in fails("--eval-only", *SMALL)
        assert "No weights are given" in fails("--eval-only", "--resume", *SMALL)

    def test_names_of_heads_and_devices(self, fails):
        assert "'LongTailRoiHeads', which is not registered" in fails("MODEL.ROI_HEADS.NAME", "LongTailRoiHeads")
        assert "There is no device 'gpu'" in fails("MODEL.DEVICE", "gpu")
        assert "USE_FED_LOSS chooses a loss of the stock head" in fails("MODEL.ROI_BOX_HEAD.USE_FED_LOSS", True)
        threshold = "MODEL.LONG_TAIL.LOSS.EQL.FREQUENCY_THRESHOLD"
        assert "FREQUENCY_THRESHOLD" in fails(*SMALL, threshold, "abc")

    def test_output_folder(self, fails, tmp_path):
        (tmp_path / "file").touch()
        assert "cannot be written (Not a directory)" in fails("OUTPUT_DIR", tmp_path / "file" / "out")

    def test_weights(self, fails, tmp_path):
        missing = tmp_path / "gone.pth"
        assert f"The weights {missing} cannot be loaded" in fails(*SMALL, "MODEL.WEIGHTS", missing)
        (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 cut")
        assert "cut.pth cannot be loaded" in fails(*SMALL, "MODEL.WEIGHTS", tmp_path / "cut.pth")

    def test_checkpoint_of_another_class_count(self, fails, trained, tmp_path):
        weights = ["MODEL.WEIGHTS", trained[0] / "model_final.pth"]
        counts = ["MODEL.LONG_TAIL.CLASS_STATS", saved_counts(tmp_path, 62)]
        error = fails("--eval-only", *counts, *weights)
        assert (
            "cls_score.weight is [13, 256] there and [63, 256] here; it was trained with another NUM_CLASSES" in error
        )

    def test_checkpoint_of_another_loss(self, fails, trained):
        weights = ["MODEL.WEIGHTS", trained[0] / "model_final.pth"]
        for loss, complaint in (
            ("eqlv2", "was trained with eql on Linear, but the config says eqlv2 on Linear"),
            ("seesaw", "was trained with eql on Linear, but the config says seesaw on CosineClassifier"),
            ("sigmoid", "was trained with eql on Linear, but the config says sigmoid on Linear"),
        ):
            assert complaint in fails("--eval-only", *SMALL, "MODEL.LONG_TAIL.LOSS.NAME", loss, *weights)

    def test_loss_keys(self, fails):
        loss = "MODEL.LONG_TAIL.LOSS"
        balanced = [f"{loss}.NAME", "class_balanced", *SMALL]
        assert "BETA must lie in [0, 1), but is 1.0" in fails(*balanced, f"{loss}.CLASS_BALANCED.BETA", "1.0")
        assert "CLASS_BALANCED.BASE is 'relu'" in fails(*balanced, f"{loss}.CLASS_BALANCED.BASE", "relu")
        assert "FOCAL.GAMMA must be at least 0" in fails(f"{loss}.NAME", "focal", *SMALL, f"{loss}.FOCAL.GAMMA", "-1.0")
        assert "START is None" in fails(*SMALL, "MODEL.LONG_TAIL.REWEIGHTING.WEIGHTS", "sqrt")

    def test_checkpoint_without_box_head(self, fails, tmp_path):
        torch.save({"model": {"backbone.stem.weight": torch.zeros(24, 3, 3, 3)}}, tmp_path / "backbone.pth")
        assert "no trained box head" in fails("--eval-only", *SMALL, "MODEL.WEIGHTS", tmp_path / "backbone.pth")
