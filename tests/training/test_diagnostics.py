"""Messages and files of training runs that fail."""

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import traceback

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import SimpleTrainer
from torch import nn

from lt_det.data.image_errors import FailedMapper, NameUnreadable, UnreadableImage
from lt_det.errors import LtDetError
from lt_det.training import LongTailCheckpointer, LongTailTrainer, load_config, watched
from lt_det.training.diagnostics import watched_evaluation
from tests.helpers import REPOSITORY
from tests.helpers.streamed import StreamTrainer


@pytest.fixture(scope="module")
def data(mini, tmp_path_factory):
    """A function that writes a config for eight images of mini_lvis."""
    folder = tmp_path_factory.mktemp("eight")
    content = json.loads(mini.train_json.read_text())
    content["images"] = content["images"][:8]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    (folder / "eight.json").write_text(json.dumps(content))

    def config(images=mini.image_root):
        for catalog in (DatasetCatalog, MetadataCatalog):
            if "eight" in catalog:
                catalog.remove("eight")
        path = folder / "config.yaml"
        path.write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_eql.yaml
DATASETS:
  REGISTER:
    eight: {{JSON: {folder}/eight.json, IMAGES: {images}}}
  TRAIN: ("eight",)
  TEST: ()
MODEL: {{ROI_HEADS: {{NUM_CLASSES: 12}}}}
DATALOADER: {{NUM_WORKERS: 0}}
SOLVER: {{MAX_ITER: 6, CHECKPOINT_PERIOD: 1, IMS_PER_BATCH: 4}}
""")
        return path

    return config


def fails(script, *arguments, root=None):
    """Run a tool that fails, and return its one-line error."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"} | ({"DETECTRON2_DATASETS": str(root)} if root else {}),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr + result.stdout, result.stderr + result.stdout
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 1, result.stderr
    return errors[0]


def test_nan_in_a_loss_of_one_of_two_processes(data, tmp_path):
    two = ["--num-processes", 2, "--dist-url", "auto"]
    error = fails(
        REPOSITORY / "tests" / "helpers" / "failing_training.py", "--config", data(), *two, "OUTPUT_DIR", tmp_path
    )
    assert re.match(r"error in process 1: .*iteration 3: loss_cls is nan ", error)
    assert len(re.findall(r"\d+\.jpg", error)) == 2  # its half of the batch
    assert f"{tmp_path}/model_0000002.pth" in error
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000002.pth"
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == [f"model_{k:07d}.pth" for k in range(3)]
    assert "another process has ended" in (tmp_path / "log.txt").read_text()


def test_learning_rate_too_high_in_a_lazy_config(mini, datasets_root, tmp_path):
    tool = REPOSITORY / "tools" / "lazyconfig_train_net.py"
    small = ["train.max_iter=20", "dataloader.train.total_batch_size=2", "dataloader.train.num_workers=0"]
    small += ["model.roi_heads.num_classes=12", "train.checkpointer.period=100", f"train.output_dir={tmp_path}"]
    config = ["--config", REPOSITORY / "configs" / "lazy" / "mini_lvis_eql.py"]
    error = fails(tool, *config, *small, "optimizer.lr=1e9", "train.clip_norm=0", root=datasets_root)
    assert re.match(r"error: .*iteration \d+: (loss_|Predicted boxes)", error)
    assert f"images {datasets_root}" in error
    assert "no checkpoint" in error
    assert not list(tmp_path.glob("*.pth"))
    assert "Training diverged in iteration" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image(data, mini, tmp_path, workers):
    shutil.copytree(mini.image_root, tmp_path / "images")
    for path in (tmp_path / "images").rglob("*.jpg"):
        os.truncate(path, path.stat().st_size // 2)
    cfg = load_config(str(data(tmp_path / "images")), ["DATALOADER.NUM_WORKERS", str(workers)])
    for loader in (LongTailTrainer.build_train_loader(cfg), LongTailTrainer.build_test_loader(cfg, "eight")):
        with pytest.raises(UnreadableImage) as raised:
            next(iter(loader))
        assert re.search(rf"{tmp_path}/images/train/\d+\.jpg .*image file is truncated", str(raised.value))


class Deadly(torch.utils.data.IterableDataset):
    """Kills the process that loads it."""

    def __iter__(self):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_data_loading_worker(tmp_path):
    model = Model(None)
    loader = torch.utils.data.DataLoader(Deadly(), num_workers=1)
    trainer = SimpleTrainer(model, loader, torch.optim.SGD(model.parameters(), lr=0.1))
    checkpointer = LongTailCheckpointer(model, str(tmp_path))
    checkpointer.save("model_0000004")
    with pytest.raises(LtDetError) as raised, watched(trainer, checkpointer):
        trainer.train(5, 9)
    assert re.search(r"iteration 5 \(DataLoader worker \(pid.*DATALOADER\.NUM_WORKERS", str(raised.value))
    assert f"{tmp_path}/model_0000004.pth" in str(raised.value)


class Handover:
    """What a worker has loaded; to fetch it fails as where the worker dies meanwhile."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        return fail, (self.error,)


def fail(error):
    raise error


class Fetched(torch.utils.data.IterableDataset):
    def __init__(self, error):
        self.error = error

    def __iter__(self):
        while True:
            yield Handover(self.error)


HANDOVER = [ConnectionResetError(104, "Connection reset by peer"), EOFError(), FileNotFoundError(2, "No such file")]


@pytest.mark.parametrize("error", HANDOVER, ids=lambda error: type(error).__name__)
def test_a_worker_that_dies_while_it_hands_over_an_image(tmp_path, error):
    """These are what torch raises if it looks at the worker before the kernel has cleared it away."""
    model = Model(None)
    loader = torch.utils.data.DataLoader(Fetched(error), num_workers=1, batch_size=None)
    trainer = SimpleTrainer(model, loader, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(LtDetError) as raised, watched(trainer, LongTailCheckpointer(model, str(tmp_path))):
        trainer.train(5, 9)
    assert re.search(rf"iteration 5 \(.*{type(error).__name__}\).*DATALOADER\.NUM_WORKERS", str(raised.value))
    with pytest.raises(LtDetError, match=r"during the evaluation .*DATALOADER\.NUM_WORKERS"), watched_evaluation():
        next(iter(loader))


class Tensors(torch.utils.data.IterableDataset):
    def __iter__(self):
        while True:
            yield {"file_name": "a.jpg", "parts": [torch.zeros(10) for _ in range(20)]}


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02])
def test_a_worker_that_is_killed_among_its_handovers(tmp_path, delay, caplog):
    """Which error torch raises is left to chance, and about half of them are not its own."""
    model = Model(lambda x: {"loss_cls": x})
    loader = torch.utils.data.DataLoader(Tensors(), num_workers=1, batch_size=1, collate_fn=list)
    trainer = SimpleTrainer(model, loader, torch.optim.SGD(model.parameters(), lr=0.0))
    worker = trainer._data_loader_iter._workers[0].pid
    killer = threading.Timer(delay, os.kill, (worker, signal.SIGKILL))
    killer.start()
    died = pytest.raises(LtDetError, match=r"A data loading worker died in iteration \d+ ")
    with died, watched(trainer, LongTailCheckpointer(model, str(tmp_path))):
        trainer.train(0, 10**6)
    killer.join()
    assert all(record.exc_info is None for record in caplog.records)


def test_a_worker_whose_end_is_signalled_while_the_error_is_explained(tmp_path, monkeypatch):
    """torch's handler of SIGCHLD raises its error anywhere in the main thread."""
    interruptions = [RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")]
    frames = traceback.extract_tb

    def extract_tb(*args, **options):
        if interruptions:
            raise interruptions.pop()
        return frames(*args, **options)

    monkeypatch.setattr(traceback, "extract_tb", extract_tb)
    with pytest.raises(LtDetError, match=r"during the evaluation .*ConnectionResetError"), watched_evaluation():
        next(iter(torch.utils.data.DataLoader(Fetched(ConnectionResetError()), num_workers=1, batch_size=None)))
    assert not interruptions


def test_other_errors_of_a_loader_stay_what_they_are(tmp_path):
    with pytest.raises(ZeroDivisionError), watched_evaluation():
        next(iter(torch.utils.data.DataLoader(Fetched(ZeroDivisionError()), num_workers=1, batch_size=None)))
    with pytest.raises(EOFError), watched_evaluation():  # raised in this process
        next(iter(torch.utils.data.DataLoader(Fetched(EOFError()), num_workers=0, batch_size=None)), fail(EOFError()))


def test_a_full_disk_in_a_hook_is_one_sentence(tmp_path):
    def lose(x):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/curve.json")

    error = message(lose, tmp_path)
    for part in ("/somewhere/curve.json", "iteration 2", os.strerror(errno.ENOSPC), "no checkpoint has been saved"):
        assert part in error


def refusing(record):
    raise LtDetError("corrupt")


def broken(record):
    return record["no such key"]


class Records(torch.utils.data.Dataset):
    def __init__(self, mapper):
        self.mapper = NameUnreadable(mapper)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.mapper({"file_name": "a.jpg"})


@pytest.mark.parametrize(("mapper", "text"), [(refusing, "corrupt"), (broken, "The mapper fails on the image a.jpg")])
def test_an_error_of_a_mapper_in_a_loading_process(mapper, text):
    with pytest.raises(FailedMapper) as raised:
        next(iter(torch.utils.data.DataLoader(Records(mapper), num_workers=1)))
    assert str(raised.value).startswith(text)
    assert "Traceback" not in str(raised.value)


def test_images_that_cannot_be_read(tmp_path):
    def mapper(record):
        raise OSError

    with pytest.raises(UnreadableImage, match=r"a\.jpg .*OSError"):
        NameUnreadable(mapper)({"file_name": "a.jpg"})
    with pytest.raises(FailedMapper, match=r"a\.jpg \(ZeroDivisionError: .*test_diagnostics\.py line \d+"):
        NameUnreadable(lambda record: 1 / 0)({"file_name": "a.jpg"})
    with pytest.raises(FailedMapper, match=r"^corrupt$"):
        NameUnreadable(refusing)({"file_name": "a.jpg"})


class Model(nn.Module):
    """A model whose losses at iteration 2 are those of the argument: a value, or a function of the weight."""

    def __init__(self, losses):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.losses, self.calls = losses, 0

    def forward(self, batch):
        self.calls += 1
        if self.calls < 3:
            return {"loss_cls": self.weight.sum()}
        return self.losses(self.weight.sum()) if callable(self.losses) else self.losses


def train(losses, tmp_path, iterations=4):
    model = Model(losses)
    batches = [[{"file_name": f"{k}.jpg"}] for k in range(iterations)]
    trainer = SimpleTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=0.1))
    with watched(trainer, LongTailCheckpointer(model, str(tmp_path))):
        try:
            trainer.train(0, iterations)
        finally:
            model.last_weight = model.weight.item()
    return model


def message(losses, tmp_path):
    with pytest.raises(LtDetError) as raised:
        train(losses, tmp_path)
    return str(raised.value)


def test_losses_that_are_not_finite_are_named(tmp_path):
    error = message(lambda x: {"loss_cls": x, "loss_mask": x / 0, "loss_rpn_loc": x * torch.nan}, tmp_path)
    assert re.search(r"iteration 2: loss_mask is inf, loss_rpn_loc is nan \(images 2\.jpg\).*SOLVER\.BASE_LR", error)
    assert "total_loss is nan" in message(lambda x: x * torch.nan, tmp_path)
    # Infinities that cancel in the sum are found too.
    assert "loss_a is inf, loss_b is -inf" in message(lambda x: {"loss_a": x / 0, "loss_b": -x / 0}, tmp_path)


def test_the_bad_step_changes_no_weight(tmp_path):
    model = Model(lambda x: x / 0)
    trainer = SimpleTrainer(model, [[{}]] * 4, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(LtDetError), watched(trainer, LongTailCheckpointer(model, str(tmp_path))):
        trainer.train(0, 4)
    assert model.weight.item() == pytest.approx(0.8)  # after two good steps
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_boxes_that_are_not_finite(tmp_path):
    def rpn(x):
        raise FloatingPointError("Predicted boxes or scores contain Inf/NaN. Training has diverged.")

    assert "iteration 2: Predicted boxes or scores contain Inf/NaN (images 2.jpg)" in message(rpn, tmp_path)


def test_losses_in_half_precision_whose_sum_overflows_are_finite(tmp_path):
    """As with AMP: 40000 + 40000 is infinite in float16, though neither loss is."""
    half = torch.tensor(4e4, dtype=torch.float16)
    assert train(lambda x: {"loss_cls": x + half, "loss_box_reg": x * half}, tmp_path).calls == 4


def test_a_bug_keeps_its_traceback(tmp_path, caplog):
    def bug(x):
        raise RuntimeError("a bug")

    logging.getLogger("detectron2").propagate = True
    with pytest.raises(RuntimeError, match="a bug"), caplog.at_level(logging.INFO):
        train(bug, tmp_path)
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("fails", [False, True])
def test_no_evaluation_after_a_failure_in_the_last_iteration(sixty_config, tmp_path, fails):
    evaluated = []

    class Trainer(StreamTrainer):
        def run_step(self):
            super().run_step()
            if fails and self.iter == self.max_iter - 1:
                raise RuntimeError("another process has ended")

        @classmethod
        def test(cls, cfg, model, evaluators=None):
            evaluated.append(model)
            return {}

    cfg = load_config(str(sixty_config), ["OUTPUT_DIR", str(tmp_path), "SOLVER.MAX_ITER", "2", "SOLVER.STEPS", "()"])
    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        Trainer(cfg).train()
    assert len(evaluated) == (not fails)
