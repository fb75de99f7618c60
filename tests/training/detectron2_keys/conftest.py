"""Configs of a detector that trains and predicts in a second."""

import pytest

from tests.helpers import REPOSITORY
from tests.helpers.keypoint_set import write_set


@pytest.fixture
def small_config(tmp_path):
    """Writes a yaml config of two iterations on a set of `write_set`, with more lines if given; returns its path."""

    def write(more="", entry="", **set_options):
        name = f"set_{abs(hash(str(tmp_path)))}_{len(list(tmp_path.glob('*.yaml')))}"
        file = write_set(tmp_path, name, **set_options)
        config = tmp_path / f"{name}.yaml"
        config.write_text(f"""
_BASE_: {REPOSITORY}/configs/base/mini_lvis.yaml
DATASETS:
  REGISTER:
    {name}: {{JSON: {file}, IMAGES: {tmp_path}{entry}}}
  TRAIN: ("{name}",)
  TEST: ("{name}",)
MODEL:
  ROI_HEADS: {{NUM_CLASSES: 2, BATCH_SIZE_PER_IMAGE: 8}}
  ROI_BOX_HEAD: {{FC_DIM: 16}}
  ROI_KEYPOINT_HEAD: {{NUM_KEYPOINTS: 3, CONV_DIMS: [8], POOLER_RESOLUTION: 7}}
  ROI_MASK_HEAD: {{NUM_CONV: 1, CONV_DIM: 8, POOLER_RESOLUTION: 7}}
  RPN: {{POST_NMS_TOPK_TEST: 8, BATCH_SIZE_PER_IMAGE: 8}}
INPUT: {{MIN_SIZE_TRAIN: [48], MIN_SIZE_TEST: 48}}
SOLVER: {{IMS_PER_BATCH: 2, MAX_ITER: 2, STEPS: [], WARMUP_ITERS: 1, CHECKPOINT_PERIOD: 100, BASE_LR: 0.001}}
TEST: {{EVAL_PERIOD: 0, RESAMPLES: 0, DETECTIONS_PER_IMAGE: 10, AUG: {{MIN_SIZES: [48, 64], MAX_SIZE: 128}}}}
DATALOADER: {{NUM_WORKERS: 0, ASPECT_RATIO_GROUPING: False}}
OUTPUT_DIR: {tmp_path}/output
{more}
""")
        return config

    return write
