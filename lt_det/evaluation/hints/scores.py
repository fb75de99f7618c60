"""Scores that are no probabilities, all the same, or cut off by a threshold."""

from __future__ import annotations

from lt_det.evaluation.matching.detections import Detections

_ROUNDING = 1e-3  # beyond 0 or 1: as much as a mean in float16 may be off
_MIN_PERCENT = 10.0  # of the highest score: any detector has one of more than 10 %, and other scores are lower
_MIN_CUT, _MIN_MANY = 0.2, 100  # lowest score, and detections: detectors are evaluated with thresholds up to 0.05
_MIN_NUMBER = 10  # detections: fewer may have the same score, such as one that was rounded


def score_hints(detections: Detections) -> list[str]:
    """Sentences if scores are not from 0 to 1, or do not order the detections.

    Args:
        detections: at least one.
    """
    lowest, highest = float(detections.scores.min()), float(detections.scores.max())
    hints = []
    if lowest == highest and len(detections) >= _MIN_NUMBER:
        hints.append(
            f"All {len(detections)} scores are {highest:g}: AP depends on the order of the detections, which is "
            "that of the input; write the confidence of the detector."
        )
    if lowest >= 0 and highest <= 1:
        if _MIN_CUT <= lowest < highest and len(detections) >= _MIN_MANY:
            hints.append(
                f"None of the {len(detections)} scores is below {lowest:.3g}, as if a threshold for showing detections "
                "had dropped the others: AP counts their objects as missed, most of all those of rare classes; predict "
                "with a threshold such as 0.001."
            )
        return hints
    advice = "write probabilities"
    if lowest >= -_ROUNDING and highest <= 1 + _ROUNDING:
        what, advice = f"go from {lowest:.9g} to {highest:.9g}, probably by a rounding error", "clip them"
    elif lowest >= 0 and _MIN_PERCENT < highest <= 100:
        what, advice = f"go up to {highest:g}, so they are probably percent", "divide them by 100"
    elif highest <= 0:
        what = f"go from {lowest:g} to {highest:g}, so they may be log-probabilities or negative distances"
    else:
        what = f"go from {lowest:g} to {highest:g}, so they may be logits or sums of probabilities"
    hints.append(
        f"Scores {what}. AP depends only on their order, but score calibration in the report needs scores from 0 to 1; "
        f"{advice}."
    )
    return hints
