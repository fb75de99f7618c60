"""Compute the feature cache of a detector, or finish one that was interrupted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from detectron2.utils import comm

from lt_det.bakeoff.cache.cache import CACHE_NAME, ROIS, FeatureCache, read_about
from lt_det.bakeoff.cache.key import cache_key, differences
from lt_det.bakeoff.cache.writer import writing
from lt_det.bakeoff.features.filling import fill
from lt_det.bakeoff.features.options import MAX_ROIS, MAX_TRAINING_IMAGES, FeatureOptions
from lt_det.bakeoff.features.plan import Plan
from lt_det.bakeoff.features.processes import fill_in_processes
from lt_det.errors import LtDetError
from lt_det.evaluation.progress import Track
from lt_det.io.lock import folder_lock
from lt_det.training.launch.single_process import silence_inference
from lt_det.training.launch.timeouts import evaluation_timeout
from lt_det.training.preflight import check_datasets


def compute_features(
    cfg: Any,
    folder: str | Path,
    *,
    passes: int = 1,
    dtype: str = "float16",
    background_fraction: float = 1.0,
    max_rois: int | None = MAX_ROIS,
    max_training_images: int | None = MAX_TRAINING_IMAGES,
    max_roi_images: int | None = None,
    datasets: Sequence[str] | None = None,
    num_processes: int = 1,
    track: Track = iter,
) -> FeatureCache:
    """Compute the feature cache of MODEL.WEIGHTS, or what is missing of it, and open it.

    A finished cache in `folder` is only opened; an unfinished one is continued, with any number of processes. The
    content is the same to the last bit with any number of processes, but on the CPU torch rounds differently with
    another number of threads. Where there is a process group already, all its processes call this function.

    Args:
        cfg: of the detector; its datasets are registered.
        folder: of the cache; created.
        passes, dtype, background_fraction, max_rois, max_training_images, max_roi_images, datasets: see
            `FeatureOptions`.
        num_processes: to start; on GPUs, each takes one. A script that starts processes needs the usual
            ``if __name__ == "__main__":``.
        track: wraps the loop over the images, to show progress.

    Raises:
        LtDetError: no checkpoint, or one that does not fit; datasets that are missing; a box predictor that is neither
            Detectron2's nor lt_det's; a folder with a cache of another detector,
            dataset or options; another process in the same folder; a
            full disk.
    """
    folder = Path(folder)
    options = FeatureOptions(
        passes, dtype, background_fraction, max_rois, max_training_images, max_roi_images, datasets
    )
    silence_inference()
    key = _key(cfg, options)
    if _is_finished(folder, key):
        return FeatureCache.open(folder)
    with _locked(folder), evaluation_timeout():
        plan = Plan.make(cfg, folder, options, key)
        if comm.is_main_process():
            plan.begin()
        comm.synchronize()
        if num_processes > 1 and comm.get_world_size() == 1:
            fill_in_processes(cfg, folder, options, key, number=num_processes, images=plan.missing(), track=track)
        else:
            fill(cfg, plan.tables, plan.seed, track)
        if comm.is_main_process():
            plan.finish()
        comm.synchronize()
    return FeatureCache.open(folder)


def _key(cfg: Any, options: FeatureOptions) -> dict[str, Any]:
    """What decides the content of the cache, as ``cache.json`` keeps it."""
    chosen = asdict(options)
    datasets = chosen.pop("datasets")
    datasets = list(dict.fromkeys([*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN] if datasets is None else datasets))
    check_datasets([*cfg.DATASETS.TRAIN, *datasets])
    return dict(json.loads(json.dumps(cache_key(cfg, datasets, chosen))))


def _is_finished(folder: Path, key: dict[str, Any]) -> bool:
    about = read_about(folder)
    if about is None:
        if any((folder / ROIS).glob("*")):
            raise LtDetError(
                f"{folder} holds features whose {CACHE_NAME} is missing, so their origin is unknown; choose another "
                "folder, or delete this one."
            )
        return False
    different = differences(about["key"], key)
    if different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise LtDetError(
            f"{folder} holds a feature cache of another detector, dataset or options, which differs in "
            f"{', '.join(different[:3])}{more}; choose another folder, or delete this one."
        )
    return bool(about["finished"])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The lock of the main process; if it cannot have it, all processes raise the error."""
    with ExitStack() as stack:
        mistake = ""
        if comm.is_main_process():
            try:
                with writing(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(folder_lock(folder, "computation of features"))
            except LtDetError as error:
                mistake = str(error)
        if mistake := comm.all_gather(mistake)[0]:
            raise LtDetError(mistake)
        yield
