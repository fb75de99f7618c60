"""Scores that are no probabilities."""

from __future__ import annotations

from lt_det.evaluation.matching.detections import Detections


def score_hints(detections: Detections) -> list[str]:
    """A sentence if scores are not from 0 to 1.

    Args:
        detections: at least one.
    """
    lowest, highest = float(detections.scores.min()), float(detections.scores.max())
    if lowest >= 0 and highest <= 1:
        return []
    if lowest >= 0 and highest <= 100:
        what, advice = f"go up to {highest:g}, so they are probably percent", "divide them by 100"
    elif lowest < 0 and highest <= 0:
        what = f"go from {lowest:g} to {highest:g}, so they are logarithms, or distances with the sign changed"
        advice = "write probabilities, of which the highest is the best detection"
    else:
        what, advice = f"go from {lowest:g} to {highest:g}, so they may be logits", "write probabilities"
    return [
        f"Scores {what}. AP depends only on their order, but score calibration in the report needs scores from 0 to 1; "
        f"{advice}."
    ]
