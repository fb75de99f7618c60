"""Random evaluations with every part that an ``evaluation.json`` can have."""

import json

import msgspec
import numpy as np

from lt_det.evaluation.schema import TaskEvaluation, parse_evaluation

BUCKETS = ["rare", "common", "frequent"]
METRICS = {"rare": "APr", "common": "APc", "frequent": "APf"}
TYPES = ["classification", "localization", "both", "duplicate", "background", "miss"]
AWKWARD = "<b>\"&' </td><script>alert(1)</script>"


def evaluation(num_classes=62, seed=0, better=0.0, tasks=("bbox",), draws=1000):
    """`better`: points added to every class. Class 0 has an awkward name."""
    rng = np.random.default_rng(7)
    images = np.unique(np.geomspace(1, 2000, num_classes).astype(int))
    images = np.sort(np.r_[images, rng.integers(1, 100, num_classes - len(images))])
    bucket = np.where(images <= 10, 0, np.where(images <= 100, 1, 2))
    names = [AWKWARD, *(f"class_{k}" for k in range(1, num_classes))]
    return {
        "dataset": "synthetic_val",
        "protocol": "lvis",
        "num_images": 400,
        "ground_truth": None,
        "image_root": None,
        "results": None,
        "buckets": {"names": list(BUCKETS), "by": "images", "edges": [10, 100]},
        "classes": [
            {
                "name": names[k],
                "id": k + 1,
                "bucket": BUCKETS[bucket[k]],
                "images": int(images[k]),
                "objects": int(images[k] // 4 + 1),
            }
            for k in range(num_classes)
        ],
        "tasks": {task: task_result(images, bucket, seed, better, draws) for task in tasks},
    }


def task_result(images, bucket, seed, better, draws):
    rng = np.random.default_rng(seed)
    K = len(images)
    ap = np.clip(np.clip(14 * np.log(images) - 20 + rng.normal(0, 12, K), 0, 92) + better, 0, 100)
    members = {"all": np.ones(K, bool), **{name: bucket == b for b, name in enumerate(BUCKETS)}}
    mean = {group: float(ap[inside].mean()) for group, inside in members.items()}
    metrics = {"AP": mean["all"], "AP50": mean["all"] * 1.5, "AP75": mean["all"] * 1.04, "APs": 7.1, "APm": None}
    metrics |= {"APl": 50.2, **{METRICS[name]: mean[name] for name in BUCKETS}}
    metrics |= {"AR": mean["all"] * 1.2, **{f"AR{METRICS[name][2:]}": mean[name] * 1.2 for name in BUCKETS}}
    metrics = {name: None if value is None else min(value, 100.0) for name, value in metrics.items()}
    # All runs resample the same images, so they share this noise, which pairing removes.
    shared = np.random.default_rng(0)
    values = {}
    for name in ("AP", "AP50", "AP75", "APr", "APc", "APf"):
        spread = 3.0 if name == "APr" else 0.7
        drawn = metrics[name] + shared.normal(0, spread, draws) + rng.normal(0, 0.15, draws)
        values[name] = np.clip(drawn, 0, 100)
    recalls = np.linspace(0, 1, 101)
    curves = {
        group: {
            iou: (np.clip(1.1 - recalls ** (1 + mean[group] / 25) - drop, 0, 1)).tolist()
            for iou, drop in (("0.5", 0.0), ("0.75", 0.12), ("mean", 0.2))
        }
        for group in members
    }
    fractions = dict(zip(TYPES, (0.35, 0.12, 0.06, 0.02, 0.15, 0.3), strict=True))
    losses = {
        kind: np.clip((95 - ap) * fraction + rng.normal(0, 1, K), 0, None) for kind, fraction in fractions.items()
    }
    edges = np.linspace(0, 1, 11)
    middle = edges[:-1] + 0.05
    groups = {}
    for b, group in enumerate(members):
        precision = middle ** (1.2 + 0.3 * b)
        count = (2000 * np.exp(-6 * middle) / (b + 1)).astype(int)
        ece = float((np.abs(precision - middle) * count).sum() / count.sum())
        groups[group] = {"ece": ece, "count": count.tolist(), "score": middle.tolist(), "precision": precision.tolist()}
    groups["rare"]["score"][9] = groups["rare"]["precision"][9] = None
    return {
        "metrics": metrics,
        "bucket_sizes": {name: int(members[name].sum()) for name in BUCKETS},
        "class_ap": [None, *ap[1:].tolist()] if K > 100 else ap.tolist(),
        "class_ar": np.clip(ap * 1.2, 0, 100).tolist(),
        "intervals": {name: np.quantile(resampled, [0.025, 0.975]).tolist() for name, resampled in values.items()},
        "resamples": {
            "seed": 0,
            "images": "a3f1",
            "values": {name: resampled.tolist() for name, resampled in values.items()},
        },
        "precision_recall": curves,
        "errors": {
            "iou": 0.5,
            "background_iou": 0.1,
            "types": TYPES,
            "loss": {
                group: {kind: float(losses[kind][inside].mean()) for kind in TYPES} for group, inside in members.items()
            },
            "class_loss": {kind: losses[kind].tolist() for kind in TYPES},
            "class_ap50": np.clip(ap * 1.4, 0, 100).tolist(),
            "count": {kind: rng.integers(0, 90, K).tolist() for kind in TYPES},
        },
        "calibration": {"iou": 0.5, "edges": edges.tolist(), "groups": groups},
    }


def typed(content):
    """The evaluation that the reports read."""
    return parse_evaluation(json.dumps(content))


def typed_task(task):
    return msgspec.convert(task, TaskEvaluation)


def write_run(root, content, dataset="synthetic_val"):
    """An OUTPUT_DIR that holds this evaluation."""
    folder = root / "inference" / dataset
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps(content))
    return root
