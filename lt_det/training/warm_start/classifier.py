"""Start from a detector that was trained with another loss: is its box classifier kept, or does it start fresh?

It starts fresh where the weights would mean something else than they were trained for, and the first loss would be many
times that of a random classifier. docs/starting_from_a_detector.md has the rules and the measurements.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.layers import ScaledLinear
from lt_det.losses import registered_name
from lt_det.modeling import LongTailPredictor
from lt_det.terminal import count_of
from lt_det.trainer_keys import LOSS_OF_WEIGHTS
from lt_det.training.warm_start.classes import OtherClasses, keeps_classifier
from lt_det.training.warm_start.origin import (
    FAMILIES_KEY,
    Origin,
    assumed,
    kind_of,
    recorded,
    stated,
    written_in_config,
)

logger = logging.getLogger(__name__)


class WarmStart:
    """Create it before weights are loaded into a model; afterwards reset or check the box classifiers.

    Args:
        model: with its initial weights.
        checkpoint: with the weights that will be loaded.
        heads: loss and classifier of the box predictors, as the checkpoint records them; empty if it does not.
        path: of the weights.
        output_dir: OUTPUT_DIR; may be empty.
    """

    def __init__(
        self,
        model: nn.Module,
        checkpoint: Mapping[str, Any],
        heads: Sequence[str] | None,
        path: str,
        output_dir: str,
    ) -> None:
        self._model, self._weights, self._path = model, checkpoint["model"], path
        self._predictors = {n: module for n, module in model.named_modules() if isinstance(module, LongTailPredictor)}
        self._initial = {name: _classifier_and_loss(predictor) for name, predictor in self._predictors.items()}
        self._heads, self._families = heads or [], checkpoint.get(FAMILIES_KEY) or []
        self._output_dir = output_dir

    @torch.no_grad()
    def reset_unusable(self, incompatible: Any, others: OtherClasses | None = None) -> None:
        """Give classifiers that the model's loss cannot start from their initial values, and say so in the log.

        Args:
            incompatible: what `_load_model` of Detectron2's checkpointer returned.
            others: how the classes of the weights differ from those of the data.

        Raises:
            LtDetError: MODEL.LONG_TAIL.LOSS_OF_WEIGHTS contradicts the checkpoint.
        """
        shapes = {name: (found[0], wanted[0]) for name, found, wanted in incompatible.incorrect_shapes if found}
        keeps = keeps_classifier(self._model, incompatible)
        levels = {}  # of the log, by sentence: the same one for each stage of a cascade
        for stage, (name, predictor) in enumerate(self._predictors.items()):
            weight = f"{name}.cls_score.weight"
            if weight in shapes:
                self._restore(name)
                levels[_of_shape(predictor, shapes[weight], f"{name}.bbox_pred.weight" in shapes)] = logging.WARNING
            elif weight not in incompatible.missing_keys:
                origin = self._origin(stage, name, predictor, incompatible)
                self._refuse_contradiction(origin, predictor)
                reason = self._reset_one(name, predictor, origin, others)
                keeps = keeps and not reason
                was, now = f"the box classifier, {origin},", registered_name(predictor.loss)
                if reason:
                    sentence = f"{was} starts fresh for {now}, because {reason}; all else is loaded"
                    levels[sentence] = logging.WARNING
                elif origin.loss != now:
                    levels[f"{was} is kept for {now}, which can start from it"] = logging.INFO
        if keeps and others is not None:
            levels[
                "the box classifier is kept, but was trained for other class names than those of the data: "
                f"{others.difference}; if they are other classes and not only other names, start it fresh: delete "
                "cls_score and bbox_pred from the file"
            ] = logging.WARNING
        for sentence, level in levels.items():
            logger.log(level, f"Weights {self._path}: {sentence}.")

    def warn_of_unusable(self, incompatible: Any) -> None:
        """Log what `reset_unusable` would reset, for a training in which the classifiers stay as they are.

        Args:
            incompatible: see `reset_unusable`.
        """
        sentences = set()
        for stage, name, predictor in self._loaded_predictors(incompatible):
            origin = self._origin(stage, name, predictor, incompatible)
            reason = why_unusable(origin, predictor)
            if reason:
                sentences.add(
                    f"the box classifier, {origin}, does not suit {registered_name(predictor.loss)}: {reason}"
                )
        for sentence in sentences:
            logger.warning(
                f"Weights {self._path}: {sentence}. SECOND_STAGE.METHOD lws trains neither weights nor bias and cannot "
                "correct that; use crt, or the loss that trained the classifier."
            )

    def refuse_other_family(self, incompatible: Any) -> None:
        """Raise unless the loaded classifiers were trained by a loss of the same family, for a model to evaluate.

        Args:
            incompatible: see `reset_unusable`.

        Raises:
            LtDetError: see above.
        """
        for stage, name, predictor in self._loaded_predictors(incompatible):
            loss, kind = predictor.loss, kind_of(predictor.cls_score)
            origin = self._origin(stage, name, predictor, incompatible, evaluates=True)
            if origin.certain:
                fits = origin.family == loss.family and origin.kind == kind
            else:
                fits = loss.family != "sigmoid" or origin.family == "sigmoid" or not _was_background_trained(predictor)
            if not fits:
                raise LtDetError(
                    f"The box classifier in {self._path} was {origin}, but the config has {registered_name(loss)} "
                    f"({kind} classifier), for which its logits mean something else, so that the scores would be "
                    f"meaningless; use the config it was trained with, or correct {LOSS_OF_WEIGHTS}."
                )

    def _loaded_predictors(self, incompatible: Any) -> Iterator[tuple[int, str, LongTailPredictor]]:
        """Stage, name and predictor, where the classifier was loaded."""
        for stage, (name, predictor) in enumerate(self._predictors.items()):
            if f"{name}.cls_score.weight" not in incompatible.missing_keys:
                yield stage, name, predictor

    def _origin(
        self, stage: int, name: str, predictor: LongTailPredictor, incompatible: Any, evaluates: bool = False
    ) -> Origin:
        """How a loaded classifier was trained.

        In the evaluation of a finished training, LOSS_OF_WEIGHTS may name the loss of the weights it started from, and
        is not evidence against the weights that are evaluated.
        """
        if self._heads:
            at = min(stage, len(self._heads) - 1)
            return recorded(self._heads[at], self._families[at] if at < len(self._families) else None)
        given = stated(predictor.loss_of_weights) if predictor.loss_of_weights else None
        if given and (not evaluates or given.family == predictor.loss.family):
            return given
        bias = f"{name}.cls_score.bias"
        expected = predictor.cls_score.bias is not None
        has_bias = bias not in incompatible.missing_keys if expected else bias in incompatible.unexpected_keys
        return written_in_config(self._path, self._output_dir) or assumed(predictor, has_bias)

    def _refuse_contradiction(self, origin: Origin, predictor: LongTailPredictor) -> None:
        given = predictor.loss_of_weights
        if given and self._heads and given != origin.loss:
            raise LtDetError(
                f"{LOSS_OF_WEIGHTS} is {given}, but the checkpoint {self._path} records {origin.loss} for its "
                f"classifier; leave {LOSS_OF_WEIGHTS} out."
            )

    def _reset_one(self, name: str, predictor: LongTailPredictor, origin: Origin, others: OtherClasses | None) -> str:
        """Reset a loaded classifier if its loss cannot start from it, and return why; empty if it can."""
        classifier = predictor.cls_score
        scale = self._loaded(f"{name}.cls_score.scale")
        if scale is not None and not isinstance(classifier, ScaledLinear):
            scale = torch.as_tensor(scale).to(classifier.weight)
            classifier.weight.mul_(scale[:, None])  # f_k (w_k . h) is (f_k w_k) . h
        reason = why_unusable(origin, predictor)
        if not reason and others is not None and others.moved:
            reason = f"its classes have other places in the data: {others.difference}"
        if reason:
            self._restore(name)
        return reason

    def _loaded(self, name: str) -> Any:
        return next((value for key, value in self._weights.items() if key.removeprefix("module.") == name), None)

    def _restore(self, name: str) -> None:
        """Give the classifier and the state of its loss their initial values."""
        for key, tensor in _classifier_and_loss(self._predictors[name], copied=False).items():
            tensor.copy_(self._initial[name][key])


def why_unusable(origin: Origin, predictor: LongTailPredictor) -> str:
    """Why a loss cannot start from a classifier, as part of a sentence; empty if it can.

    Sigmoids can become a softmax: their logits are log-odds, and that of background, which had no gradient, is near 0.
    The opposite fails: only differences of a softmax's logits mean something, and K sigmoids of them are all wrong.

    Args:
        origin: how the classifier was trained.
        predictor: with the loss and the classifier that are to be trained.
    """
    loss, kind = predictor.loss, kind_of(predictor.cls_score)
    if origin.kind != kind:
        return f"a {kind} classifier cannot use the weights of a {origin.kind} one"
    if kind == "linear" and origin.scaled_by_loss != loss.scales_cosines:
        return "only one of the two losses multiplies the logits by a scale"
    if origin.family == loss.family or (origin.family, loss.family) == ("sigmoid", "softmax"):
        return ""
    return f"the logits of a {origin.family} loss mean something else than those of a {loss.family} loss"


def _was_background_trained(predictor: LongTailPredictor) -> bool:
    """Whether the column of background has a bias that training gave it: in a sigmoid classifier it stays 0."""
    bias = predictor.cls_score.bias
    return bias is not None and bool(bias[predictor.num_classes] != 0)


def _classifier_and_loss(predictor: LongTailPredictor, copied: bool = True) -> dict[str, Tensor]:
    state = predictor.state_dict()
    own = {key: value for key, value in state.items() if key.startswith(("cls_score.", "loss."))}
    return {key: value.clone() for key, value in own.items()} if copied else own


def _of_shape(predictor: LongTailPredictor, rows: tuple[int, int], boxes_too: bool) -> str:
    name = f"{registered_name(predictor.loss)} with {count_of(predictor.num_classes, 'class')}"
    fresh = "the classifier and the box regression start" if boxes_too else "the classifier starts"
    found = count_of(rows[0], "row")
    return f"the box classifier has {found} and {name} needs {rows[1]}, so {fresh} fresh; all else is loaded"
