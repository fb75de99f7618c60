"""A detector that trains and predicts in a second, on two small images with masks and keypoints."""

import json

import pytest
from PIL import Image

from tests.helpers import REPOSITORY

NAMES = ["nose", "left_eye", "right_eye"]


def write_set(folder, name="set", keypoints=NAMES, size=(64, 48)):
    """Two images with two objects each; writes and returns the json's path."""
    width, height = size
    categories = [{"id": k, "name": f"class {k}", "keypoints": list(keypoints)} for k in (1, 2)]
    images, annotations = [], []
    for k in (1, 2):
        Image.new("RGB", size, (90 * k, 50, 20)).save(folder / f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "width": width, "height": height})
        for x in (4, 34):
            number = len(annotations) + 1
            shape = [[x, 6, x + 24, 6, x + 24, 36, x, 36]]
            points = [value for n in range(len(keypoints)) for value in (x + 2 + 3 * n, 9, 2)]
            annotations.append(
                {"id": number, "image_id": k, "category_id": k, "bbox": [x, 6, 24, 30], "area": 720, "iscrowd": 0}
                | {"segmentation": shape, "keypoints": points, "num_keypoints": len(keypoints)}
            )
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


@pytest.fixture
def small_config(tmp_path, request):
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
