"""Large annotation files are read once for all processes of a machine and for later trainings.

Detectron2 parses them in every process, and each keeps its own copy of the records. Here the first process reads and
leaves the records in a cache folder; all map that file, so that it is in memory once, workers of data loaders included.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import hashlib
import importlib
import logging
import os
import re
import shutil
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.data import registration
from lt_det.data.cache import record_file
from lt_det.data.cache.record_file import RecordFile, write_record_file
from lt_det.io.coco_json import check_annotations, load_annotations
from lt_det.statistics.class_stats import ClassStats

logger = logging.getLogger(__name__)

WORTH_CACHING = 32 * 2**20  # bytes of json; less is read in a second
UNUSED_DAYS = 30  # after which a file is removed when another is written

# Modules with loaders whose records follow from the json, the image folder and the name alone, the classes by rising
# id, and who parses for them.
_LOADERS = {
    registration.__name__: "",
    "detectron2.data.datasets.lvis": "lvis.lvis",
    "detectron2.data.datasets.coco": "pycocotools.coco",
}
_SET_BY_LOADERS = ("thing_classes", "thing_dataset_id_to_contiguous_id", "class_image_count")


def cache_folder() -> Path:
    """LT_DET_CACHE, or lt_det in the user's cache folder; of a user without a home, a folder for temporary files."""
    if chosen := os.environ.get("LT_DET_CACHE"):
        return Path(os.path.expanduser(chosen))
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        return Path(tempfile.gettempdir(), f"lt_det-{os.getuid()}")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(home, ".cache"), "lt_det")


def follows_json(name: str) -> bool:
    """Whether a registered set is what its json says, the classes by rising id; of a user's own function who knows."""
    return name in DatasetCatalog and getattr(DatasetCatalog[name], "__module__", "") in _LOADERS


def cached_records(name: str) -> RecordFile | None:
    """The records of a registered set from the cache; they are put there first if need be.

    Its classes are in Detectron2's catalogue afterwards. That the images are on disk is not checked.

    Returns:
        None for a set that is small or that another function than lt_det's and Detectron2's reads, and, with a
        warning, where the cache folder cannot be used.

    Raises:
        LtDetError: see `load_annotations` and `check_annotations`.
    """
    path = _path_in_cache(name)
    if path is None:
        return None
    try:
        records = _opened(path)
        if records is None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _alone(path):
                records = _opened(path)  # by now another process may have written it
                if records is None:
                    records = _read_into(path, name)
    except OSError as error:
        logger.warning(
            "Every process reads the annotations of '%s' for itself: %s cannot be used (%s). Make room there, or set "
            "LT_DET_CACHE to a folder on a local disk.",
            name,
            path.parent,
            error.strerror,
        )
        return None
    metadata = MetadataCatalog.get(name)
    metadata.set(**{key: value for key, value in records.metadata.items() if metadata.get(key) is None})
    return records


def _path_in_cache(name: str) -> Path | None:
    """Where the records of this state of the json, read by this state of the code, belong."""
    if not follows_json(name):
        return None
    loader, metadata = DatasetCatalog[name].__module__, MetadataCatalog.get(name)
    json_file, image_root = metadata.get("json_file"), metadata.get("image_root")
    if not json_file or not Path(json_file).is_file():
        return None
    state = Path(json_file).stat()
    if state.st_size < WORTH_CACHING:
        return None
    modules = (loader, load_annotations.__module__, ClassStats.__module__, record_file.__name__, __name__)
    code = [Path(str(sys.modules[module].__file__)).read_bytes() for module in modules]
    key = repr((name, os.path.abspath(json_file), image_root, state.st_size, state.st_mtime_ns, code))
    readable = re.sub(r"[^\w.-]", "_", name)
    return cache_folder() / f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.records"


def _opened(path: Path) -> RecordFile | None:
    try:
        records = RecordFile(path)
    except FileNotFoundError:
        return None
    except OSError:
        raise
    except Exception as error:  # unpickling what is torn can raise anything
        logger.warning("%s is damaged (%s) and is written anew.", path, error)
        return None
    with contextlib.suppress(OSError):  # a folder that others share and cannot write
        os.utime(path)
    logger.info("%d images from %s, made %s from %s.", len(records), path, records.made, records.stats.source)
    return records


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; a process that is killed lets go."""
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("Another process reads the annotations for %s; waiting for it.", path.name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_into(path: Path, name: str) -> RecordFile:
    metadata = MetadataCatalog.get(name)
    json_file: str = metadata.json_file
    size = os.path.getsize(json_file)
    if shutil.disk_usage(path.parent).free < 1.5 * size:  # said at once, and not by each process after reading
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
        write_record_file(path, records, stats, about)
    for old in (file for kind in ("*.records", "*.lock", ".*.part") for file in path.parent.glob(kind)):
        with contextlib.suppress(OSError):  # another process, or another user's file
            if time.time() - old.stat().st_mtime > UNUSED_DAYS * 86400:
                old.unlink()
    return RecordFile(path)


def _records_by_detectron2(name: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    """What Detectron2's loader makes of the json, which would otherwise be parsed a second time."""
    parser: Any = importlib.import_module(_LOADERS[DatasetCatalog[name].__module__])
    original = parser.json
    parser.json = types.SimpleNamespace(load=lambda file: data)
    try:
        return list(DatasetCatalog.get(name))
    finally:
        parser.json = original


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Millions of lists and dictionaries without a cycle among them: looking for cycles takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
