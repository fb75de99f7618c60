"""Class counts for the small models of these tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers import models


@pytest.fixture
def stats_file(tmp_path: Path) -> str:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(models.annotations()))
    return str(path)
