"""The navigation of the docs site: what a user comes for first, then the reference.

Pages are paths from the root of the repository without their suffix. A page stands once; a title is given where the
heading of the page is too long for the sidebar.
"""

from __future__ import annotations

# Caption of each group, and its pages: a path, or (title, path).
GROUPS: dict[str, list[str | tuple[str, str]]] = {
    "Start": [
        "docs/install",
    ],
    "Your own data": [
        "docs/first_300_images",
        "docs/init",
        ("Convert annotations", "docs/converting"),
        ("Datasets", "docs/data"),
    ],
    "LVIS": [
        "docs/lvis",
        ("What a training costs", "docs/costs"),
        "zoo/lvis_v1",
    ],
    "An existing project": [
        ("Add lt_det to it", "docs/existing_project"),
        ("Losses in any PyTorch model", "docs/losses_alone"),
    ],
    "Choose a method": [
        "docs/choosing",
        "docs/bakeoff",
        "docs/losses",
        "docs/samplers",
        ("Decoupled training", "docs/recipes"),
        "docs/post_hoc_adjustment",
        ("Evidence", "docs/evidence"),
        "docs/zoo",
    ],
    "Train and use": [
        "docs/training",
        "docs/starting_from_a_detector",
        "docs/inference",
    ],
    "Reference": [
        "docs/commands",
        "docs/config",
        "docs/evaluation",
        ("Reports", "docs/reports"),
        ("Error analysis", "docs/errors"),
        ("Diagnosis", "docs/diagnosis"),
        ("API", "docs/site/api/index"),
        ("GPU benchmarks", "docs/gpu"),
        ("Thousands of classes", "docs/scale"),
        "docs/tested_environments",
        ("What files can do", "docs/security"),
    ],
    "Project": [
        "CHANGELOG",
        "CONTRIBUTING",
    ],
}

# Pages below a page, in the order of its table.
BELOW: dict[str, list[str]] = {
    "docs/data": [
        "docs/checks",
        "docs/subsets",
        "docs/class_counts",
        "docs/large_annotation_files",
        "docs/mini_lvis",
    ],
    "docs/training": [
        "docs/clusters",
        "docs/resuming",
        "docs/performance",
        "docs/tracking",
        "docs/failures",
        "docs/detectron2_keys",
    ],
    "docs/evaluation": [
        "docs/metrics",
        "docs/evaluation_speed",
    ],
    "docs/losses": [
        f"docs/losses/{name}"
        for name in (
            "softmax",
            "label_smoothing",
            "seql",
            "class_balanced",
            "ldam",
            "cdt",
            "ib",
            "logit_adjustment",
            "seesaw",
            "sigmoid",
            "focal",
            "eql",
            "eqlv2",
            "federated",
        )
    ],
}

START = "README"


def pages() -> list[str]:
    """All pages of the navigation but the start page."""
    listed = [page for group in GROUPS.values() for page in group] + [
        page for below in BELOW.values() for page in below
    ]
    return [page if isinstance(page, str) else page[1] for page in listed]


def toctrees(page: str) -> str:
    """The Markdown that gives a page its part of the navigation; empty for most pages."""
    groups = GROUPS if page == START else {"": BELOW[page]} if page in BELOW else {}
    return "".join(_toctree(caption, entries) for caption, entries in groups.items())


def _toctree(caption: str, entries: list[str | tuple[str, str]] | list[str]) -> str:
    lines = [f"/{entry}" if isinstance(entry, str) else f"{entry[0]} </{entry[1]}>" for entry in entries]
    options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["", "```{toctree}", *options, "", *lines, "```", ""])
