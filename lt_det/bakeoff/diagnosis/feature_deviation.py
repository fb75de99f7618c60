"""Training against test RoIs of each class: decision values, accuracy, and the distance of the mean features.

Ye et al., "Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning",
https://arxiv.org/abs/2001.01385, find that the features of rare classes deviate more. But the means of few samples are
far apart in any case, so the deviation to be expected by chance is estimated, too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lt_det.bakeoff.diagnosis.last_layer import Batch, LastLayer, bincount, numbers
from lt_det.evaluation.diagnosis_schema import FeatureDeviation


class ClassSums:
    """Sums over the foreground RoIs of each class, in float64; every RoI counts once.

    Attributes:
        rois, images: (K,) number of RoIs, and of images with one.
        features: (K, D) sum of h.
        squares: (K,) sum of ||h||^2.
        value: (K,) sum of the decision value of the right class.
        correct: (K,) number of RoIs for which the right class scores highest of the K classes.
    """

    def __init__(self, layer: LastLayer) -> None:
        self.layer = layer
        K, D = layer.num_classes, layer.classifier.in_features
        zeros = torch.zeros(K, dtype=torch.float64, device=layer.device)
        self.rois, self.images, self.squares = zeros.clone(), zeros.clone(), zeros.clone()
        self.value, self.correct = zeros.clone(), zeros.clone()
        self.features = torch.zeros(K, D, dtype=torch.float64, device=layer.device)
        # Over the images, where m is the number of RoIs of the class in an image and S the sum of their features:
        self._S_squared, self._m_squared, self._m_S = zeros.clone(), zeros.clone(), self.features.clone()

    def add(self, batch: Batch) -> None:
        """Add the RoIs of whole images."""
        K, rows = self.layer.num_classes, batch.foreground
        y, h = batch.labels[rows], batch.features[rows].double()
        values = self.layer.logits_without_bias(batch.logits)[rows, y]
        highest = batch.foreground_scores[:, :K].argmax(dim=1)
        self.rois += bincount(y, torch.ones_like(y), K)
        self.squares += bincount(y, h.square().sum(dim=1), K)
        self.value += bincount(y, values, K)
        self.correct += bincount(y, (highest == y).double(), K)
        self.features.index_add_(0, y, h)
        keys, cluster = torch.unique(batch.images[rows] * K + y, return_inverse=True)
        S = h.new_zeros(len(keys), h.shape[1]).index_add_(0, cluster, h)
        m = h.new_zeros(len(keys)).index_add_(0, cluster, torch.ones_like(h[:, 0]))
        self.images += bincount(keys % K, torch.ones_like(m), K)
        self._S_squared += bincount(keys % K, S.square().sum(dim=1), K)
        self._m_squared += bincount(keys % K, m.square(), K)
        self._m_S.index_add_(0, keys % K, m.unsqueeze(1) * S)

    @property
    def mean(self) -> Tensor:
        """(K, D) mean of h; nan without a RoI."""
        return self.features / self.rois.unsqueeze(1)

    @property
    def scatter(self) -> Tensor:
        """(K,) sum of ||h - mean||^2."""
        return (self.squares - self.rois * self.mean.square().sum(dim=1)).clamp(min=0)

    @property
    def variance_of_mean(self) -> Tensor:
        """(K,) variance of the mean, summed over the D dimensions; nan unless there are two images.

        With the images as clusters, because the RoIs of an image often are the same object:
        I / (I - 1) sum_images ||S - m mean||^2 / rois^2.
        """
        mean = self.mean
        crossed = (self._m_S * mean).sum(dim=1)
        total = (self._S_squared - 2 * crossed + self._m_squared * mean.square().sum(dim=1)).clamp(min=0)
        factor = torch.where(self.images > 1, self.images / (self.images - 1), torch.nan)
        return factor * total / self.rois.square()


def feature_deviation(training: ClassSums, test: ClassSums) -> FeatureDeviation:
    """Compare the RoIs of two sets. A deviation is None if it is not defined for the number of RoIs."""
    degrees = training.rois + test.rois - 2
    spread = ((training.scatter + test.scatter) / torch.where(degrees > 0, degrees, torch.nan)).sqrt()
    spread = torch.where(spread > 0, spread, torch.nan)
    distance = (training.mean - test.mean).norm(dim=1)
    by_chance = (training.variance_of_mean + test.variance_of_mean).sqrt()
    return FeatureDeviation(
        training_rois=training.rois.long().tolist(),
        test_rois=test.rois.long().tolist(),
        training_value=numbers(training.value / training.rois),
        test_value=numbers(test.value / test.rois),
        training_accuracy=numbers(training.correct / training.rois),
        test_accuracy=numbers(test.correct / test.rois),
        deviation=numbers(distance / spread),
        by_chance=numbers(by_chance / spread),
    )
