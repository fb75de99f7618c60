"""Gives files and folders of the repository that pages link to, such as configs, a page of the site.

On GitHub these links open the file. Without this, Sphinx would offer the file as a download, and refuse a folder.
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx

_SKIPPED = ("__pycache__",)


def _page(path: str, root: Path) -> str:
    """The name of the page of a file or folder, without the suffix .html."""
    return f"{path}/index" if (root / path).is_dir() else path


def _link_to_pages(app: Sphinx, doctree: nodes.document) -> None:
    """Replace MyST's links to files and folders by links to their pages."""
    root, folder = Path(app.srcdir), Path(app.srcdir, app.env.docname).parent
    links = [*doctree.findall(addnodes.download_reference), *doctree.findall(addnodes.pending_xref)]
    for link in links:
        if isinstance(link, addnodes.pending_xref) and link.get("reftype") != "myst":
            continue
        path = os.path.relpath(folder / link["reftarget"].partition("#")[0], root)
        if path.startswith("..") or not (root / path).exists() or path.endswith(".md"):
            continue
        link.replace_self(nodes.reference("", "", *link.children, internal=True, repository_path=path, refuri=""))


def _set_addresses(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for link in doctree.findall(nodes.reference):
        if path := link.get("repository_path"):
            link["refuri"] = app.builder.get_relative_uri(docname, _page(path, Path(app.srcdir)))


def _linked_paths(app: Sphinx) -> list[str]:
    """Files and folders that pages link to, and everything in these folders."""
    root = Path(app.srcdir)
    found: set[str] = set()
    for docname in app.env.found_docs:
        for link in app.env.get_doctree(docname).findall(nodes.reference):
            if path := link.get("repository_path"):
                below = (root / path).rglob("*") if (root / path).is_dir() else ()
                found |= {path, *(str(file.relative_to(root)) for file in below)}
    return sorted(path for path in found if not any(part in _SKIPPED for part in Path(path).parts))


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    paths = _linked_paths(app)
    for path in paths:
        file = Path(app.srcdir, path)
        body = _listing(path, paths, file) if file.is_dir() else _content(app, file)
        yield (
            _page(path, Path(app.srcdir)),
            {"title": path, "body": f'<h1 class="file">{html.escape(path)}</h1>{body}'},
            "page.html",
        )


def _listing(path: str, paths: list[str], folder: Path) -> str:
    names = [Path(other).name for other in paths if os.path.dirname(other) == path]
    links = [(f"{name}/" if (folder / name).is_dir() else name) for name in names]
    hrefs = [f"{link}index.html" if link.endswith("/") else f"{link}.html" for link in links]
    items = [
        f'<li><a href="{html.escape(href)}"><code>{html.escape(link)}</code></a></li>'
        for href, link in zip(hrefs, links, strict=True)
    ]
    return f"<ul>{''.join(items)}</ul>"


def _content(app: Sphinx, file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    try:
        language = get_lexer_for_filename(file.name).aliases[0]
    except (ClassNotFound, IndexError):
        language = "text"
    return app.builder.highlighter.highlight_block(text, language, force=True)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", _link_to_pages)
    app.connect("doctree-resolved", _set_addresses)
    app.connect("html-collect-pages", _pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
