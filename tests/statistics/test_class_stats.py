import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_det.errors import LtDetError
from lt_det.statistics.buckets import BucketOptions, FrequencyBuckets, resolve_buckets
from lt_det.statistics.class_stats import ClassStats
from tests.helpers import REPOSITORY

DATA = {
    "categories": [{"id": 30, "name": "cup"}, {"id": 2, "name": "fork"}, {"id": 7, "name": "unicorn"}],
    "images": [{"id": n, "width": 9, "height": 9} for n in range(5)],
    "annotations": [
        {"id": 1, "image_id": 0, "category_id": 30, "bbox": [0, 0, 1, 1]},
        {"id": 2, "image_id": 0, "category_id": 30, "bbox": [0, 0, 1, 1]},
        {"id": 3, "image_id": 1, "category_id": 30, "bbox": [0, 0, 1, 1]},
        {"id": 4, "image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1]},
        {"id": 5, "image_id": 2, "category_id": 2, "bbox": [0, 0, 1, 1], "iscrowd": 1},
    ],
}


def stats_of(counts, num_images=1000):
    names = tuple(f"c{k}" for k in range(len(counts)))
    return ClassStats(names, np.asarray(counts), np.asarray(counts) * 2, num_images, "test")


def test_counts_by_hand():
    stats = ClassStats.from_annotations(DATA, "here")
    assert stats.names == ("fork", "unicorn", "cup")  # by category id
    assert stats.image_counts.tolist() == [1, 0, 2]
    assert stats.instance_counts.tolist() == [1, 0, 3]  # the crowd region does not count
    assert stats.num_images == 2


def test_save_and_read_back(tmp_path):
    stats = ClassStats.from_annotations(DATA, "here")
    stats.save(tmp_path / "stats.json")
    again = ClassStats.from_json(tmp_path / "stats.json")
    assert again.names == stats.names
    assert again.source == "here"
    assert again.num_images == 2
    assert again.image_counts.tolist() == [1, 0, 2]
    assert again.instance_counts.tolist() == [1, 0, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["stats.json"]


def test_damaged_saved_counts(tmp_path):
    (tmp_path / "a.json").write_text('{"class_stats": 1}')
    with pytest.raises(LtDetError, match=r"saved counts .*a\.json"):
        ClassStats.from_json(tmp_path / "a.json")


def test_from_json(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps(DATA))
    assert ClassStats.from_json(tmp_path / "train.json").image_counts.tolist() == [1, 0, 2]


def test_unknown_category():
    data = {**DATA, "annotations": [{"id": 9, "image_id": 0, "category_id": 5}]}
    with pytest.raises(LtDetError, match="annotation 9 has category 5"):
        ClassStats.from_annotations(data, "here")


def test_merge():
    one, two = stats_of([1, 2]), stats_of([10, 0], num_images=5)
    merged = ClassStats.merge([one, two])
    assert merged.image_counts.tolist() == [11, 2]
    assert merged.instance_counts.tolist() == [22, 4]
    assert merged.num_images == 1005
    with pytest.raises(LtDetError, match=r"test \(2 classes\).* test \(3 classes\)"):
        ClassStats.merge([one, stats_of([1, 2, 3])])


def test_classes_without_samples_count_as_one():
    with pytest.warns(UserWarning, match=r"1 of 3 classes .*unicorn"):
        counts = ClassStats.from_annotations(DATA, "here").training_counts("images")
    assert counts.tolist() == [1, 1, 2]


def test_number_of_classes():
    stats = ClassStats.from_annotations(DATA, "train.json")
    stats.check_num_classes(3)
    with pytest.raises(LtDetError, match=r"NUM_CLASSES is 80, but train\.json has 3 classes"):
        stats.check_num_classes(80)


def test_missing_instance_counts():
    stats = ClassStats(("a",), np.array([3]), None, 3, "metadata")
    with pytest.raises(LtDetError, match=r"metadata .*instance"):
        stats.counts("instances")


def test_lvis_buckets_have_inclusive_upper_edges():
    buckets = FrequencyBuckets.from_edges(stats_of([1, 10, 11, 100, 101, 5000]))
    assert buckets.names == ("rare", "common", "frequent")
    assert buckets.assignment.tolist() == [0, 0, 1, 1, 2, 2]
    assert buckets.sizes() == [2, 2, 2]


def test_other_edges_and_instances():
    buckets = FrequencyBuckets.from_edges(stats_of([1, 10, 300]), edges=[19, 399, 7999], by="instances")
    assert buckets.names == ("0-19", "20-399", "400-7999", ">7999")
    assert buckets.assignment.tolist() == [0, 1, 2]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.data())
def test_equal_groups(counts, data):
    groups = data.draw(st.integers(1, len(counts)))
    buckets = FrequencyBuckets.equal_groups(stats_of(counts), groups)
    sizes = buckets.sizes()
    assert sum(sizes) == len(counts)
    assert max(sizes) - min(sizes) <= 1
    highest = [max(counts[k] for k in buckets.members(b)) for b in range(groups)]
    lowest = [min(counts[k] for k in buckets.members(b)) for b in range(groups)]
    assert all(high <= low for high, low in zip(highest, lowest[1:], strict=False))


@pytest.mark.parametrize("by", ["images", "instances"])
def test_classes_without_samples_are_in_no_group(by):
    buckets = FrequencyBuckets.equal_groups(stats_of([0, 7, 3, 0, 5]), 2, by)
    assert buckets.names == ("unseen", "group0", "group1")
    assert buckets.assignment.tolist() == [0, 2, 1, 0, 1]
    assert (
        buckets.assignment.tolist() == FrequencyBuckets.from_edges(stats_of([0, 7, 3, 0, 5]), [6]).assignment.tolist()
    )
    with pytest.raises(LtDetError, match=r"3 classes .* 4 groups.* 1 to 3"):
        FrequencyBuckets.equal_groups(stats_of([0, 7, 3, 0, 5]), 4, by)


def test_buckets_that_a_user_asks_for(tmp_path):
    stats = stats_of([1, 60, 300])

    def buckets(**options):
        return resolve_buckets(BucketOptions(**options), stats)

    assert buckets().names == ("rare", "common", "frequent")
    assert buckets(edges=[50], names=["few", "many"]).assignment.tolist() == [0, 1, 1]
    assert buckets(by="instances").assignment.tolist() == [0, 2, 2]  # twice as many
    assert buckets(groups=3).names == ("group0", "group1", "group2")
    (tmp_path / "map.json").write_text('{"c0": "novel"}')
    assert buckets(bucket_map=tmp_path / "map.json").assignment.tolist() == [0, -1, -1]
    assert buckets(bucket_map={"c0": "novel"}).assignment.tolist() == [0, -1, -1]
    (tmp_path / "map.json").write_text('{"c0": ')
    with pytest.raises(LtDetError, match=r"bucket map .*map\.json"):
        buckets(bucket_map=tmp_path / "map.json")


def test_default_buckets():
    """An LVIS file's own where every category has one, else LVIS's edges over the training counts."""
    stats = stats_of([1, 60, 300])
    lvis = [{"name": f"c{k}", "frequency": letter} for k, letter in enumerate("fcr")]
    assert resolve_buckets(None, stats, lvis).assignment.tolist() == [2, 1, 0]
    assert resolve_buckets(None, None, lvis).assignment.tolist() == [2, 1, 0]
    lvis[1]["frequency"] = None
    assert resolve_buckets(None, stats, lvis).assignment.tolist() == [0, 1, 2]
    assert resolve_buckets(None, None, lvis).assignment.tolist() == [2, -1, 0]
    assert resolve_buckets(None, stats).assignment.tolist() == [0, 1, 2]


def test_buckets_without_training_counts():
    categories = [{"name": "a"}, {"name": "b"}]
    named = resolve_buckets(BucketOptions(bucket_map={"b": "novel", "a": "base"}), None, categories)
    assert (named.names, named.assignment.tolist()) == (("novel", "base"), [1, 0])
    for options in (BucketOptions(groups=2), BucketOptions(edges=[5])):
        with pytest.raises(LtDetError, match="training set"):
            resolve_buckets(options, None, categories)


def test_explicit_map():
    buckets = FrequencyBuckets.from_map(stats_of([1, 2, 3]), {"c2": "base", "c0": "novel"})
    assert buckets.names == ("base", "novel")
    assert buckets.assignment.tolist() == [1, -1, 0]
    with pytest.raises(LtDetError, match="'dog'"):
        FrequencyBuckets.from_map(stats_of([1]), {"dog": "base"})


def test_bad_buckets():
    with pytest.raises(LtDetError, match=r"edges .*\[100, 10\]"):
        FrequencyBuckets.from_edges(stats_of([1]), edges=[100, 10])
    with pytest.raises(LtDetError, match=r"2 bucket edges .*3 buckets.* 1 name"):
        FrequencyBuckets.from_edges(stats_of([1]), names=["few"])
    with pytest.raises(LtDetError, match="names must differ"):
        FrequencyBuckets.from_edges(stats_of([1]), names=["x", "x", "y"])
    with pytest.raises(LtDetError, match="bucket map"):
        FrequencyBuckets.from_map(stats_of([1]), ["c0"])
    with pytest.raises(LtDetError, match=r"1 classes .* 2 groups"):
        FrequencyBuckets.equal_groups(stats_of([1]), 2)


def test_real_files(taco, lvis_sample):
    litter = ClassStats.from_json(taco)
    assert (litter.num_classes, litter.num_images, litter.instance_counts.sum()) == (60, 1500, 4784)
    assert [litter.names[k] for k in np.flatnonzero(litter.image_counts == 0)] == ["Plastified paper bag"]
    sample = ClassStats.from_json(lvis_sample)
    assert (sample.num_classes, sample.instance_counts.sum()) == (1230, 977)
    categories = sorted(json.loads(lvis_sample.read_text())["categories"], key=lambda c: c["id"])
    assert sample.image_counts.tolist() == [c["image_count"] for c in categories]
    assert sample.instance_counts.tolist() == [c["instance_count"] for c in categories]


def test_import_needs_numpy_only():
    """Losses import the statistics; reading files, which needs msgspec, is imported when a file is read."""
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"msgspec", "torch", "pycocotools", "fvcore", "detectron2", "matplotlib", "PIL"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
import types, pathlib
package = types.ModuleType("lt_det")  # without what lt_det/__init__.py imports
package.__path__ = [sys.argv[1]]
sys.modules["lt_det"] = package
import numpy as np
from lt_det.statistics import ClassStats, FrequencyBuckets
stats = ClassStats(("a", "b"), np.array([5, 500]), None, 500, "memory")
print(FrequencyBuckets.from_edges(stats).sizes())
"""
    folder = str(REPOSITORY / "lt_det")
    result = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, cwd="/")
    assert result.stdout == "[1, 0, 1]\n", result.stderr
