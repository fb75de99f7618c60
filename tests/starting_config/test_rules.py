"""The rules by which a starting config is chosen, each alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from lt_det.errors import LtDetError
from lt_det.starting_config.anchors import choose_anchors, coverage
from lt_det.starting_config.document import Choice, render
from lt_det.starting_config.image_folders import find_image_folder
from lt_det.starting_config.input_size import choose_input_size
from lt_det.starting_config.long_tail import choose_buckets, choose_detections, choose_sampler
from lt_det.starting_config.machine import Machine
from lt_det.starting_config.schedule import choose_schedule
from lt_det.starting_config.survey import Survey, survey_of_annotations
from lt_det.statistics.class_stats import ClassStats


def survey(image_counts, box=(40, 40), image=(640, 480), **changes) -> Survey:
    """A set in which class k has `image_counts[k]` images with one object of the size `box`."""
    counts = np.asarray(image_counts)
    total = int(counts.sum())
    names = tuple(f"class {k}" for k in range(len(counts)))
    return replace(
        Survey(
            stats=ClassStats(names, counts, counts, total, "a set"),
            files=[f"{n}.jpg" for n in range(total)],
            image_sizes=np.tile(np.asarray(image, dtype=float), (total, 1)),
            box_sizes=np.tile(np.asarray(box, dtype=float), (total, 1)),
            image_of_box=np.arange(total),
            class_of_box=np.repeat(np.arange(len(counts)), counts),
            masks=0,
            with_keypoints=0,
            keypoints=[],
            federated=False,
            has_letters=False,
        ),
        **changes,
    )


def size_of(survey, usual=256, largest=512, wanted=16):
    return choose_input_size(survey, usual, largest, wanted, [usual - 32, usual, usual + 32])


def test_input_has_the_usual_size_where_objects_are_large_enough():
    chosen = size_of(survey([10], box=(100, 100)))
    assert (chosen.test, chosen.train) == (256, [224, 256, 288])
    np.testing.assert_allclose(chosen.sizes, 100 * 256 / 480)
    assert chosen.longest >= 288 * 640 / 480


def test_input_is_larger_for_small_objects_but_within_limits():
    assert size_of(survey([10], box=(24, 24))).test == 320  # 24 * 320 / 480 = 16
    assert size_of(survey([10], box=(5, 5), image=(4000, 3000))).test == 512
    assert size_of(survey([10], box=(5, 5), image=(4000, 3000))).tiny == 1


def test_images_are_enlarged_for_small_objects_only():
    assert size_of(survey([10], box=(30, 30), image=(144, 144))).test == 144
    assert size_of(survey([10], box=(9, 9), image=(144, 144))).test == 256  # 9 * 256 / 144 = 16
    assert size_of(survey([10], box=(5, 5), image=(100, 100))).test == 200  # twice their size


def test_one_small_object_in_twenty_does_not_enlarge_the_input():
    boxes = np.full((20, 2), 100.0)
    boxes[0] = 5
    assert size_of(survey([20], box_sizes=boxes)).test == 256


@pytest.mark.parametrize(("low", "high"), [(20, 160), (60, 480), (24, 40)])
def test_anchors_cover_the_objects(low, high):
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.uniform(np.log(low), np.log(high), 2000))
    ratios = np.exp(rng.uniform(np.log(0.5), np.log(2), 2000))
    boxes = np.stack([sizes / ratios**0.5, sizes * ratios**0.5], axis=1)
    chosen = choose_anchors(boxes, [8, 16, 32, 64], usual=3)
    assert chosen.covered >= 0.9
    assert chosen.covered == coverage(boxes, chosen.sizes, chosen.aspect_ratios)
    assert [row[0] / chosen.sizes[0][0] for row in chosen.sizes] == pytest.approx([1, 2, 4, 8], rel=0.05)


def test_aspect_ratios_are_height_divided_by_width():
    boxes = np.array([[10.0, 40.0]] * 50 + [[20.0, 20.0]] * 50 + [[40.0, 10.0]] * 50)
    assert choose_anchors(boxes, [8, 16, 32], usual=3).aspect_ratios == [0.25, 1.0, 4.0]
    assert choose_anchors(boxes[:50], [8, 16, 32], usual=3).aspect_ratios == [4.0]


def test_epochs_become_fewer_with_more_images():
    chosen = [choose_schedule(n, 8, (0.7, 0.9), 200, finetunes=False) for n in (300, 1000, 5000, 20000, 100000)]
    np.testing.assert_allclose([schedule.epochs for schedule in chosen], [100, 50, 36, 24, 12], rtol=0.1)
    for schedule in chosen:
        assert schedule.iterations == schedule.period * schedule.evaluations
        assert 10 <= schedule.evaluations <= 21
        assert schedule.epochs / schedule.evaluations <= 5.5
        assert 0 < schedule.warm_up < schedule.steps[0] < schedule.steps[1] < schedule.iterations
    half = choose_schedule(1000, 8, (0.7, 0.9), 200, finetunes=True)
    assert half.epochs == pytest.approx(25, rel=0.1)


def test_a_tiny_set_trains_for_some_iterations():
    schedule = choose_schedule(3, 8, (0.7, 0.9), 200, finetunes=False)
    assert schedule.iterations >= 1000
    assert schedule.warm_up <= 0.1 * schedule.iterations


@pytest.mark.parametrize(
    ("counts", "by", "groups", "said"),
    [
        ([5, 50, 500], "images", 0, "1 rare, 1 common, 1 frequent"),
        ([200, 300, 900], "images", 3, "all classes are frequent"),
        ([110, 120, 200, 300, 400, 500, 900], "images", 3, "3 groups"),
        ([200, 210, 220], "images", 0, "read AP by class"),
        ([500], "images", 0, "One class"),
        ([0, 500], "images", 0, "cannot be divided"),
    ],
)
def test_buckets_divide_the_classes(counts, by, groups, said):
    chosen = choose_buckets(survey(counts), survey(counts))
    assert (chosen.by, chosen.groups) == (by, groups)
    assert said in chosen.why


def test_buckets_by_instances_where_images_do_not_divide():
    few = survey([5, 6, 7])
    stats = replace(few.stats, instance_counts=np.array([5, 60, 700]))
    chosen = choose_buckets(replace(few, stats=stats), few)
    assert (chosen.by, chosen.groups) == ("instances", 0)
    assert "1 rare, 1 common, 1 frequent" in chosen.why


def test_buckets_of_the_file_to_evaluate_on_are_kept():
    train, val = survey([200, 300, 900]), survey([2, 3, 9], has_letters=True)
    assert choose_buckets(train, val).edges is None
    assert choose_buckets(replace(train, has_letters=True), replace(val, has_letters=False)).groups == 3


def test_images_of_classes_in_the_tail_are_repeated():
    chosen = choose_sampler(survey([5, 50, 945]))
    assert (chosen.name, chosen.threshold) == ("RepeatFactorTrainingSampler", 0.1)  # 100 of 1000 images
    assert "2 of 3 classes" in chosen.why
    assert f"{(0.1 / 0.005) ** 0.5:.1f} times" in chosen.why
    half = choose_sampler(survey([2, 10, 88]))
    assert half.threshold == 0.1  # of the median class: 10 of 100 images
    assert choose_sampler(survey([150, 800, 1600])).threshold == 0.31  # as none has up to 100 images
    assert choose_sampler(survey([200, 300, 900])).name == "TrainingSampler"


def test_score_threshold_falls_with_the_tail():
    thresholds = [
        choose_detections(found).threshold
        for found in (survey([200, 300]), survey([5, 300]), survey([9] * 120), survey([5, 300], federated=True))
    ]
    assert thresholds == [0.01, 0.001, 0.0001, 0.0001]
    assert choose_detections(survey([5, 300], federated=True)).per_image == 300
    crowded = survey([250], image_of_box=np.zeros(250, dtype=np.int64))
    assert choose_detections(crowded).per_image == 300


def test_workers_leave_a_core_for_the_training():
    assert [Machine("", 0, cores).workers for cores in (1, 2, 8)] == [0, 1, 1]
    assert [Machine("a GPU", 24, cores).workers for cores in (1, 3, 64)] == [0, 2, 4]


def test_crowd_regions_and_boxes_without_area_are_left_out():
    image = {"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}
    boxes = [[0, 0, 10, 20], [0, 0, 0, 20], [0, 0, 90, 40], [120, 0, 9, 9]]
    annotations = [
        {"id": k, "image_id": 1, "category_id": 7, "bbox": box, "iscrowd": int(k == 2)} for k, box in enumerate(boxes)
    ]
    data = {"images": [image], "annotations": annotations, "categories": [{"id": 7, "name": "cat"}]}
    found = survey_of_annotations(data, Path("a.json"))
    assert found.box_sizes.tolist() == [[10, 20]]
    assert found.stats.instance_counts is not None
    assert found.stats.instance_counts.tolist() == [1]
    assert not found.most_have_masks


def images_at(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


@pytest.mark.parametrize("place", ["", "images", "train", "JPEGImages", "images/train", "../images", "my photos"])
def test_image_folder_is_found_near_the_json(tmp_path, place):
    json_file = tmp_path / "annotations" / "instances_train.json"
    json_file.parent.mkdir()
    images_at(json_file.parent / place, ["a.jpg", "b.jpg"])
    found = find_image_folder(json_file, ["a.jpg", "b.jpg"], None, "--images")
    assert found.path.resolve() == (json_file.parent / place).resolve()
    assert (found.missing, found.guessed) == ([], True)


def test_image_folder_that_is_given(tmp_path):
    images_at(tmp_path / "right", ["a.jpg"])
    images_at(tmp_path / "wrong", ["c.jpg"])
    json_file = tmp_path / "train.json"
    found = find_image_folder(json_file, ["a.jpg", "b.jpg"], tmp_path / "right", "--images")
    assert (found.missing, found.guessed) == (["b.jpg"], False)
    with pytest.raises(LtDetError, match=r"none of the 2 images.*right"):
        find_image_folder(json_file, ["a.jpg", "b.jpg"], tmp_path / "wrong", "--images")
    with pytest.raises(LtDetError, match=r"--images .*nowhere"):
        find_image_folder(json_file, ["a.jpg"], tmp_path / "nowhere", "--images")


def test_yaml_reads_back_what_is_rendered():
    values = [1, True, 0.5, 0.0001, 1e-5, 0.01, "plain", "/a folder/ü: x.json", "it's", "123", "(a,)", "", "null"]
    values += [[[1, 2], [0.5]], ["a, b", "c"]]
    choices = {f"A.B.K{number}": Choice(value, "why " * 60) for number, value in enumerate(values)}
    text = render("first line\n\nsecond", choices, {"A.B": "of B", "C": "of no value"})
    read = yaml.safe_load(text)
    assert list(read["A"]["B"].values()) == values
    assert max(map(len, text.splitlines())) <= 120
    assert "# of B" in text
    assert "of no value" not in text
