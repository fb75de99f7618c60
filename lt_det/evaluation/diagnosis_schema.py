"""The content of ``diagnosis.json``: what the papers of the losses plot, measured on one detector.

Every value is finite; None stands for "no RoI to measure it on" or "not known". Lists have one value per class, in the
order of `Diagnosis.classes`, unless something else is said. h is the input of the last layer, z its logits, y the class
of a RoI, w_c the weights of class c, n its training instances, and L_i the detector's own loss of RoI i.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from lt_det.evaluation.schema import Buckets, Count, Fraction, Fractions, Numbers
from lt_det.io.json.files import reading, write_json
from lt_det.terminal import count_of

DIAGNOSIS_NAME = "diagnosis.json"
BETAS = (0.9, 0.99, 0.999, 0.9999)


class DiagnosedClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A class, its bucket, and its counts in the training set; `instances` is None if only images are known."""

    name: str
    bucket: str | None
    images: Count
    instances: Count | None

    @property
    def count(self) -> int:
        """n: instances, or images where instances are not known."""
        return self.images if self.instances is None else self.instances


class EffectiveNumber(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """E_n = (1 - beta^n) / (1 - beta), and the weights 1 / E_n with mean 1 over the classes (Cui et al. 2019)."""

    beta: float
    numbers: list[float]
    weights: list[float]


class Gradients(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The gradient of the loss with respect to w_c, from the RoIs of class c (positive) and from all others (negative).

    Attributes:
        positive_mean, negative_mean: first reading: the mean over RoIs of || dL_i / dw_c ||.
        positive_norm, negative_norm: second reading: || sum_i dL_i / dw_c || / divisor of an iteration, and of that the
            mean over the iterations.
        ratio: EQLv2's g: the sum of |dL_i / dz_c| of the positive RoIs, divided by that of the negative ones.
        iterations, images_per_iteration: of the second reading.
    """

    positive_mean: Numbers
    negative_mean: Numbers
    positive_norm: Numbers
    negative_norm: Numbers
    ratio: Numbers
    iterations: int
    images_per_iteration: int


class InfluenceGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The influence of the foreground RoIs of a bucket.

    Attributes:
        rois: number of RoIs.
        fraction: of the influence of all RoIs, background included.
        quartiles: of the influence of its RoIs: lower quartile, median, upper quartile.
        by_margin: median influence in each bin of `Influence.edges`.
    """

    rois: Count
    fraction: Fraction
    quartiles: list[float]
    by_margin: Numbers


class Influence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The influence || dL_i / dz ||_1 || h_i ||_1 of a RoI on the last layer (Park et al. 2021), against its margin.

    Attributes:
        groups: "all" foreground, and each bucket; None: it has no RoI.
        background_fraction: of the influence of all RoIs.
        top_fraction: of the influence of foreground that the most influential tenth of the foreground RoIs has.
        edges: B + 1 edges of bins of the margin.
        classes, margins, values: of a random sample of foreground RoIs, at most the same number for each bucket.
    """

    groups: dict[str, InfluenceGroup | None]
    background_fraction: float
    top_fraction: float | None
    edges: list[float]
    classes: list[int]
    margins: list[float]
    values: list[float]


class Margins(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Margins of the training RoIs by class (Cao et al. 2019).

    The margin of a RoI is the logarithm of the score of its class minus the largest one of another class or background:
    for a softmax the difference of the logits. It is negative if the RoI is classified wrongly.

    Attributes:
        minimum: the smallest margin of each class, the paper's margin of a class.
        lower_quartile, median, upper_quartile: over the RoIs of each class.
        negative: fraction of the RoIs of each class with a negative margin.
        smallest_class: index of the class with the smallest margin of all; None: there is no foreground RoI.
        constant: C of the target C / n^(1/4): LDAM's own, or the one that gives the targets the sum of the positive
            medians; None: no median is positive.
        is_ldam: whether C is LDAM's own.
    """

    minimum: Numbers
    lower_quartile: Numbers
    median: Numbers
    upper_quartile: Numbers
    negative: Numbers
    smallest_class: int | None
    constant: float | None
    is_ldam: bool


class WeightNorms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """|| w_c || of each class (Kang et al. 2020).

    Attributes:
        correlation: Pearson's, of || w_c || and log n; None if either is the same for all classes.
        has_effect: False for a cosine classifier, which normalizes w_c.
    """

    norms: list[float]
    correlation: float | None
    has_effect: bool


class FeatureDeviation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Training against test RoIs of each class (Ye et al. 2020).

    Attributes:
        training_rois, test_rois: number of RoIs of each class.
        training_value, test_value: mean of the decision value z_c without bias, w_c . h for a linear classifier.
        training_accuracy, test_accuracy: fraction of the RoIs for which the class scores highest of the K classes.
        deviation: distance of the mean features, divided by the standard deviation of the features about them.
        by_chance: root mean square of the deviation that would be measured without any, from the variance of the means,
            with the RoIs of an image as one cluster; None for a class with RoIs in one image only.
    """

    training_rois: list[int]
    test_rois: list[int]
    training_value: Numbers
    test_value: Numbers
    training_accuracy: Fractions
    test_accuracy: Fractions
    deviation: Numbers
    by_chance: Numbers


class ConfusionGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the RoIs of a bucket are classified as; means over the classes of the bucket.

    Attributes:
        classes: number of classes with a RoI.
        correct: fraction of RoIs for which the right class scores highest of the K classes.
        taken_by: fraction for which another class does, by the bucket of that class.
        background: fraction for which background scores higher than every class.
    """

    classes: Count
    correct: Fraction
    taken_by: dict[str, Fraction]
    background: Fraction


class ConfusedPair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """RoIs of the class `true` for which `predicted` scores highest.

    Attributes:
        true, predicted: indices of classes.
        rois: how many there are, in `images` images.
        fraction: of the RoIs of `true`.
        reverse: fraction of the RoIs of `predicted` for which `true` scores highest; None: it has no RoI.
    """

    true: Count
    predicted: Count
    rois: Count
    images: Count
    fraction: Fraction
    reverse: Fraction | None


class Confusion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who takes whose place: buckets, and the pairs of classes of different buckets with the most one-sided confusion.

    Attributes:
        groups: by bucket; None: it has no RoI.
        pairs: sorted by fraction minus reverse, descending.
    """

    groups: dict[str, ConfusionGroup | None]
    pairs: list[ConfusedPair]


class Stage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stage of the box head; a detector that is no cascade has one.

    Attributes:
        training_rois, foreground_rois: number of training RoIs, and of those that are foreground.
        deviation, confusion: None without test RoIs.
    """

    training_rois: int
    foreground_rois: int
    gradients: Gradients
    influence: Influence
    margins: Margins
    weight_norms: WeightNorms
    deviation: FeatureDeviation | None = None
    confusion: Confusion | None = None


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A detector and its training set.

    Attributes:
        checkpoint: file.
        loss, classifier: name of the loss and of the last layer.
        training, test: names of the data sets; no test set: None.
        training_images: number of those with a RoI in the feature cache.
        training_set_images: number of all training images; None in files of older versions.
        classes: K classes.
        effective_numbers: for each beta of the paper.
    """

    checkpoint: str
    loss: str
    classifier: str
    training: list[str]
    training_images: int
    training_set_images: int | None = None
    test: str | None
    test_images: int | None
    buckets: Buckets
    classes: list[DiagnosedClass]
    effective_numbers: list[EffectiveNumber]
    stages: list[Stage]

    @property
    def is_sampled(self) -> bool:
        """Whether there are more training images than were measured."""
        return self.training_set_images is not None and self.training_images < self.training_set_images

    @property
    def measured_images(self) -> str:
        """The number of training images, such as "8 images" or "5000 of 99388 images"."""
        total = count_of(self.training_set_images or self.training_images, "image")
        return f"{self.training_images} of {total}" if self.is_sampled else total

    def __post_init__(self) -> None:
        for entry in self.classes:
            if entry.bucket not in (None, *self.buckets.names):
                raise ValueError(f"the bucket '{entry.bucket}' of class '{entry.name}' is not in buckets.names")
        _check_lengths(msgspec.structs.asdict(self), len(self.classes), "")


def read_diagnosis(file: Path) -> Diagnosis:
    """
    Raises:
        LtDetError: the file cannot be read or is not a diagnosis; the message names the file and the key.
    """
    with reading(file, "a diagnosis", "run lt-det diagnose again"):
        return msgspec.json.decode(file.read_bytes(), type=Diagnosis)


def write_diagnosis(diagnosis: Diagnosis, folder: Path) -> Path:
    """Write ``diagnosis.json`` atomically.

    Returns:
        Path of the file.

    Raises:
        LtDetError: the folder cannot be written.
    """
    return write_json(msgspec.to_builtins(diagnosis), folder / DIAGNOSIS_NAME, "The diagnosis")


# Lists that do not have one value per class.
_OTHER_LISTS = {"names", "training", "classes", "edges", "margins", "values", "quartiles", "by_margin", "pairs"}


def _check_lengths(content: dict[str, Any], num_classes: int, where: str) -> None:
    """Raise ValueError if a list of values by class does not have K values."""
    for key, value in content.items():
        path = f"{where}{key}"
        if isinstance(value, msgspec.Struct):
            _check_lengths(msgspec.structs.asdict(value), num_classes, f"{path}.")
        elif isinstance(value, list) and value and isinstance(value[0], msgspec.Struct):
            for index, entry in enumerate(value):
                _check_lengths(msgspec.structs.asdict(entry), num_classes, f"{path}[{index}].")
        elif isinstance(value, list) and key not in _OTHER_LISTS and len(value) != num_classes:
            raise ValueError(f"{path} has {count_of(len(value), 'entry')}, not {num_classes}")
