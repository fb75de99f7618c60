"""A training set that epochs go through in no time."""

import json

import pytest

from tests.helpers import REPOSITORY, first_images


@pytest.fixture(scope="session")
def sixty_config(mini, tmp_path_factory):
    """Batches of six of 60 images: an epoch ends after ten of the iterations."""
    file = tmp_path_factory.mktemp("stream") / "config.yaml"
    (file.parent / "sixty.json").write_text(json.dumps(first_images(mini.train_json, 60)))
    file.write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_eql.yaml
DATASETS:
  REGISTER:
    streamed: {{JSON: {file.parent}/sixty.json, IMAGES: {mini.image_root}}}
  TRAIN: ("streamed",)
  TEST: ()
MODEL:
  ROI_HEADS: {{NUM_CLASSES: 12}}
DATALOADER: {{NUM_WORKERS: 0, ASPECT_RATIO_GROUPING: False, REPEAT_THRESHOLD: 0.3}}
INPUT: {{MIN_SIZE_TRAIN: [16]}}
SOLVER: {{IMS_PER_BATCH: 6, MAX_ITER: 14, STEPS: [9], CHECKPOINT_PERIOD: 12}}
SEED: -1
""")
    return file
