"""What the numbers of a bake-off cannot say, in sentences for its page and file."""

from __future__ import annotations


def standing_limits(loss: str, num_seeds: int, has_masks: bool = False, *, has_intervals: bool = True) -> list[str]:
    """The limits of every bake-off.

    Args:
        loss: name of the loss that the detector was trained with.
        num_seeds: number of trainings of each candidate.
        has_masks: whether the detector predicts masks.
        has_intervals: whether there are bootstrap draws (TEST.RESAMPLES).
    """
    masks = " Mask AP is computed for the written checkpoint only." if has_masks else ""
    seeds = "a single seed says nothing about training noise" if num_seeds == 1 else "the ± is the seeds' spread"
    if has_intervals:
        uncertainty = f"Intervals say how far a number would move with other images like these; {seeds}."
    else:
        uncertainty = (
            "There are no intervals (TEST.RESAMPLES is 0), so how far a number would move with other images is "
            f"unknown; {seeds}."
        )
    return [
        f"The features were learned with the detector's own loss ({loss}). A training end to end with another loss "
        "learns other features and can end better or worse than its classifier here.",
        "The features have seen the folds: the detector was trained on all training images, so AP on a held-out fold "
        "is higher than on new images. The order of the candidates is what the folds are for, not the level.",
        "Gains are measured against the retrained baseline, not against the detector as it stands: retraining the "
        "classifier with the same loss can gain or lose by itself.",
        f"All numbers are box AP, with the detector's own box regression.{masks}",
        uncertainty,
    ]
