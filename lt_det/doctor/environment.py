"""Is everything here that training needs, and what to do where it is not."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from lt_det.doctor.finding import Finding

DETECTRON2_GUIDE = "https://detectron2.readthedocs.io/en/latest/tutorials/install.html"


_DISTRIBUTIONS = {  # module: distribution
    "torch": "torch",
    "torchvision": "torchvision",
    "cv2": "opencv-python",
    "pycocotools": "pycocotools",
    "detectron2": "detectron2",
}
_ADVICE = {
    "torch": "install torch and torchvision together, see https://pytorch.org/get-started",
    "torchvision": "install it together with torch, in one pip call: a pair from two sources does not load",
    "cv2": "on a server without a display: apt-get install libgl1 libglib2.0-0, "
    "or pip uninstall opencv-python and pip install opencv-python-headless",
    "detectron2": f"see {DETECTRON2_GUIDE}, or run tools/install_detectron2.py where only PyPI is reached",
}


def examine_environment() -> Iterator[Finding]:
    """Look at packages, devices and data sets; ends at a package without which the others cannot be looked at."""
    yield Finding("Python", platform.python_version())
    packages = [_package(module) for module in _DISTRIBUTIONS]
    yield from packages
    if any(finding.fatal for finding in packages):
        return  # what follows needs them
    yield _cuda()
    yield _compiled_operators()
    yield from _datasets()


def _package(module: str) -> Finding:
    distribution = _DISTRIBUTIONS[module]
    advice = _ADVICE.get(module, f"pip install {distribution}")
    if find_spec(module) is None:
        return Finding(distribution, "not installed", advice, fatal=True)
    try:
        importlib.import_module("detectron2.model_zoo" if module == "detectron2" else module)
    except Exception as error:  # an import can fail in any way: shared libraries, removed names, ABI
        reason = str(error)
        if "pkg_resources" in reason:
            advice = "pip install 'setuptools<81': Detectron2's model_zoo needs its pkg_resources"
        elif "libGL" in reason or "libgthread" in reason:
            advice = _ADVICE["cv2"]
        return Finding(distribution, f"does not import: {reason}", advice, fatal=True)
    if module == "torch" and not _torch_takes_arrays():
        found = f"{_version('torch')}, built for an older NumPy than {_version('numpy')}"
        return Finding(distribution, found, "pip install 'numpy<2', or a newer torch", fatal=True)
    return Finding(distribution, _version(distribution))


def _torch_takes_arrays() -> bool:
    import numpy as np
    import torch

    try:
        torch.from_numpy(np.zeros(1))
    except RuntimeError:  # "Numpy is not available"
        return False
    return True


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "installed without version"  # a source tree on the path


def _cuda() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
        return Finding("GPU", f"{torch.cuda.device_count()} x {', '.join(sorted(names))}, CUDA {torch.version.cuda}")
    return Finding(
        "GPU", "none seen by torch", "train with MODEL.DEVICE cpu, or install a torch with CUDA and a driver"
    )


def _compiled_operators() -> Finding:
    try:
        importlib.import_module("detectron2._C")
    except ImportError:
        return Finding(
            "compiled ops",
            "missing (Python-only Detectron2)",
            "fine for every config here; for rotated boxes or deformable convolution build Detectron2 from source: "
            + DETECTRON2_GUIDE,
        )
    return Finding("compiled ops", "there")


def _datasets() -> Iterator[Finding]:
    root = os.environ.get("DETECTRON2_DATASETS")
    where = f"DETECTRON2_DATASETS={root}" if root else "DETECTRON2_DATASETS not set: ./datasets"
    checks: tuple[tuple[str, Callable[[Path], list[Path]]], ...] = (
        (
            "LVIS v1",
            lambda d: [d / f"lvis/lvis_v1_{s}.json" for s in ("train", "val")] + [d / "coco/train2017"],
        ),
        (
            "LVIS v0.5",
            lambda d: [d / f"lvis/lvis_v0.5_{s}.json" for s in ("train", "val")] + [d / "coco/train2017"],
        ),
        ("COCO", lambda d: [d / f"coco/annotations/instances_{s}2017.json" for s in ("train", "val")]),
        ("mini_lvis", lambda d: [d / f"mini_lvis/mini_lvis_{s}.json" for s in ("train", "val")]),
    )
    folder = Path(root or "datasets").expanduser()
    for name, files in checks:
        missing = [file for file in files(folder) if not file.exists()]
        make = f"lt-det mini-lvis {folder / 'mini_lvis'}" if name == "mini_lvis" else "see the README, Train on LVIS"
        if missing:
            yield Finding(name, f"no {missing[0]} ({where})", f"only if you want it: {make}")
        else:
            yield Finding(name, f"found in {folder}")
