"""One candidate of a bake-off: overrides of the detector's config, and what only a bake-off knows."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from lt_det.bakeoff.candidates.keys import LOSS_NAME, REWEIGHTING, check_keys, check_value
from lt_det.bakeoff.candidates.oversampling import check_oversampling
from lt_det.bakeoff.candidates.sampling import check_sampler
from lt_det.config import REWEIGHTING_DEFAULTS, loss_hyperparameters, reweighting_start
from lt_det.errors import LtDetError
from lt_det.layers import build_classifier
from lt_det.losses import ClassificationLoss, build_loss_without_stats
from lt_det.losses.class_weights import WEIGHTS, weights_by_name
from lt_det.meta.methods import build_meta_method
from lt_det.modeling.post_hoc_adjustment import METHODS, adjusted

Kind = Literal["trained", "as_is", "retrained", "post_hoc", "meta"]


@dataclass(frozen=True)
class Candidate:
    """What is trained on the cached features, or done to the detector's own classifier.

    Attributes:
        name: unique in a bake-off.
        overrides: config keys, those of `lt_det.bakeoff.candidates.keys`, and values. With another loss, the detector's
            own choice of classifier and re-weighting is dropped: a candidate "seesaw" is Seesaw as it was published,
            whatever the detector was trained with.
        sampler: how RoIs are sampled for a batch, a key of `lt_det.bakeoff.candidates.sampling.ROI_SAMPLERS`.
        oversampling: how features of rare classes are synthesized, a key of
            `lt_det.bakeoff.candidates.oversampling.METHODS`; empty: not at all.
        learning_rates: tried on the held-out images; empty: those of `lt_det.bakeoff.fitting.learning_rates`.
        adjustment: post-hoc method and its strength, applied to the classifier.
        meta: method that learns weights or hyper-parameters of the loss on a meta set, a key of
            `lt_det.meta.methods.META_METHODS`; empty: none.
        kind: "as_is" is the detector's own classifier, "post_hoc" the same after `adjustment`, "retrained" its own loss
            trained on the cached features, "meta" one with `meta`, "trained" anything else that is trained on them.
    """

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    sampler: str = "plain"
    oversampling: str = ""
    learning_rates: tuple[float, ...] = ()
    adjustment: tuple[str, float] | None = None
    meta: str = ""
    kind: Kind = "trained"

    @property
    def keeps_classifier(self) -> bool:
        """Whether the classifier is the detector's own, so that there is nothing to train."""
        return self.kind in ("as_is", "post_hoc")

    def config(self, cfg: Any) -> Any:
        """The config that trains, evaluates and writes this candidate.

        Args:
            cfg: `detector_config` of the detector; it stays unchanged.

        Raises:
            LtDetError: an unknown key, or a value of another type.
        """
        changed = cfg.clone()
        changed.defrost()
        node = changed.MODEL.LONG_TAIL
        if LOSS_NAME in self.overrides:
            node.CLASSIFIER, node.COSINE_SCALE = "auto", None
            node.REWEIGHTING.update(REWEIGHTING_DEFAULTS, START=None)
        if not self.keeps_classifier and node.CLASSIFIER == "scaled":
            node.CLASSIFIER = "linear"  # trained from scratch, a scale per class adds nothing
        for key, value in self.overrides.items():
            _override(changed, key, value)
        return changed

    def check(self, cfg: Any) -> None:
        """Find mistakes before anything is trained.

        Args:
            cfg: see `config`.

        Raises:
            LtDetError: an unknown key, loss, sampler, oversampling or post-hoc method, a key that has no effect, an
                invalid value, or methods that do not go together.
        """
        changed = self.config(cfg)
        check_sampler(self.sampler)
        check_keys(self.overrides, changed.MODEL.LONG_TAIL.LOSS.NAME, self.sampler)
        check_oversampling(self.oversampling)
        if not all(rate > 0 and math.isfinite(rate) for rate in self.learning_rates):
            rates = ", ".join(map(str, self.learning_rates))
            raise LtDetError(f"learning_rates must be finite and above 0, but are {rates}.")
        if self.keeps_classifier and (self.learning_rates or self.sampler != "plain" or self.oversampling or self.meta):
            raise LtDetError(
                "a sampler, oversampling, meta or learning_rates has no effect on the detector's own classifier, which "
                "is not trained; name a loss, or leave them out."
            )
        if not self.keeps_classifier and changed.MODEL.LONG_TAIL.CLASSIFIER == "scaled":
            raise LtDetError(
                "MODEL.LONG_TAIL.CLASSIFIER is scaled, but a scale per class adds nothing to weights that are trained "
                "from scratch; write linear."
            )
        loss = self._check_loss(changed)
        if self.meta:
            build_meta_method(self.meta, loss)
        classifier = build_classifier(2, loss, changed.MODEL.LONG_TAIL.CLASSIFIER, changed.MODEL.LONG_TAIL.COSINE_SCALE)
        if self.adjustment is not None:
            method, value = self.adjustment
            if method not in METHODS:
                raise LtDetError(f"there is no post-hoc method '{method}'; known methods: {', '.join(METHODS)}.")
            if not (value >= 0 and math.isfinite(value)):
                raise LtDetError(f"the strength of {method} is {value}; write a finite number, 0 or above.")
            adjusted(classifier, loss, method, value, torch.ones(loss.num_classes, dtype=torch.float64))

    @staticmethod
    def _check_loss(cfg: Any) -> ClassificationLoss:
        """The loss without class counts, which refuses invalid hyper-parameters."""
        num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
        hyperparameters = loss_hyperparameters(cfg)
        if cfg.MODEL.LONG_TAIL.LOSS.NAME == "label_smoothing":
            hyperparameters["prior"] = "uniform"  # may be a file, which is read when the loss is built
        loss = build_loss_without_stats(cfg.MODEL.LONG_TAIL.LOSS.NAME, num_classes, **hyperparameters)
        node = cfg.MODEL.LONG_TAIL.REWEIGHTING
        if reweighting_start(cfg) is not None and node.WEIGHTS in WEIGHTS:
            options = {"beta": node.BETA, "power": node.POWER, "mean_over": node.MEAN_OVER}
            weights_by_name(node.WEIGHTS, [1] * num_classes, **options)
        return loss


def _override(cfg: Any, key: str, value: Any) -> None:
    """Set a key, which the config must have, to a value of its type."""
    *path, name = key.split(".")
    node = cfg
    for part in path:
        node = node[part] if isinstance(node, dict) and part in node else {}
    old = node.get(name) if isinstance(node, dict) else None
    check_value(key, value, old)
    if key == f"{REWEIGHTING}.START":
        node[name] = None  # a word or a number: without this, only a value of the old one's type
    elif type(old) is float and type(value) is int:
        value = float(value)
    try:
        cfg.merge_from_list([key, value])
    except (AssertionError, KeyError, TypeError) as error:
        close = difflib.get_close_matches(key.upper(), _keys(cfg), n=1)
        hint = f"did you mean {close[0]}?" if close else "correct it."
        raise LtDetError(f"the config has no key {key}; {hint}") from error
    except (ValueError, AttributeError) as error:
        raise LtDetError(f"{' '.join(str(error).split()).rstrip('.')}; correct the value of {key}.") from error


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        if hasattr(value, "items"):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
