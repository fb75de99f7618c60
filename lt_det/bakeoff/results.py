"""The content of ``bakeoff.json``, from the trials that are finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import lt_det
from lt_det.bakeoff.candidates import Candidate
from lt_det.bakeoff.choice import agreement, recommend, recommend_by_evaluation
from lt_det.bakeoff.comparison import mean_intervals, metrics_of, paired_differences, spreads
from lt_det.bakeoff.limits import standing_limits
from lt_det.bakeoff.store import Trial
from lt_det.bakeoff.trials import Trials
from lt_det.evaluation.bakeoff_schema import Bakeoff, DetectorEntry, Entry, FoldResult, SeedResult, Written

HELD_OUT_MEASURE = "mean over classes of the average precision of held-out RoIs"


def build_bakeoff(
    trials: Trials,
    candidates: Sequence[Candidate],
    *,
    failed: Mapping[str, str],
    remarks: Sequence[str],
    seconds: Mapping[str, float],
    device: str,
    written: Written | None = None,
    interrupted: bool = False,
) -> Bakeoff | None:
    """All that is known so far.

    Args:
        trials: of the bake-off.
        candidates: all of them.
        failed: why a candidate has no result, by its name.
        remarks: on the data, in sentences.
        seconds: wall time of the parts of the work, by name.
        device: what it runs on, in words.
        written: the candidate that was written as a checkpoint.
        interrupted: whether the work ends here.

    Returns:
        None as long as nothing has been evaluated on the evaluation set.
    """
    finished = {candidate.name: trials.finished(candidate) for candidate in candidates}
    evaluated = [part["seed_0"] for part in finished.values() if "seed_0" in part]
    if not evaluated:
        return None
    evaluation = evaluated[0].evaluation
    buckets = evaluation.buckets.names
    filled = [name for name in buckets if any(entry.bucket == name for entry in evaluation.classes)] or buckets
    baseline = next((finished[candidate.name] for candidate in candidates if candidate.kind == "retrained"), {})
    entries = [
        _entry(candidate, finished[candidate.name], baseline, buckets, failed.get(candidate.name))
        for candidate in candidates
    ]
    complete = all(candidate.name in failed or trials.is_finished(candidate) for candidate in candidates)
    cfg, options, rois = trials.cfg, trials.options, trials.cache.rois()
    choose = recommend if options.choose_on == "folds" else recommend_by_evaluation
    return Bakeoff(
        version=lt_det.__version__,
        detector=DetectorEntry(
            checkpoint=cfg.MODEL.WEIGHTS, loss=cfg.MODEL.LONG_TAIL.LOSS.NAME, stages=trials.cache.num_stages
        ),
        dataset=evaluation.dataset,
        protocol=evaluation.protocol,
        max_dets=evaluation.max_dets,
        num_images=evaluation.num_images,
        training_datasets=list(cfg.DATASETS.TRAIN),
        training_images=len(rois.image_ids),
        rois=len(rois.labels),
        buckets=evaluation.buckets,
        classes=evaluation.classes,
        steps=options.steps,
        batch_size=options.batch_size,
        seeds=list(range(options.seeds)),
        num_folds=options.folds,
        candidates=entries,
        recommendation=choose(entries, filled),
        agreement=agreement(entries, filled),
        written=written,
        seconds=dict(seconds),
        held_out_measure=HELD_OUT_MEASURE,
        device=device,
        limits=[
            *standing_limits(
                cfg.MODEL.LONG_TAIL.LOSS.NAME,
                options.seeds,
                bool(cfg.MODEL.MASK_ON),
                has_intervals=cfg.TEST.RESAMPLES > 0,
            ),
            *remarks,
        ],
        unfinished=interrupted or not complete,
    )


def _entry(
    candidate: Candidate,
    finished: Mapping[str, Trial],
    baseline: Mapping[str, Trial],
    buckets: Sequence[str],
    failed: str | None,
) -> Entry:
    seeds, of_baseline = _parts(finished, "seed"), _parts(baseline, "seed")
    shared = [seeds[number].boxes for number in seeds]
    first = finished.get("fold_0")
    return Entry(
        name=candidate.name,
        kind=candidate.kind,
        overrides=dict(candidate.overrides),
        sampler=candidate.sampler,
        oversampling=candidate.oversampling,
        adjustment=candidate.adjustment,
        learning_rate=first.learning_rate if first else None,
        learning_rates=first.rates if first else [],
        seeds=[
            SeedResult(
                seed=number,
                metrics=metrics_of(trial.boxes, buckets),
                class_ap=trial.boxes.class_ap,
                curve=trial.curve,
                seconds=trial.seconds,
                steps=trial.steps,
            )
            for number, trial in seeds.items()
        ],
        metrics=spreads(shared, buckets),
        intervals=mean_intervals(shared, buckets),
        differences=paired_differences(shared, [trial.boxes for trial in of_baseline.values()], buckets)
        if seeds and of_baseline
        else {},
        folds=[
            FoldResult(
                fold=number,
                metrics=metrics_of(trial.boxes, buckets),
                differences=paired_differences([trial.boxes], [_parts(baseline, "fold")[number].boxes], buckets)
                if number in _parts(baseline, "fold")
                else {},
                curve=trial.curve,
            )
            for number, trial in _parts(finished, "fold").items()
        ],
        failed=failed,
    )


def _parts(finished: Mapping[str, Trial], kind: str) -> dict[int, Trial]:
    """The trials of a kind, "fold" or "seed", by number."""
    return {int(name.removeprefix(f"{kind}_")): trial for name, trial in finished.items() if name.startswith(kind)}
