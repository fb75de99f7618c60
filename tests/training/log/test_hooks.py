"""What a training puts into the log beside its losses."""

import json

import numpy as np
import pytest
import torch
from detectron2.engine import TrainerBase
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import _log_classification_stats
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, JSONWriter
from torch import nn

from lt_det.losses import EQLv2, InfluenceBalanced, Seesaw, SoftmaxCrossEntropy
from lt_det.modeling import LongTailPredictor
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats
from lt_det.training import LongTailTrainer, load_config
from lt_det.training.log.hooks import LogAccuracy, LogLossState, LogSpeed, WriteLog
from lt_det.training.preemption import EvalUnlessStopped
from tests.helpers.gloo import in_processes
from tests.helpers.models import annotations, small_config, synthetic_batch

COUNTS = np.array([3, 4, 50, 60, 1000, 2000])
STATS = ClassStats(tuple("abcdef"), COUNTS, COUNTS, 4000, "test")
BUCKETS = FrequencyBuckets.from_edges(STATS)
BACKGROUND = 6


class Trainer:
    """A mock of Detectron2's, with the three attributes that the hooks read."""

    def __init__(self, storage):
        self.storage, self.iter, self.max_iter = storage, 19, 100


def logged(hook):
    """What the hook puts into the storage at iteration 19, by name; at 20 it must put nothing."""
    with EventStorage(19) as storage:
        hook.trainer = Trainer(storage)
        hook.after_step()
        hook.trainer.iter = 20
        storage.step()
        hook.after_step()  # between two looks
    assert all(iteration == 19 for _, iteration in storage.latest().values())
    return {name: value for name, (value, _) in storage.latest().items()}


def logged_state(*losses):
    return logged(LogLossState(nn.ModuleList(losses), BUCKETS))


def test_eqlv2s_gradient_ratio_by_bucket():
    loss = EQLv2(6)
    loss.positive_gradient.copy_(torch.tensor([1.0, 0.0, 4.0, 1.0, 9.0, 9.0]))
    loss.negative_gradient.copy_(torch.tensor([10.0, 0.0, 8.0, 1.0, 3.0, 9.0]))
    assert logged_state(loss) == pytest.approx(  # the second rare class was never seen
        {
            "loss_state/gradient_ratio/rare": 0.1,
            "loss_state/gradient_ratio/common": 0.75,
            "loss_state/gradient_ratio/frequent": 2.0,
        }
    )


def test_nothing_is_logged_of_what_is_not_known():
    assert logged_state(EQLv2(6)) == {}


def test_a_cascade_logs_the_state_of_each_stage():
    first, second = Seesaw(6), Seesaw(6)
    second.seen += 2
    values = logged_state(first, second)
    assert values["stage0/loss_state/seen/rare"] == 0
    assert values["stage1/loss_state/seen/rare"] == 2


def test_a_scalar_is_logged_as_it_is():
    loss = InfluenceBalanced(6, instance_counts=COUNTS, alpha=3.0)
    assert logged_state(loss) == {"loss_state/alpha": 3.0}


def predictor():
    transform = Box2BoxTransform((1.0, 1.0, 1.0, 1.0))
    return LongTailPredictor(ShapeSpec(channels=4), loss=SoftmaxCrossEntropy(6), box2box_transform=transform)


def classify(predictor, answers):
    """A training step in which RoIs of class `truth` get their highest logit at `answer`."""
    truths, given = (torch.tensor(column) for column in zip(*answers, strict=True))
    proposals = Instances((9, 9), gt_classes=truths)
    proposals.proposal_boxes = proposals.gt_boxes = Boxes(torch.tensor([[1.0, 1.0, 5.0, 5.0]]).expand(len(truths), 4))
    logits = nn.functional.one_hot(given, BACKGROUND + 1).float()
    with EventStorage() as storage:
        predictor.losses((logits, torch.zeros(len(truths), 24)), [proposals])
    return storage


class TestAccuracy:
    FIRST = ((0, 0), (0, 1), (4, 4), (5, 4), (BACKGROUND, BACKGROUND), (BACKGROUND, 0))
    SECOND = ((1, BACKGROUND), (4, 4), (4, 4), (4, 4))

    def test_is_that_of_a_hand_count(self):
        model = predictor()
        hook = LogAccuracy(model, BUCKETS)
        classify(model, self.FIRST)
        classify(model, self.SECOND)
        # Over all RoIs of the bucket, not the mean of the steps; no object of a common class has come.
        assert logged(hook) == pytest.approx({"accuracy/rare": 1 / 3, "accuracy/frequent": 4 / 5})

    def test_a_period_knows_nothing_of_the_one_before(self):
        model = predictor()
        hook = LogAccuracy(model, BUCKETS)
        classify(model, self.FIRST)
        logged(hook)
        classify(model, self.SECOND)
        assert logged(hook) == {"accuracy/rare": 0, "accuracy/frequent": 1}
        assert logged(hook) == {}

    def test_is_that_of_all_processes(self, tmp_path):
        in_processes(2, tmp_path, _log_in_process, tmp_path)
        values = json.loads((tmp_path / "logged.json").read_text())
        assert values == pytest.approx({"accuracy/rare": 1 / 3, "accuracy/frequent": 4 / 5})

    def test_is_that_of_all_processes_whose_buffers_are_broadcast(self, tmp_path):
        in_processes(2, tmp_path, _log_under_ddp, tmp_path)
        assert json.loads((tmp_path / "logged.json").read_text()) == pytest.approx({"accuracy/rare": 1 / 4})

    def test_a_cascade_logs_each_stage(self, tmp_path):
        file = tmp_path / "train.json"
        file.write_text(json.dumps(annotations()))
        torch.manual_seed(0)
        options = {"MODEL.LONG_TAIL.CLASS_STATS": str(file)}
        model = build_model(small_config("LongTailCascadeROIHeads", "eql", **options))
        hook = LogAccuracy(model, FrequencyBuckets.from_edges(ClassStats.from_json(file)))
        with EventStorage():
            model(synthetic_batch())
        names = set(logged(hook))
        assert names >= {f"stage{stage}/accuracy/common" for stage in range(3)}
        assert names <= {f"stage{stage}/accuracy/{bucket}" for stage in range(3) for bucket in ("rare", "common")}

    def test_counts_are_in_no_checkpoint(self):
        assert not [name for name in predictor().state_dict() if "accuracy" in name]

    @pytest.mark.parametrize("classes", [7, 6, 1], ids=["any", "foreground", "one class"])
    def test_curves_of_a_step_are_the_stock_heads(self, classes):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(40, 7, generator=generator)
        truths = torch.randint(0, classes, (40,), generator=generator)
        storage = classify(predictor(), tuple(zip(truths.tolist(), logits.argmax(dim=1).tolist(), strict=True)))
        with EventStorage() as stock:
            _log_classification_stats(logits, truths)
        ours = {name: value for name, value in storage.latest().items() if name.startswith("fast_rcnn/")}
        assert ours == stock.latest()
        assert ours

    def test_a_step_of_background_has_no_foreground_accuracy(self):
        storage = classify(predictor(), ((BACKGROUND, BACKGROUND), (BACKGROUND, 2)))
        assert storage.latest() == {"fast_rcnn/cls_accuracy": (0.5, 0)}


def _log_in_process(folder):
    """The second process has one step more than the first, and does not know the buckets."""
    model = predictor()
    hook = LogAccuracy(model, BUCKETS if comm.is_main_process() else None)
    if comm.is_main_process():
        classify(model, TestAccuracy.FIRST)
    else:
        for answer in TestAccuracy.SECOND:
            classify(model, (answer,))
    values = logged(hook)
    assert not model.accuracy.counts.any()
    if comm.is_main_process():
        (folder / "logged.json").write_text(json.dumps(values))
    else:
        assert values == {}


class Wrapped(nn.Module):
    """What DistributedDataParallel runs: a box predictor whose forward is a training step's loss."""

    def __init__(self):
        super().__init__()
        self.predictor = predictor()

    def forward(self, answer):
        logits = nn.functional.one_hot(torch.tensor([answer]), BACKGROUND + 1).float()
        proposals = Instances((9, 9), gt_classes=torch.tensor([0]))
        proposals.proposal_boxes = proposals.gt_boxes = Boxes(torch.tensor([[1.0, 1.0, 5.0, 5.0]]))
        return self.predictor.losses((logits, torch.zeros(1, 24)), [proposals])["loss_cls"]


def _log_under_ddp(folder):
    """In torch's default; of four RoIs of a rare class one of the second process is classified right."""
    model = nn.parallel.DistributedDataParallel(Wrapped(), broadcast_buffers=True)
    hook = LogAccuracy(model, BUCKETS if comm.is_main_process() else None)
    with EventStorage():
        for right in (not comm.is_main_process(), False):
            model(0 if right else 1)
    values = logged(hook)
    if comm.is_main_process():
        (folder / "logged.json").write_text(json.dumps(values))


def test_all_processes_look_after_the_evaluation(sixty_config, tmp_path):
    """Both talk to the other processes: in another order these would wait for each other for ever."""
    in_processes(2, tmp_path, _check_order, sixty_config, tmp_path)


def _check_order(config, output):
    trainer = LongTailTrainer(load_config(str(config), ["OUTPUT_DIR", str(output)]))
    place = {type(hook): index for index, hook in enumerate(trainer._hooks)}
    assert place[EvalUnlessStopped] < place[LogAccuracy]
    if comm.is_main_process():
        assert place[LogLossState] < place[WriteLog]


def test_an_evaluation_is_in_the_log_at_once(tmp_path):
    """A training that is killed later has it, and the next evaluation does not replace it; no line comes twice."""
    file, found = tmp_path / "metrics.json", []

    def lines():
        return [json.loads(line) for line in file.read_text().splitlines()]

    class Steps(TrainerBase):
        def before_step(self):
            super().before_step()
            found.append([line["iteration"] for line in lines() if "bbox/AP" in line])

        def run_step(self):
            self.storage.put_scalar("total_loss", 1.0)

    trainer = Steps()
    evaluation = EvalUnlessStopped(3, lambda: {"bbox": {"AP": trainer.iter}})
    trainer.register_hooks([evaluation, WriteLog([JSONWriter(str(file))], 4, 3)])
    trainer.train(0, 10)
    assert found == [[], [], [], [2], [2], [2], [2, 5], [2, 5], [2, 5], [2, 5, 8]]
    assert [line["iteration"] for line in lines()] == [2, 3, 5, 7, 8, 9, 10]
    assert [line["bbox/AP"] for line in lines() if "bbox/AP" in line] == [2, 5, 8, 10]


class TestSpeed:
    def test_is_that_of_the_timed_iterations(self):
        hook = LogSpeed(images=16, period=20)
        with EventStorage() as storage:
            hook.trainer = Trainer(storage)
            for iteration in range(20):
                storage.iter = iteration
                storage.put_scalar("data_time", 0.5 if iteration >= 2 else 30.0)
                if iteration >= 2:  # Detectron2's timer warms up
                    storage.put_scalar("time", 1.5 if iteration % 2 else 2.5)
            hook.after_step()
        assert storage.latest()["images_per_second"] == (8.0, 19)
        assert storage.latest()["data_time_share"] == (0.25, 19)
        assert 10 < storage.latest()["max_mem"][0] < 1e6  # MB

    def test_nothing_is_said_of_what_is_not_timed(self):
        assert set(logged(LogSpeed(images=16))) == {"max_mem"}
