"""Writing a table in chunks: any order, any number of processes, and a kill at any moment."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from lt_det.bakeoff.cache import writer as writer_module
from lt_det.bakeoff.cache.writer import TableWriter, read_state
from lt_det.errors import LtDetError

CHUNKS = 4


def chunk(number):
    generator = np.random.default_rng(number)
    rows = (3, 0, 5, 2)[number]
    return {
        "features_0": generator.normal(size=(rows, 7)).astype(np.float16),
        "labels_0": generator.integers(0, 9, rows),
    }


def whole():
    chunks = [chunk(number) for number in range(CHUNKS)]
    return {name: np.concatenate([one[name] for one in chunks]) for name in chunks[0]}


def write(folder, numbers):
    writer = TableWriter(folder, CHUNKS)
    for number in numbers:
        writer.write(number, chunk(number))
        writer.merge()
    return writer


def assert_whole(folder):
    for name, expected in whole().items():
        found = np.load(folder / f"{name}.npy", mmap_mode="r")
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert sorted(path.name for path in folder.iterdir()) == ["features_0.npy", "labels_0.npy", "table.json"]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_columns_are_ordinary_npy_files_in_the_order_of_the_chunks(tmp_path, order):
    writer = write(tmp_path, order)
    assert writer.finished
    assert writer.missing() == []
    assert_whole(tmp_path)


def test_chunks_wait_for_those_before_them(tmp_path):
    writer = write(tmp_path, (2, 0))
    assert read_state(tmp_path)["merged"] == 1
    assert writer.missing() == [1, 3]
    assert not writer.finished


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def test_kill_at_any_system_call(tmp_path, monkeypatch):
    """Every call that changes the disk fails once, after and before it took effect; the next process goes on."""
    calls = {"before": 0, "after": 0}
    for when in calls:
        for deadly in range(100):
            folder = tmp_path / f"{when}{deadly}"
            with monkeypatch.context() as patched:
                count = iter(range(1000))

                def dying(call, deadly=deadly, count=count, when=when):
                    def run(*args, **options):
                        die = next(count) == deadly
                        if die and when == "before":
                            raise Killed
                        result = call(*args, **options)
                        if die:
                            raise Killed
                        return result

                    return run

                patched.setattr(os, "fsync", dying(lambda file: None))  # as long as the machine stays up
                patched.setattr(Path, "replace", dying(Path.replace))
                patched.setattr(Path, "unlink", dying(Path.unlink))
                try:
                    write(folder, range(CHUNKS))
                except Killed:
                    calls[when] += 1
                else:
                    break
            writer = TableWriter(folder, CHUNKS)
            writer.clean_up()
            write(folder, writer.missing())
            assert_whole(folder)
    assert min(calls.values()) > 20


def test_full_disk_keeps_what_is_there(tmp_path, small_disk):
    rows = np.zeros((40_000, 1))
    writer = TableWriter(small_disk, 3)
    writer.write(0, {"one": rows[:1000]})
    writer.merge()
    with pytest.raises(LtDetError, match=r"small_disk cannot be written \(No space left on device\)"):
        writer.write(1, {"one": rows})
    assert writer.missing() == [1, 2]
    assert np.load(small_disk / "one.npy").shape == (1000, 1)
    filler = small_disk / "filler"
    writer.write(1, {"one": rows[:5000]})
    filler.write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize))
    with pytest.raises(LtDetError, match="No space left"):
        writer.merge()
    filler.unlink()
    writer.merge()
    writer.write(2, {"one": rows[:10]})
    writer.merge()
    assert np.load(small_disk / "one.npy").shape == (6010, 1)


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    writer = TableWriter(tmp_path, CHUNKS)
    monkeypatch.setattr(writer_module, "atomic_file", refuse)
    with pytest.raises(LtDetError, match="Permission denied"):
        writer.write(0, chunk(0))


def test_table_of_another_number_of_chunks(tmp_path):
    write(tmp_path, range(CHUNKS))
    with pytest.raises(LtDetError, match="4 chunks instead of 5"):
        TableWriter(tmp_path, 5)


def test_corrupt_chunk_and_corrupt_state(tmp_path):
    writer = TableWriter(tmp_path, CHUNKS)
    writer.write(0, chunk(0))
    file = tmp_path / "chunk_000000.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(LtDetError, match=r"chunk_000000\.npz.* corrupt"):
        writer.merge()
    (tmp_path / "table.json").write_text("{}")
    with pytest.raises(LtDetError, match=r"corrupt \(table\.json"):
        TableWriter(tmp_path, CHUNKS)
