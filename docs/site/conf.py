"""Sphinx's settings for the docs site; `make docs` writes it to build/docs.

Why Sphinx with MyST and Furo: they install on Python 3.10 to 3.13; a page may stand anywhere in the repository, so that
the same Markdown serves GitHub and the site; docstrings become the reference; and search, equations and pages work from
the disk, without a network. Zensical needs Python 3.11, reads one folder of pages, and has no stable release yet.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lt_det

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "lt_det"
copyright = "The lt_det contributors"
release = lt_det.__version__

# The source folder is the repository, so that links between pages, to images and to files are those of GitHub.
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "docs/losses/*.md",
    "docs/site/api/*.rst",
    "zoo/*.md",
]
exclude_patterns = [".*", "build", "dist", "output", "datasets", "tests", "benchmarks"]
root_doc = "README"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "docstrings",
    "mathml",
    "navigation_in_pages",
    "repository_files",
]

# Markdown as GitHub reads it: its anchors, and ```math.
myst_heading_anchors = 6
myst_fence_as_directive = ["math"]
myst_links_external_new_tab = False

# Docstrings: Google's sections, and `names` in single backticks.
napoleon_use_ivar = True
napoleon_attr_annotations = False
default_role = "py:obj"
autodoc_member_order = "bysource"
autoclass_content = "both"  # the arguments of a class are described at the class or at __init__
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
add_module_names = False
viewcode_follow_imported_members = True
toc_object_entries_show_parents = "hide"

highlight_language = "text"
smartquotes = False  # options and values stay as they are typed
html_theme = "furo"
html_title = "lt_det"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = [("search.js", {"priority": 900})]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
