"""Reading a feature cache: its tables, and what is said of a cache that is missing, unfinished or damaged."""

import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

from lt_det.bakeoff.cache.cache import VERSION, FeatureCache
from lt_det.bakeoff.cache.writer import TableWriter
from lt_det.errors import LtDetError

STAGES = 2
ROIS = {
    "features": np.arange(12, dtype=np.float16).reshape(4, 3),
    "labels": np.array([0, 1, 2, 2]),
    "images": np.array([0, 0, 1, 1]),
    "ious": np.array([1, 0.6, 0, 0.1], dtype=np.float32),
    "weights": np.ones(4, dtype=np.float32),
}


def write_table(folder, columns):
    writer = TableWriter(folder, 1)
    writer.write(0, columns)
    writer.merge()


@pytest.fixture
def folder(tmp_path):
    """Two stages, four RoIs, and proposals of three images, the second of which has none."""
    rows = np.arange(5, dtype=np.float32)[:, None]
    proposals = {"counts": np.array([3, 0, 2]), "network_sizes": np.full((3, 2), 8), "sizes": np.full((3, 2), 16)}
    for stage in range(STAGES):
        proposals |= {f"features_{stage}": rows + stage, f"proposals_{stage}": np.repeat(rows - stage, 4, axis=1)}
    write_table(tmp_path / "rois", {f"{name}_{stage}": rows for name, rows in ROIS.items() for stage in range(STAGES)})
    write_table(tmp_path / "proposals" / "val", proposals)
    write_about(tmp_path)
    return tmp_path


def write_about(folder, **changed):
    images = {"rois": ["a", "b"], "val": [5, 6, 7]}
    about = {"version": VERSION, "finished": True, "key": {}, "num_classes": 2, "num_stages": STAGES, "images": images}
    (folder / "cache.json").write_text(json.dumps({**about, **changed}))


def test_tables(folder):
    cache = FeatureCache.open(folder)
    assert (cache.num_classes, cache.num_stages, cache.datasets) == (2, STAGES, ["val"])
    rois = cache.rois(1)
    for name, expected in ROIS.items():
        np.testing.assert_array_equal(getattr(rois, name), expected)
        assert getattr(rois, name).dtype == expected.dtype
    assert (rois.image_ids, rois.num_classes) == (["a", "b"], 2)
    table = cache.proposals("val")
    assert table.start.tolist() == [0, 3, 3, 5]
    assert table.image_ids == [5, 6, 7]
    assert [features[:, 0].tolist() for features in table.features] == [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]
    assert [boxes[0].tolist() for boxes in table.proposals] == [[0] * 4, [-1] * 4]
    assert isinstance(table.features[0], np.memmap)


def test_tables_without_rows(folder):
    shutil.rmtree(folder / "rois")
    write_table(
        folder / "rois", {f"{name}_{stage}": rows[:0] for name, rows in ROIS.items() for stage in range(STAGES)}
    )
    assert FeatureCache.open(folder).rois().features.shape == (0, 3)


def test_no_cache(tmp_path):
    with pytest.raises(LtDetError, match="no feature cache"):
        FeatureCache.open(tmp_path)


def test_unfinished_cache(folder):
    write_about(folder, finished=False)
    with pytest.raises(LtDetError, match="unfinished; run the same command"):
        FeatureCache.open(folder)


def truncated_column(folder: Path) -> str:
    file = folder / "rois" / "features_0.npy"
    file.write_bytes(file.read_bytes()[:-1])
    return r"features_0\.npy"


def missing_column(folder: Path) -> str:
    (folder / "rois" / "labels_0.npy").unlink()
    return r"labels_0\.npy"


def exchanged_column(folder: Path) -> str:
    shutil.copy(folder / "rois" / "labels_0.npy", folder / "rois" / "ious_0.npy")
    return r"ious_0\.npy"


def corrupt_table(folder: Path) -> str:
    (folder / "rois" / "table.json").write_text("[")
    return r"table\.json"


def corrupt_about(folder: Path) -> str:
    (folder / "cache.json").write_text("{}")
    return r"cache\.json"


def other_version(folder: Path) -> str:
    write_about(folder, version=0)
    return "another version"


def empty_column(folder: Path) -> str:
    (folder / "rois" / "labels_0.npy").write_bytes(b"")
    return r"labels_0\.npy"


def archive_as_column(folder: Path) -> str:
    with (folder / "rois" / "labels_0.npy").open("wb") as file:
        np.savez(file, labels=np.zeros(4))
    return r"labels_0\.npy"


def fewer_images(folder: Path) -> str:
    about = json.loads((folder / "cache.json").read_text())
    about["images"]["rois"].pop()
    (folder / "cache.json").write_text(json.dumps(about))
    return r"images in cache\.json"


def changed_about(key, value):
    def damage(folder: Path) -> str:
        write_about(folder, **{key: value})
        return r"cache\.json"

    return damage


def changed_table(key, value):
    def damage(folder: Path) -> str:
        state = json.loads((folder / "rois" / "table.json").read_text())
        for column in state["columns"].values():
            column[key] = value
        (folder / "rois" / "table.json").write_text(json.dumps(state))
        return r"is corrupt"

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        empty_column,
        archive_as_column,
        fewer_images,
        *(changed_about("images", value) for value in ([], {}, "x", None, {"rois": 3})),
        *(changed_about("num_stages", value) for value in ("1", 0, None, 1.5)),
        changed_about("finished", "yes"),
        changed_about("key", []),
        *(changed_table("shape", value) for value in (3, ["x"], [-1])),
        *(changed_table("dtype", value) for value in ("nothing", 3, None)),
        *(changed_table("rows", value) for value in ("4", -1, 10**30)),
        changed_table("crc32", "x"),
    ],
)
def test_cache_with_values_of_other_types(folder, damage):
    message = damage(folder)
    with pytest.raises(LtDetError, match=message):
        FeatureCache.open(folder).rois()


def test_proposals_of_other_images(folder):
    about = json.loads((folder / "cache.json").read_text())
    name = next(name for name in about["images"] if name != "rois")
    about["images"][name].append(99)
    (folder / "cache.json").write_text(json.dumps(about))
    with pytest.raises(LtDetError, match=rf"proposals/{name} do not fit"):
        FeatureCache.open(folder).proposals(name)


@pytest.mark.parametrize(
    "damage", [truncated_column, missing_column, exchanged_column, corrupt_table, corrupt_about, other_version]
)
def test_damaged_cache(folder, damage):
    message = damage(folder)
    with pytest.raises(LtDetError, match=message):
        FeatureCache.open(folder).rois()


def test_what_is_not_in_the_cache(folder):
    cache = FeatureCache.open(folder)
    with pytest.raises(LtDetError, match="no proposals of 'lvis'"):
        cache.proposals("lvis")
    with pytest.raises(LtDetError, match="no stage 2"):
        cache.rois(2)


@pytest.mark.parametrize("name", ["rois/features_0", "rois/labels_1", "proposals/val/proposals_1"])
def test_flipped_bit(folder, name):
    file = folder / f"{name}.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    cache = FeatureCache.open(folder)
    with pytest.raises(LtDetError, match=rf"corrupt \({file.name}: .*checksum"):
        _ = (cache.rois(0), cache.rois(1), cache.proposals("val"))


def test_column_of_an_earlier_version_has_no_check_sum(folder):
    state = json.loads((folder / "rois" / "table.json").read_text())
    for column in state["columns"].values():
        del column["crc32"]
    (folder / "rois" / "table.json").write_text(json.dumps(state))
    assert FeatureCache.open(folder).rois(0).labels.tolist() == [0, 1, 2, 2]


def test_check_sum_of_several_chunks(tmp_path):
    writer = TableWriter(tmp_path / "rois", 2)
    rows = np.arange(12, dtype=np.float16).reshape(4, 3)
    for chunk in range(2):
        writer.write(chunk, {"features_0": rows[2 * chunk :][:2]})
    writer.merge()
    state = json.loads((tmp_path / "rois" / "table.json").read_text())
    assert state["columns"]["features_0"]["crc32"] == zlib.crc32(rows.tobytes())


def test_link_is_not_written_through(tmp_path):
    (tmp_path / "victim").write_text("kept")
    writer = TableWriter(tmp_path / "rois", 1)
    (tmp_path / "rois" / "labels_0.npy").symlink_to(tmp_path / "victim")
    writer.write(0, {"labels_0": np.arange(3)})
    with pytest.raises(LtDetError, match="rois cannot be written"):
        writer.merge()
    assert (tmp_path / "victim").read_text() == "kept"
