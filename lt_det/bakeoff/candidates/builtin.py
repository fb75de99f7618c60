"""The built-in lists of candidates: "quick" and "full"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from lt_det.bakeoff.candidates.candidate import Candidate
from lt_det.bakeoff.candidates.keys import LOSS_NAME, REWEIGHTING
from lt_det.bakeoff.candidates.oversampling import METHODS as OVERSAMPLING
from lt_det.errors import LtDetError
from lt_det.losses import LOSSES, loss_class
from lt_det.modeling.post_hoc_adjustment import METHODS as POST_HOC

AS_IS = Candidate("as it is", kind="as_is")
RETRAINED = Candidate("retrained", kind="retrained")

# The loss that each meta-learning method was published with, or whose hyper-parameter it learns.
_META_LOSSES = {
    "meta_weight_net": "softmax",
    "l2rw": "softmax",
    "balms": "logit_adjustment",
    "learned_tau": "logit_adjustment",
    "learned_margin": "ldam",
}

_CLASSIFIER = "MODEL.LONG_TAIL.CLASSIFIER"
_BALANCED: dict[str, Any] = {"MEAN_OVER": "instances"}  # what a detector needs, see `ClassBalancedLoss`
_MEAN_OVER_INSTANCES = {f"{REWEIGHTING}.MEAN_OVER": "instances"}
_DEFERRED = {f"{REWEIGHTING}.START": 0.7, **_MEAN_OVER_INSTANCES}  # from the first step of the learning rate on

# Small grids of the losses' own hyper-parameters, around their defaults.
_GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "cdt": {"GAMMA": (0.1, 0.3)},
    "class_balanced": {"BETA": (0.99, 0.9999)},
    "eql": {"FREQUENCY_THRESHOLD": (0.001, 0.01)},
    "eqlv2": {"ALPHA": (2.0, 8.0), "MU": (0.5, 0.9)},
    "federated": {"NUM_SAMPLED": (20, 100)},
    "focal": {"GAMMA": (1.0,), "ALPHA": (0.5,)},
    "ib": {"START": (0.25,), "EPSILON": (0.1,)},
    "label_smoothing": {"SMOOTHING": (0.05, 0.2), "PRIOR": ("frequency",)},
    "ldam": {"MAX_MARGIN": (0.3, 0.8), "SCALE": (20.0,)},
    "logit_adjustment": {"TAU": (0.5, 1.5)},
    "seesaw": {"P": (0.4, 1.2), "Q": (0.0, 4.0)},
    "seql": {"GAMMA": (0.5, 0.95), "FREQUENCY_THRESHOLD": (0.001, 0.01)},
}


def quick() -> list[Candidate]:
    """About ten that are trained, one for each idea of the literature, and the post-hoc methods."""
    return [
        AS_IS,
        RETRAINED,
        _loss("seesaw"),
        _loss("class_balanced", "class_balanced", _BALANCED),
        _loss("logit_adjustment"),
        _loss("ldam"),
        _loss("ib"),
        _loss("eqlv2"),
        _loss("softmax", "softmax, class-aware sampling", sampler="class_aware"),
        _loss("seesaw", "seesaw, class-aware sampling", sampler="class_aware"),
        Candidate(
            "softmax, deferred re-weighting",
            {LOSS_NAME: "softmax", **_DEFERRED},
        ),
        *(_post_hoc(method, value) for method in POST_HOC for value in (0.5, 1.0)),
    ]


def full() -> list[Candidate]:
    """All registered losses with small grids of hyper-parameters, weights, samplers, classifiers, post-hoc methods."""
    found = {candidate.name: candidate for candidate in quick()}
    for candidate in _more():
        found.setdefault(candidate.name, candidate)
    return list(found.values())


def applicable(candidates: Sequence[Candidate], cfg: Any) -> tuple[list[Candidate], dict[str, str]]:
    """The candidates that go with a detector, and for each of the others its name and the reason.

    The weights of a cosine classifier cannot be tau-normalized, for example; and the candidate "softmax" duplicates
    "retrained" if the detector was trained with softmax.

    Args:
        candidates: from a built-in list.
        cfg: `detector_config` of the detector.
    """
    fitting, refused = [], {}
    for candidate in candidates:
        try:
            candidate.check(cfg)
            if _is_retrained(candidate, cfg):
                refused[candidate.name] = f"it is the same training as '{RETRAINED.name}'."
            else:
                fitting.append(candidate)
        except LtDetError as error:
            refused[candidate.name] = str(error)
    return fitting, refused


def _is_retrained(candidate: Candidate, cfg: Any) -> bool:
    """Whether a candidate of another name would train what `RETRAINED` trains."""
    only_overrides = replace(RETRAINED, name=candidate.name, overrides=candidate.overrides, kind="trained")
    return candidate == only_overrides and _training(candidate, cfg) == _training(RETRAINED, cfg)


def _training(candidate: Candidate, cfg: Any) -> Any:
    """The candidate's config, with the classifier that "auto" stands for."""
    own = candidate.config(cfg)
    node = own.MODEL.LONG_TAIL
    if node.CLASSIFIER == "auto":
        node.CLASSIFIER = loss_class(node.LOSS.NAME).default_classifier
    return own


def _more() -> Iterator[Candidate]:
    for name in LOSSES:
        balanced = _BALANCED if name == "class_balanced" else {}
        yield _loss(name, name, balanced)
        for key, values in _GRIDS.get(name, {}).items():
            for value in values:
                yield _loss(name, f"{name}, {key.lower()} {value}", balanced | {key: value})
    yield _loss("class_balanced", "class_balanced, mean over classes")
    for loss in ("softmax", "sigmoid"):
        for weights in ("effective_number", "inverse_frequency", "sqrt"):
            yield Candidate(
                f"{loss}, weights {weights}",
                {
                    LOSS_NAME: loss,
                    f"{REWEIGHTING}.START": 0.0,
                    f"{REWEIGHTING}.WEIGHTS": weights,
                    **_MEAN_OVER_INSTANCES,
                },
            )
    for loss in ("ldam", "seesaw", "sigmoid"):
        yield Candidate(f"{loss}, deferred re-weighting", {LOSS_NAME: loss, **_DEFERRED})
    for sampler in ("class_aware", "repeat_factor", "under_sampling"):
        for loss in ("softmax", "seesaw", "ldam", "sigmoid"):
            yield _loss(loss, f"{loss}, {sampler.replace('_', '-')} sampling", sampler=sampler)
    for method in OVERSAMPLING:
        yield Candidate(f"softmax, {method}", {LOSS_NAME: "softmax"}, oversampling=method)
    for loss, classifier in (
        ("softmax", "cosine"),
        ("logit_adjustment", "cosine"),
        ("class_balanced", "cosine"),
        ("seesaw", "linear"),
    ):
        balanced = _BALANCED if loss == "class_balanced" else {}
        yield _loss(loss, f"{loss}, {classifier} classifier", balanced, classifier=classifier)
    for method, loss in _META_LOSSES.items():
        yield Candidate(f"{loss}, {method.replace('_', '-')}", {LOSS_NAME: loss}, meta=method, kind="meta")
    yield from (_post_hoc(method, value) for method in POST_HOC for value in (0.25, 0.5, 0.75, 1.0))


def _loss(
    loss: str,
    name: str = "",
    hyperparameters: Mapping[str, Any] = MappingProxyType({}),
    *,
    sampler: str = "plain",
    classifier: str = "auto",
) -> Candidate:
    node = LOSS_NAME.removesuffix("NAME") + loss.upper()
    overrides = {LOSS_NAME: loss} | {f"{node}.{key}": value for key, value in hyperparameters.items()}
    if classifier != "auto":
        overrides[_CLASSIFIER] = classifier
    return Candidate(name or loss, overrides, sampler=sampler)


def _post_hoc(method: str, value: float) -> Candidate:
    return Candidate(f"{method} {value:g}", adjustment=(method, value), kind="post_hoc")
