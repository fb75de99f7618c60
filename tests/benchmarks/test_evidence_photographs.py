"""benchmarks/evidence/photographs.py and its tables, from results made here."""

import json

import pytest

from benchmarks.evidence import photographs, rows
from benchmarks.evidence.tables import photographs as tables

BUCKETS = ("AP", "APr", "APc", "APf")


@pytest.fixture(autouse=True)
def _results(monkeypatch, tmp_path):
    monkeypatch.setattr(rows, "RESULTS", tmp_path / "results")


def candidate(kind, val, test, gain, folds=None):
    def metrics(value):
        return dict.fromkeys((*BUCKETS, "bucket mean"), value)

    delta = {"value": gain, "interval": [gain - 1, gain + 1]}
    both = {"val": metrics(val), "test": metrics(test)}
    return {"kind": kind, "folds": folds, **both, "test_minus_retrained": dict.fromkeys(BUCKETS, delta)}


def bakeoff(seed, **candidates):
    rows.write_row("photographs", f"bakeoff_seed{seed}", {"candidates": candidates})


def test_candidates_are_ordered_by_their_mean_on_val_over_the_detectors():
    bakeoff(0, retrained=candidate("retrained", 5, 5, 0, folds=60), ib=candidate("trained", 6, 7, 2, folds=61))
    bakeoff(1, retrained=candidate("retrained", 6, 6, 0, folds=62), ib=candidate("trained", 4, 5, -1, folds=61))
    lines = tables.candidates().splitlines()
    assert lines[2] == "| retrained | 5.5 | 5.5 | 5.5 | 5.5 | 5.5 |  |  |  |  |"
    gains = "+2.0 [+1.0, +3.0] | -1.0 [-2.0, 0.0]"
    assert lines[3] == f"| ib | 5.0 | 6.0 | 6.0 | 6.0 | 6.0 | {gains} | {gains} |"
    assert "-1.00 between val and test, and -1.00 between the two detectors on test, over all 2 rows" in lines[-1]


def training(name, ap, draws, images="a"):
    metrics = dict.fromkeys(BUCKETS, ap)
    rows.write_row("photographs", name, {"curve": {"1000": metrics}, "test": metrics})
    rows.write_row("draws/photographs", name, {"seed": 0, "images": images, **dict.fromkeys(BUCKETS, draws)})


def test_a_training_is_compared_with_softmax_of_its_seed():
    training("softmax_seed0", 5.0, [5.0, 5.0])
    training("softmax_seed1", 4.0, [4.0, 5.0, 6.0, 5.0])
    training("ib_seed1", 6.0, [5.5, 7.5, 7.5, 7.5])  # 1.5, 2.5, 1.5 and 2.5 more: on average the measured 2
    lines = tables.end_to_end().splitlines()
    assert lines[2] == "| softmax, seed 0 | 5.0 | 5.0 | 5.0 | 5.0 | 5.0 |  |  |"
    assert lines[3] == "| softmax, seed 1 | 4.0 | 4.0 | 4.0 | 4.0 | 4.0 |  |  |"
    assert lines[4].endswith("| +2.0 [+1.5, +2.5] | +2.0 [+1.5, +2.5] |")
    training("ib_seed1", 6.0, [5.5, 7.5, 7.5, 7.5], images="b")
    assert tables.end_to_end().splitlines()[4].endswith("| +2.0 none | +2.0 none |")


def test_a_training_without_a_test_is_in_the_curve_only():
    curve = {"999": dict.fromkeys(BUCKETS, 1.0)}
    rows.write_row("photographs", "softmax_seed0", {"curve": curve})
    assert "seed 0" not in tables.end_to_end()
    assert "| softmax, seed 0: APr | 1.0 |" in tables.curve()


def test_what_is_kept_of_a_training(tmp_path, monkeypatch):
    run = tmp_path / "run"
    (run / "inference" / "trashcan_test").mkdir(parents=True)
    config = {"SEED": 3, "MODEL": {"LONG_TAIL": {"LOSS": {"NAME": "ib"}}}}
    (run / "config.yaml").write_text(json.dumps({**config, "DATALOADER": {"SAMPLER_TRAIN": "TrainingSampler"}}))
    evaluated = {"iteration": 999, **{f"bbox/{name}": 2.5 for name in BUCKETS}}
    (run / "metrics.json").write_text(f'{{"iteration": 19}}\n{json.dumps(evaluated)}\n')
    boxes = {"metrics": {"AP": 3.0, "ARs": 1.0}, "resamples": {"seed": 0, "images": "a", "values": {"AP": [3.004]}}}
    (run / "inference" / "trashcan_test" / "evaluation.json").write_text(json.dumps({"tasks": {"bbox": boxes}}))
    monkeypatch.setattr("sys.argv", ["photographs", "training", str(run)])
    photographs.main()
    row = rows.read_row("photographs", "ib_seed3")
    assert (row["curve"], row["test"]) == ({"1000": dict.fromkeys(BUCKETS, 2.5)}, {"AP": 3.0})
    assert rows.read_row("draws/photographs", "ib_seed3") == {"seed": 0, "images": "a", "AP": [3.0]}
    # Another sampler is another training, which must not take the place of the first.
    (run / "config.yaml").write_text(json.dumps({**config, "DATALOADER": {"SAMPLER_TRAIN": "Other"}}))
    photographs.main()
    assert set(rows.read_rows("photographs")) == {"ib_seed3", "ib-Other_seed3"}
