"""Scores that are no probabilities are named as what they may be."""

import numpy as np
import pytest

from lt_det.evaluation.hints.scores import score_hints
from lt_det.evaluation.matching.detections import Detections


@pytest.mark.parametrize(
    ("lowest", "highest", "words"),
    [
        (0.0, 1.0, ""),
        (0.05, 1.0000001192, "1.00000012, probably by a rounding error"),
        (-1e-7, 0.9, "rounding"),
        (0.0, 98.5, "percent"),
        (0.1, 2.7, "sums of probabilities"),  # of an ensemble
        (-7.5, 4.0, "logits"),
        (-9.0, -0.1, "log-probabilities"),
        (0.0, 255.0, "from 0 to 255"),
    ],
)
def test_scores(lowest, highest, words):
    scores, zeros = np.asarray([highest, lowest]), np.zeros(2, dtype=np.int64)
    hints = score_hints(Detections(zeros, zeros, scores, np.ones((2, 4))))
    assert len(hints) == bool(words)
    assert words in "".join(hints)
    assert ("percent" in words) == any("divide" in hint for hint in hints)


@pytest.mark.parametrize(
    ("lowest", "number", "hint"), [(0.25, 100, True), (0.5, 3000, True), (0.05, 3000, False), (0.5, 99, False)]
)
def test_scores_above_a_threshold(lowest, number, hint):
    zeros, scores = np.zeros(number, dtype=np.int64), np.linspace(lowest, 0.98, number)
    hints = score_hints(Detections(zeros, zeros, scores, np.ones((number, 4))))
    assert [f"below {lowest}" in sentence for sentence in hints] == [True] * hint


@pytest.mark.parametrize("score", [0.0, 0.9, 1.0, 50.0])
def test_scores_that_are_all_the_same(score):
    zeros = np.zeros(10, dtype=np.int64)
    detections = Detections(zeros, zeros, np.full(10, score), np.ones((10, 4)))
    assert f"All 10 scores are {score:g}" in score_hints(detections)[0]
    detections.scores[3] = score / 2 + 0.1
    assert not any("All" in hint for hint in score_hints(detections))
    assert not any(
        "All" in hint for hint in score_hints(Detections(zeros[:9], zeros[:9], np.full(9, score), np.ones((9, 4))))
    )
