"""The training losses on the evaluation set (TEST.VAL_LOSS)."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from detectron2.data import DatasetMapper, build_detection_test_loader
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lt_det.data.cache.records import load_records
from lt_det.data.image_errors import NameUnreadable
from lt_det.data.worker_signals import end_only_with_parent
from lt_det.errors import LtDetError, reason_of
from lt_det.losses import ClassificationLoss
from lt_det.modeling import LongTailPredictor
from lt_det.trainer_keys import VAL_LOSS, TrainerKeys
from lt_det.training.hooks.metric import VALIDATION, Metric, is_of_validation, mark_hook
from lt_det.training.preemption import EvalUnlessStopped, StoppableEvaluator
from lt_det.training.resume.seeding import seed_generators
from lt_det.training.trial import VALIDATION_SET, Mapped, random_numbers_kept, try_training_records

_TOTAL = f"{VALIDATION}total_loss"
_KNOWN_PACKAGES = ("torch", "torchvision", "fvcore", "detectron2", "lt_det")  # whose losses always have the same names

logger = logging.getLogger(__name__)


class ValidationLoss(EvalUnlessStopped):
    """Logs ``val_total_loss``, ``val_loss_cls`` and so on at each evaluation.

    Register it in every process, before the writers::

        loader = build_validation_loader(cfg, "my_val")
        hook = ValidationLoss(cfg.TEST.EVAL_PERIOD, lambda: validation_loss(trainer.model, loader))
    """

    def __init__(self, period: int, compute: Callable[[], Any]) -> None:
        """
        Args:
            period: TEST.EVAL_PERIOD, iterations between evaluations.
            compute: calls `validation_loss`; for the moving average of the weights within `EMAHook.evaluating`.
        """
        super().__init__(period, compute)

    def before_train(self) -> None:
        mark_hook(self.trainer, VAL_LOSS)


def validation_loss(model: nn.Module, loader: Any) -> dict[str, float]:
    """The mean of each training loss over the images of a loader, as in the training at this iteration.

    The losses are those of one image at a time, so that the mean depends neither on batches nor on the number of
    processes. Sampling of anchors and RoIs depends on the id of the image only. Batch normalization and dropout work as
    in the evaluation. The model, the state of the losses and all random numbers are left as they were. In decoupled
    training only the classification losses count, as there.

    Args:
        model: the network, or DistributedDataParallel around it.
        loader: see `build_validation_loader`.

    Returns:
        ``val_total_loss``, and each loss by name, in the main process; nothing in the others.
    """
    network: Any = model.module if isinstance(model, DistributedDataParallel) else model

    def losses(inputs: list[dict[str, Any]]) -> list[dict[str, float]]:
        return [_losses_of(network, image) for image in inputs]

    with _computing_losses(network), _random_numbers_kept(network), EventStorage(get_event_storage().iter):
        return dict(inference_on_dataset(losses, loader, StoppableEvaluator(_Mean())))


def try_validation_loss(model: nn.Module, loader: Any, name: str, metric: Metric | None = None) -> list[Mapped]:
    """Map one record of each kind as `validation_loss` will; if a loss is the metric, compute the losses of them.

    The model and all random numbers are left as they were. A name that is unknown is refused if the network consists of
    Detectron2's and lt_det's parts; another network may have other losses for other images, so that a warning says it.

    Args:
        model: the network, trained or not.
        loader: see `build_validation_loader`.
        name: of the test set.
        metric: SOLVER.BEST_CHECKPOINT.METRIC, if it is of this test set.

    Raises:
        LtDetError: the mapper or the network fails, or METRIC names no loss.
    """
    mapped = try_training_records(model, loader, [name], VALIDATION_SET)
    if metric is None or not is_of_validation(metric.name) or not mapped:
        return mapped
    network: Any = model.module if isinstance(model, DistributedDataParallel) else model
    try:
        with _computing_losses(network), _random_numbers_kept(network), torch.no_grad(), EventStorage():
            losses = {loss for _, image in mapped for loss in _losses_of(network, image)}
    except LtDetError:
        raise
    except Exception as error:  # a network can be a user's program
        raise LtDetError(
            f"The {VALIDATION_SET} '{name}': its losses cannot be computed ({reason_of(error)}); correct the network, "
            "or switch the validation loss off."
        ) from error
    prefix = metric.name[: metric.name.rfind("/") + 1]
    names = {f"{prefix}{known}": 0.0 for known in (_TOTAL, *(f"{VALIDATION}{loss}" for loss in losses))}
    if metric.name not in names:
        unknown = metric.unknown(names)
        if not (own := _parts_of_others(network)):
            raise unknown
        logger.warning("%s Unless %s has it for other images, the first evaluation ends the training.", unknown, own[0])
    return mapped


def _losses_of(network: Any, image: dict[str, Any]) -> dict[str, float]:
    """The losses of an image that count, by name."""
    seed_generators(zlib.crc32(str(image.get("image_id")).encode()))
    losses = network.forward([image])  # not by a call: hooks count, seed and check the passes of the training
    decoupled = bool(getattr(network, "decoupled_method", ""))
    return {name: float(loss) for name, loss in losses.items() if not decoupled or name.startswith("loss_cls")}


def _parts_of_others(network: nn.Module) -> list[str]:
    """The classes in a network that may name losses, and are not of a known package."""
    inside = _backbone_and_losses(network)
    kinds = dict.fromkeys(type(module) for module in network.modules() if module not in inside)
    return [kind.__name__ for kind in kinds if kind.__module__.partition(".")[0] not in _KNOWN_PACKAGES]


def build_validation_loader(cfg: Any, dataset_name: str) -> Any:
    """The images of a test set with their annotations as the training has them, but in the size of the evaluation.

    No image is flipped, cropped or otherwise augmented. Images without annotations are left out where the training
    leaves them out (DATALOADER.FILTER_EMPTY_ANNOTATIONS).

    Args:
        cfg: the config of the training.
        dataset_name: a registered test set.
    """
    plain = cfg.clone()
    plain.defrost()
    plain.INPUT.MIN_SIZE_TRAIN, plain.INPUT.MIN_SIZE_TRAIN_SAMPLING = (cfg.INPUT.MIN_SIZE_TEST,), "choice"
    plain.INPUT.MAX_SIZE_TRAIN, plain.INPUT.RANDOM_FLIP = cfg.INPUT.MAX_SIZE_TEST, "none"
    plain.INPUT.CROP.ENABLED = False
    mapper = NameUnreadable(DatasetMapper(plain, True))
    if cfg.MODEL.LOAD_PROPOSALS:
        loader = build_detection_test_loader(cfg, dataset_name, mapper=mapper)
    else:
        records = load_records(dataset_name, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
        loader = build_detection_test_loader(dataset=records, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS)
    end_only_with_parent(loader)
    return loader


class _Mean(DatasetEvaluator):
    """Means over the images of all processes; exact sums, so that they are the same for any number of processes."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._losses: list[dict[str, float]] = []

    def process(self, inputs: Any, outputs: list[dict[str, float]]) -> None:
        self._losses += outputs

    def evaluate(self) -> dict[str, float] | None:
        gathered = comm.gather(self._losses)
        if not comm.is_main_process():
            return None
        images = [losses for part in gathered for losses in part]
        names = list(dict.fromkeys(name for losses in images for name in losses))
        means = {f"{VALIDATION}{name}": _mean([losses.get(name, 0.0) for losses in images]) for name in names}
        means = {_TOTAL: _mean([math.fsum(losses.values()) for losses in images]), **means}
        logger.info("Loss on the test set: %s", "  ".join(f"{name}: {value:.4g}" for name, value in means.items()))
        return means


def _mean(values: list[float]) -> float:
    try:
        return math.fsum(values) / max(len(values), 1)
    except (OverflowError, ValueError):  # of infinite values
        return math.nan


def _backbone_and_losses(network: nn.Module) -> set[nn.Module]:
    """The modules in the backbone and in the classification losses."""
    parts: list[nn.Module] = [module for module in network.modules() if isinstance(module, ClassificationLoss)]
    parts += [backbone] if isinstance(backbone := getattr(network, "backbone", None), nn.Module) else []
    return {module for part in parts for module in part.modules()}


@contextlib.contextmanager
def _computing_losses(network: nn.Module) -> Iterator[None]:
    """Within, the network computes its losses, but nothing in it learns from a pass.

    The backbone, normalization, dropout and the classification losses are in evaluation mode; the state of the latter
    is put back, too, because a loss of a user may update it in any mode.
    """
    modes = {module: module.training for module in network.modules()}
    heads = [module for module in modes if isinstance(module, LongTailPredictor)]
    states = [(head, copy.deepcopy(head.loss.state_dict()), head.accuracy.counts.clone()) for head in heads]
    keys = [head.trainer_keys for head in heads]
    inside = _backbone_and_losses(network)
    for module in modes:
        changes = hasattr(module, "running_mean") or "Drop" in type(module).__name__
        module.training = not changes and module not in inside
    for head in heads:
        head.trainer_keys = TrainerKeys({})  # a resumed training that is finished has made no step that applies them
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for head, state, counts in states:
            head.loss.load_state_dict(state)
            head.accuracy.counts = counts
        for head, of_head in zip(heads, keys, strict=True):
            head.trainer_keys = of_head


@contextlib.contextmanager
def _random_numbers_kept(network: nn.Module) -> Iterator[None]:
    """As `random_numbers_kept`, also on the network's GPU."""
    device = next(network.parameters()).device
    with random_numbers_kept(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
