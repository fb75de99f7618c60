"""Makes the docstrings of lt_det entries of the reference, beyond what autodoc and napoleon do."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

_LINKED = {"class", "data", "exception", "function"}
_ONE_LETTER = re.compile(r"^(\s+[\w*, ]+: )([A-Za-z])\.(?=\s|$)")
_ARRAY = re.compile(r"~?numpy\.ndarray\[tuple\[~?(?:typing\.)?Any, \.\.\.\], ~?numpy\.dtype\[([^][]*)\]\]")


def _keep_one_letter(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """``num_classes: K.`` is not the start of a list."""
    lines[:] = [_ONE_LETTER.sub(r"\1\\\2.", line) for line in lines]


def _shorten_types(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """``NDArray`` as it is written, and no default that cannot be read as Python."""

    def shortened(text: str | None) -> str | None:
        return None if text is None else _ARRAY.sub(r"~numpy.typing.NDArray[\1]", text).replace("<factory>", "...")

    return shortened(signature), shortened(returns)


def _name_attributes(app: Sphinx, doctree: nodes.document) -> None:
    """Sphinx calls them variables."""
    for heading in doctree.findall(nodes.field_name):
        if heading.astext() == "Variables":
            heading.replace_self(nodes.field_name("", "Attributes"))


def _resolve_short_name(
    app: Sphinx, env: BuildEnvironment, link: addnodes.pending_xref, content: nodes.Element
) -> nodes.reference | None:
    """Link a `Name` to its entry also from the page of another package."""
    if link.get("refdomain") != "py":
        return None
    domain, name = env.domains["py"], link["reftarget"]
    found = [full for full, entry in domain.objects.items() if full.endswith(f".{name}") and entry.objtype in _LINKED]
    if len(found) != 1:  # not documented, or not unique
        return None
    return domain.resolve_xref(env, link["refdoc"], app.builder, "obj", found[0], link, content)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _keep_one_letter, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", _shorten_types)
    app.connect("doctree-read", _name_attributes)
    app.connect("missing-reference", _resolve_short_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
