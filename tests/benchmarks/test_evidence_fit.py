"""benchmarks/evidence/fit.py: the accuracy of thirds of the classes."""

import pytest

from benchmarks.evidence import fit, rows


def test_thirds_are_by_training_images(monkeypatch, tmp_path):
    monkeypatch.setattr(rows, "RESULTS", tmp_path)
    deviation = {
        "training_accuracy": [0.5, 1.0, 0.1, 0.9, None, 0.7],
        "test_accuracy": [0.4, 1.0, 0.1, 0.8, 0.0, 0.6],
    }
    diagnosis = {
        "classes": [{"images": images} for images in (10, 900, 70, 800, 3, 80)],
        "stages": [{"deviation": deviation}],
    }
    row = fit.row_of(diagnosis, {"AP": 61.25})
    assert row["training"] == pytest.approx({"rarest third": 50.0, "most frequent third": 95.0})  # None has no RoI
    assert row["test"] == pytest.approx({"rarest third": 20.0, "most frequent third": 90.0})
    assert row["training_of_class"] == [50.0, 100.0, 10.0, 90.0, None, 70.0]
    rows.write_row("fit", "exponential_100_cb_rs_1600_seed0", row)
    rows.write_row("fit", "exponential_100_erm_1600_seed0", row)
    numbers = "61.2 | 50.0 | 20.0 | 95.0 | 90.0 |"
    assert fit.table().splitlines()[2:] == [f"| erm | {numbers}", f"| cb_rs | {numbers}"]
