"""Adds the navigation to the pages as they are read: in the files it would show on GitHub."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

from sphinx.application import Sphinx

NAVIGATION = runpy.run_path(str(Path(__file__).parents[1] / "navigation.py"))


def _add_toctrees(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] += NAVIGATION["toctrees"](page)


def _copy_start_page(app: Sphinx, error: Exception | None) -> None:
    """A web server opens index.html, and links lead to README.html."""
    if error is None:
        out = Path(app.outdir)
        shutil.copyfile(out / f"{NAVIGATION['START']}.html", out / "index.html")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _add_toctrees)
    app.connect("build-finished", _copy_start_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
