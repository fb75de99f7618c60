import math

import pytest
import yaml

from lt_det.bakeoff.candidates import quick, read_candidates
from lt_det.errors import LtDetError
from tests.helpers.rois import bakeoff_config, synthetic_rois

LOSS = "MODEL.LONG_TAIL.LOSS"


@pytest.fixture
def cfg(tmp_path):
    return bakeoff_config(synthetic_rois(), tmp_path)


def read(text, cfg, tmp_path):
    file = tmp_path / "candidates.yaml"
    file.write_text(text)
    return read_candidates(file, cfg)


def test_every_key(cfg, tmp_path):
    found = read(
        """
candidates:
- loss: seesaw
- name: mine
  loss: eql
  hyperparameters: {frequency_threshold: 1}
  overrides: {MODEL.LONG_TAIL.CLASSIFIER: cosine, MODEL.LONG_TAIL.REWEIGHTING.START: first_lr_step}
  sampler: class_aware
  oversampling: smote
  learning_rates: [1, 0.5]
  adjustment: {norcal: 1}
- sampler: repeat_factor
- adjustment: {tau_norm: 0.3}
""",
        cfg,
        tmp_path,
    )
    assert [candidate.name for candidate in found] == [
        "as it is",
        "retrained",
        "seesaw",
        "mine",
        "own loss, repeat-factor sampling",
        "as it is, tau_norm 0.3",
    ]
    assert [candidate.kind for candidate in found] == [
        "as_is",
        "retrained",
        "trained",
        "trained",
        "trained",
        "post_hoc",
    ]
    mine = found[3]
    assert (mine.sampler, mine.oversampling) == ("class_aware", "smote")
    assert mine.learning_rates == (1.0, 0.5)
    assert mine.adjustment == ("norcal", 1.0)
    node = mine.config(cfg).MODEL.LONG_TAIL
    assert (node.LOSS.NAME, node.CLASSIFIER, node.REWEIGHTING.START) == ("eql", "cosine", "first_lr_step")
    assert node.LOSS.EQL.FREQUENCY_THRESHOLD == 1.0


def test_a_grid_makes_a_candidate_for_each_combination(cfg, tmp_path):
    text = "candidates: [{loss: seesaw, grid: {P: [0.4, 1.2], q: [0, 3]}}]"
    found = read(text, cfg, tmp_path)[2:]
    assert [candidate.name for candidate in found] == [
        "seesaw, p 0.4, q 0",
        "seesaw, p 0.4, q 3",
        "seesaw, p 1.2, q 0",
        "seesaw, p 1.2, q 3",
    ]
    node = found[3].config(cfg).MODEL.LONG_TAIL.LOSS.SEESAW
    assert (node.P, node.Q) == (1.2, 3.0)


def test_builtin_lists_are_included(cfg, tmp_path):
    found = read("include: quick\ncandidates: [{loss: seql}]", cfg, tmp_path)
    assert [candidate.name for candidate in found] == [*(candidate.name for candidate in quick()), "seql"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{loss: seasaw}", "'seasaw'.*'seesaw'"),
        ("{loss: eql, hyperparameters: {lambda: 1}}", "eql.*'lambda'.*frequency_threshold"),
        ("{loss: eql, hyperparameters: {frequency_threshold: 3}}", "FREQUENCY_THRESHOLD.*3"),
        ("{loss: seesaw, hyperparameters: {p: much}}", r"SEESAW\.P"),
        ("{loss: seesaw, hyperparameters: {p: -1}}", "SEESAW.*-1"),
        ("{hyperparameters: {p: 1}}", "'loss'"),
        ("{loss: seesaw, grid: {p: 1}}", "grid.*p has 1"),
        ("{overrides: {MODEL.LONG_TAIL.CLASIFIER: cosine}}", r"CLASIFIER.*MODEL\.LONG_TAIL\.CLASSIFIER"),
        ("{overrides: {MODEL.LONG_TAIL.CLASSIFIER: round}}", "'round'"),
        ("{overrides: {MODEL.LONG_TAIL: 1}}", r"MODEL\.LONG_TAIL"),
        ("{overrides: {MODEL.LONG_TAIL.LOSS.NAME: nosuch}}", "'nosuch'"),
        ("{loss: softmax, overrides: {MODEL.LONG_TAIL.REWEIGHTING.START: -1}}", "REWEIGHTING.START is -1"),
        ("{loss: [a]}", "loss is .*a"),
        ("{loss: 5}", "loss is 5"),
        ("{loss: ''}", "no loss ''"),
        ("{loss: seesaw, hyperparameters: {p: null}}", r"SEESAW\.P has no value"),
        ("{loss: seesaw, grid: {p: [null]}}", r"SEESAW\.P has no value"),
        ("{loss: seesaw, hyperparameters: {p: .nan}}", r"SEESAW\.P is nan"),
        ("{loss: seesaw, hyperparameters: 0}", "hyperparameters is '0'"),
        ("{overrides: {MODEL.LONG_TAIL.LOSS.NAME: null}}", r"LOSS\.NAME has no value"),
        ("{overrides: {MODEL.LONG_TAIL.LOSS.SEESAW.P: 2.0}}", r"SEESAW\.P .*softmax"),
        ("{overrides: {MODEL.LONG_TAIL.LOSS.SEESAW.P.X: 2.0}}", r"no key MODEL.*SEESAW\.P\.X"),
        ("{overrides: {MODEL.LONG_TAIL.CLASSIFIER: scaled}}", "CLASSIFIER is scaled.*linear"),
        ("{overrides: {SOLVER.CLIP_GRADIENTS.CLIP_TYPE: both}}", "CLIP_TYPE is 'both'"),
        ("{overrides: {SOLVER.WEIGHT_DECAY_BIAS: none}}", "WEIGHT_DECAY_BIAS is 'none'"),
        ("{sampler: plain, overrides: {DATALOADER.REPEAT_THRESHOLD: 0.1}}", "REPEAT_THRESHOLD.*repeat_factor"),
        ("{adjustment: {tau_norm: .nan}}", "tau_norm is nan"),
        ("{adjustment: {tau_norm: .inf}}", "tau_norm is inf"),
        ("{adjustment: {norcal: -0.5}}", "norcal is -0.5"),
        ("{loss: softmax, learning_rates: [.inf]}", "learning_rates.*inf"),
        ("{loss: softmax, learning_rates: [0.1, -0.1]}", "learning_rates.*-0.1"),
        ("{loss: softmax, learning_rates: [.nan]}", "learning_rates.*nan"),
        ("{loss: softmax, sampler: clever}", "'clever'.*class_aware"),
        ("{loss: softmax, sampler: [plain]}", "sampler"),
        ("{loss: softmax, oversampling: mote}", "'mote'.*smote"),
        ("{loss: softmax, learning_rates: [fast]}", "learning_rates.*fast"),
        ("{loss: softmax, learning_rates: [0.1, 0]}", "learning_rates.*0"),
        ("{loss: softmax, adjustment: {norcal: 1, tau_norm: 1}}", "adjustment"),
        ("{loss: softmax, adjustment: {tao_norm: 1}}", "'tao_norm'.*tau_norm"),
        ("{loss: seesaw, adjustment: {tau_norm: 1}}", "tau_norm.*cosine"),
        ("{adjustment: {norcal: 1}, learning_rates: [0.1]}", "learning_rates"),
        ("{los: seesaw}", "'los'.*loss"),
        ("seesaw", "'seesaw'"),
        ("{}", "loss: seesaw"),
    ],
)
def test_a_mistake_names_file_and_entry(entry, message, cfg, tmp_path):
    text = f"candidates: [{{loss: ldam}}, {entry}]"
    with pytest.raises(LtDetError, match=rf"(?s)candidates\.yaml, entry 2.*{message}"):
        read(text, cfg, tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.RPN.POST_NMS_TOPK_TEST", 10),
        ("SOLVER.BASE_LR", 0.1),
        ("SOLVER.MAX_ITER", 10),
        ("MODEL.WEIGHTS", "other.pth"),
        ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"),
        ("MODEL.LONG_TAIL.SECOND_STAGE.METHOD", "crt"),
        ("MODEL.LONG_TAIL.CALIBRATION.METHOD", "norcal"),
        ("MODEL.LONG_TAIL.CLASS_STATS", "other.json"),
        ("MODEL.ROI_HEADS.NUM_CLASSES", 7),
        ("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "true"),
        ("OUTPUT_DIR", "elsewhere"),
    ],
)
def test_keys_that_a_bakeoff_does_not_use(key, value, cfg, tmp_path):
    with pytest.raises(LtDetError, match=rf"{key} cannot be set .*SOLVER\.MOMENTUM.*TEST\.DETECTIONS_PER_IMAGE"):
        read(f"candidates: [{{loss: seesaw, overrides: {{{key}: {value}}}}}]", cfg, tmp_path)


def test_keys_that_a_bakeoff_uses(cfg, tmp_path):
    overrides = {
        "MODEL.LONG_TAIL.LOSS.NAME": "seesaw",
        "MODEL.LONG_TAIL.LOSS.SEESAW.P": 0.5,
        "MODEL.LONG_TAIL.CLASSIFIER": "cosine",
        "MODEL.LONG_TAIL.COSINE_SCALE": 10.0,
        "MODEL.LONG_TAIL.REWEIGHTING.START": 0.5,
        "MODEL.LONG_TAIL.REWEIGHTING.BETA": 0.99,
        "SOLVER.MOMENTUM": 0.8,
        "SOLVER.NESTEROV": True,
        "SOLVER.WEIGHT_DECAY": 0.001,
        "SOLVER.WEIGHT_DECAY_BIAS": 0.0,
        "SOLVER.BIAS_LR_FACTOR": 2.0,
        "SOLVER.GAMMA": 0.2,
        "SOLVER.WARMUP_ITERS": 5,
        "SOLVER.WARMUP_FACTOR": 0.01,
        "SOLVER.CLIP_GRADIENTS.ENABLED": True,
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "norm",
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 2.0,
        "SOLVER.CLIP_GRADIENTS.NORM_TYPE": math.inf,
        "DATALOADER.REPEAT_THRESHOLD": 0.01,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.01,
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.6,
        "TEST.DETECTIONS_PER_IMAGE": 50,
    }
    content = {"candidates": [{"sampler": "repeat_factor", "overrides": overrides}]}
    assert read(yaml.safe_dump(content), cfg, tmp_path)[-1].overrides == overrides


def test_included_candidates_go_with_the_detector(cfg, tmp_path, caplog):
    cfg.MODEL.LONG_TAIL.LOSS.NAME = "seesaw"
    with caplog.at_level("WARNING", "lt_det"):
        found = read("include: quick\ncandidates: [{loss: seql}]", cfg, tmp_path)
    names = [candidate.name for candidate in found]
    assert names[0] == "as it is"
    assert names[-1] == "seql"
    assert "tau_norm 1" not in names
    assert "norcal 1" in names
    assert "tau_norm 1 is left out: tau_norm is not defined for the cosine classifier" in caplog.text


def test_two_candidates_of_one_name(cfg, tmp_path):
    with pytest.raises(LtDetError, match=r"entry 2 \('seesaw'\).*name"):
        read("candidates: [{loss: seesaw}, {loss: seesaw}]", cfg, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("candidates: {loss: seesaw}", "candidates"),
        ("- loss: seesaw", "candidates"),
        ("candidates: [", "not valid yaml"),
        ("candidate: []", "'candidate'"),
        ("include: all", "'all'.*quick"),
        ("include: [quick]", "quick.*; write quick or full"),
        ("include: {quick: full}", "write quick or full"),
    ],
)
def test_a_file_that_is_no_list_of_candidates(text, message, cfg, tmp_path):
    with pytest.raises(LtDetError, match=rf"candidates\.yaml.*{message}"):
        read(text, cfg, tmp_path)


def test_no_such_file(cfg, tmp_path):
    with pytest.raises(LtDetError, match=r"missing\.yaml"):
        read_candidates(tmp_path / "missing.yaml", cfg)
