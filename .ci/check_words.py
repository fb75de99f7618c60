#!/usr/bin/env python3
"""List words that this project does not use, with the field's word for each; see "Words" in CONTRIBUTING.

Prose, messages, identifiers and file names are checked: ``judging_set`` and ``JudgingSet`` count as "judging set".
Exit code 1 if anything is found.

    .ci/check_words.py [PATH ...]     default: every file that git tracks
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

# Pattern (of lower-case text, identifiers split into words) and the field's word.
BANNED = {
    r"judg(e|es|ed|ing|ement|ment)": "evaluate",
    r"told|tells?|telling": "report, say, show",
    r"pictures?": "image",
    r"films?": "video",
    r"outlin(e|es|ed)": "segmentation, mask",
    r"seldom": "rare, rarely",
    r"mend(s|ed|ing)?": "fix",
    r"torn": "truncated, corrupt",
    r"falling (order|score|scores)": "descending",
    r"rising (order|id|ids|count|counts)|by rising": "ascending",
    r"run lengths?": "RLE",
    r"drawn (set|sets|data|dataset|images?)": "synthetic",
    r"time outs?": "timeout",
    r"(a|the|which|what|same|equal|small|large) shares?|shares? of": "fraction",
    r"(is|of) ours|a[ns]? [a-z]+ of (ours|yours)": "lt_det's, your",
    r"anew": "again, from scratch",
    r"counts? not": "does not count, do not count",
    r"is none": "is invalid, is missing",
    r"second stages?": "decoupled training",
    r"two stage recipes?": "decoupled training",
}

# What users have already: config keys, options, metric names, files, and names of other projects.
KEPT = (
    r"is (not )?None",  # Python
    r"SECOND_STAGE(\.METHOD)?",
    r"train\.second_stage|second_stage",
    r"data_time_share|time_share",
    r"outline(-[a-z]+)?\s*:",  # CSS
    r"cv2\.[A-Za-z_]*[Oo]utline\w*|outline=",  # OpenCV's and Pillow's drawing
)

_PATTERNS = [(re.compile(rf"\b(?:{banned})\b"), instead) for banned, instead in BANNED.items()]
_KEPT = re.compile("|".join(KEPT))

TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".html", ".js", ".css", ".sbatch", ".cfg", ""}
SKIPPED = ("CONTRIBUTING.md", "LICENSE", ".ci/check_words.py", "CHANGELOG.md", "tests/losses/fixtures/")


def as_words(text: str) -> str:
    """Lower-case words: identifiers are split at underscores and capitals, hyphens become spaces."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.sub(r"[_\-\s]+", " ", text).lower()


def findings(path: str, text: str) -> list[str]:
    found = []
    for number, line in enumerate([path, *text.splitlines()]):
        words = as_words(_KEPT.sub(" ", line))
        for pattern, instead in _PATTERNS:
            found += [f"{path}:{number}: '{match[0]}' -> {instead}" for match in pattern.finditer(words)]
    return found


def main(paths: list[str]) -> int:
    tracked = subprocess.run(["git", "ls-files", *paths], capture_output=True, text=True, check=True).stdout.split("\n")
    found = []
    for path in filter(None, tracked):
        if path.startswith(SKIPPED) or Path(path).suffix not in TEXT or not Path(path).is_file():
            continue
        found += findings(path, Path(path).read_text(encoding="utf-8", errors="replace"))
    print("\n".join([*found, f"{len(found)} words to replace"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
