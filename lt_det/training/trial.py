"""What first happens on a real record, tried before the first iteration; `lt-det doctor` does the same."""

from __future__ import annotations

import contextlib
import copy
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluators
from detectron2.evaluation.evaluator import inference_context
from detectron2.modeling import PanopticFPN, ROIHeads, SemanticSegmentor
from detectron2.modeling.proposal_generator import RPN
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lt_det.compat.detectron2 import mapped_dataset
from lt_det.data.cache.records import Records, load_records
from lt_det.data.image_errors import NameUnreadable, largest_readable
from lt_det.data.record_boxes import unusable_boxes
from lt_det.data.record_kinds import CROWD, kinds_and_pixels, representatives
from lt_det.errors import LtDetError, reason_of
from lt_det.training.box_evaluator import box_evaluator
from lt_det.training.hooks.metric import Metric
from lt_det.training.hooks.metric_names import metric_names

logger = logging.getLogger(__name__)

_LEARNED = (  # the heads' attribute, what the mapper must make, the config key, the field of an annotation
    ("mask_on", "gt_masks", "MODEL.MASK_ON", "segmentation"),
    ("keypoint_on", "gt_keypoints", "MODEL.KEYPOINT_ON", "keypoints"),
)


TRAINING_SET = "training set"
VALIDATION_SET = "test set (TEST.VAL_LOSS, LazyConfig: train.val_loss)"


class Mapped(NamedTuple):
    """A record of a dataset and what the mapper made of it."""

    record: dict[str, Any]
    input: Any


def try_training_records(model: nn.Module, loader: Any, names: Sequence[str], part: str = TRAINING_SET) -> list[Mapped]:
    """Map one record of each kind of annotation as the training will, and check that it has what the model learns.

    Random numbers of the training stay the same. A loader of another kind than Detectron2's is left alone.

    Args:
        model: the network to train.
        loader: its training loader.
        names: the training sets, for messages.
        part: what they are, for messages: "training set", "meta set" or `VALIDATION_SET`.

    Raises:
        LtDetError: the mapper fails on a record, or gives the model no boxes, masks, keypoints or segmentation to
            learn.
    """
    mapped = _map_records(loader, names, part)
    if any(isinstance(module, RPN) for module in model.modules()):
        for record, made in mapped:
            if isinstance(made, Mapping) and "instances" not in made and "annotations" not in record:
                raise LtDetError(
                    f"The {part} '{_set_of(record, names)}': the record of the image {record.get('file_name')} has no "
                    "'annotations'; give it a list, which is empty for an image without objects."
                )
    if any(isinstance(module, PanopticFPN | SemanticSegmentor) for module in model.modules()):
        for record, made in mapped:
            if isinstance(made, Mapping) and "sem_seg" not in made:
                raise LtDetError(
                    f"The {part} '{_set_of(record, names)}': the network learns semantic segmentation, but the record "
                    f"of the image {record.get('file_name')} has no 'sem_seg_file_name'; register the set with "
                    "Detectron2's register_coco_panoptic_separated, or set MODEL.META_ARCHITECTURE to GeneralizedRCNN."
                )
    heads = [module for module in model.modules() if isinstance(module, ROIHeads)]
    for attribute, field, key, annotated in _LEARNED:
        if any(getattr(head, attribute, False) for head in heads):
            for record, made in mapped:
                instances = made.get("instances") if isinstance(made, Mapping) else None
                if instances is not None and len(instances) and not instances.has(field):
                    raise LtDetError(
                        f"The {part} '{_set_of(record, names)}': {key} is True, but the mapper makes no "
                        f"{field} of the image {record.get('file_name')}, whose annotations have no '{annotated}'; "
                        f"set {key} to False, or leave out or complete the annotations without '{annotated}'."
                    )
    return mapped


def try_evaluation(
    model: nn.Module,
    loader: Any,
    name: str,
    evaluator: Any = None,
    expected: Sequence[Any] = (),
    metric: Metric | None = None,
    prefix: str = "",
    complete: bool = True,
) -> list[Mapped]:
    """Map one record of each kind as the evaluation will, predict on the smallest, and evaluate that.

    Args:
        model: the network, trained or not; it is left in the mode that it has.
        loader: the test loader.
        name: of the test set.
        evaluator: of the test set; only its `LongTailEvaluator` is tried.
        expected: TEST.EXPECTED_RESULTS, if this is the only test set.
        metric: SOLVER.BEST_CHECKPOINT.METRIC, if it is of this test set.
        prefix: what the names of its metrics begin with, see `metric_prefix`.
        complete: whether all metrics are of `evaluator`, and not of a trainer that evaluates by itself, too.

    Raises:
        LtDetError: the mapper, the network or the evaluator fails, or EXPECTED_RESULTS or METRIC names no metric.
    """
    mapped = _map_records(loader, [name], "test set")
    if not mapped:
        return mapped
    record, made = min(mapped, key=lambda one: one.input["image"].numel() if isinstance(one.input, Mapping) else 0)
    network = model.module if isinstance(model, DistributedDataParallel) else model
    metrics = None
    try:
        with random_numbers_kept(), torch.no_grad(), inference_context(network):
            outputs = network([made])
        boxes = box_evaluator(evaluator)
        if boxes is not None:
            part = boxes.of_images([record["image_id"]])
            part.process([made], outputs)
            with quiet():  # that one image has no detection says nothing
                metrics = part.evaluate()
    except LtDetError:
        raise
    except Exception as error:  # Detectron2 and a user's network can fail in any way
        raise LtDetError(
            f"The test set '{name}': the evaluation of the image {record.get('file_name')} fails ({reason_of(error)}); "
            "correct the TEST, INPUT and MODEL keys that say how to evaluate."
        ) from error
    for task, wanted, *_ in expected if metrics is not None else ():
        known = (metrics or {}).get(task.removesuffix("_TTA"))  # the augmented evaluation computes the same
        if known is None and boxes is not evaluator:  # another evaluator's
            continue
        if known is None or wanted not in known:
            there = ", ".join(key for key in known if "-" not in key) if known else ", ".join(metrics or ())
            raise LtDetError(
                f"TEST.EXPECTED_RESULTS names {task} {wanted}, which the evaluation of '{name}' does not compute; "
                f"write one of {there}."
            )
    if metric is not None:
        _check_metric(metric, evaluator, metrics, name, prefix, complete)
    return mapped


def _check_metric(metric: Metric, evaluator: Any, metrics: Any, name: str, prefix: str, complete: bool) -> None:
    """Compare a name with those of `metrics`, of the LongTailEvaluator, and with those of the other evaluators."""
    found: dict[str, float] = {}
    boxes = box_evaluator(evaluator)
    for part in evaluator._evaluators if isinstance(evaluator, DatasetEvaluators) else [evaluator]:
        names = metrics if part is boxes else metric_names(part, MetadataCatalog.get(name).get("thing_classes", []))
        complete = complete and names is not None
        found |= {f"{prefix}{task}/{key}": 0.0 for task, keys in (names or {}).items() for key in keys}
    metric.check_first(found, complete, prefix)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within, only errors are logged."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Put the generators of Python, NumPy and torch (on the CPU) back into the state that they had before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _map_records(loader: Any, names: Sequence[str], part: str) -> list[Mapped]:
    found = mapped_dataset(loader)
    if found is None:
        return []
    dataset, mapper = found
    mapper = NameUnreadable(_copy(mapper))
    kinds, pixels = kinds_and_pixels(dataset)
    if part == TRAINING_SET:
        _warn_of_objects_not_learned(dataset, kinds, ", ".join(names))
    mapped = []
    with random_numbers_kept():
        for index in representatives(kinds, pixels, largest_readable()):
            record = dataset[index]
            try:
                made = mapper(record)
            except LtDetError as error:
                too_large = int((pixels > largest_readable()).sum())
                others = f" ({too_large} images of this set are too large.)" if too_large > 1 else ""
                raise LtDetError(f"The {part} '{_set_of(record, names)}': {error}{others}") from error
            if made is not None:  # the loader takes another record in its place
                mapped.append(Mapped(record, made))
    return mapped


def _warn_of_objects_not_learned(dataset: Any, kinds: NDArray[np.uint8], name: str) -> None:
    if len(kinds) and not (kinds & ~np.uint8(CROWD)).any():
        logger.warning(
            "No image of the training set '%s' has an object, so the detector learns background only; check the "
            "annotations.",
            name,
        )
    elif not isinstance(dataset, Records) and (problem := unusable_boxes(dataset)):  # those of a file are checked
        logger.warning("The training set '%s': %s.", name, problem)


def _copy(mapper: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A copy, whose own random numbers are not those of the training, if the mapper can be copied."""
    try:
        return copy.deepcopy(mapper)
    except Exception:  # a mapper can be a user's program
        return mapper


def _set_of(record: dict[str, Any], names: Sequence[str]) -> str:
    """The dataset that a record is from. Only called for a message, because it may read them again."""
    for name in names if len(names) > 1 else ():
        records = load_records(name, filter_empty=False)
        for index in range(len(records)):
            other = records[index]
            same = other.get("file_name") == record.get("file_name")
            if same and repr(other.get("annotations")) == repr(record.get("annotations")):
                return name
    return ", ".join(names)
