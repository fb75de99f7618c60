"""Links a `Name` of a docstring to its entry, also on the pages of other packages."""

from __future__ import annotations

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def _resolve(
    app: Sphinx, env: BuildEnvironment, link: addnodes.pending_xref, content: nodes.Element
) -> nodes.reference | None:
    if link.get("refdomain") != "py":
        return None
    domain, name = env.domains["py"], link["reftarget"]
    found = [full for full in domain.objects if full.endswith(f".{name}")]
    if len(found) != 1:  # not documented, or not unique
        return None
    return domain.resolve_xref(env, link["refdoc"], app.builder, "obj", found[0], link, content)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
