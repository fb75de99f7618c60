"""Training classifiers on cached RoI features, all candidates alike."""

from lt_det.bakeoff.fitting.fit import (
    DivergedError,
    Fitted,
    best_learning_rate,
    fit,
    fit_learning_rates,
    learning_rates,
)
from lt_det.bakeoff.fitting.folds import describe_classes, image_folds
from lt_det.bakeoff.fitting.options import FitOptions
from lt_det.bakeoff.fitting.schedule import mean_phases

__all__ = [
    "DivergedError",
    "FitOptions",
    "Fitted",
    "best_learning_rate",
    "describe_classes",
    "fit",
    "fit_learning_rates",
    "image_folds",
    "learning_rates",
    "mean_phases",
]
