"""A small table of RoIs, a last layer for each loss and classifier, and their diagnosis."""

import numpy as np
import torch

from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.bakeoff.diagnosis.batches import Rois
from lt_det.bakeoff.diagnosis.effective_number import effective_numbers
from lt_det.bakeoff.diagnosis.stage import Settings, diagnose_stage
from lt_det.evaluation.diagnosis_schema import DiagnosedClass, Diagnosis
from lt_det.evaluation.schema import Buckets
from lt_det.layers import build_classifier
from lt_det.losses import LOSSES, ClassReweighting, effective_number_weights
from lt_det.statistics.buckets import FrequencyBuckets

K, D, IMAGES, PER_IMAGE = 6, 8, 7, 11
COUNTS = np.array([300, 120, 40, 15, 6, 2])
NUM_IMAGES = 500
# Hyper-parameters with which no loss draws random numbers, and IB is in its second phase with a known scale.
DETERMINISTIC = {"seql": {"gamma": 1.0}, "federated": {"num_sampled": K + 1}, "ib": {"alpha": 3.0}}
BUCKETS = FrequencyBuckets(("rare", "common", "frequent"), np.array([2, 2, 1, 1, 0, 0]))


def roi_table(seed=0, dtype=np.float64):
    """Classes from frequent to rare, without any RoI of the last one; images are not in order of the rows."""
    generator = np.random.default_rng(seed)
    N = IMAGES * PER_IMAGE
    labels = np.minimum(generator.geometric(0.4, N) - 1, K - 2)
    labels[generator.random(N) < 0.4] = K
    centers = np.random.default_rng(99).normal(size=(K + 1, D))
    return RoiTable(
        features=(centers[labels] + generator.normal(size=(N, D))).astype(dtype),
        labels=labels.astype(np.int64),
        images=generator.permutation(np.repeat(np.arange(IMAGES), PER_IMAGE)),
        ious=np.where(generator.random(N) < 0.2, 1.0, 0.7).astype(np.float32),
        weights=np.where(labels == K, 2.5, generator.choice([0.5, 1.0], N)).astype(np.float32),
        image_ids=list(range(IMAGES)),
        num_classes=K,
    )


def trained(name, kind="auto", reweighted=False):
    """A loss with some state, and a classifier in float64 that classifies most RoIs correctly."""
    torch.manual_seed(3)
    of_data = {"image_counts": np.minimum(COUNTS, NUM_IMAGES), "instance_counts": COUNTS, "num_images": NUM_IMAGES}
    statistics = {key: of_data[key] for key in LOSSES[name].statistics}
    loss = LOSSES[name](K, **statistics, **DETERMINISTIC.get(name, {}))
    for key, buffer in loss.named_buffers():
        if key in ("seen", "positive_gradient", "negative_gradient"):
            buffer += torch.arange(1, K + 1).to(buffer.dtype)
    classifier = build_classifier(D, loss, kind).double()
    with torch.no_grad():
        classifier.weight.normal_(std=0.5)
        if kind == "scaled":
            classifier.scale.uniform_(0.5, 2)
        if classifier.bias is not None:
            classifier.bias.normal_()
    if reweighted:
        loss = ClassReweighting(loss, effective_number_weights(COUNTS, 0.99), start=0.8)
    return classifier, loss


def diagnosis(names=None, buckets=BUCKETS, stages=1):
    """A diagnosis of the table above, with a random classifier."""
    names = names or [f"class {k}" for k in range(K)]
    settings = Settings(buckets, COUNTS, images_per_iteration=2)
    test = roi_table(seed=1)
    foreground = Rois.of_table(test, test.labels < K)
    return Diagnosis(
        checkpoint="runs/one/model_final.pth",
        loss="softmax",
        classifier="linear",
        training=["a_train"],
        training_images=IMAGES,
        test="a_val",
        test_images=IMAGES,
        buckets=Buckets(names=list(buckets.names), by="images", edges=[10, 100]),
        classes=[
            DiagnosedClass(
                name=name,
                bucket=None if buckets.assignment[k] < 0 else buckets.names[buckets.assignment[k]],
                images=int(COUNTS[k]),
                instances=int(COUNTS[k]),
            )
            for k, name in enumerate(names)
        ],
        effective_numbers=effective_numbers(COUNTS),
        stages=[diagnose_stage(roi_table(seed), *trained("softmax"), settings, foreground) for seed in range(stages)],
    )
