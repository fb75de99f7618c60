"""Start from a detector that was trained with another loss: its box classifier is kept, converted or starts fresh.

The logits of a softmax mean something only against each other, those of sigmoids each on its own, and the weights of a
cosine classifier have no length: loaded into the other's place they would start with a loss of many times that of a
random classifier. See docs/starting_from_a_detector.md, which has the measurements.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.layers import ScaledLinear
from lt_det.losses import registered_name
from lt_det.modeling import LongTailPredictor
from lt_det.training.weights_origin import (
    FAMILIES_KEY,
    KEY,
    Origin,
    assumed,
    kind_of,
    recorded,
    stated,
    written_in_config,
)

logger = logging.getLogger(__name__)


class WarmStart:
    """Create it before weights are loaded into a model; afterwards adapt or check the box classifiers.

    Args:
        model: with its initial weights.
        checkpoint: with the weights that will be loaded.
        heads: loss and classifier of the box predictors, as the checkpoint records them; empty if it does not.
        path: of the weights.
        output_dir: OUTPUT_DIR; empty if there is none.
    """

    def __init__(
        self,
        model: nn.Module,
        checkpoint: Mapping[str, Any],
        heads: Sequence[str] | None,
        path: str,
        output_dir: str,
    ) -> None:
        self._weights, self._path = checkpoint["model"], path
        self._predictors = {n: module for n, module in model.named_modules() if isinstance(module, LongTailPredictor)}
        self._initial = {name: _classifier_and_loss(predictor) for name, predictor in self._predictors.items()}
        self._heads, self._families = heads or [], checkpoint.get(FAMILIES_KEY) or []
        self._output_dir = output_dir

    @torch.no_grad()
    def adapt(self, incompatible: Any) -> None:
        """Convert what another family's loss trained, or give it back its initial values, and say so in the log.

        Args:
            incompatible: what `_load_model` of Detectron2's checkpointer returned.

        Raises:
            LtDetError: MODEL.LONG_TAIL.LOSS_OF_WEIGHTS contradicts the checkpoint.
        """
        shapes = {name: (found[0], wanted[0]) for name, found, wanted in incompatible.incorrect_shapes if found}
        sentences = []
        for stage, (name, predictor) in enumerate(self._predictors.items()):
            weight = f"{name}.cls_score.weight"
            if weight in shapes:
                self._restore(name)
                sentences.append(_of_shape(predictor, shapes[weight], f"{name}.bbox_pred.weight" in shapes))
            elif weight not in incompatible.missing_keys:
                origin = self._origin(stage, name, predictor, incompatible)
                self._refuse_contradiction(origin, predictor)
                sentences.append(self._adapt_one(name, predictor, origin))
        for sentence in dict.fromkeys(filter(None, sentences)):  # the same for each stage of a cascade
            logger.warning(f"Weights {self._path}: {sentence}")

    def refuse_other_family(self, incompatible: Any, advice: str, *, starts: bool = False) -> None:
        """Raise unless the loaded classifiers were trained by a loss of the model's family.

        Args:
            incompatible: see `adapt`.
            starts: whether a training starts from the weights; False: they are evaluated as they are.
            advice: what to do, as the end of the sentence.

        Raises:
            LtDetError: see above.
        """
        for stage, (name, predictor) in enumerate(self._predictors.items()):
            if f"{name}.cls_score.weight" in incompatible.missing_keys:
                continue
            loss, kind = predictor.loss, kind_of(predictor.cls_score)
            origin = self._origin(stage, name, predictor, incompatible, starts)
            if origin.certain:
                fits = origin.family == loss.family and origin.kind == kind
            else:
                fits = loss.family != "sigmoid" or origin.family == "sigmoid" or not _was_background_trained(predictor)
            if not fits:
                raise LtDetError(
                    f"The box classifier in {self._path} was {origin}, but the config has {registered_name(loss)} "
                    f"({kind} classifier), for which its logits mean something else, and the scores would be wrong; "
                    f"{advice}."
                )

    def _origin(
        self, stage: int, name: str, predictor: LongTailPredictor, incompatible: Any, starts: bool = True
    ) -> Origin:
        """How a loaded classifier was trained.

        In the evaluation of a finished training, LOSS_OF_WEIGHTS may name the loss of the weights it started from, and
        is not evidence against the weights that are evaluated.
        """
        if self._heads:
            at = min(stage, len(self._heads) - 1)
            return recorded(self._heads[at], self._families[at] if at < len(self._families) else None)
        given = stated(predictor.loss_of_weights) if predictor.loss_of_weights else None
        if given and (starts or given.family == predictor.loss.family):
            return given
        bias = f"{name}.cls_score.bias"
        expected = predictor.cls_score.bias is not None
        has_bias = bias not in incompatible.missing_keys if expected else bias in incompatible.unexpected_keys
        return written_in_config(self._path, self._output_dir) or assumed(predictor, has_bias)

    def _refuse_contradiction(self, origin: Origin, predictor: LongTailPredictor) -> None:
        given = predictor.loss_of_weights
        if given and self._heads and given != origin.loss:
            raise LtDetError(
                f"{KEY} is {given}, but the checkpoint {self._path} records that its classifier was trained with "
                f"{origin.loss}; leave {KEY} out."
            )

    def _adapt_one(self, name: str, predictor: LongTailPredictor, origin: Origin) -> str:
        """Adapt one loaded classifier, and return the sentence for the log; empty if nothing happened."""
        classifier, loss, loss_name = predictor.cls_score, predictor.loss, registered_name(predictor.loss)
        kind = kind_of(classifier)
        scale = self._loaded(f"{name}.cls_score.scale")
        if scale is not None and not isinstance(classifier, ScaledLinear):
            classifier.weight.mul_(
                torch.as_tensor(scale).to(classifier.weight)[:, None]
            )  # f_k (w_k . h) is (f_k w_k) . h
        was = f"the box classifier, {origin},"
        if kind == origin.kind and origin.family == loss.family:
            if origin.loss == loss_name:
                return ""
            return f"{was} is kept for {loss_name}: both are losses of the {loss.family} family."
        both = {origin.family, loss.family} == {"softmax", "sigmoid"}
        if both and origin.kind == "linear" and isinstance(classifier, nn.Linear):
            _fold_scale(classifier)
            if loss.family == "sigmoid":
                softmax_to_sigmoids(classifier, loss.num_classes)
                return (
                    f"{was} is converted for {loss_name}, which has a sigmoid per class: the logit of a class "
                    "becomes its log-odds against background, minus log K."
                )
            sigmoids_to_softmax(classifier, loss.num_classes)
            return (
                f"{was} is converted for {loss_name}, which has a softmax: background, which had no logit, "
                "gets the logit 0, and the log-odds of the classes stay."
            )
        self._restore(name)
        why = (
            f"the weights of a {origin.kind} classifier mean nothing to a {kind} one"
            if origin.kind != kind
            else f"its columns are {origin.family}, those of {loss_name} {loss.family}"
        )
        return f"{was} starts fresh for {loss_name} ({kind} classifier), because {why}; all else is loaded."

    def _loaded(self, name: str) -> Any:
        return next((value for key, value in self._weights.items() if key.removeprefix("module.") == name), None)

    def _restore(self, name: str) -> None:
        """Give the classifier and the state of its loss their initial values."""
        for key, tensor in _classifier_and_loss(self._predictors[name], copied=False).items():
            tensor.copy_(self._initial[name][key])


def softmax_to_sigmoids(classifier: nn.Linear, num_classes: int) -> None:
    """Convert z_k of a softmax with background to z_k - z_background - log K, in place.

    sigmoid(z_k - z_background) is the softmax's probability of class k where there are only k and background. Minus
    log K, because K sigmoids suffer from each other's odds, which their sum in a softmax keeps small. The background
    column becomes 0: a probability of one half where a loss has a background sigmoid (EQLv2), and unused elsewhere.

    Args:
        classifier: (K+1, D), background last.
        num_classes: K.
    """
    with torch.no_grad():
        weight, bias = classifier.weight, classifier.bias
        weight[:num_classes] -= weight[num_classes].clone()
        bias[:num_classes] -= bias[num_classes].clone() + math.log(num_classes)
        weight[num_classes], bias[num_classes] = 0, 0


def sigmoids_to_softmax(classifier: nn.Linear, num_classes: int) -> None:
    """Convert K sigmoids to a softmax with background, in place: background has the logit 0.

    With one class, softmax((z, 0)) is sigmoid(z).

    Args:
        classifier: (K+1, D), whose last column may be a sigmoid of background (EQLv2), or unused.
        num_classes: K.
    """
    with torch.no_grad():
        classifier.weight[num_classes], classifier.bias[num_classes] = 0, 0


def _fold_scale(classifier: nn.Module) -> None:
    """Multiply the weights of a scaled classifier by its scales, which become 1."""
    if isinstance(classifier, ScaledLinear):
        classifier.weight.mul_(classifier.scale[:, None])
        classifier.scale.fill_(1)


def _was_background_trained(predictor: LongTailPredictor) -> bool:
    """Whether the column of background has a bias that training gave it: in a sigmoid classifier it stays 0."""
    bias = predictor.cls_score.bias
    return bias is not None and bool(bias[predictor.num_classes] != 0)


def _classifier_and_loss(predictor: LongTailPredictor, copied: bool = True) -> dict[str, Tensor]:
    state = predictor.state_dict()
    own = {key: value for key, value in state.items() if key.startswith(("cls_score.", "loss."))}
    return {key: value.clone() for key, value in own.items()} if copied else own


def _of_shape(predictor: LongTailPredictor, rows: tuple[int, int], boxes_too: bool) -> str:
    name = f"{registered_name(predictor.loss)} with {predictor.num_classes} classes"
    fresh = "the classifier and the box regression start" if boxes_too else "the classifier starts"
    return f"the box classifier has {rows[0]} rows and {name} needs {rows[1]}, so {fresh} fresh; all else is loaded."
