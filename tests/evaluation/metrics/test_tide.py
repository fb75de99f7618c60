"""The error analysis against a slow loop from TIDE's paper, against `tidecv`, and against cases worked out by hand."""

import importlib.util
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lt_det.evaluation.metrics import interpolation, tide
from lt_det.evaluation.metrics.bucket_ap import summarize
from lt_det.evaluation.metrics.tide import ERROR_TYPES, Errors, analyze_errors, find_errors
from lt_det.evaluation.protocols import COCO, FIXED, LVIS, Protocol
from lt_det.io.annotations.coco_json import load_annotations
from tests.helpers.worlds import (
    CLOSE,
    FAR,
    FIXED_4,
    NEAR,
    OBJECT,
    OTHER,
    SIZE,
    A,
    B,
    as_detections,
    context_of,
    noisy_detections,
    slow_kinds,
    small_world,
    table_of,
    to_rle,
    two_buckets,
    world,
)

LVIS_9 = Protocol("lvis", federated=True, per_image=9)
COCO_3 = Protocol("coco", federated=False, per_image_and_class=3)
PROTOCOLS = [LVIS, LVIS_9, COCO, COCO_3, FIXED, FIXED_4]
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: f"{p.name} {PROTOCOLS.index(p)}")


def errors_of(truth, detections, protocol, task="bbox", **options):
    data = truth
    context = context_of(data, protocol, two_buckets(len(data["categories"])))
    found = as_detections(detections, context.ground_truth, task)
    return context, find_errors(context, found, task, **options)[1]


def view(truth, detections, protocol, task="bbox", **options):
    return analyze_errors(*errors_of(truth, detections, protocol, task, **options))


# ------------------------------------------------------------------------------------------------ the slow loop


def slow_view(truth, detections, protocol, task):
    """Counts and AP50 losses per class, detection by detection, from the paper's section 2.2 and 2.3."""
    category_ids = sorted(category["id"] for category in truth["categories"])
    counted, wanted = slow_kinds(truth, detections, protocol, task)
    for g in wanted:
        # of the errors at an object that was not found, the one with the highest score; the lists are in class order
        g["fixed"] = None if g["found"] or not g["errors"] else max(g["errors"], key=lambda d: d["score"])
        g["missed"] = not g["found"] and not g["errors"]

    count = {name: [sum(d["kind"] == name and d["category_id"] == c for d in counted) for c in category_ids]
             for name in ERROR_TYPES}  # fmt: skip
    count["miss"] = [sum(g["missed"] for g in wanted if g["category_id"] == c) for c in category_ids]
    ap, loss = [], {name: [] for name in ERROR_TYPES}
    for c in category_ids:
        mine = [d for d in counted if d["category_id"] == c]
        of_class = [g for g in wanted if g["category_id"] == c]
        before = slow_ap([(d["score"], d["kind"] == "right") for d in mine], len(of_class))
        ap.append(before)
        for name in ERROR_TYPES:
            points = [(d["score"], d["kind"] == "right") for d in mine if d["kind"] != name]
            points += [(g["fixed"]["score"], True) for g in of_class if g["fixed"] and g["fixed"]["kind"] == name]
            number = len(of_class) - (sum(g["missed"] for g in of_class) if name == "miss" else 0)
            after = 100.0 if of_class and not number else slow_ap(points, number)
            loss[name].append(None if before is None else after - before)
    return {"count": count, "class_ap50": ap, "class_loss": loss}


def slow_ap(points, num_objects):
    """AP50 in percent of a list of (score, is correct)."""
    if num_objects == 0:
        return None
    curve, right = [], 0
    for number, (_, is_right) in enumerate(sorted(points, key=lambda point: -point[0]), start=1):
        right += is_right
        curve.append((right / num_objects, right / number))
    recalls = np.linspace(0, 1, 101)
    return float(np.mean([max((p for r, p in curve if r >= recall), default=0) for recall in recalls])) * 100


def assert_views_equal(mine, theirs):
    assert mine.count == theirs["count"]
    for name, losses in theirs["class_loss"].items():
        assert mine.class_loss[name] == [None if x is None else pytest.approx(x, abs=1e-9) for x in losses], name
    assert mine.class_ap50 == [None if x is None else pytest.approx(x, abs=1e-9) for x in theirs["class_ap50"]]


@every_protocol
@settings(max_examples=60)
@given(seed=st.integers(0, 2**31))
def test_boxes_of_small_worlds(protocol, seed):
    truth, detections = small_world(seed)
    assert_views_equal(view(truth, detections, protocol), slow_view(truth, detections, protocol, "bbox"))


@pytest.mark.parametrize("protocol", [LVIS, COCO], ids=lambda protocol: protocol.name)
@settings(max_examples=60)
@given(seed=st.integers(0, 2**31))
def test_masks_of_small_worlds(protocol, seed):
    truth, detections = small_world(seed, masks=True)
    assert_views_equal(view(truth, detections, protocol, "segm"), slow_view(truth, detections, protocol, "segm"))


@pytest.mark.parametrize("protocol", [LVIS, COCO], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_files_in_lvis_format(lvis_file, protocol, task):
    truth = load_annotations(lvis_file)
    truth["images"] = truth["images"][:25]
    known = {image["id"] for image in truth["images"]}
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in known]
    extra = 0 if task == "segm" else 300
    detections = noisy_detections(truth, 0, extra=extra) + noisy_detections(truth, 1, extra=extra)
    computed = view(truth, detections, protocol, task)
    assert_views_equal(computed, slow_view(truth, detections, protocol, task))
    assert min(sum(computed.count[name]) for name in ("classification", "duplicate", "miss")) > 0


def test_every_type_occurs_in_small_worlds():
    for protocol in (LVIS, COCO):
        views = [view(*small_world(seed), protocol) for seed in range(60)]
        for name in ERROR_TYPES:
            assert sum(sum(v.count[name]) for v in views) > 5, (protocol, name)
            assert max(loss or 0 for v in views for loss in v.class_loss[name]) > 1, (protocol, name)


# ------------------------------------------------------------------------------------------ as part of the evaluation


@every_protocol
@settings(max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_ap50_equals_the_precision_table(protocol, seed):
    """To the last bit: AP50 of each class, and the means whose differences are the losses."""
    truth, detections = small_world(seed)
    context, errors = errors_of(truth, detections, protocol)
    table, recall = table_of(truth, detections, "bbox", protocol)
    buckets = context.buckets
    engine = summarize(table, recall, buckets).metrics
    with mock.patch.object(tide, "_gain", lambda before, after, classes: tide._mean(before[:, classes])):
        computed = analyze_errors(context, errors)
    for k, value in enumerate(computed.class_ap50):
        cells = table[0, :, k, 0]
        assert value == (float(np.mean(cells)) * 100 if cells[0] > -1 else None)
    assert computed.loss["all"]["miss"] == (None if np.isnan(engine["AP50"]) else engine["AP50"])
    for bucket, name in enumerate(buckets.names):
        cells = table[0][:, buckets.members(bucket), 0]
        known = cells[cells > -1]
        assert computed.loss[name]["miss"] == (float(np.mean(known)) * 100 if known.size else None)


@every_protocol
@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), possible_pairs=st.integers(1, 3), pairs=st.integers(1, 9))
def test_parts_are_the_whole(protocol, seed, possible_pairs, pairs):
    """In chunks of images, in blocks of pairs, and gathered from two processes that each had every other image (not
    possible with a limit on the whole set)."""
    truth, detections = small_world(seed)
    context, whole = errors_of(truth, detections, protocol)
    with mock.patch.object(tide, "_MAX_PAIRS", pairs):
        _, in_chunks = errors_of(truth, detections, protocol, possible_pairs=possible_pairs)
    found = as_detections(detections, context.ground_truth, "bbox")
    parts = [find_errors(context, found.select(found.images % 2 == rank), "bbox")[1] for rank in (1, 0)]
    for other in (in_chunks, *([] if protocol.per_class else [Errors.concatenate(parts)])):
        for name in ("images", "classes", "scores", "kinds", "objects"):
            np.testing.assert_array_equal(getattr(other, name), getattr(whole, name))


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_masks_in_blocks(seed):
    truth, detections = small_world(seed, masks=True)
    whole = view(truth, detections, COCO, "segm")
    with mock.patch.object(tide, "_MAX_PAIRS", 5):
        assert view(truth, detections, COCO, "segm") == whole


def test_pairs_are_bounded():
    truth, detections = continuous_world(0)
    held = []
    overlaps = tide._overlaps

    def counted(*arguments):
        result = overlaps(*arguments)
        held.append(len(result[0]))
        return result

    with mock.patch.object(tide, "_MAX_PAIRS", 20), mock.patch.object(tide, "_overlaps", counted):
        view(truth, detections, COCO)
    assert len(held) > 5
    assert 15 < max(held) <= 20  # no image has more than 20 objects


def test_losses_of_buckets_are_means_over_their_classes():
    computed = [view(*small_world(seed), COCO) for seed in range(20)]
    for v in computed:
        for name in ERROR_TYPES:
            losses = v.class_loss[name]
            for group, of_group in (("all", losses), ("even", losses[::2]), ("odd", losses[1::2]), ("none", [])):
                known = [loss for loss in of_group if loss is not None]
                expected = pytest.approx(np.mean(known), abs=1e-9) if known else None
                assert v.loss[group][name] == expected


def test_no_detection_misses_everything():
    truth, _ = small_world(3)
    for protocol in PROTOCOLS:
        computed = view(truth, [], protocol)
        assert computed.loss["all"] == dict.fromkeys(ERROR_TYPES, 0.0) | {"miss": 100.0}
        assert sum(computed.count["miss"]) > 0


# ------------------------------------------------------------------------------------------------ cases by hand

FOUND_HALF = 100 * 51 / 101  # AP with recalls 0 to 0.5 reached, of 101


@pytest.mark.parametrize("protocol", [LVIS, COCO, FIXED], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize(
    ("objects", "detections", "losses", "ap50"),
    [
        # The only detection has the wrong class: once it is fixed, a and b are perfect; b had no object.
        ([(A, OBJECT)], [(B, 0.9, OBJECT)], {"classification": (100, None)}, (0, None)),
        # Class b has an object, found with a lower score than the error: it gains the half that the error cost.
        ([(A, OBJECT), (B, OTHER)], [(B, 0.9, CLOSE), (B, 0.8, OTHER)], {"classification": (100, 50)}, (0, 50)),
        ([(A, OBJECT)], [(A, 0.9, NEAR)], {"localization": (100, None)}, (0, None)),
        ([(A, OBJECT)], [(A, 0.9, NEAR), (A, 0.8, OBJECT)], {"localization": (50, None)}, (50, None)),
        # Two point at one object: the better one is fixed, the other removed.
        ([(A, OBJECT)], [(A, 0.9, NEAR), (A, 0.8, NEAR)], {"localization": (100, None)}, (0, None)),
        # Two of different types: the better one gets the object, so fixing the other type only removes the other.
        ([(A, OBJECT)], [(A, 0.9, NEAR), (B, 0.8, OBJECT)], {"localization": (100, None)}, (0, None)),
        ([(A, OBJECT)], [(A, 0.7, NEAR), (B, 0.8, OBJECT)], {"classification": (100, None)}, (0, None)),
        # Neither class nor place is correct: removing it helps the correct one with a lower score.
        ([(A, OBJECT), (B, OTHER)], [(B, 0.9, NEAR), (B, 0.8, OTHER)], {"both": (0, 50), "miss": (100, 0)}, (0, 50)),
        (
            [(A, OBJECT), (A, OTHER)],
            [(A, 0.9, OBJECT), (A, 0.8, OBJECT), (A, 0.7, OTHER)],
            {"duplicate": (100 * 50 / 101 / 3, None)},
            ((51 + 50 * 2 / 3) / 1.01, None),
        ),
        ([(A, OBJECT)], [(A, 0.9, FAR), (A, 0.8, OBJECT)], {"background": (50, None)}, (50, None)),
        ([(A, OBJECT), (A, OTHER)], [(A, 0.9, OBJECT)], {"miss": (100 - FOUND_HALF, None)}, (FOUND_HALF, None)),
        # Found with a lower score than an error, and half missed: the missed half has the same precision.
        (
            [(A, OBJECT), (A, OTHER)],
            [(A, 0.9, FAR), (A, 0.8, OBJECT)],
            {"background": (FOUND_HALF / 2, None), "miss": (50 - FOUND_HALF / 2, None)},
            (FOUND_HALF / 2, None),
        ),
        # A class that is never found: all of it.
        ([(A, OBJECT)], [(A, 0.9, FAR)], {"miss": (100, None), "background": (0, None)}, (0, None)),
    ],
)  # fmt: skip
def test_by_hand(protocol, objects, detections, losses, ap50):
    computed = view(*world(objects, detections), protocol)
    assert computed.class_ap50 == [None if x is None else pytest.approx(x) for x in ap50]
    for name in ERROR_TYPES:
        expected = losses.get(name, [None if x is None else 0 for x in ap50])
        assert computed.class_loss[name] == [None if x is None else pytest.approx(x) for x in expected], name


def kinds(objects, detections, protocol, **image):
    """The types with their numbers of errors in class a and class b."""
    count = view(*world(objects, detections, **image), protocol).count
    return {name: tuple(numbers) for name, numbers in count.items() if any(numbers)}


def test_thresholds():
    """An IoU of 0.5 is a match, one of 0.1 is near an object of the class, but 0.1 with another class is background."""
    half, tenth = [0.0, 0.0, 20.0, 10.0], [0.0, 0.0, 20.0, 2.0]
    for protocol in (LVIS, COCO):
        assert kinds([(A, OBJECT)], [(A, 0.9, half)], protocol) == {}
        assert kinds([(A, OBJECT)], [(A, 0.9, tenth)], protocol) == {"localization": (1, 0)}
        assert kinds([(A, OBJECT)], [(B, 0.9, half)], protocol) == {"classification": (0, 1)}
        assert kinds([(A, OBJECT)], [(B, 0.9, tenth)], protocol) == {"background": (0, 1), "miss": (1, 0)}
        assert kinds([(A, OBJECT)], [(A, 0.9, OBJECT), (A, 0.8, half)], protocol) == {"duplicate": (1, 0)}


def test_what_lvis_does_not_know_is_not_an_error():
    objects, detections = [(A, OBJECT)], [(B, 0.9, OBJECT), (B, 0.8, FAR)]
    seen = {"classification": (0, 1), "background": (0, 1)}
    for protocol in (LVIS, FIXED):
        assert kinds(objects, detections, protocol) == seen
        # The annotation says nothing about class b; then no error points at the object.
        assert kinds(objects, detections, protocol, neg_category_ids=[]) == {"miss": (1, 0)}
        assert kinds(objects, detections, protocol, not_exhaustive_category_ids=[B]) == {"miss": (1, 0)}
    for lists in ({"neg_category_ids": []}, {"not_exhaustive_category_ids": [B]}):
        assert kinds(objects, detections, COCO, **lists) == seen


def test_a_crowd_of_coco_is_neither_found_nor_missed():
    crowd = (A, [60.0, 60.0, 60.0, 60.0], {"iscrowd": 1})
    detections = [(A, 0.9, FAR), (A, 0.8, FAR), (B, 0.7, FAR)]
    assert kinds([crowd], detections, COCO) == {"background": (0, 1)}
    assert kinds([crowd], detections, LVIS) == {"localization": (2, 0), "both": (0, 1)}


def test_limits():
    """A detection beyond the protocol's limit is not an error and does not keep an object from being missed."""
    wrong = [(A, 1 - n / 1000, FAR) for n in range(400)]
    for protocol, limit in ((LVIS, 300), (COCO, 100), (FIXED, 400)):
        assert kinds([(A, OBJECT)], [*wrong, (A, 0.1, NEAR)], protocol) == (
            {"background": (limit, 0)} | ({"localization": (1, 0)} if protocol is FIXED else {"miss": (1, 0)})
        )
    for right, wrong_ones in ((OBJECT, {}), (FAR, {"background": (4, 0)})):
        five = [(A, 0.9, right), *((A, 0.5, FAR) for _ in range(4))]
        found = kinds([(A, OBJECT)], five, FIXED_4)
        assert found == (wrong_ones or {"background": (3, 0)}) | ({"miss": (1, 0)} if right is FAR else {})


def test_a_mask_of_another_size_than_its_image_overlaps_nothing():
    truth, _ = world([(A, OBJECT)], [])
    square = [[0.0, 0.0, 20.0, 0.0, 20.0, 20.0, 0.0, 20.0]]
    detection = {"image_id": 1, "category_id": A, "score": 0.9, "segmentation": to_rle(square, (SIZE, SIZE + 1))}
    assert view(truth, [detection], COCO, "segm").count["background"] == [1, 0]


# ----------------------------------------------------------------------------------------------------- tidecv


@pytest.fixture(scope="module")
def tidecv():
    """Its modules that evaluate; those that plot and download need more packages."""
    if importlib.util.find_spec("tidecv") is None:
        pytest.skip("tidecv is not installed")
    aside = {f"tidecv.{name}": SimpleNamespace(Plotter=lambda: None) for name in ("plotting", "datasets")}
    with mock.patch.dict(sys.modules, aside):
        import tidecv.data
        import tidecv.quantify
    return tidecv


def tide_view(tidecv, truth, detections, task):
    """Counts and AP50 losses of `tidecv` per category id."""
    shape = "box" if task == "bbox" else "mask"

    def shape_of(thing):
        if task == "bbox":
            return thing["bbox"]
        mask = thing["segmentation"]
        return to_rle(mask, sizes[thing["image_id"]]) if isinstance(mask, list) else mask

    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    gt, found = tidecv.data.Data("gt", max_dets=10**6), tidecv.data.Data("found")
    for image in truth["images"]:
        gt.add_image(image["id"], str(image["id"]))
    for annotation in truth["annotations"]:
        gt.add_ground_truth(annotation["image_id"], annotation["category_id"], **{shape: shape_of(annotation)})
    for d in detections:
        found.add_detection(d["image_id"], d["category_id"], d["score"], **{shape: shape_of(d)})
    mode = tidecv.quantify.TIDE.BOX if task == "bbox" else tidecv.quantify.TIDE.MASK
    run = tidecv.quantify.TIDE().evaluate(gt, found, mode=mode)

    category_ids = sorted(category["id"] for category in truth["categories"])
    of_type = dict(zip(["Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"], ERROR_TYPES, strict=True))
    count = {name: [0] * len(category_ids) for name in ERROR_TYPES}
    for error in run.errors:
        thing = error.gt if error.short_name == "Miss" else error.pred
        count[of_type[error.short_name]][category_ids.index(thing["class"])] += 1
    before = [run.ap_data.objs[c].get_ap() for c in category_ids]
    loss = {}
    for kind in tidecv.quantify.TIDE._error_types:
        fixed = run.fix_errors(lambda error, kind=kind: isinstance(error, kind)).objs
        after = [fixed[c].get_ap() for c in category_ids]
        loss[of_type[kind.short_name]] = [high - low for high, low in zip(after, before, strict=True)]
    return {"count": count, "class_ap50": before, "class_loss": loss}


def assert_equals_tidecv(tidecv, truth, detections, task):
    """Apart from the differences listed in `docs/errors.md`: no crowds, no ties, and every class has an object.

    Its recalls are x / 100, where `pycocotools` has linspace(0, 1, 101): 0.07, 0.14 and others differ by one bit, which
    decides whether 7 of 100 objects reach them.
    """
    with mock.patch.object(interpolation, "RECALL_THRESHOLDS", np.arange(101) / 100):
        mine = view(truth, detections, COCO, task)
    theirs = tide_view(tidecv, truth, detections, task)
    objects = np.bincount([a["category_id"] for a in truth["annotations"]])
    for k, category in enumerate(sorted(c["id"] for c in truth["categories"])):
        if theirs["count"]["miss"][k] == objects[category]:  # it has no gain from finding all of a class
            assert theirs["class_loss"]["miss"][k] == 0
            theirs["class_loss"]["miss"][k] = 100
    assert_views_equal(mine, theirs)
    return mine


def continuous_world(seed):
    """Detections at random distances of objects in all classes; some are of another class, some anywhere."""
    rng = np.random.default_rng(seed)
    num_images, num_classes = 4, 3
    boxes = np.concatenate([rng.random((24, 2)) * 60, rng.random((24, 2)) * 40 + 10], axis=1)
    labels, of_image = np.arange(24) % num_classes + 1, rng.integers(num_images, size=24)
    near = rng.integers(24, size=60)
    found = boxes[near] + rng.normal(0, rng.choice([2.0, 8.0], (60, 1)), (60, 4))
    found[:, 2:] = found[:, 2:].clip(2)
    label = np.where(rng.random(60) < 0.3, rng.integers(num_classes, size=60) + 1, labels[near])
    truth = {
        "images": [{"id": i, "height": SIZE, "width": SIZE} for i in range(num_images)],
        "categories": [{"id": c + 1, "name": str(c)} for c in range(num_classes)],
        "annotations": [
            {"id": n + 1, "image_id": int(of_image[n]), "category_id": int(labels[n]), "bbox": boxes[n].tolist()}
            for n in range(24)
        ],
    }
    detections = [
        {"image_id": int(of_image[near[n]]), "category_id": int(label[n]), "score": rng.random(), "bbox": box.tolist()}
        for n, box in enumerate(found)
    ]
    return truth, detections


def test_boxes_equal_tidecv(tidecv):
    views = [assert_equals_tidecv(tidecv, *continuous_world(seed), "bbox") for seed in range(40)]
    for name in ERROR_TYPES:
        assert sum(sum(v.count[name]) for v in views) > 10, name


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_mini_lvis_equals_tidecv(tidecv, mini, task):
    truth = load_annotations(mini.val_json)
    detections = [d for seed in (0, 1) for d in noisy_detections(truth, seed, extra=300 if task == "bbox" else 0)]
    present = {a["category_id"] for a in truth["annotations"]}  # it counts a class without objects as AP 0
    truth["categories"] = [category for category in truth["categories"] if category["id"] in present]
    detections = [d for d in detections if d["category_id"] in present]
    computed = assert_equals_tidecv(tidecv, truth, detections, task)
    assert sum(computed.count["duplicate"]) > 10
    assert 1 < computed.loss["all"]["classification"] < 50


def test_where_tidecv_differs(tidecv):
    """A box on a crowd is ignored and points at nothing; `tidecv` fixes it all the same."""
    truth, detections = world([(A, OBJECT), (A, OBJECT, {"iscrowd": 1})], [(A, 0.9, NEAR)])
    truth["annotations"][1]["bbox"] = [0.0, 0.0, 60.0, 60.0]
    mine = view(truth, detections, COCO)
    assert mine.count["localization"] == [0, 0]
    assert mine.count["miss"] == [1, 0]
    gt, found = tidecv.data.Data("gt"), tidecv.data.Data("found")
    gt.add_ground_truth(1, A, OBJECT)
    gt.add_ignore_region(1, A, [0.0, 0.0, 60.0, 60.0])
    found.add_detection(1, A, 0.9, NEAR)
    run = tidecv.quantify.TIDE().evaluate(gt, found)
    assert [error.short_name for error in run.errors] == ["Loc"]
