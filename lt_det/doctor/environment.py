"""Check that the packages, devices and datasets that training needs are there, and say what to do where not."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from lt_det import __version__
from lt_det.doctor.finding import Finding

DETECTRON2_GUIDE = "https://detectron2.readthedocs.io/en/latest/tutorials/install.html"

_DISTRIBUTIONS = {  # module: distribution
    "torch": "torch",
    "torchvision": "torchvision",
    "cv2": "opencv-python",
    "pycocotools": "pycocotools",
    "lvis": "lvis",
    "detectron2": "detectron2",
}
_OPENCV = (  # distributions that install the module cv2; any of them will do
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_ADVICE = {
    "torch": "install torch and torchvision together, see https://pytorch.org/get-started",
    "torchvision": "install it together with torch, in one pip call: a pair from two sources does not load",
    "cv2": "on a server without a display: apt-get install libgl1 libglib2.0-0, or pip uninstall opencv-python and "
    "pip install --force-reinstall --no-deps opencv-python-headless",
    "lvis": "pip install lvis: Detectron2 reads LVIS's annotation files with it",
    "detectron2": f"see {DETECTRON2_GUIDE}, or run lt-det install-detectron2 on a machine that reaches only PyPI",
}


def examine_environment() -> Iterator[Finding]:
    """Check packages, devices and datasets; after a fatal finding about a package only the other packages."""
    yield Finding("Python", platform.python_version())
    packages = [_package(module) for module in _DISTRIBUTIONS]
    yield from packages
    if any(finding.fatal for finding in packages):
        return  # the other checks need them
    yield _cuda()
    yield _compiled_operators()
    yield from _datasets()


def versions() -> dict[str, str]:
    """Of lt_det and of what it runs on, by name, without importing torch or Detectron2."""
    found = {"lt_det": __version__, "Python": platform.python_version()}
    for name, module in (("torch", "torch"), ("torchvision", "torchvision"), ("Detectron2", "detectron2")):
        found[name] = _version(module) if find_spec(module) else "not installed"
    return found


def _package(module: str) -> Finding:
    distribution, fatal = _DISTRIBUTIONS[module], module != "lvis"  # which other datasets do without
    advice = _ADVICE.get(module, f"pip install {distribution}")
    if find_spec(module) is None:
        return Finding(distribution, "not installed", advice, fatal)
    try:
        with warnings.catch_warnings():  # torchvision and Detectron2 use what torch 2.14 deprecates
            warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
            importlib.import_module("detectron2.model_zoo" if module == "detectron2" else module)
    except Exception as error:  # an import can fail in any way: shared libraries, removed names, ABI
        reason = str(error)
        lacking = error.name if isinstance(error, ModuleNotFoundError) else None
        if lacking and lacking.partition(".")[0] not in _DISTRIBUTIONS:
            advice = f"it needs the package {lacking.partition('.')[0]}: install that"
        if "pkg_resources" in reason:
            advice = "pip install 'setuptools<81': Detectron2's model_zoo needs its pkg_resources"
        elif "libGL" in reason or "libgthread" in reason:
            advice = _ADVICE["cv2"]
        return Finding(distribution, f"does not import: {reason}", advice, fatal)
    if module == "torch" and not _torch_takes_arrays():
        found = f"{_version('torch')}, built for an older NumPy than {_version('numpy')}"
        return Finding(distribution, found, "pip install 'numpy<2', or a newer torch", fatal=True)
    return _opencv() if module == "cv2" else Finding(distribution, _version(distribution))


def _opencv() -> Finding:
    """Which distributions of OpenCV are installed; several of them share, and so overwrite, the files of cv2."""
    import cv2

    installed = {}
    for distribution in _OPENCV:
        with contextlib.suppress(PackageNotFoundError):
            installed[distribution] = version(distribution)
    found = ", ".join(
        number if distribution == "opencv-python" else f"{number} ({distribution})"
        for distribution, number in installed.items()
    )
    found = found or "installed without version"
    if not hasattr(cv2, "imread"):  # an empty folder imports too
        kept = next(iter(installed), "opencv-python")
        advice = f"another OpenCV was uninstalled with them: pip install --force-reinstall --no-deps {kept}"
        return Finding("opencv-python", f"{found}, but its files are gone", advice, fatal=True)
    advice = ""
    if len(set(installed.values())) > 1:
        advice = f"the last one installed has overwritten the others: pip uninstall {' '.join(installed)}, install one"
    return Finding("opencv-python", found, advice)


def _torch_takes_arrays() -> bool:
    """Whether torch was built for the NumPy that is installed."""
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
        return "installed without version"  # a folder of sources on the path


def _cuda() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
        return Finding("GPU", f"{torch.cuda.device_count()} x {', '.join(sorted(names))}, CUDA {torch.version.cuda}")
    return Finding(
        "GPU", "torch sees none", "train with MODEL.DEVICE cpu, or install a driver and a torch built for CUDA"
    )


def _compiled_operators() -> Finding:
    try:
        importlib.import_module("detectron2._C")
    except ImportError as error:
        if error.name != "detectron2._C":  # it is there
            advice = f"build Detectron2 again, for the torch that is installed: {DETECTRON2_GUIDE}"
            return Finding("compiled ops", f"do not load: {error}", advice)
        return Finding(
            "compiled ops",
            "missing (Python-only Detectron2)",
            "enough for lt_det's configs; for rotated boxes or deformable convolution build Detectron2 from source: "
            + DETECTRON2_GUIDE,
        )
    return Finding("compiled ops", "found")


def _datasets() -> Iterator[Finding]:
    root = os.environ.get("DETECTRON2_DATASETS")
    if root is None:
        where = "DETECTRON2_DATASETS is not set: ./datasets"
    else:
        where = f"DETECTRON2_DATASETS={root}" if root else "DETECTRON2_DATASETS is empty: the working directory"
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
    folder = Path("datasets" if root is None else root).expanduser()
    commands = {
        "LVIS v1": f"download lvis --out {folder}",
        "LVIS v0.5": f"download lvis --version v0.5 --out {folder}",
        "COCO": f"download coco --out {folder}",
        "mini_lvis": f"mini-lvis {folder / 'mini_lvis'}",
    }
    for name, files in checks:
        missing = [file for file in files(folder) if not file.exists()]
        if missing:
            yield Finding(name, f"no {missing[0]} ({where})", f"only if you need it: lt-det {commands[name]}")
        else:
            yield Finding(name, f"found in {folder}")
