"""The evaluator by frequency bucket among those of a test set, such as that of keypoints beside it."""

from __future__ import annotations

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from lt_det.evaluation.evaluator import LongTailEvaluator


def box_evaluator(evaluator: DatasetEvaluator | None) -> LongTailEvaluator | None:
    """The part of an evaluator that evaluates by frequency bucket; None without one."""
    parts = evaluator._evaluators if isinstance(evaluator, DatasetEvaluators) else [evaluator]
    return next((part for part in parts if isinstance(part, LongTailEvaluator)), None)
