"""A dataset that a user's own function makes without a file, as in Detectron2's tutorial."""

import copy
import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, BoxMode, Instances
from pycocotools import mask as mask_utils

from lt_det.errors import LtDetError
from lt_det.evaluation import LongTailEvaluator
from lt_det.evaluation.matching.ground_truth import GroundTruth
from tests.helpers.jittered_detections import HEIGHT, WEAK, WIDTH, corners, detections_of, world

NAME = "own_function_val"


def records_of(data, masks):
    """As a user writes them: NumPy boxes as corners, classes from 0 on, text ids."""
    records = []
    for image in data["images"]:
        annotations = []
        for annotation in data["annotations"]:
            if annotation["image_id"] != image["id"]:
                continue
            x, y, w, h = annotation["bbox"]
            found = {"bbox": np.array([x, y, x + w, y + h]), "bbox_mode": BoxMode.XYXY_ABS}
            found |= {"category_id": annotation["category_id"] - 1, "iscrowd": int(annotation["id"] % 9 == 0)}
            if masks:
                polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
                found["segmentation"] = [polygon]
                if annotation["id"] % 5 == 0:
                    found["segmentation"] = mask_utils.frPyObjects([polygon], HEIGHT, WIDTH)[0]
                found["keypoints"] = [x + 0.5, y + 0.5, 2]
            annotations.append(found)
        record = {"file_name": f"{image['id']}.jpg", "height": HEIGHT, "width": WIDTH, "image_id": f"i{image['id']}"}
        records.append({**record, "annotations": annotations})
    return records


@pytest.fixture
def own():
    """Registers records under NAME."""

    def register(records, **metadata):
        DatasetCatalog.register(NAME, lambda: records)
        MetadataCatalog.get(NAME).set(**metadata)

    yield register
    if NAME in DatasetCatalog:
        DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def predictions(data, masks):
    """Image id and instances."""
    truth = GroundTruth.from_json(data)
    found = detections_of(truth, WEAK, 3, clip=True)
    for image, image_id in enumerate(truth.image_ids.tolist()):
        mine = found.images == image
        instances = Instances((HEIGHT, WIDTH))
        boxes = torch.as_tensor(corners(found.boxes[mine]), dtype=torch.float32)
        instances.pred_boxes, instances.scores = Boxes(boxes), torch.as_tensor(found.scores[mine])
        instances.pred_classes = torch.as_tensor(found.classes[mine])
        if masks:
            stack = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.bool)
            for mask, (x0, y0, x1, y1) in zip(stack, boxes.round().int().tolist(), strict=True):
                mask[y0:y1, x0:x1] = True
            instances.pred_masks = stack
        yield f"i{image_id}", instances


@pytest.mark.parametrize("ids", [None, {7: 0, 3: 1, 40: 2, 5: 3, 6: 4}])
@pytest.mark.parametrize("masks", [False, True])
def test_the_numbers_are_those_of_detectron2(own, tmp_path, masks, ids):
    data = world(4)
    records = records_of(data, masks)
    metadata = {"thing_classes": ["a", "b", "c", "d", "e"]}
    own(records, **metadata, **({"thing_dataset_id_to_contiguous_id": ids} if ids else {}))
    before = copy.deepcopy(records)
    ours = LongTailEvaluator(NAME, output_dir=str(tmp_path / "ours"))
    assert str(records) == str(before)  # Detectron2's own conversion shifts keypoints
    theirs = COCOEvaluator(NAME, ["bbox", "segm"][: 1 + masks], False, str(tmp_path / "theirs"))
    for evaluator in (ours, theirs):
        evaluator.reset()
        for image_id, instances in predictions(data, masks):
            evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    found, expected = ours.evaluate(), theirs.evaluate()
    written = json.loads((tmp_path / "ours/evaluation.json").read_text())
    for task in expected:
        for metric in ("AP", "AP50", "AP75", "APs", "APm", "APl"):
            assert found[task][metric] == pytest.approx(expected[task][metric], abs=1e-9)
        # COCOEvaluator gives the class names, in their order, to the classes by ascending category id.
        places = [sorted(ids or range(5)).index(id_) for id_ in ids or range(5)]
        of_classes = [expected[task][f"AP-{metadata['thing_classes'][place]}"] for place in places]
        assert written["tasks"][task]["class_ap"] == pytest.approx(of_classes, abs=1e-9)
    assert written.get("ground_truth") is None
    assert [entry["id"] for entry in written["classes"]] == (list(ids) if ids else [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record.pop("height"), "KeyError: 'height'"),
        (lambda record: record["annotations"][0].pop("bbox_mode"), "KeyError: 'bbox_mode'"),
        (lambda record: record["annotations"][0].update(category_id=5), "KeyError: 5"),
        (lambda record: record["annotations"][0].update(bbox=[1, 2, 3, 4, 5]), "ValueError"),
    ],
)
def test_records_that_are_not_detectron2s(own, change, words):
    records = records_of(world(4), masks=False)
    change(records[2])
    own(records, thing_classes=["a", "b", "c", "d", "e"])
    with pytest.raises(LtDetError, match=rf"'{NAME}' fails, or its records .*{words}"):
        LongTailEvaluator(NAME)


def test_a_function_that_fails(own):
    own(None, thing_classes=["a"])
    with pytest.raises(LtDetError, match=rf"'{NAME}' fails"):
        LongTailEvaluator(NAME)


def test_without_class_names(own):
    own(records_of(world(4), masks=False))
    with pytest.raises(LtDetError, match=rf"'{NAME}' has no metadata thing_classes"):
        LongTailEvaluator(NAME)
