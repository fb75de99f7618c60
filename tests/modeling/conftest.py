"""A small Detectron2 model and a synthetic batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.models import annotations


@pytest.fixture
def stats_file(tmp_path: Path) -> str:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(annotations()))
    return str(path)
