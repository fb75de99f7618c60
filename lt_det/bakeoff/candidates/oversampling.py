"""Synthetic features of rare classes: SMOTE and its kin, from imbalanced-learn (pip install 'lt-det[bakeoff]').

They interpolate between neighbors of a class. Between images that makes no sense; between features it does.
"""

from __future__ import annotations

import functools
import importlib
import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.bakeoff.candidates.sampling import at_most
from lt_det.errors import LtDetError, import_problem

logger = logging.getLogger(__name__)

# Name, and the class of imblearn.over_sampling.
METHODS = {
    "smote": "SMOTE",
    "borderline_smote": "BorderlineSMOTE",
    "svm_smote": "SVMSMOTE",
    "adasyn": "ADASYN",
}

_NEIGHBORS = 5  # imbalanced-learn's default
_MAX_SYNTHETIC = 200_000  # rows; 400 MB for 1024 features in half precision
_OTHERS = 500  # rows of each class that needs no synthetic ones, for methods that look at neighbors of other classes
_BACKGROUND = 5000  # rows of background, for the same


def check_oversampling(name: str) -> None:
    """
    Raises:
        LtDetError: there is no such method.
    """
    if name and name not in METHODS:
        raise LtDetError(f"there is no oversampling '{name}'; known methods: {', '.join(METHODS)}.")


def synthetic_features(
    rois: RoiTable, rows: NDArray[np.int64], method: str, generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Synthesize features, so that no foreground class has fewer rows than the classes have on average.

    A class needs two rows to interpolate between; with fewer than six, it has fewer neighbors than others. Methods that
    look for rows near other classes see a sample of these. On big data the average is lowered until there are at most
    200,000 synthetic rows.

    Args:
        rois: the table.
        rows: (R,) indices of the rows that may be used.
        method: a key of `METHODS`.
        generator: chooses neighbors and positions.

    Returns:
        (S, D) features, and (S,) classes.

    Raises:
        LtDetError: no such method, or imbalanced-learn is not installed.
    """
    check_oversampling(method)
    try:
        module = importlib.import_module("imblearn.over_sampling")
    except ImportError as error:
        problem = import_problem(error, "imblearn", "pip install 'lt-det[bakeoff]'")
        raise LtDetError(f"Oversampling by {method} needs {problem}.") from error
    labels = rois.labels[rows]
    counts = np.bincount(labels, minlength=rois.num_classes + 1)[: rois.num_classes]
    wanted = _wanted(counts)
    raised = np.flatnonzero((wanted > counts) & (counts >= 2))
    limits = np.full(rois.num_classes + 1, _OTHERS)
    limits[raised], limits[-1] = counts[raised], _BACKGROUND
    shuffled = generator.permutation(rows)
    seen = np.sort(shuffled[at_most(rois.labels[shuffled], limits)])
    features, classes = rois.features[seen].astype(np.float32), rois.labels[seen]
    made = []
    for neighbors in range(1, _NEIGHBORS + 1):  # a class of n rows has n - 1 neighbors
        group = [k for k in raised if min(counts[k] - 1, _NEIGHBORS) == neighbors]
        if group:
            key = "n_neighbors" if method == "adasyn" else "k_neighbors"
            options = {key: neighbors, "random_state": int(generator.integers(2**31))}
            sampler = functools.partial(getattr(module, METHODS[method]), **options)
            made += _resampled(sampler, {int(k): int(wanted[k]) for k in group}, features, classes)
    if not made:
        return np.empty((0, features.shape[1]), np.float32), np.empty(0, np.int64)
    return np.concatenate([one for one, _ in made]), np.concatenate([one for _, one in made])


def _wanted(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(K,) rows that each class shall have at least."""
    present = counts[counts > 0]
    target = int(present.mean()) if len(present) else 0
    while target and np.maximum(target - present, 0).sum() > _MAX_SYNTHETIC:
        target = int(target * 0.9)
    return np.where(counts > 0, target, 0)


def _resampled(
    sampler: Callable[..., Any], wanted: dict[int, int], features: NDArray[np.float32], classes: NDArray[np.int64]
) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Synthetic rows of the classes in `wanted`, in one or several parts."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes that a method leaves as they are
            resampled, labels = sampler(sampling_strategy=wanted).fit_resample(features, classes)
    except (ValueError, RuntimeError) as error:  # for example because no row is near another class
        if len(wanted) > 1:  # one failing class fails the call
            return [part for k in wanted for part in _resampled(sampler, {k: wanted[k]}, features, classes)]
        logger.info("No features are synthesized for class %d: %s", next(iter(wanted)), error)
        return []
    return [(resampled[len(features) :].astype(np.float32), np.asarray(labels[len(features) :], dtype=np.int64))]
