"""Check and count an annotation file in one pass that takes little memory, whatever its size."""

from __future__ import annotations

import os
from pathlib import Path

from lt_det.io.annotations.checks import AnnotationChecks
from lt_det.io.annotations.coco_json import read_in_pieces
from lt_det.io.annotations.findings import Findings
from lt_det.statistics.counting import ClassCounter


def count_checked(json_file: str | os.PathLike[str], image_root: Path | None = None, warn: bool = True) -> ClassCounter:
    """Count the classes of an annotation file, and look for mistakes in it.

    The memory is that of about 0.4 kB per image and 30 bytes per annotation, beside 100 MB.

    Args:
        json_file: a COCO- or LVIS-format json.
        image_root: folder in which each image must be; None: do not look.
        warn: False: do not log harmless mistakes, which concern training and not counts.

    Raises:
        LtDetError: the file cannot be read, or has mistakes that make training fail.
    """
    checks, findings = AnnotationChecks(json_file, image_root), Findings(json_file)
    categories: list[dict[str, object]] = []
    counter: ClassCounter | None = None
    for section, records in read_in_pieces(json_file):
        findings.add(checks.add(section, records))
        if section == "categories":
            categories += records
        elif section == "annotations" and not findings.fatal:
            counter = counter or ClassCounter(categories, str(json_file), checks.sizes)
            counter.add(records)
    findings.add_first(checks.finish())
    findings.report(warn)
    return counter or ClassCounter(categories, str(json_file))
