"""Synthetic bake-offs: candidates with seeds and folds, whose entries are made by the functions that real ones use."""

import numpy as np

from lt_det.bakeoff.choice import agreement, recommend
from lt_det.bakeoff.comparison import mean_intervals, metrics_of, paired_differences, spreads
from lt_det.bakeoff.limits import standing_limits
from lt_det.evaluation.bakeoff_schema import (
    Bakeoff,
    CurvePoint,
    DetectorEntry,
    Entry,
    FoldResult,
    SeedResult,
    TriedRate,
)
from lt_det.evaluation.schema import Buckets, ClassEntry, Resamples, TaskEvaluation, group_metric

LVIS = (("rare", "common", "frequent"), (10, 100))
TWO = (("few", "many"), (40,))
UNSEEN = (("unseen", "rare", "common", "frequent"), (0, 10, 100))

# Name, kind, points gained over the retrained baseline on the rarest and on the most frequent classes, seconds.
QUICK = (
    ("softmax as it stands", "as_is", -14.0, -3.0, 0.0),
    ("softmax retrained", "retrained", 0.0, 0.0, 16.0),
    ("seesaw", "trained", 27.0, 1.1, 19.5),
    ("class_balanced", "trained", 23.0, 0.7, 17.0),
    ("ib", "trained", 18.0, -4.0, 24.0),
    ("ldam", "trained", 17.5, -0.5, 18.2),
    ("logit_adjustment", "trained", 6.0, 0.1, 16.1),
    ("eqlv2, learning rate 0.2", "trained", 2.0, 0.5, 22.0),
    ("softmax, class-aware sampling", "trained", 42.0, -15.0, 16.9),
    ("tau_norm 0.5", "post_hoc", -4.0, -4.0, 0.3),
    ("meta_weight_net", "meta", 13.0, -0.3, 61.0),
)
OVERRIDES = {"seesaw": {"MODEL.LONG_TAIL.LOSS.NAME": "seesaw"}, "ldam": {"MODEL.LONG_TAIL.LOSS.NAME": "ldam"}}


def class_counts(num_classes):
    return np.sort(np.random.default_rng(7).permutation(np.geomspace(1, 2000, num_classes).astype(int)))


def classes_of(counts, division):
    names, edges = division
    index = np.searchsorted(np.array(edges), counts)
    return [
        ClassEntry(name=f"class_{k}", id=k + 1, bucket=names[index[k]], images=int(counts[k]), objects=int(counts[k]))
        for k in range(len(counts))
    ]


def task_evaluation(classes, division, rare_gain, frequent_gain, seed, images, draws=200):
    """One evaluation on the images called `images`: all with the same name share their bootstrap draws.

    The third class has no ground truth.
    """
    names, _ = division
    number = sum(map(ord, images))
    noise, shared = np.random.default_rng([seed, number]), np.random.default_rng(number)
    counts = np.array([entry.images for entry in classes])
    frequency = np.log(np.maximum(counts, 1)) / np.log(2000)  # 0 for the rarest class, 1 for the most frequent one
    ap = 14 + 50 * frequency + shared.normal(0, 9, len(counts))
    ap += rare_gain * (1 - frequency) ** 1.5 + frequent_gain * frequency
    ap = np.clip(ap + noise.normal(0, 1.5, len(counts)), 0, 95)
    bucket = np.array([names.index(entry.bucket) for entry in classes])
    groups = {"AP": np.ones(len(counts), bool), **{group_metric(n): bucket == b for b, n in enumerate(names)}}
    metrics = {name: float(ap[inside].mean()) if inside.any() else None for name, inside in groups.items()}
    values = {}
    for place, (name, value) in enumerate(metrics.items()):
        wide = 2.5 if place == 1 else 0.8
        moved = np.random.default_rng([number, place]).normal(0, wide, draws)
        own = np.random.default_rng([seed, number, place]).normal(0, 0.3 * wide, draws)
        values[name] = [None] * draws if value is None else (value + moved + own).tolist()
    return TaskEvaluation(
        metrics={**metrics, "AP50": metrics["AP"] * 1.3, "AP75": metrics["AP"] * 1.02},
        bucket_sizes={name: int((bucket == b).sum()) for b, name in enumerate(names)},
        class_ap=[None if k == 2 else value for k, value in enumerate(ap.tolist())],
        resamples=Resamples(seed=0, images=images, values=values),
    )


def curve(level, seed, steps=3000, held_out=True):
    noise = np.random.default_rng(seed)
    points = range(0, steps + 1, steps // 12)
    return [
        CurvePoint(
            step=step,
            loss=float(0.3 + 2.2 * np.exp(-step / 500) + noise.normal(0, 0.02)),
            held_out=float(level * (1 - np.exp(-(step + 60) / 600)) + noise.normal(0, 0.4)) if held_out else None,
        )
        for step in points
    ]


def bakeoff(
    num_classes=62,
    division=LVIS,
    specs=QUICK,
    seeds=3,
    folds=3,
    failed=("cdt",),
    pending=(),
    draws=200,
    **changes,
):
    """A bake-off of the candidates in `specs`; those in `failed` have a reason, those in `pending` have nothing yet."""
    names = list(division[0])
    classes = classes_of(class_counts(num_classes), division)

    def on_evaluation(index, rare, frequent, kind):
        number = seeds if kind not in ("as_is", "post_hoc") else 1
        return [
            task_evaluation(classes, division, rare, frequent, 100 * index + seed, "evaluation", draws)
            for seed in range(number)
        ]

    def on_folds(index, rare, frequent):
        noise = np.random.default_rng(index).normal(0, 4.0, folds)  # which candidate is best differs from fold to fold
        return [
            task_evaluation(
                classes, division, rare + noise[fold], frequent, 100 * index + 50 + fold, f"fold {fold}", draws
            )
            for fold in range(folds)
        ]

    base_index, (_, _, base_rare, base_frequent, _) = next(
        (index, spec) for index, spec in enumerate(specs) if spec[1] == "retrained"
    )
    base = on_evaluation(base_index, base_rare, base_frequent, "retrained")
    base_folds = on_folds(base_index, base_rare, base_frequent)
    entries = []
    for index, (name, kind, rare, frequent, seconds) in enumerate(specs):
        if name in pending:
            entries.append(Entry(name=name, kind=kind))
            continue
        results = on_evaluation(index, rare, frequent, kind)
        trained = kind not in ("as_is", "post_hoc")
        own_folds = on_folds(index, rare, frequent) if trained else []
        baseline = kind == "retrained"
        entries.append(
            Entry(
                name=name,
                kind=kind,
                overrides=OVERRIDES.get(name, {}),
                sampler="class_aware" if "class-aware" in name else "plain",
                adjustment=("tau_norm", 0.5) if kind == "post_hoc" else None,
                learning_rate=0.02 if trained else None,
                learning_rates=[
                    TriedRate(learning_rate=rate, held_out=40 - 300 * abs(rate - 0.02)) for rate in (0.005, 0.02, 0.05)
                ]
                if trained
                else [],
                seeds=[
                    SeedResult(
                        seed=seed,
                        metrics=metrics_of(result, names),
                        class_ap=result.class_ap,
                        curve=curve(0, seed, held_out=False) if trained else [],
                        seconds=seconds * (1 + 0.03 * seed),
                        steps=3000 if trained else 0,
                    )
                    for seed, result in enumerate(results)
                ],
                metrics=spreads(results, names),
                intervals=mean_intervals(results, names),
                differences={} if baseline else paired_differences(results, base, names),
                folds=[
                    FoldResult(
                        fold=fold,
                        metrics=metrics_of(result, names),
                        differences={} if baseline else paired_differences([result], [base_folds[fold]], names),
                        curve=curve(38 + 0.7 * rare, 7 * index + fold),
                    )
                    for fold, result in enumerate(own_folds)
                ],
            )
        )
    entries += [
        Entry(name=name, kind="trained", failed=f"The loss of {name} is not finite after 12 steps at every rate.")
        for name in failed
    ]
    content = {
        "version": "0.0",
        "detector": DetectorEntry(checkpoint="output/model_final.pth", loss="softmax"),
        "dataset": "synthetic_val",
        "protocol": "lvis",
        "num_images": 400,
        "training_datasets": ["synthetic_train"],
        "training_images": 1200,
        "rois": 144_000,
        "buckets": Buckets(names=names, by="images", edges=list(division[1])),
        "classes": classes,
        "steps": 3000,
        "batch_size": 512,
        "seeds": list(range(seeds)),
        "num_folds": folds,
        "candidates": entries,
        "recommendation": recommend(entries, names),
        "agreement": agreement(entries, names),
        "seconds": {"features": 83.0, "held-out folds": 410.0, "training": 520.0, "evaluation": 64.0},
        "held_out_measure": "mean accuracy of the classes",
        "device": "CPU, 2 cores",
        "limits": standing_limits("softmax", seeds),
        "unfinished": bool(pending),
    }
    return Bakeoff(**{**content, **changes})


def full(number=44):
    """Candidates of a long list."""
    noise = np.random.default_rng(3)
    more = [
        (f"candidate {k}, gamma {k / 10:g}", "trained", *noise.normal((10, -1), (9, 2)).tolist(), 18.0 + k % 7)
        for k in range(number - len(QUICK))
    ]
    return (*QUICK, *more)
