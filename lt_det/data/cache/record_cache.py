"""Large annotation files are parsed once for all processes of a machine and for later trainings.

Detectron2 parses them in every process, and each process keeps its own copy of the records. Here the first process
writes the records to a cache folder, and all processes, data loader workers included, map that one file into memory.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import logging
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.compat.detectron2 import parsed_already
from lt_det.data import registration
from lt_det.data.cache import record_file
from lt_det.data.cache.record_file import RecordFile, write_record_file
from lt_det.data.formats import reads_coco_json
from lt_det.data.record_kinds import kinds_of
from lt_det.io.annotations.checks import check_annotations
from lt_det.io.annotations.coco_json import load_annotations
from lt_det.io.annotations.fields import AnnotationFields
from lt_det.io.json.sections import JsonSections
from lt_det.io.json.text import decode_json
from lt_det.io.lock import file_lock
from lt_det.io.shapes import usable_segmentation
from lt_det.statistics.class_stats import ClassStats
from lt_det.statistics.counting import ClassCounter
from lt_det.terminal import count_of

logger = logging.getLogger(__name__)

WORTH_CACHING = 32 * 2**20  # bytes of json; a smaller file is parsed in a second
UNUSED_DAYS = 30  # a file unused for longer is removed when another one is written

# Modules whose dataset functions make the records from the json, the image folder and the name alone, with the classes
# in ascending order of category id; and the module that parses the json for them.
_LOADERS = {
    registration.__name__: "",
    "detectron2.data.datasets.lvis": "lvis.lvis",
    "detectron2.data.datasets.coco": "pycocotools.coco",
}
_WAITING = "Another process is parsing the annotations for %s; waiting for it."
_SET_BY_LOADERS = ("thing_classes", "thing_dataset_id_to_contiguous_id", "class_image_count")


def cache_folder() -> Path:
    """LT_DET_CACHE, or lt_det in the user's cache folder, or a temporary folder if the user has no home."""
    if chosen := os.environ.get("LT_DET_CACHE"):
        return Path(os.path.expanduser(chosen))
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        return _temporary_folder()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(home, ".cache"), "lt_det")


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir(), f"lt_det-{os.getuid()}")


def follows_json(name: str) -> bool:
    """Whether the records of a registered dataset follow from its annotation file, classes ordered by category id.

    A user's own function may return anything.
    """
    return name in DatasetCatalog and getattr(DatasetCatalog[name], "__module__", "") in _LOADERS


def cached_records(name: str) -> RecordFile | None:
    """The records of a registered dataset from the cache, which is filled first if necessary.

    Afterwards its class names are in Detectron2's MetadataCatalog. Whether the images are on disk is not checked.

    Returns:
        None for a dataset that is small, that is not a COCO- or LVIS-format json read by lt_det or Detectron2, and,
        with a warning, where the cache folder cannot be used.

    Raises:
        LtDetError: see `load_annotations` and `check_annotations`.
    """
    path = _path_in_cache(name)
    if path is None:
        return None
    try:
        _make_folder(path.parent)
        records = _opened(path)
        if records is None:
            with file_lock(path.with_suffix(".lock"), lambda: logger.info(_WAITING, path.name)):
                records = _opened(path, logger.warning)  # by now another process may have written it
                if records is None:
                    records = _fill_cache(path, name)
    except OSError as error:
        logger.warning(
            "Every process parses the annotations of '%s' itself, because %s cannot be used (%s). Free space there, "
            "or set LT_DET_CACHE to a folder on a local disk.",
            name,
            path.parent,
            error.strerror,
        )
        return None
    metadata = MetadataCatalog.get(name)
    metadata.set(**{key: value for key, value in records.metadata.items() if metadata.get(key) is None})
    return records


def _path_in_cache(name: str) -> Path | None:
    """The cache file for the current content of the json and the current code that reads it; None if not cached."""
    if not (follows_json(name) and reads_coco_json(name)):
        return None
    loader, metadata = DatasetCatalog[name].__module__, MetadataCatalog.get(name)
    json_file, image_root = metadata.get("json_file"), metadata.get("image_root")
    if not json_file or not Path(json_file).is_file():
        return None
    state = Path(json_file).stat()
    if state.st_size < WORTH_CACHING:
        return None
    reading = (load_annotations, JsonSections, decode_json, AnnotationFields, usable_segmentation)
    counting = (ClassStats, ClassCounter, kinds_of)
    modules = (loader, *(part.__module__ for part in (*reading, *counting)), record_file.__name__, __name__)
    code = [Path(str(sys.modules[module].__file__)).read_bytes() for module in modules]
    key = repr((name, os.path.abspath(json_file), image_root, state.st_size, state.st_mtime_ns, code))
    readable = re.sub(r"[^\w.-]", "_", name)
    return cache_folder() / f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.records"


def _opened(path: Path, say: Callable[..., None] = logger.debug) -> RecordFile | None:
    """None if there is no such file, or if it is corrupt, which `say` reports."""
    if not path.is_file():  # opening a pipe would wait for its other end
        return None
    try:
        records = RecordFile(path)
        records.verify()
    except OSError:
        raise
    except Exception as error:  # unpickling a corrupt file can raise anything
        say("%s is corrupt (%s) and is written again.", path, error)
        return None
    with contextlib.suppress(OSError):  # a shared folder without permission to write
        os.utime(path)
    logger.info(
        "%s from %s, made %s from %s.", count_of(len(records), "image"), path, records.made, records.stats.source
    )
    return records


def _make_folder(folder: Path) -> None:
    """Create the cache folder: for this user alone where lt_det chose it, with the user's modes where the user did.

    Raises:
        OSError: it cannot be created, or it is in a folder for everyone and may have been put there by somebody else.
    """
    if not folder.is_dir():
        try:
            folder.mkdir(mode=0o777 if os.environ.get("LT_DET_CACHE") else 0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
    if folder == _temporary_folder():
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise OSError(errno.EPERM, "it belongs to someone else, or others can write to it")


def _fill_cache(path: Path, name: str) -> RecordFile:
    metadata = MetadataCatalog.get(name)
    json_file: str = metadata.json_file
    size = os.path.getsize(json_file)
    if shutil.disk_usage(path.parent).free < 1.5 * size:  # before parsing, which takes long
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    logger.info("Reading %s (%.2f GB) once for all processes and later trainings.", json_file, size / 1e9)
    start = time.monotonic()
    with _no_garbage_collection():
        data = load_annotations(json_file)
        stats = ClassStats.from_annotations(data, json_file)
        if DatasetCatalog[name].__module__ == registration.__name__:
            check_annotations(data, json_file)
            records = registration.records_of(data, json_file, metadata.image_root, name)
        else:
            records = _records_by_detectron2(name, data)
        del data
        logger.info("Read in %.0f s; writing %s.", time.monotonic() - start, path)
        about = {key: metadata.get(key) for key in _SET_BY_LOADERS if metadata.get(key) is not None}
        for unfinished in path.parent.glob(f".*.{path.name}"):  # of a process that was killed: only one writes
            unfinished.unlink()
        write_record_file(path, records, stats, about)
    # Earlier versions named unfinished files ".*.part".
    for unused in (file for kind in ("*.records", "*.lock", ".*.part") for file in path.parent.glob(kind)):
        with contextlib.suppress(OSError):  # another process, or another user's file
            if time.time() - unused.stat().st_mtime > UNUSED_DAYS * 86400:
                unused.unlink()
    return RecordFile(path)


def _records_by_detectron2(name: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    """What Detectron2's dataset function makes of the json, which it would otherwise parse a second time."""
    with parsed_already(_LOADERS[DatasetCatalog[name].__module__], data):
        return list(DatasetCatalog.get(name))


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Annotations are millions of objects without a cycle; the search for cycles would take half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
