import pytest

from lt_det.bakeoff.candidates import Candidate, applicable, full, quick
from lt_det.bakeoff.candidates.sampling import ROI_SAMPLERS
from lt_det.losses import LOSSES
from lt_det.modeling.loss_builder import loss_of_config
from lt_det.modeling.post_hoc_adjustment import METHODS
from tests.helpers.rois import bakeoff_config, synthetic_rois

NAME = "MODEL.LONG_TAIL.LOSS.NAME"


@pytest.fixture
def cfg(tmp_path):
    return bakeoff_config(synthetic_rois(), tmp_path)


@pytest.mark.parametrize("builtin", [quick, full])
def test_all_candidates_can_be_built(builtin, cfg):
    found = builtin()
    assert len({candidate.name for candidate in found}) == len(found)
    fitting, refused = applicable(found, cfg)
    assert fitting == [candidate for candidate in found if candidate.name != "softmax"]
    assert set(refused) <= {"softmax"}
    for candidate in found:
        loss_of_config(candidate.config(cfg))


def test_quick_has_about_ten_to_train():
    trained = [candidate for candidate in quick() if not candidate.keeps_classifier]
    assert 9 <= len(trained) <= 11
    assert [candidate.kind for candidate in quick()[:2]] == ["as_is", "retrained"]


def test_full_has_everything():
    found = full()
    assert {candidate.overrides.get(NAME) for candidate in found} >= set(LOSSES)
    assert {candidate.sampler for candidate in found} == set(ROI_SAMPLERS)
    assert {candidate.adjustment[0] for candidate in found if candidate.adjustment} == set(METHODS)
    assert {"smote", "adasyn"} <= {candidate.oversampling for candidate in found}
    kinds = {candidate.overrides.get("MODEL.LONG_TAIL.CLASSIFIER") for candidate in found}
    assert kinds >= {"linear", "cosine"}
    assert set(quick()[0].__dict__) == set(found[0].__dict__)
    assert {candidate.name for candidate in quick()} <= {candidate.name for candidate in found}


def test_tau_norm_does_not_go_with_a_cosine_classifier(cfg):
    cfg.MODEL.LONG_TAIL.LOSS.NAME = "seesaw"
    fitting, refused = applicable(quick(), cfg)
    assert set(refused) == {"seesaw", "tau_norm 0.5", "tau_norm 1"}
    assert len(fitting) == len(quick()) - 3
    assert "cosine" in refused["tau_norm 1"]


def test_another_loss_drops_what_belongs_to_the_detectors_own(cfg):
    cfg.MODEL.LONG_TAIL.LOSS.NAME = "seesaw"
    cfg.MODEL.LONG_TAIL.COSINE_SCALE = 16.0
    cfg.MODEL.LONG_TAIL.REWEIGHTING.START = 0.5
    cfg.MODEL.LONG_TAIL.REWEIGHTING.POWER = 0.3
    cfg.MODEL.LONG_TAIL.REWEIGHTING.WEIGHTS = "inverse_frequency"
    other = Candidate("eql", {NAME: "eql"}).config(cfg).MODEL.LONG_TAIL
    assert (other.CLASSIFIER, other.COSINE_SCALE, other.REWEIGHTING.START) == ("auto", None, None)
    assert (other.REWEIGHTING.WEIGHTS, other.REWEIGHTING.POWER) == ("effective_number", 1.0)
    own = Candidate("retrained", kind="retrained").config(cfg).MODEL.LONG_TAIL
    assert (own.COSINE_SCALE, own.REWEIGHTING.START) == (16.0, 0.5)
    assert cfg.MODEL.LONG_TAIL.LOSS.NAME == "seesaw"  # the argument stays


def test_learned_scales_are_not_trained_again(cfg):
    cfg.MODEL.LONG_TAIL.CLASSIFIER = "scaled"
    assert Candidate("retrained", kind="retrained").config(cfg).MODEL.LONG_TAIL.CLASSIFIER == "linear"
    assert Candidate("as it is", kind="as_is").config(cfg).MODEL.LONG_TAIL.CLASSIFIER == "scaled"


@pytest.mark.parametrize(("loss", "name"), [("softmax", "softmax"), ("seesaw", "seesaw"), ("eqlv2", "eqlv2")])
def test_the_detectors_own_loss_is_retrained_once(loss, name, cfg):
    cfg.MODEL.LONG_TAIL.LOSS.NAME = loss
    cfg.MODEL.LONG_TAIL.CLASSIFIER = LOSSES[loss].default_classifier  # as `detector_config` names it
    fitting, refused = applicable(full(), cfg)
    assert "retrained" in refused[name]
    assert [candidate.name for candidate in fitting if candidate.name == "retrained"] == ["retrained"]
    assert [reason for reason in refused.values() if "'retrained'" in reason] == [refused[name]]
    cfg.MODEL.LONG_TAIL.REWEIGHTING.START = 0.5  # retrained with it, too
    assert name in {candidate.name for candidate in applicable(full(), cfg)[0]}
