"""null, values of another type, and numbers out of range: one sentence with the key and where it was written."""

import re

import pytest
from detectron2.config import get_cfg

from lt_det.config import add_keys, check_schedule, loss_hyperparameters
from lt_det.errors import LtDetError
from lt_det.training import load_config
from lt_det.training.config_files.values import check_values
from tests.helpers import REPOSITORY

MINI = REPOSITORY / "configs" / "mini_lvis_softmax.yaml"


def nested(key: str, value: str) -> str:
    *above, last = key.split(".")
    return "".join(f"{name}: {{" for name in above) + f"{last}: {value}" + "}" * len(above)


CASES = [
    ("DATALOADER.NUM_WORKERS", "null", "null"),
    ("DATALOADER.NUM_WORKERS", "-1", "at least 0"),
    ("TEST.BUCKETS.EDGES", "null", "null"),
    ("TEST.BUCKETS.EDGES", "[10, a]", "'a'"),
    ("SOLVER.REFERENCE_WORLD_SIZE", "null", "null"),
    ("MODEL.WEIGHTS", "null", "null"),
    ("DATASETS.TEST", "null", "null"),
    ("DATASETS.TRAIN", "[0.5]", "0.5"),
    ("DATASETS.TRAIN", "[null]", "None"),
    ("DATASETS.TRAIN", "[[mini_lvis_train]]", "mini_lvis_train"),
    ("SOLVER.MAX_ITER", "-1", "at least 1"),
    ("SOLVER.MAX_ITER", "0", "at least 1"),
    ("SOLVER.IMS_PER_BATCH", "0", "at least 1"),
    ("SOLVER.CHECKPOINT_PERIOD", "0", "at least 1"),
    ("SOLVER.BASE_LR", ".inf", "at least 0"),
    ("SOLVER.BASE_LR", "-0.1", "at least 0"),
    ("SOLVER.STEPS", "null", "null"),
    ("SOLVER.STEPS", "[true]", "True"),
    ("SOLVER.STEPS", "[0.5]", "whole number"),
    ("SOLVER.STEPS", "[-5]", "above 0"),
    ("SOLVER.WEIGHT_DECAY_BIAS", "x", "a number"),
    ("MODEL.LONG_TAIL.COSINE_SCALE", "[1]", "a number"),
    ("MODEL.LONG_TAIL.LOSS.NAME", "null", "null"),
    ("MODEL.MASK_ON", "null", "null"),
    ("MODEL.PIXEL_MEAN", "[1, 2, x]", "'x'"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", "[]", "at least one"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", "[[0]]", "above 0"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", "[[a]]", "'a'"),
    ("MODEL.RPN.IN_FEATURES", "[1]", "a string"),
    ("MODEL.RPN.LOSS_WEIGHT", "-1.0", "at least 0"),
    ("INPUT.MIN_SIZE_TRAIN", "[]", "at least one"),
    ("INPUT.MIN_SIZE_TRAIN", "[-1]", "0 or above"),
    ("INPUT.RANDOM_FLIP", "both", "horizontal, vertical or none"),
    ("INPUT.RANDOM_FLIP", "horizontal_", "did you mean 'horizontal'?"),
    ("INPUT.MASK_FORMAT", "bitmap", "did you mean 'bitmask'?"),
    ("INPUT.MIN_SIZE_TRAIN_SAMPLING", "ranges", "did you mean 'range'?"),
    ("INPUT.FORMAT", "rgb", "write RGB"),
    ("SEED", "5000000000", "at most"),
    ("SOLVER.GAMMA", "10.0", "at most 1"),
    ("SOLVER.WARMUP_FACTOR", "1000.0", "at most 1"),
    ("SOLVER.MOMENTUM", "9.0", "below 1"),
    ("TEST.DETECTIONS_PER_IMAGE", "0", "-1 for all"),
    ("MODEL.PIXEL_STD", "[0.0, 0.0, 0.0]", "above 0"),
    ("MODEL.RPN.NMS_THRESH", "7.0", "at most 1"),
    ("MODEL.RPN.IOU_THRESHOLDS", "[0.7, 0.3]", "ascending"),
    ("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", "[0.0, 0.0, 0.0, 0.0]", "above 0"),
    ("MODEL.ROI_HEADS.IOU_THRESHOLDS", "[50]", "at most 1"),
    ("MODEL.ROI_HEADS.IOU_LABELS", "[0, -1, 1]", "2 labels"),
    ("MODEL.ROI_HEADS.NMS_THRESH_TEST", "50.0", "at most 1"),
    ("MODEL.ROI_HEADS.POSITIVE_FRACTION", "25.0", "at most 1"),
    ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "5.0", "at most 1"),
    ("OUTPUT_DIR", "null", "null"),
    ("SEED", "null", "null"),
    ("VERSION", "x", "VERSION: 2"),
    ("SOLVER", "null", "null"),
    ("SOLVER", "[1]", "section"),
    ("MODEL.LONG_TAIL.LOSS", "null", "section"),
    ("DATASETS.REGISTER", "null", "section"),
    ("MODEL", "", "section"),
]


@pytest.mark.parametrize(("key", "value", "complaint"), CASES)
def test_in_a_file(tmp_path, key, value, complaint):
    file = tmp_path / "a.yaml"
    file.write_text(f"_BASE_: {MINI}\n{nested(key, value)}\n")
    with pytest.raises(LtDetError) as error:
        load_config(str(file))
    message = str(error.value)
    assert message.startswith(f"{file}: {key} is ")
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("key", "value", "complaint"), [case for case in CASES if case[1] != ".inf" and case[0] != "VERSION"]
)
def test_on_the_command_line(key, value, complaint):
    value = {"null": "None", "": "None", "[true]": "[True]"}.get(value, value)
    value = {"[null]": "[None]", "[10, a]": "[10, 'a']", "[1, 2, x]": "[1, 2, 'x']", "[[a]]": "[['a']]"}.get(
        value, value
    )
    value = value.replace("[[mini_lvis_train]]", "[['mini_lvis_train']]")
    with pytest.raises(LtDetError) as error:
        load_config(str(MINI), [key, value])
    message = str(error.value)
    assert message.startswith(f"Override on the command line: {key} ")
    assert complaint.replace("null", "") in message
    assert "\n" not in message


def test_not_a_number_in_a_file(tmp_path):
    file = tmp_path / "a.yaml"
    for key in ("SOLVER.BASE_LR", "MODEL.RPN.NMS_THRESH", "SOLVER.CLIP_GRADIENTS.CLIP_VALUE"):
        file.write_text(f"_BASE_: {MINI}\n{nested(key, '.nan')}\n")
        with pytest.raises(LtDetError, match=f"{key} is nan"):
            load_config(str(file))


def test_an_override_does_not_slip_past_a_null_of_the_file(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(f"_BASE_: {MINI}\nDATALOADER: {{SAMPLER_START: null}}\n")
    assert load_config(str(file), ["DATALOADER.SAMPLER_START", "0.5"]).DATALOADER.SAMPLER_START == 0.5
    cfg, defaults = get_cfg(), get_cfg()
    cfg.SOLVER.MAX_ITER = "many"  # yacs allows it where the value before is null
    with pytest.raises(LtDetError, match=r"a\.yaml: SOLVER\.MAX_ITER is 'many'"):
        check_values(*map(with_keys, (cfg, defaults)), lambda key: "a.yaml")


def with_keys(cfg):
    add_keys(cfg)
    return cfg


def test_keys_of_parts_that_the_network_lacks_are_left_alone(tmp_path):
    file = tmp_path / "a.yaml"
    unused = ["MODEL.RETINANET.NUM_CLASSES", "MODEL.SEM_SEG_HEAD.NAME", "MODEL.LONG_TAIL.LOSS.EQL.PRIOR_PROB"]
    for key in unused:
        file.write_text(f"_BASE_: {MINI}\n{nested(key, 'null')}\n")
        load_config(str(file))
    with pytest.raises(LtDetError, match=r"EQL\.PRIOR_PROB is null"):
        load_config(str(file), ["MODEL.LONG_TAIL.LOSS.NAME", "eql"])


def test_null_where_it_means_none(tmp_path):
    file = tmp_path / "a.yaml"
    for key in ("WANDB_PROJECT", "MODEL.LONG_TAIL.CLASS_STATS", "TEST.BUCKETS.NAMES", "MODEL.FPN.NORM"):
        file.write_text(f"_BASE_: {MINI}\n{nested(key, 'null')}\n")
        load_config(str(file))
    cfg = load_config(str(MINI), ["MODEL.LONG_TAIL.LOSS.NAME", "focal", "MODEL.LONG_TAIL.LOSS.FOCAL.ALPHA", "None"])
    assert loss_hyperparameters(cfg)["alpha"] is None


def test_steps_and_the_end_of_the_training():
    for steps in ("(90,)", "(200, 90)", "(30, 30)"):
        cfg = load_config(str(MINI), ["SOLVER.MAX_ITER", "90", "SOLVER.STEPS", steps])
        with pytest.raises(LtDetError, match=r"SOLVER\.STEPS is .* SOLVER\.MAX_ITER 90"):
            check_schedule(cfg)
    for steps in ("()", "(30, 60)", "(60, 200)"):  # Detectron2 leaves out those beyond, and warns
        check_schedule(load_config(str(MINI), ["SOLVER.MAX_ITER", "90", "SOLVER.STEPS", steps]))


def test_unusual_values_that_detectron2_allows():
    unusual = {
        "SOLVER.GAMMA": "1.0",
        "SOLVER.MOMENTUM": "0.0",
        "SOLVER.WARMUP_FACTOR": "1.0",
        "SOLVER.CLIP_GRADIENTS.ENABLED": "False",
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": "0.0",
        "INPUT.CROP.TYPE": "own",  # not enabled
        "INPUT.FORMAT": "L",
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": "1.0",
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "-1.0",
        "MODEL.ROI_HEADS.IOU_THRESHOLDS": "[0.5, 0.5]",
        "MODEL.ROI_HEADS.IOU_LABELS": "[0, -1, 1]",
        "MODEL.ROI_HEADS.POSITIVE_FRACTION": "1.0",
        "SEED": "4000000000",
        "TEST.DETECTIONS_PER_IMAGE": "-1",
    }
    load_config(str(MINI), [word for pair in unusual.items() for word in pair])


@pytest.mark.parametrize(
    ("switch", "key", "value", "complaint"),
    [
        ("SOLVER.CLIP_GRADIENTS.ENABLED", "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "-1.0", "above 0"),
        ("INPUT.CROP.ENABLED", "INPUT.CROP.TYPE", "relatve", "did you mean 'relative'?"),
    ],
)
def test_values_that_only_matter_if_enabled(switch, key, value, complaint):
    load_config(str(MINI), [switch, "False", key, value])
    with pytest.raises(LtDetError, match=rf"{key} is .*{re.escape(complaint)}"):
        load_config(str(MINI), [switch, "True", key, value])
