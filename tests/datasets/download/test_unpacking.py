"""Unpacking archives, also hostile and damaged ones."""

import io
import re
import stat
import zipfile

import pytest

from lt_det.datasets.download.catalog import Archive
from lt_det.datasets.download.presence import is_unpacked
from lt_det.datasets.download.unpacking import unpack
from lt_det.errors import LtDetError

IMAGES = Archive("http://data.invalid/val2017.zip", "coco/val2017", images=3)
LISTS = Archive("http://data.invalid/lists.zip", "coco/annotations", files=("a.json", "b.json"))
NAMES = [f"{number:012}.jpg" for number in range(3)]


def written(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zipped(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as content:
        for name, data in members.items():
            content.writestr(name, data)
    return path


@pytest.fixture
def images(tmp_path):
    return zipped(tmp_path / "val2017.zip", {"val2017/": b""} | {f"val2017/{name}": b"jpeg" * 99 for name in NAMES})


def test_images(images, tmp_path, report):
    root = tmp_path / "datasets"
    assert not is_unpacked(IMAGES, root)
    assert unpack(IMAGES, images, root, report) == 3
    assert written(root) == {f"coco/val2017/{name}": b"jpeg" * 99 for name in NAMES}
    assert is_unpacked(IMAGES, root)
    assert report.started == [("val2017.zip: unpacking", 3 * 396, 0)]
    assert report.received == 3 * 396


def test_only_files_that_belong_there_are_written_and_nothing_outside(tmp_path, report):
    root = tmp_path / "deep" / "datasets"
    hostile = [
        "../../evil.json",
        "/tmp/evil.json",
        "annotations/../../../evil.json",
        "annotations\\..\\evil.json",
        "captions.json",
        "__MACOSX/annotations/._a.json",
    ]
    members = dict.fromkeys(hostile, b"{evil}") | {"__MACOSX/a.json": b"", "annotations/a.json": b"{1}"}
    file = zipped(tmp_path / "lists.zip", members | {"../../../b.json": b"{2}"})
    unpack(LISTS, file, root, report)
    assert written(tmp_path) == {
        "lists.zip": file.read_bytes(),
        "deep/datasets/coco/annotations/a.json": b"{1}",
        "deep/datasets/coco/annotations/b.json": b"{2}",
    }


def test_links_in_an_archive_are_not_made(tmp_path, report):
    link = zipfile.ZipInfo("a.json")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    file = tmp_path / "lists.zip"
    with zipfile.ZipFile(file, "w") as content:
        content.writestr(link, "/etc/passwd")
        content.writestr("b.json", b"{2}")
    unpack(LISTS, file, tmp_path, report)
    assert not (tmp_path / "coco/annotations/a.json").is_symlink()


def test_folder_that_is_a_link_is_followed(images, tmp_path, report):
    """Images are often kept on another disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco/val2017").symlink_to(tmp_path / "disk")
    unpack(IMAGES, images, tmp_path, report)
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == NAMES


def test_interrupted_unpacking_continues(images, tmp_path, report):
    report.interrupt_at = 2 * 396
    with pytest.raises(KeyboardInterrupt):
        unpack(IMAGES, images, tmp_path, report)
    folder = tmp_path / "coco/val2017"
    assert [path.name for path in folder.iterdir()] == NAMES[:1]
    assert not is_unpacked(IMAGES, tmp_path)
    report.interrupt_at = None
    (folder / NAMES[1]).write_bytes(b"jpeg")  # truncated by another program
    first = (folder / NAMES[0]).stat().st_mtime_ns
    unpack(IMAGES, images, tmp_path, report)
    assert report.started[-1] == ("val2017.zip: unpacking", 2 * 396, 0)
    assert (folder / NAMES[0]).stat().st_mtime_ns == first
    assert is_unpacked(IMAGES, tmp_path)


def test_annotations_that_a_user_has_corrected_are_kept(tmp_path, report):
    file = zipped(tmp_path / "lists.zip", {"annotations/a.json": b'{"a": 1}', "annotations/b.json": b'{"b": 1}'})
    folder = tmp_path / "coco/annotations"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(' {"corrected": 1} \n')
    (folder / "b.json").write_text('{"trunca')
    assert not is_unpacked(LISTS, tmp_path)
    unpack(LISTS, file, tmp_path, report)
    assert (folder / "a.json").read_text() == ' {"corrected": 1} \n'
    assert (folder / "b.json").read_text() == '{"b": 1}'
    assert is_unpacked(LISTS, tmp_path)


def test_empty_and_other_files_are_no_images(tmp_path):
    folder = tmp_path / "coco/val2017"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(b"")
        (folder / f"{name}.part").write_bytes(b"1")
    (folder / "cat.jpg").write_bytes(b"1")
    assert not is_unpacked(IMAGES, tmp_path)
    for name in NAMES:
        (folder / name).unlink()
        (folder / name).symlink_to("missing")
    assert not is_unpacked(IMAGES, tmp_path)


@pytest.mark.parametrize("archive", [IMAGES, LISTS], ids=["images", "json"])
def test_file_in_place_of_a_folder(tmp_path, archive):
    (tmp_path / "coco").mkdir()
    (tmp_path / archive.folder).write_bytes(b"")
    with pytest.raises(LtDetError, match=re.escape(f"{tmp_path / archive.folder}")):
        is_unpacked(archive, tmp_path)


def damaged(data, place):
    position = data.index(place)
    return data[:position] + bytes(byte ^ 255 for byte in data[position : position + 8]) + data[position + 8 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"<html>Log in</html>",
        lambda data: data[: len(data) // 2],
        lambda data: damaged(data, b"jpeg"),  # a wrong CRC
        lambda data: damaged(data, b"PK\3\4"),
        lambda data: damaged(data, b"PK\1\2"),
    ],
    ids=["empty", "html", "truncated", "image", "header", "directory"],
)
def test_corrupt_archive_is_set_aside(tmp_path, report, damage):
    content = io.BytesIO()
    zipped(content, {f"val2017/{name}": b"jpeg" * 99 for name in NAMES}, zipfile.ZIP_STORED)
    file = tmp_path / "val2017.zip"
    file.write_bytes(damage(content.getvalue()))
    with pytest.raises(LtDetError, match=r"val2017\.zip is corrupt .*val2017\.zip\.wrong"):
        unpack(IMAGES, file, tmp_path / "datasets", report)
    assert not file.exists()
    assert (tmp_path / "val2017.zip.wrong").exists()
    assert all(content == b"jpeg" * 99 for content in written(tmp_path / "datasets").values())


@pytest.mark.parametrize(
    ("archive", "members", "message"),
    [
        (IMAGES, {f"val2017/{name}": b"1" for name in NAMES[:2]}, "2 images, not 3"),
        (IMAGES, {f"train2017/{name}": b"1" for name in NAMES}, "0 images, not 3"),
        (LISTS, {"annotations/a.json": b"{}"}, r"no b\.json"),
    ],
)
def test_archive_without_the_expected_files(tmp_path, report, archive, members, message):
    file = zipped(tmp_path / archive.name, members)
    with pytest.raises(LtDetError, match=message):
        unpack(archive, file, tmp_path / "datasets", report)
    assert not (tmp_path / "datasets").exists()


def test_free_space_is_checked_before(small_disk, tmp_path, report):
    file = zipped(tmp_path / "val2017.zip", {f"val2017/{name}": bytes(100_000) for name in NAMES})
    with pytest.raises(LtDetError, match=r"val2017\.zip needs at least 300 kB in .*, where 262\.1 kB are free"):
        unpack(IMAGES, file, small_disk, report)
    assert written(small_disk) == {}
    assert file.exists()


def test_disk_that_becomes_full(small_disk, tmp_path, report, monkeypatch):
    """A quota, or another program, leaves less than the check has found."""
    monkeypatch.setattr("lt_det.datasets.download.unpacking.check_space", lambda *arguments: None)
    file = zipped(tmp_path / "val2017.zip", {f"val2017/{name}": bytes(100_000) for name in NAMES})
    with pytest.raises(LtDetError, match="the archive is kept: free space there"):
        unpack(IMAGES, file, small_disk, report)
    assert written(small_disk) == {f"coco/val2017/{name}": bytes(100_000) for name in NAMES[:2]}
    assert file.exists()
