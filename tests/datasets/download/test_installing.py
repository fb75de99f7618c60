"""From the server to the folders that Detectron2 reads."""

import hashlib
import io
import json
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lt_det.datasets.download.catalog import Archive, coco_archives, lvis_archives
from lt_det.datasets.download.disk_space import check_space_of_archives
from lt_det.datasets.download.installing import datasets_root, install
from lt_det.errors import LtDetError
from lt_det.io.lock import folder_lock


def zipped(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in members:
            archive.writestr(name, json.dumps(ANNOTATIONS))
    return content.getvalue()


# As in LVIS v1's validation set, one image is in COCO's train2017.
ANNOTATIONS = {
    "images": [
        {
            "id": number,
            "width": 9,
            "height": 9,
            "coco_url": f"http://images.cocodataset.org/{split}2017/{number:012}.jpg",
        }
        | {"not_exhaustive_category_ids": [], "neg_category_ids": []}
        for number, split in enumerate(("train", "val"))
    ],
    "annotations": [
        {"id": number + 1, "image_id": number, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 16}
        | {"segmentation": [[0, 0, 4, 0, 4, 4]]}
        for number in range(2)
    ],
    "categories": [{"id": 1, "name": "cup", "synset": "cup.n.01", "frequency": "r"}],
}


@pytest.fixture
def archives(server):
    """LVIS v1 as in the catalog, with three images in each folder, on the server; the json files have no checksum."""
    small = []
    for archive in lvis_archives():
        members = archive.files or [f"{archive.folder.partition('/')[2]}/{number:012}.jpg" for number in range(3)]
        server.files[f"/{archive.name}"] = content = zipped(members)
        server.tags[f"/{archive.name}"] = '"1"'
        published = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        unpublished = {"size": None, "sha256": None}
        facts = unpublished if archive.files else published
        small.append(replace(archive, url=f"{server.url}/{archive.name}", images=3 * bool(archive.images), **facts))
    return tuple(small)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


LAYOUT = {"lvis/lvis_v1_train.json", "lvis/lvis_v1_val.json"} | {
    f"coco/{split}2017/{number:012}.jpg" for split in ("train", "val") for number in range(3)
}


def test_layout_is_the_one_that_detectron2_expects(archives, tmp_path, report, server):
    install(archives, tmp_path, report)
    assert files(tmp_path) == LAYOUT
    assert len(server.requests) == 4
    install(archives, tmp_path, report)
    assert len(server.requests) == 4
    assert sum("already there" in sentence for sentence in report.sentences) == 4


def test_detectron2_finds_the_images_of_what_was_installed(archives, tmp_path, report):
    pytest.importorskip("lvis")
    from detectron2.data.datasets.lvis import load_lvis_json

    install(archives, tmp_path, report)
    records = load_lvis_json(str(tmp_path / "lvis/lvis_v1_val.json"), f"{tmp_path}/coco/")
    assert [record["file_name"] for record in records] == [
        f"{tmp_path}/coco/train2017/000000000000.jpg",
        f"{tmp_path}/coco/val2017/000000000001.jpg",
    ]
    assert all(Path(record["file_name"]).is_file() for record in records)


def test_catalog_has_the_files_of_detectron2s_datasets():
    from detectron2.data import MetadataCatalog

    for names, archives in (
        (("lvis_v1_train", "lvis_v1_val"), lvis_archives()),
        (("lvis_v0.5_train", "lvis_v0.5_val"), lvis_archives("v0.5")),
        (("lvis_v1_train", "lvis_v1_val", "lvis_v1_test_dev"), lvis_archives(test=True)),
        (("lvis_v0.5_train", "lvis_v0.5_val", "lvis_v0.5_test"), lvis_archives("v0.5", test=True)),
        (("coco_2017_train", "coco_2017_val", "keypoints_coco_2017_train"), coco_archives()),
        (("coco_2017_train", "coco_2017_val", "coco_2017_test-dev", "coco_2017_test"), coco_archives(test=True)),
    ):
        jsons = {f"{archive.folder}/{name}" for archive in archives for name in archive.files}
        folders = {archive.folder for archive in archives if archive.images}
        assert {"coco/train2017", "coco/val2017"} <= folders
        assert ("coco/test2017" in folders) == any("test" in name for name in names)
        for name in names:
            found = MetadataCatalog.get(name)
            assert any(found.json_file.endswith(f"/{path}") for path in jsons), found.json_file
            # LVIS's root is coco/; the annotation file names the folder in it.
            assert found.image_root.endswith("/coco/") or any(found.image_root.endswith(f"/{each}") for each in folders)


def test_catalog_is_consistent():
    everything = {*lvis_archives(test=True), *lvis_archives("v0.5", test=True), *coco_archives(test=True)}
    assert len({archive.name for archive in everything}) == len(everything)
    for archive in everything:
        assert bool(archive.files) != bool(archive.images)
        assert bool(archive.size) == bool(archive.sha256) == ("v0.5" not in archive.name)
        assert archive.sha256 is None or len(bytes.fromhex(archive.sha256)) == 32
    assert sum("https" not in archive.url and not archive.sha256 for archive in everything) == 0


def test_test_images_are_only_downloaded_on_request():
    assert not [archive for archive in (*lvis_archives(), *coco_archives()) if "test" in archive.name]


def test_only_what_is_missing_is_downloaded(archives, tmp_path, report, server):
    (tmp_path / "lvis").mkdir()
    (tmp_path / "lvis/lvis_v1_val.json").write_text('{"my": "val"}')
    install(archives, tmp_path, report)
    assert (tmp_path / "lvis/lvis_v1_val.json").read_text() == '{"my": "val"}'
    assert "/lvis_v1_val.json.zip" not in [path for path, _ in server.requests]


def test_archives_from_another_machine_need_no_network(archives, tmp_path, report, server):
    (tmp_path / "downloads").mkdir()
    for archive in archives:
        archive.file(tmp_path).write_bytes(server.files[f"/{archive.name}"])
    install(archives, tmp_path, report, keep_archives=True)
    assert server.requests == []
    assert files(tmp_path) == LAYOUT | {f"downloads/{archive.name}" for archive in archives}


def test_corrupt_archive_from_another_machine_is_kept_aside(archives, tmp_path, report, server):
    (tmp_path / "downloads").mkdir()
    file = archives[-1].file(tmp_path)
    file.write_bytes(b"0" * 100)
    with pytest.raises(LtDetError, match=r"train2017\.zip from .*downloads has the SHA-256"):
        install(archives, tmp_path, report)
    assert file.with_name("train2017.zip.wrong").read_bytes() == b"0" * 100
    install(archives, tmp_path, report)
    assert files(tmp_path) == LAYOUT | {"downloads/train2017.zip.wrong"}


def test_interrupted_command_continues(archives, tmp_path, report, server):
    server.stalls = report.interrupt_at = 50
    with pytest.raises(KeyboardInterrupt):
        install(archives, tmp_path, report)
    server.stalls, report.interrupt_at = None, None
    install(archives, tmp_path, report)
    assert server.starts() == [0, 50, 0, 0, 0]
    assert files(tmp_path) == LAYOUT


def test_two_downloads_to_one_folder(archives, tmp_path, report):
    with folder_lock(tmp_path / "downloads", "download"), pytest.raises(LtDetError, match="Another download"):
        install(archives, tmp_path, report)


def test_what_another_process_has_finished_is_not_downloaded_again(archives, tmp_path, report, server, monkeypatch):
    @contextmanager
    def lock_after_another(folder, what):
        monkeypatch.undo()
        install(archives[:1], tmp_path, report)
        with folder_lock(folder, what):
            yield

    monkeypatch.setattr("lt_det.datasets.download.installing.folder_lock", lock_after_another)
    install(archives, tmp_path, report)
    assert [path for path, _ in server.requests].count("/lvis_v1_val.json.zip") == 1


def test_free_space_is_checked_before_the_first_download(archives, tmp_path, report, server, small_disk):
    large = [*archives[:-1], replace(archives[-1], size=200_000)]  # and as much again for the images
    with pytest.raises(LtDetError, match=r"train2017\.zip.* needs at least 40\d.* kB in .*small_disk"):
        install(large, small_disk, report)
    assert server.requests == []
    # Folders on other disks, and what has been received, do not count.
    (small_disk / "coco").symlink_to(tmp_path)
    check_space_of_archives(large, small_disk, keep_archives=False)
    (small_disk / "coco").unlink()
    (small_disk / "downloads").mkdir()
    (small_disk / "downloads/train2017.zip.part").write_bytes(bytes(200_000))
    with pytest.raises(LtDetError, match=r"needs at least 200 kB"):
        check_space_of_archives(large[-1:], small_disk, keep_archives=False)
    (tmp_path / "coco/train2017").mkdir(parents=True)
    (small_disk / "coco").mkdir()
    (small_disk / "coco/train2017").mkdir()
    (small_disk / "coco/train2017/000000000000.jpg").write_bytes(bytes(40_000))
    with pytest.raises(LtDetError, match=r"needs at least 160 kB"):
        check_space_of_archives(large[-1:], small_disk, keep_archives=False)


def test_space_of_archives_that_are_kept(small_disk):
    """Two archives of 60 kB: 180 kB if the first is removed before the second is downloaded, 240 kB otherwise."""
    (small_disk / "other").write_bytes(bytes(50_000))
    archives = [Archive(f"http://data.invalid/{n}.zip", f"coco/{n}", images=1, size=60_000) for n in (1, 2)]
    check_space_of_archives(archives, small_disk, keep_archives=False)
    with pytest.raises(LtDetError, match="at least 240 kB"):
        check_space_of_archives(archives, small_disk, keep_archives=True)


def test_root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/datasets")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert datasets_root(None) == tmp_path / "datasets"
    assert datasets_root(tmp_path / "other") == tmp_path / "other"
    monkeypatch.setenv("DETECTRON2_DATASETS", "")
    with pytest.raises(LtDetError, match=r"DETECTRON2_DATASETS is not set.*--out"):
        datasets_root(None)
    monkeypatch.delenv("DETECTRON2_DATASETS")
    with pytest.raises(LtDetError, match=r"DETECTRON2_DATASETS is not set.*--out"):
        datasets_root(None)
