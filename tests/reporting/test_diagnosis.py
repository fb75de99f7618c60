"""The charts of a diagnosis, what their sentences say, and the files."""

import json
import re

import msgspec
import numpy as np
import pytest

from lt_det.errors import LtDetError
from lt_det.evaluation.diagnosis_schema import Diagnosis, read_diagnosis, write_diagnosis
from lt_det.reporting.bucket_style import DARK, LIGHT
from lt_det.reporting.charts.base import chart_style
from lt_det.reporting.charts.render import inline_svg
from lt_det.reporting.diagnosis import diagnosis_sections, write_diagnosis_page
from lt_det.reporting.diagnosis.confusion import confusion
from lt_det.reporting.diagnosis.deviation import decision_values, deviation_of_features
from lt_det.reporting.diagnosis.gradients import gradient_norms, gradient_ratio
from lt_det.reporting.diagnosis.groups import number, percentage
from lt_det.reporting.diagnosis.influence import influence
from lt_det.reporting.diagnosis.margins import margins
from lt_det.reporting.diagnosis.weights import effective_number, weight_norms
from lt_det.statistics.buckets import FrequencyBuckets
from tests.helpers.diagnosed import BUCKETS, K, diagnosis

EVERY = [
    "Gradients of the weights of each class",
    "EQLv2's gradient ratio",
    "Influence on the last layer",
    "Training against test RoIs",
    "Feature deviation",
    "Norms of the class weights",
    "Margins of training RoIs",
    "Who takes whose place",
    "Effective number of samples and class-balanced weights",
]


@pytest.fixture(scope="module")
def found():
    return diagnosis()


def findings(content):
    return {finding.chart.title: finding for section in diagnosis_sections(content) for finding in section.findings}


def sentence(content, draw):
    with chart_style():
        return draw(content, content.stages[0]).sentence


def changed(content, part, **values):
    """The diagnosis with other values in a part of its only stage."""
    stage = content.stages[0]
    inner = msgspec.structs.replace(getattr(stage, part), **values)
    return msgspec.structs.replace(content, stages=[msgspec.structs.replace(stage, **{part: inner})])


def by_bucket(rare, common, frequent):
    """A value for each class."""
    return [(rare, common, frequent)[bucket] for bucket in BUCKETS.assignment]


def test_every_chart_has_a_sentence_and_the_colors_of_the_page(found):
    charts = findings(found)
    assert list(charts) == EVERY
    names = []
    for finding in charts.values():
        assert re.fullmatch(r"[^\n]+\.", finding.sentence)
        assert "nan" not in finding.sentence
        for panel in finding.chart.panels:
            drawing = str(inline_svg(panel, "d"))
            assert re.findall(r"#[0-9a-fA-F]{6}\b|rgb\(", drawing) == []
            assert set(re.findall(r"var\(--(\w+)\)", drawing)) <= set(LIGHT) & set(DARK)
            assert drawing.count('class="point"') == len(panel.point_labels)
            names.append(panel.name)
    assert len(set(names)) == len(names)


def test_each_point_is_labeled_with_its_class(found):
    panel = findings(found)["Norms of the class weights"].chart.panels[0]
    assert len(panel.point_labels) == K
    for k, entry in enumerate(found.classes):
        (label,) = [label for label in panel.point_labels if label.startswith(f"{entry.name}:")]
        assert number(found.stages[0].weight_norms.norms[k]) in label
        assert f"{entry.instances} training instance" in label
        assert entry.bucket in label


def test_without_test_rois_three_charts_are_left_out(found):
    stage = msgspec.structs.replace(found.stages[0], deviation=None, confusion=None)
    alone = msgspec.structs.replace(found, stages=[stage], test=None, test_images=None)
    assert list(findings(alone)) == [*EVERY[:3], *EVERY[5:7], EVERY[8]]


def test_gradients_say_who_is_suppressed(found):
    positive = [1.0] * K
    suppressed = changed(found, "gradients", positive_norm=positive, negative_norm=by_bucket(14.2, 3.0, 1.1))
    assert re.search(r"14 times.* rare .*1\.1 times.* frequent .*are suppressed", sentence(suppressed, gradient_norms))
    same = changed(found, "gradients", positive_norm=positive, negative_norm=by_bucket(1.1, 1.0, 1.0))
    assert "not suppressed more" in sentence(same, gradient_norms)
    unfitted = changed(found, "gradients", positive_norm=positive, negative_norm=by_bucket(0.2, 1.0, 1.0))
    assert "pulled up" in sentence(unfitted, gradient_norms)


def test_the_ratio_counts_the_classes_that_eqlv2_would_change(found):
    content = changed(found, "gradients", ratio=by_bucket(0.3, 0.9, 1.2))
    assert re.search(r"0\.3 .*rare.*1\.2 .*frequent.*2 of 6", sentence(content, gradient_ratio))


def test_influence_says_what_ibs_factor_would_do(found):
    groups = dict(found.stages[0].influence.groups)
    for rare, expected in ((30.0, r"3\.0 times.*lower"), (5.0, r"0\.5 times.*raise")):
        for name, median in (("rare", rare), ("frequent", 10.0)):
            groups[name] = msgspec.structs.replace(groups[name], quartiles=[1.0, median, 100.0])
        assert re.search(expected, sentence(changed(found, "influence", groups=groups), influence))


@pytest.mark.parametrize(
    ("training", "test", "accuracy", "expected"),
    [
        (
            (8, 8, 8),
            (2, 6, 7.9),
            (0.9, 0.9, 0.9),
            r"drops by 6\.0 .*rare.*drops by 0\.1 .*frequent.*which CDT corrects",
        ),
        ((8, 8, 8), (8.5, 8, 7.9), (0.9, 0.9, 0.9), r"rises by 0\.5 .*little to correct"),
        ((8, 8, 8), (2, 6, 7.9), (0.1, 0.9, 0.9), r"not fitted even in training"),
    ],
)
def test_decision_values_say_who_is_overfitted(found, training, test, accuracy, expected):
    content = changed(
        found,
        "deviation",
        training_value=by_bucket(*training),
        test_value=by_bucket(*test),
        training_accuracy=by_bucket(*accuracy),
        test_accuracy=[0.5] * K,
    )
    assert re.search(expected, sentence(content, decision_values))


def test_deviation_is_compared_beyond_chance(found):
    content = changed(found, "deviation", deviation=by_bucket(0.5, 0.4, 0.1), by_chance=by_bucket(0.49, 0.2, 0.01))
    assert re.search(r"0\.099 against 0\.099", sentence(content, deviation_of_features))
    assert "do not deviate more" in sentence(content, deviation_of_features)
    content = changed(found, "deviation", deviation=by_bucket(0.5, 0.4, 0.1), by_chance=by_bucket(0.3, 0.2, 0.0))
    assert re.search(r"deviate more \(0\.4 against 0\.1\)", sentence(content, deviation_of_features))


def test_weight_norms_say_what_tau_normalization_would_do(found):
    norms = by_bucket(0.4, 0.8, 1.5)
    for correlation, has_effect, expected in (
        (0.9, True, "would raise"),
        (-0.9, True, "would lower"),
        (0.1, True, "little to correct"),
        (0.9, False, "no effect"),
    ):
        content = changed(found, "weight_norms", norms=norms, correlation=correlation, has_effect=has_effect)
        assert re.search(rf"0\.4 .*rare.*1\.5 .*frequent.*{expected}", sentence(content, weight_norms))


def test_margins_are_compared_with_those_that_ldam_asks_for(found):
    negative = [0.25] * K
    # The medians of n^(-1/4) are 0.74 for the rare and 0.27 for the frequent classes of the table.
    n = np.array([entry.count for entry in found.classes]) ** -0.25
    wanted = number(np.median(n[[4, 5]]) / np.median(n[[0, 1]]))
    for rare, expected in ((9.0, "has them"), (3.0, "not by as much"), (-1.0, "are smaller")):
        content = changed(found, "margins", median=by_bucket(rare, 2.5, 2.0), negative=negative)
        assert re.search(rf"25 %.* {wanted} times.*{expected}", sentence(content, margins))


def test_confusion_names_the_pair(found):
    first = found.stages[0].confusion.pairs[0]
    text = sentence(found, confusion)
    assert f"'{found.classes[first.true].name}' is taken for '{found.classes[first.predicted].name}'" in text
    table = findings(found)["Who takes whose place"].table
    assert table.rows[0][2] == percentage(first.fraction)
    assert len(table.rows) == len(found.stages[0].confusion.pairs)


def test_effective_numbers_give_the_factors(found):
    text = effective_number(found).sentence
    for entry in found.effective_numbers:
        factor = np.median(entry.weights[4:]) / np.median(entry.weights[:2])
        assert f"{number(factor)} (beta {entry.beta:g})" in text


def test_without_buckets_thirds_of_the_classes_are_compared():
    nowhere = FrequencyBuckets((), np.full(K, -1))
    content = changed(diagnosis(buckets=nowhere), "weight_norms", norms=[1.5, 1.5, 1, 1, 0.5, 0.5], correlation=0.9)
    assert list(findings(content)) == EVERY
    assert re.search(r"0\.5 .*rarest third.*1\.5 .*most frequent third", sentence(content, weight_norms))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.0123, "0.012"), (0.4, "0.4"), (1.04, "1.0"), (9.96, "10.0"), (23.4, "23"), (-1450.2, "-1450")],
)
def test_numbers_have_two_or_three_digits(value, expected):
    assert number(value) == expected


def test_the_page_escapes_names_and_shows_stages(tmp_path):
    names = ["<script>x", "$a$", "_b", "ключ", 'q"uote', "e"]
    page = write_diagnosis_page(diagnosis(names, stages=2), tmp_path / "new" / "folder")
    text = page.read_text()
    assert "<script>x" not in text
    assert "&lt;script&gt;x" in text
    assert text.count("<h2>Stage") == 2
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert read_diagnosis(page.with_name("diagnosis.json")).classes[0].name == "<script>x"


def test_the_file_is_read_as_it_was_written(found, tmp_path):
    file = write_diagnosis(found, tmp_path)
    assert read_diagnosis(file) == found
    json.loads(file.read_text(), parse_constant=lambda constant: pytest.fail(f"{constant} in the file"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda content: content["stages"][0]["gradients"]["ratio"].pop(), "gradients.ratio"),
        (lambda content: content["stages"][0]["deviation"]["by_chance"].append(1), "deviation.by_chance"),
        (lambda content: content["classes"][0].update(bucket="nowhere"), "nowhere"),
        (lambda content: content.pop("loss"), "loss"),
    ],
)
def test_a_file_that_is_no_diagnosis_is_refused(found, tmp_path, change, expected):
    file = write_diagnosis(found, tmp_path)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(LtDetError, match=expected):
        read_diagnosis(file)


def test_a_folder_that_is_a_file_is_one_sentence(found, tmp_path):
    (tmp_path / "file").write_text("")
    assert isinstance(found, Diagnosis)
    with pytest.raises(LtDetError, match=r"cannot be written.*file"):
        write_diagnosis_page(found, tmp_path / "file")
