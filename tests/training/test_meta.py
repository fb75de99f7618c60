"""Meta-learned weights in decoupled training."""

import copy
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from detectron2.data import MetadataCatalog
from detectron2.engine import SimpleTrainer
from detectron2.modeling import build_model
from detectron2.solver import build_optimizer
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import distributed
from torch.func import functional_call

from lt_det.config import check_training_keys
from lt_det.data import register_dataset
from lt_det.data.loader import build_train_loader, meta_config
from lt_det.errors import LtDetError
from lt_det.meta.methods import META_METHODS
from lt_det.training import MetaLearning, load_config, train_classifier_only
from lt_det.training.meta import MetaLearnedLoss
from tests.helpers.gloo import in_processes
from tests.helpers.models import NUM_CLASSES, annotations, seeded_model, small_config, synthetic_batch

METHOD = "MODEL.LONG_TAIL.SECOND_STAGE.METHOD"
META = "MODEL.LONG_TAIL.SECOND_STAGE.META"
LOSS = {"learned_tau": "logit_adjustment", "learned_margin": "ldam"}


def meta_batch():
    """The images of `synthetic_batch`, with objects of class 3 only."""
    batch = copy.deepcopy(synthetic_batch())
    for image in batch:
        instances = Instances(image["instances"].image_size)
        instances.gt_boxes = Boxes(torch.tensor([[20.0, 20, 70, 70]]))
        instances.gt_classes = torch.tensor([3])
        image["instances"] = instances
    return batch


def learning(method="balms", heads="LongTailROIHeads", train_json=None, **options):
    """A model with frozen network, the optimizer of its classifier and the hook, as in the first iteration."""
    cfg = small_config(heads, LOSS.get(method, "softmax"), **{METHOD: "meta", "SOLVER.BASE_LR": 0.1, **options})
    if train_json:
        cfg.MODEL.LONG_TAIL.CLASS_STATS = str(train_json)
    model = seeded_model(cfg)
    train_classifier_only(model, "meta")
    optimizer = build_optimizer(cfg, model)
    hook = MetaLearning(model, optimizer, [meta_batch()] * 9, method, seed=0)
    hook.before_train()
    model.train()
    return model, optimizer, hook


@pytest.fixture
def train_json(tmp_path):
    file = tmp_path / "train.json"
    file.write_text(json.dumps(annotations()))
    return file


@pytest.mark.parametrize("method", META_METHODS)
@pytest.mark.parametrize("heads", ["LongTailROIHeads", "LongTailCascadeROIHeads", "LongTailRes5ROIHeads"])
def test_every_method_and_head(train_json, method, heads):
    model, optimizer, hook = learning(method, heads, train_json)
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):
        optimizer.zero_grad()
        with EventStorage():
            losses = model(synthetic_batch())
        sum(losses.values()).backward()
        optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(".cls_score." in name for name in changed)
    assert len(losses) == (3 if "Cascade" in heads else 1)
    for loss in hook._losses:
        optimizer = loss.learner.method.optimizer
        assert (optimizer is None) == (method == "l2rw")
        assert optimizer is None or all(state["step"] == 2 for state in optimizer.state_dict()["state"].values())


def test_gradient_is_that_of_the_weighted_loss():
    """At the θ after its step, which meta RoIs of the meta batch alone have moved."""
    model, _, hook = learning()
    (loss,) = hook._losses
    seen = []
    step = loss.learner.step
    loss.learner.step = lambda *args: seen.append(args) or step(*args)
    with EventStorage():
        (value,) = model(synthetic_batch()).values()
    value.backward()
    ((classifier, (features, targets), (_, meta_targets), inner, buffers, _),) = seen
    assert set(meta_targets.tolist()) == {3, NUM_CLASSES}
    assert {0, NUM_CLASSES - 1, NUM_CLASSES} >= set(targets.tolist()) > {NUM_CLASSES}
    assert (inner.learning_rate, inner.momentum, inner.weight_decay) == (0.1, 0.9, 1e-4)
    assert not buffers

    theta = loss.learner.method.theta.detach()
    assert (theta != 0).any()
    v, foreground = torch.ones(len(targets)), targets < NUM_CLASSES
    v[foreground] = theta.sigmoid()[targets[foreground]]
    v[foreground] /= v[foreground].mean()
    weights = {name: parameter.detach().requires_grad_() for name, parameter in classifier.named_parameters()}
    rows = F.cross_entropy(functional_call(classifier, weights, (features,)), targets, reduction="none")
    (v * rows).mean().backward()
    torch.testing.assert_close(value, rows.mean())
    for name, parameter in classifier.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-5, atol=1e-7)


def test_the_meta_batch_leaves_no_trace_in_the_log():
    """Its objects are of class 3, which the training batch has not."""
    model, _, _ = learning()
    with EventStorage() as storage:
        model(synthetic_batch())
    counts = model.roi_heads.box_predictor.accuracy.take()[0]
    assert counts[3] == 0
    assert storage.latest()["roi_head/num_fg_samples"][0] == counts[:NUM_CLASSES].sum() / 2  # per image


def test_looking_at_the_loss_learns_nothing():
    model, _, hook = learning()
    with EventStorage(), torch.no_grad():
        assert model(synthetic_batch())["loss_cls"] > 0
    assert (hook._losses[0].learner.method.theta == 0).all()


def half_of_the_rows(folder):
    """One step on the rows of this process, and the mean gradient over the processes."""
    torch.manual_seed(0)
    cfg = small_config()
    predictor = build_model(cfg).roi_heads.box_predictor
    optimizer = torch.optim.SGD(predictor.cls_score.parameters(), lr=0.1, momentum=0.9)
    loss = MetaLearnedLoss(predictor, optimizer, "balms")
    features, meta_features = torch.randn(40, 64), torch.randn(20, 64)
    targets, meta_targets = torch.randint(NUM_CLASSES + 1, (40,)), torch.randint(NUM_CLASSES + 1, (20,))
    processes = distributed.get_world_size() if distributed.is_initialized() else 1
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    # Unequal parts, so that a mean of means would show.
    mine = slice(None) if processes == 1 else (slice(0, 10), slice(10, None))[rank]
    loss.meta_rois = (meta_features[mine], meta_targets[mine])
    value = loss(predictor.cls_score(features[mine]), targets[mine], features[mine])
    value.backward()
    gradient = predictor.cls_score.weight.grad
    value = value.detach()
    if processes > 1:
        distributed.all_reduce(gradient)
        distributed.all_reduce(value)
    if rank == 0:
        theta = loss.learner.method.theta.detach()
        torch.save((gradient / processes, value / processes, theta), folder / f"{processes}.pth")


def test_two_processes_equal_one(tmp_path):
    half_of_the_rows(tmp_path)
    in_processes(2, tmp_path, half_of_the_rows, tmp_path)
    for one, two in zip(torch.load(tmp_path / "1.pth"), torch.load(tmp_path / "2.pth"), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)


def test_bfloat16():
    model, _, hook = learning()
    with EventStorage(), torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(synthetic_batch())
    sum(losses.values()).backward()
    assert model.roi_heads.box_predictor.cls_score.weight.grad.isfinite().all()
    assert hook._losses[0].learner.method.theta.dtype == torch.float32


class TestMistakes:
    def test_a_trainer_without_the_hook(self):
        model = seeded_model(small_config(**{METHOD: "meta"}))
        train_classifier_only(model, "meta")
        trainer = SimpleTrainer(model.train(), [synthetic_batch()], torch.optim.SGD(model.parameters(), lr=0.1))
        with EventStorage(), pytest.raises(LtDetError, match=r"SECOND_STAGE\.METHOD is meta"):
            trainer.run_step()

    def test_another_optimizer(self):
        model = seeded_model(small_config())
        train_classifier_only(model, "meta")
        with pytest.raises(LtDetError, match="optimizer is AdamW; use SGD"):
            MetaLearning(model, torch.optim.AdamW(model.parameters()), [], "balms")

    def test_a_loss_that_does_not_go_with_the_method(self):
        model = seeded_model(small_config())
        train_classifier_only(model, "meta")
        with pytest.raises(LtDetError, match="logit_adjustment"):
            MetaLearning(model, torch.optim.SGD(model.parameters(), lr=0.1), [], "learned_tau")

    @pytest.mark.parametrize(("key", "value"), [("METHOD", "l2rw"), ("DATASETS", ("a",))])
    def test_keys_without_effect(self, sixty_config, key, value):
        cfg = load_config(str(sixty_config), [f"{META}.{key}", str(value)])
        with pytest.raises(LtDetError, match=r"META is set, but SECOND_STAGE\.METHOD is ''"):
            check_training_keys(cfg)

    def test_an_unknown_method(self, sixty_config):
        cfg = load_config(str(sixty_config), [METHOD, "meta", f"{META}.METHOD", "ballms"])
        with pytest.raises(LtDetError, match="did you mean 'balms'"):
            check_training_keys(cfg)


def test_a_meta_set_of_other_classes_is_refused(sixty_config, tmp_path):
    cfg = load_config(str(sixty_config), [METHOD, "meta", f"{META}.DATASETS", "('streamed_swapped',)"])
    data = json.loads(Path(MetadataCatalog.get("streamed").json_file).read_text())
    one, other = data["categories"][:2]
    one["name"], other["name"] = other["name"], one["name"]
    (tmp_path / "swapped.json").write_text(json.dumps(data))
    register_dataset("streamed_swapped", tmp_path / "swapped.json", tmp_path)
    with pytest.raises(LtDetError, match=f"{one['name']} in place of {other['name']}"):
        meta_config(cfg)


def test_the_meta_loader_is_class_aware_and_leaves_the_counts_alone(sixty_config, tmp_path):
    words = [METHOD, "meta", f"{META}.DATASETS", "('streamed',)", "OUTPUT_DIR", str(tmp_path)]
    cfg = load_config(str(sixty_config), words)
    meta = meta_config(cfg)
    assert meta.DATASETS.TRAIN == ("streamed",)
    assert meta.DATALOADER.SAMPLER_TRAIN == "ClassAwareTrainingSampler"
    assert meta.OUTPUT_DIR == ""
    assert cfg.DATALOADER.SAMPLER_TRAIN != meta.DATALOADER.SAMPLER_TRAIN
    assert len(next(iter(build_train_loader(meta, in_equipped_trainer=True)))) == 6
