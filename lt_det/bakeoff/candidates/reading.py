"""The user's own list of candidates, a yaml file."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from lt_det.bakeoff.candidates.builtin import AS_IS, RETRAINED, applicable, full, quick
from lt_det.bakeoff.candidates.candidate import Candidate
from lt_det.bakeoff.candidates.keys import LOSS_NAME
from lt_det.errors import LtDetError
from lt_det.io.plain_values.yaml_files import read_yaml
from lt_det.losses import loss_class

logger = logging.getLogger(__name__)

BUILTIN = {"quick": quick, "full": full}

_ENTRY = (
    "name",
    "loss",
    "hyperparameters",
    "grid",
    "overrides",
    "sampler",
    "oversampling",
    "learning_rates",
    "adjustment",
    "meta",
)


def read_candidates(file: str | PathLike[str], cfg: Any) -> list[Candidate]:
    """Read and check the candidates of a yaml file; the detector as it is and its retrained loss come first.

    The file has a list ``candidates``, and may have ``include: quick`` or ``include: full`` for a built-in list. The
    keys of an entry, all optional but at least one given::

        name: eql, tail below 1 %           # otherwise made of the rest
        loss: eql                           # otherwise the detector's own
        hyperparameters: {frequency_threshold: 0.01}
        grid: {prior_prob: [0.001, 0.01]}   # hyper-parameters; a candidate for each combination
        overrides: {MODEL.LONG_TAIL.CLASSIFIER: cosine}   # see `lt_det.bakeoff.candidates.keys`
        sampler: class_aware                # plain, class_aware, repeat_factor, under_sampling
        oversampling: smote                 # smote, borderline_smote, svm_smote, adasyn
        learning_rates: [0.05, 0.2]
        adjustment: {tau_norm: 0.5}         # post-hoc; without a loss and without a sampler, of the detector as it is
        meta: balms                         # meta_weight_net, l2rw, balms, learned_tau, learned_margin

    Args:
        file: the yaml file.
        cfg: `detector_config` of the detector.

    Raises:
        LtDetError: the file cannot be read, or an entry is invalid; the message names the file and the entry.
    """
    path = Path(file)
    content = read_yaml(path, "list of candidates", example="candidates: [{loss: seesaw}]")
    if not isinstance(content.get("candidates", []), list):
        raise LtDetError(f"{path} needs a list 'candidates', whose entries are like '- loss: seesaw'.")
    unknown = sorted(map(str, set(content) - {"include", "candidates"}))
    if unknown:
        raise LtDetError(f"{path} has '{unknown[0]}', an unknown key; write include and candidates.")
    include = content.get("include")
    if include is not None and (not isinstance(include, str) or include not in BUILTIN):
        raise LtDetError(f"{path}: include is '{include}'; write {' or '.join(BUILTIN)}.")
    found = _included(include, cfg) if include else [AS_IS, RETRAINED]
    names = {candidate.name for candidate in found}
    for number, entry in enumerate(content.get("candidates", []), 1):
        where = f"{path}, entry {number}"
        try:
            for candidate in _of_entry(entry):
                where = f"{path}, entry {number} ('{candidate.name}')"
                candidate.check(cfg)
                if candidate.name in names:
                    raise LtDetError("another candidate has this name; give each its own 'name'.")
                names.add(candidate.name)
                found.append(candidate)
        except LtDetError as error:
            raise LtDetError(f"{where}: {error}") from error
    return found


def _included(name: str, cfg: Any) -> list[Candidate]:
    """The candidates of a built-in list that go with the detector; the log says which do not, and why."""
    usable, left_out = applicable(BUILTIN[name](), cfg)
    for candidate, reason in left_out.items():
        logger.warning("%s is left out: %s", candidate, reason)
    return usable


def _of_entry(entry: Any) -> Iterator[Candidate]:
    if not isinstance(entry, dict) or not entry:
        raise LtDetError(f"it is '{entry}'; write keys and values, for example 'loss: seesaw'.")
    unknown = [str(key) for key in entry if key not in _ENTRY]
    if unknown:
        raise LtDetError(f"there is no key '{unknown[0]}'; known keys: {', '.join(_ENTRY)}.")
    loss = entry.get("loss")
    if loss is not None:
        loss_class(_text(entry, "loss"))
    hyperparameters, grid = _mapping(entry, "hyperparameters"), _mapping(entry, "grid")
    if loss is None and (hyperparameters or grid):
        raise LtDetError("hyperparameters and grid belong to a loss; add 'loss'.")
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise LtDetError(f"grid needs a list of values for each hyper-parameter, but {key} has {values}.")
    one = Candidate(
        name="",
        sampler=_text(entry, "sampler") or "plain",
        oversampling=_text(entry, "oversampling"),
        learning_rates=_numbers(entry.get("learning_rates", [])),
        adjustment=_adjustment(entry),
        meta=_text(entry, "meta"),
    )
    trains = loss is not None or one.sampler != "plain" or one.oversampling or one.meta or entry.get("overrides")
    if one.adjustment and not trains:
        one = replace(one, kind="post_hoc")
    elif one.meta:
        one = replace(one, kind="meta")
    for values in itertools.product(*grid.values()):
        chosen = hyperparameters | dict(zip(grid, values, strict=True))
        overrides = _mapping(entry, "overrides") | (loss_overrides(loss, chosen) if loss is not None else {})
        varied = dict(zip(grid, values, strict=True))
        name = _text(entry, "name")
        if name and varied:
            name = ", ".join([name, *_named(varied)])
        yield replace(one, name=name or _made_up_name(loss, chosen, overrides, one), overrides=overrides)


def loss_overrides(loss: str, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides that choose a loss and hyper-parameters of it.

    Raises:
        LtDetError: no such loss, or no such hyper-parameter.
    """
    known = loss_class(loss).hyperparameters()
    for key in hyperparameters:
        if str(key).lower() not in known:
            names = ", ".join(known) or "none"
            raise LtDetError(f"the loss {loss} has no hyper-parameter '{key}'; it has: {names}.")
    node = LOSS_NAME.removesuffix("NAME") + loss.upper()
    return {LOSS_NAME: loss} | {f"{node}.{str(key).upper()}": value for key, value in hyperparameters.items()}


def _mapping(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = {} if entry.get(key) is None else entry[key]
    if not isinstance(value, dict):
        raise LtDetError(f"{key} is '{value}'; write {{key: value}}.")
    return {str(name): item for name, item in value.items()}


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise LtDetError(f"{key} is {value}; write a name.")
    return value or ""


def _numbers(values: Any) -> tuple[float, ...]:
    values = values if isinstance(values, list) else [values]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise LtDetError(f"learning_rates is {values}; write a list of numbers, such as [0.05, 0.2].")
    return tuple(map(float, values))


def _adjustment(entry: Mapping[str, Any]) -> tuple[str, float] | None:
    value = _mapping(entry, "adjustment")
    if not value:
        return None
    numbers = _numbers_of_adjustment(list(value.values()))
    if len(value) != 1 or numbers is None:
        raise LtDetError(f"adjustment is {value}; write one method and its strength, such as {{tau_norm: 0.5}}.")
    return next(iter(value)), numbers


def _numbers_of_adjustment(values: Sequence[Any]) -> float | None:
    number = values[0]
    return float(number) if isinstance(number, int | float) and not isinstance(number, bool) else None


def _named(values: Mapping[str, Any]) -> list[str]:
    return [f"{key.lower()} {value}" for key, value in values.items()]


def _made_up_name(
    loss: str | None, hyperparameters: Mapping[str, Any], overrides: Mapping[str, Any], one: Candidate
) -> str:
    others = {key.rpartition(".")[2]: value for key, value in overrides.items() if not key.startswith(LOSS_NAME[:-4])}
    parts = [loss or ("as it is" if one.kind == "post_hoc" else "own loss"), *_named(hyperparameters), *_named(others)]
    if one.sampler != "plain":
        parts.append(one.sampler.replace("_", "-") + " sampling")
    if one.oversampling:
        parts.append(one.oversampling)
    if one.meta:
        parts.append(one.meta.replace("_", "-"))
    if one.adjustment:
        parts += _named(dict([one.adjustment]))
    return ", ".join(parts)
