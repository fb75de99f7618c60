"""Records from the cache: what they are, when they are written again, and what happens when that fails."""

import json
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import stat
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.data.datasets import register_coco_instances, register_lvis_instances
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.structures import BoxMode

from lt_det.data import load_records, register_dataset, training_stats
from lt_det.data.cache import record_cache, record_file
from lt_det.data.cache.record_cache import cached_records
from lt_det.data.cache.records import Records
from lt_det.data.sampling.repeat_factors import repeat_factor_sampler
from lt_det.data.sampling.samplers import annotated_classes
from lt_det.errors import LtDetError
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats

TRIANGLE = [[1, 2, 11.25, 2, 11, 22]]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder for sets of any size."""
    monkeypatch.setenv("LT_DET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(record_cache, "WORTH_CACHING", 0)
    return tmp_path / "cache"


@pytest.fixture
def names():
    """Registered names to forget again."""
    names = []
    yield names
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def odd(tmp_path):
    """Ids that are not contiguous; a crowd region alone and with objects, RLE, keypoints, an empty image."""
    cup = {"category_id": 70, "bbox": [1, 2, 10.25, 20], "segmentation": TRIANGLE, "iscrowd": 0}
    fork, lower = (
        {"category_id": 3, "bbox": [5, 5, 9.1, 9], "iscrowd": 1, "segmentation": {"size": [h, 60], "counts": counts}}
        for h, counts in ((60, [100, 50, 3450]), (40, [100, 50, 2250]))
    )
    seen = {**cup, "keypoints": [5, 6, 2, 7, 8, 1, 0, 0, 0]}
    hidden = {**cup, "keypoints": [5, 6, 0, 7, 8, 1, 0, 0, 0]}
    of_image = [[cup, fork], [lower], [], [hidden, cup], [seen, hidden]]
    heights = [60, 40, 40, 40, 40]
    placed = [(image, a) for image, annotations in enumerate(of_image) for a in annotations]
    data = {
        "images": [
            {"id": 10 - i, "width": 60, "height": height, "file_name": f"{i}.png"} for i, height in enumerate(heights)
        ],
        "categories": [{"id": 70, "name": "cup"}, {"id": 3, "name": "fork"}],
        "annotations": [{**a, "id": n, "image_id": 10 - image} for n, (image, a) in enumerate(placed)],
    }
    for image in data["images"]:
        (tmp_path / image["file_name"]).touch()
    (tmp_path / "odd.json").write_text(json.dumps(data))
    return tmp_path / "odd.json"


def by_detectron2(name, json_file):
    """As a user of Detectron2 registers it."""
    register = register_lvis_instances if "lvis" in name else register_coco_instances
    register(name, {}, str(json_file), "images/")


@pytest.fixture
def registered(odd, names):
    """The odd set, registered with lt_det."""
    names.append("odd")
    register_dataset("odd", odd, odd.parent)
    return "odd"


def assert_same(records, expected):
    assert records == expected

    def written(records):
        return json.dumps(records, sort_keys=True, default=repr)  # 1 is not 1.0, nor text bytes

    assert written(records) == written(expected)
    modes = {type(a["bbox_mode"]) for record in records for a in record["annotations"]}
    assert modes == {BoxMode}


@pytest.mark.parametrize(
    ("by", "source"),
    [
        *(("lt_det", source) for source in ("odd", "taco", "litter", "lvis_sample", "small_lvis", "mini")),
        *(
            ("detectron2", source) for source in ("odd", "lvis_sample", "small_lvis", "mini")
        ),  # it refuses TACO's ids used twice
    ],
)
def test_records_are_those_of_the_loader(cache, names, tmp_path, request, source, by):
    found = request.getfixturevalue(source)
    json_file = found.train_json if source == "mini" else found
    name = f"{'lvis_v1' if 'lvis_' in f'{source}_' else 'coco'}_{source}_{by}"
    names.append(name)
    if by == "detectron2":
        by_detectron2(name, json_file)
        expected = DatasetCatalog.get(name)
    else:
        register_dataset(name, json_file, "images/")
        data = json.loads(json_file.read_text())
        expected = record_cache.registration.records_of(data, str(json_file), "images/", name)
    metadata = MetadataCatalog.get(name).as_dict()
    MetadataCatalog.remove(name)
    MetadataCatalog.get(name).set(json_file=str(json_file), image_root="images/")
    for _ in ("made", "read"):
        cached = cached_records(name)
        assert_same([cached[i] for i in range(len(cached))], expected)
        for key in ("thing_classes", "thing_dataset_id_to_contiguous_id"):
            assert MetadataCatalog.get(name).get(key) == metadata.get(key)
        MetadataCatalog.remove(name)
        MetadataCatalog.get(name).set(json_file=str(json_file), image_root="images/")
    stats = ClassStats.from_json(json_file)
    assert (cached.stats.names, cached.stats.num_images) == (stats.names, stats.num_images)
    assert cached.stats.image_counts.tolist() == stats.image_counts.tolist()
    assert cached.stats.instance_counts.tolist() == stats.instance_counts.tolist()
    assert len(list(cache.glob("*.records"))) == 1


@pytest.mark.parametrize("filter_empty", [True, False])
@pytest.mark.parametrize("min_keypoints", [0, 1, 2])
def test_images_chosen_and_their_classes_are_detectron2s(cache, names, odd, filter_empty, min_keypoints):
    names += ["coco_one", "coco_two"]
    for name in names:
        by_detectron2(name, odd)
    ours = load_records(names, filter_empty, min_keypoints)
    theirs = get_detection_dataset_dicts(names, filter_empty, min_keypoints)
    assert isinstance(ours, Records)
    assert_same(list(ours), theirs)
    for found, expected in zip(annotated_classes(ours), annotated_classes(theirs), strict=True):
        assert found.tolist() == expected.tolist()
    assert ours.wide().tolist() == [image["width"] > image["height"] for image in theirs]
    assert min_keypoints or set(ours.wide().tolist()) == {True, False}
    stats = training_stats(names)
    assert stats.instance_counts.tolist() == [0, 10]  # a crowd region does not count
    factors = repeat_factor_sampler(ours, 0.9, FrequencyBuckets.from_edges(stats), seed=0)
    expected = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(theirs, 0.9)
    assert (factors._int_part + factors._frac_part).tolist() == expected.tolist()


def test_spawned_worker_maps_the_file(cache, registered):
    records = load_records(registered)
    content = pickle.dumps(records)
    assert len(content) < 3000
    assert list(pickle.loads(content)) == list(records)


def test_written_again_when_the_json_changes(cache, registered, odd):
    assert len(load_records(registered)) == 3
    text = odd.read_text()
    odd.write_text(text.replace('"id": 10,', '"id": 11,').replace('"image_id": 10', '"image_id": 11'))
    os.utime(odd, ns=(0, odd.stat().st_mtime_ns + 1))
    assert odd.stat().st_size == len(text)
    assert {record["image_id"] for record in load_records(registered)} == {6, 7, 11}


def test_another_image_folder_is_another_file(cache, registered, odd, names):
    load_records(registered)
    MetadataCatalog.get(registered).image_root = str(odd.parent)
    names.append("elsewhere")
    register_dataset("elsewhere", odd, odd.parent / "elsewhere")
    assert cached_records("elsewhere")[0]["file_name"].startswith(str(odd.parent / "elsewhere"))
    with pytest.raises(LtDetError, match=r"the image folder .*elsewhere does not exist"):
        load_records("elsewhere")


def test_missing_image_is_named_though_the_records_are_there(cache, registered, odd):
    load_records(registered)
    (odd.parent / "3.png").unlink()
    with pytest.raises(LtDetError, match=r"odd\.json: image 7: .*3\.png does not exist"):
        load_records(registered)


def test_mistakes_are_reported_as_without_a_cache(cache, registered, odd):
    odd.write_text(odd.read_text()[:-20])
    with pytest.raises(LtDetError, match="is not valid json"):
        load_records(registered)
    assert not list(cache.glob("*.records"))


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def foreign(content):
    about = pickle.dumps({"stats": Bomb()})
    return about + len(about).to_bytes(8, "little") + zlib.crc32(about).to_bytes(4, "little") + b"<lt_det records>"


@pytest.mark.parametrize("harm", [lambda c: c[:-9], lambda c: c[100:], lambda c: b"", lambda c: b"\0" * 900, foreign])
def test_truncated_or_foreign_file_is_written_again(cache, registered, caplog, tmp_path, monkeypatch, harm):
    monkeypatch.chdir(tmp_path)
    expected = list(load_records(registered))
    (file,) = cache.glob("*.records")
    file.write_bytes(harm(file.read_bytes()))
    assert list(load_records(registered)) == expected
    assert "is corrupt" in caplog.text
    caplog.clear()
    assert list(load_records(registered)) == expected
    assert "is corrupt" not in caplog.text
    assert not (tmp_path / "exploded").exists()


def flipped(file, byte):
    content = bytearray(file.read_bytes())
    content[byte] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.9, 1.0])
def test_every_flipped_bit_is_noticed_when_the_file_is_opened(cache, registered, caplog, place):
    expected = list(load_records(registered))
    (file,) = cache.glob("*.records")
    flipped(file, round(place * (file.stat().st_size - 1)))
    assert list(load_records(registered)) == expected
    assert sum("is corrupt" in message for message in caplog.messages) == 1


def test_bit_flipped_after_the_file_was_opened(cache, registered):
    records = load_records(registered)
    (file,) = cache.glob("*.records")
    with file.open("r+b") as opened:  # the same file, which is mapped
        opened.seek(40)
        byte = opened.read(1)[0]
        opened.seek(40)
        opened.write(bytes([byte ^ 1]))
    with pytest.raises(LtDetError, match=r"\.records .*corrupt.*--resume"):
        list(records)


@pytest.mark.parametrize("suffix", [".lock", ".records"])
def test_links_in_the_folder_are_not_written_through(cache, registered, caplog, tmp_path, suffix):
    load_records(registered)
    (file,) = cache.glob("*.records")
    file.unlink()
    victim = tmp_path / "victim"
    victim.write_text("kept")
    file.with_suffix(suffix).unlink(missing_ok=True)
    file.with_suffix(suffix).symlink_to(victim)
    assert len(load_records(registered)) == 3
    assert victim.read_text() == "kept"
    assert (suffix == ".lock") == ("is a link" in caplog.text)


def test_pipe_in_the_folder_does_not_hang(cache, registered):
    load_records(registered)
    (file,) = cache.glob("*.records")
    file.unlink()
    os.mkfifo(file)
    assert isinstance(load_records(registered), Records)


def test_modes_of_the_folder(cache, registered, monkeypatch, tmp_path):
    before = os.umask(0o022)
    try:
        cache.mkdir(mode=0o775)
        cache.chmod(0o775)
        load_records(registered)
        assert stat.S_IMODE(cache.stat().st_mode) == 0o775
        monkeypatch.delenv("LT_DET_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
        load_records(registered)
        assert stat.S_IMODE((tmp_path / "home" / "lt_det").stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_temporary_folder_of_others_is_not_used(registered, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(record_cache, "WORTH_CACHING", 0)
    monkeypatch.delenv("LT_DET_CACHE", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = record_cache.cache_folder()
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    read_plainly(registered, caplog, "others can write to it")
    folder.chmod(0o700)
    assert isinstance(load_records(registered), Records)


def read_plainly(name, caplog, why):
    records = load_records(name)
    assert isinstance(records, list)
    assert len(records) == 3
    assert f"annotations of '{name}'" in caplog.text
    assert why in caplog.text


def test_folder_that_cannot_be_used(cache, registered, caplog):
    cache.write_text("a file")
    read_plainly(registered, caplog, "Not a directory")


def test_no_room(cache, registered, caplog, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    read_plainly(registered, caplog, "No space left on device")


def test_disk_full_while_writing(cache, registered, caplog):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        read_plainly(registered, caplog, "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.suffix for file in cache.iterdir()] == [".lock"]


def test_several_processes_read_once(cache, registered, tmp_path, monkeypatch):
    read = record_cache.load_annotations

    def noted(json_file):
        with (tmp_path / "read").open("a") as file:
            file.write("once\n")
        time.sleep(0.3)
        return read(json_file)

    noted.__module__ = read.__module__
    monkeypatch.setattr(record_cache, "load_annotations", noted)
    context = multiprocessing.get_context("fork")
    together, lengths = context.Barrier(3), context.SimpleQueue()

    def work():
        together.wait()
        lengths.put(len(load_records(registered)))

    processes = [context.Process(target=work) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [lengths.get() for process in processes if process.exitcode == 0] == [3, 3, 3]
    assert (tmp_path / "read").read_text() == "once\n"


def test_killed_while_writing(cache, registered, monkeypatch):
    def killed():
        left = iter(range(3))
        write = pickle.dumps

        def until_killed(record, protocol):
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(record, protocol)

        record_file.pickle.dumps = until_killed
        cached_records(registered)

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(list(cache.glob(".*.records"))) == 1
    assert len(load_records(registered)) == 3
    assert not list(cache.glob(".*.records"))


def test_what_nobody_used_for_long_goes(cache, registered):
    cache.mkdir()
    old, used, lock = cache / "old.records", cache / "used.records", cache / "old.lock"
    unfinished = [cache / ".killed.records.part", cache / ".0123abcd.other.records"]
    for file, days in ((old, 31), (used, 29), (lock, 31), *((file, 31) for file in unfinished)):
        file.touch()
        os.utime(file, (0, time.time() - days * 86400))
    (cache / "removed_meanwhile.records").symlink_to(cache / "nothing")
    assert isinstance(load_records(registered), Records)
    assert not old.exists()
    assert not any(file.exists() for file in (lock, *unfinished))
    assert used.exists()


def test_folder_by_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("LT_DET_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert record_cache.cache_folder() == tmp_path / "lt_det"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert record_cache.cache_folder() == Path("/home/someone/.cache/lt_det")
    with monkeypatch.context() as homeless:  # a container with any user id
        homeless.setattr(os.path, "expanduser", lambda path: path)
        assert record_cache.cache_folder() == Path(tempfile.gettempdir()) / f"lt_det-{os.getuid()}"
    monkeypatch.setenv("LT_DET_CACHE", "~/elsewhere")
    assert record_cache.cache_folder() == Path("/home/someone/elsewhere")


def test_small_sets_and_functions_are_read_as_ever(cache, registered, monkeypatch):
    DatasetCatalog.register("by_function", lambda: [{"annotations": [], "mask": np.zeros(2)}])
    try:
        assert cached_records("by_function") is None
    finally:
        DatasetCatalog.remove("by_function")
    monkeypatch.undo()
    assert isinstance(load_records(registered), list)
    assert not cache.exists()
