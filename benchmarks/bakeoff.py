#!/usr/bin/env python
"""Time of a bake-off: trainings at LVIS's shape against their bare matrix products, reading the cache, hours for LVIS.

Bare products and training steps take turns, so that other load on the machine affects both; under heavy load, CPU time
says more than wall time. The feature cache is generated in a temporary folder (TMPDIR). One thread.

python benchmarks/bakeoff.py                                       # 900,000 RoIs of 1024 features, 1.8 GB
python benchmarks/bakeoff.py --rows 200000 --losses softmax seesaw
python benchmarks/bakeoff.py --mini datasets output/model_final.pth     # the quick list on mini_lvis instead
"""

import argparse
import math
import mmap
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console

REPOSITORY = Path(__file__).resolve().parents[1]

# What a bake-off of LVIS v1 consists of, see lt_det/bakeoff/features/size.py.
LVIS_ROIS = 5_000_000
LVIS_IMAGES = 19_809  # of the validation set
LVIS_FOLD_IMAGES = 5_000  # training images whose proposals are cached; each is evaluated in one fold
PROPOSALS = 1000  # per image
GPU_STEP = 0.002  # seconds, which a hundred kernel launches take, whatever the shape
MEASURES = 20  # of the held-out images in a training

console = Console(width=140, highlight=False)


def report(name, value, remark=""):
    console.print(f"{name:<58} {value:>10}  {remark}".rstrip(), markup=False, soft_wrap=True)


def generate(folder, rows, width, num_classes):
    """A table of RoIs on disk as a cache has it; every fourth RoI is an object of a class of a long tail."""
    from lt_det.bakeoff.cache.tables import RoiTable

    generator = np.random.default_rng(0)
    block = np.maximum(generator.normal(scale=0.3, size=(min(rows, 20_000), width)), 0).astype(np.float16)
    file = folder / "features.npy"
    features = np.lib.format.open_memmap(file, "w+", np.float16, (rows, width))
    for start in range(0, rows, len(block)):
        features[start : start + len(block)] = block[: rows - start]
    features.flush()
    frequencies = np.geomspace(1, 1 / 50_000, num_classes)
    classes = generator.choice(num_classes, rows, p=frequencies / frequencies.sum())
    images = np.arange(rows) // 50
    return RoiTable(
        features=np.load(file, mmap_mode="r"),
        labels=np.where(generator.random(rows) < 0.75, num_classes, classes),
        images=images,
        ious=np.ones(rows, dtype=np.float32),
        weights=np.ones(rows, dtype=np.float32),
        image_ids=range(images[-1] + 1),
        num_classes=num_classes,
    )


def detector(folder, num_classes, device):
    """The config of a detector with the counts of a long tail."""
    from lt_det.bakeoff.detector import detector_config
    from lt_det.statistics.class_stats import ClassStats
    from lt_det.training import load_config

    counts = np.geomspace(50_000, 1, num_classes).astype(np.int64)
    ClassStats(tuple(map(str, range(num_classes))), counts, counts, 100_000, "benchmark").save(folder / "counts.json")
    overrides = {
        "MODEL.DEVICE": device,
        "MODEL.ROI_HEADS.NUM_CLASSES": num_classes,
        "MODEL.LONG_TAIL.CLASS_STATS": str(folder / "counts.json"),
        "OUTPUT_DIR": str(folder),
    }
    cfg = load_config(str(REPOSITORY / "configs/lvis_softmax.yaml"), [x for pair in overrides.items() for x in pair])
    return detector_config(cfg)


def seconds(work, device="cpu"):
    """Wall time and CPU time of some work, as an array."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = np.array([time.perf_counter(), time.process_time()])
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()]) - start


def milliseconds(value):
    return f"{1000 * value:.1f} ms"


def train(cfg, name, batches, rounds):
    """Take steps of a candidate and its bare matrix products in turns.

    Returns:
        (rounds, 3, 2) wall time and CPU time of the products, of drawing a batch, and of the step on it.
    """
    from lt_det.bakeoff.candidates import Candidate
    from lt_det.bakeoff.candidates.candidate import LOSS_NAME
    from lt_det.bakeoff.fitting.trainee import Stage

    device = cfg.MODEL.DEVICE
    batch = batches.draw()
    overrides = {LOSS_NAME: name}
    if name == "class_balanced":
        overrides["MODEL.LONG_TAIL.LOSS.CLASS_BALANCED.MEAN_OVER"] = "instances"
    stage = Stage(Candidate(name, overrides).config(cfg), 0, batch.features.shape[1], device)
    weight = torch.randn_like(stage.classifier.weight)
    bias = torch.zeros_like(weight[:, 0])
    gradient = torch.rand(len(batch.features), len(weight), device=device)

    def products():
        torch.addmm(bias, batch.features, weight.t())
        torch.mm(gradient.t(), batch.features)

    def draw():
        nonlocal batch
        batch = batches.draw()

    times = []
    for number in range(rounds + 1):
        progress = float(number > 0)  # the first round warms up; then the last phase, for a loss that has several

        def step(progress=progress):
            stage.step(batch, 0.001, progress)

        times.append([seconds(work, device) for work in (products, draw, step)])
    return np.array(times[1:])


def trainings(cfg, batches, losses, rounds):
    """Print for each loss what a step takes; returns the median seconds of a step by loss, and of drawing a batch."""
    console.print(f"\n{'loss':<18} {'products':>9} {'draw':>9} {'step':>9} {'ratio':>6} {'wall':>6} {'draw/all':>9}")
    steps, draws = {}, []
    for name in losses:
        times = train(cfg, name, batches, rounds)
        products, draw, step = np.median(times, axis=0)
        wall, cpu = np.median((times[:, 1] + times[:, 2]) / times[:, 0], axis=0)
        fraction = np.median(times[:, 1] / (times[:, 1] + times[:, 2]), axis=0)[0]
        columns = f"{milliseconds(products[1]):>9} {milliseconds(draw[1]):>9} {milliseconds(step[1]):>9}"
        console.print(f"{name:<18} {columns} {cpu:>6.2f} {wall:>6.2f} {fraction:>9.1%}", soft_wrap=True)
        steps[name] = draw[1] + step[1]
        draws.append(draw[1])
    console.print(
        "ratio: (draw + step) / products; wall: the same in wall time; draw/all: draw / (draw + step) in wall time"
    )
    return steps, float(np.median(draws))


def drop_pages(*mapped):
    """Take a file out of memory, as if nobody had read it.

    Args:
        mapped: all arrays that the file is mapped to.
    """
    for features in mapped:
        features.base.madvise(mmap.MADV_DONTNEED)
    with open(mapped[0].filename, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def reading(rois, args, draw, step):
    """Print what fraction of a step reading takes, and how fast features are read that are not in memory.

    Args:
        draw, step: median seconds of drawing a batch whose features are in memory, and of a step with it.
    """
    from lt_det.bakeoff.fitting import batch as batch_module

    remark = f"{draw / step:.1%} of a step; the median step takes {milliseconds(step)}"
    report("drawing a batch, features in memory", milliseconds(draw), remark)

    large = replace(rois, features=np.load(rois.features.filename, mmap_mode="r"))
    with patch.object(batch_module, "_available_memory", return_value=0.0):  # as if it did not fit
        batches = batch_module.RoiBatches(large, np.ones(args.rows), batch_size=args.batch, seed=0)
    times = []
    for _ in range(args.rounds):
        drop_pages(large.features, rois.features)
        times.append(seconds(batches.draw)[0])
    cold = float(np.median(times))
    report("drawing a batch, features on disk", milliseconds(cold), f"{cold / (cold + step - draw):.1%} of a step")

    drop_pages(large.features, rois.features)
    ahead = seconds(lambda: batch_module.read_ahead(rois.features))[0]
    size = rois.features.nbytes / 1e9
    report("reading ahead, features on disk", f"{ahead:.1f} s", f"{size:.2f} GB, {size / ahead:.2f} GB/s")


def preparation(cfg, rois, batch_size):
    """Print what a training takes beside its steps: seconds before the first one, and of one held-out measure."""
    from lt_det.bakeoff.candidates.sampling import row_weights
    from lt_det.bakeoff.fitting.batch import RoiBatches
    from lt_det.bakeoff.fitting.held_out import HeldOut
    from lt_det.bakeoff.fitting.trainee import Stage

    images = np.arange(len(rois.image_ids))

    def prepare():
        weights = row_weights(rois, images, "plain", cfg, np.random.default_rng(0))
        RoiBatches(rois, weights, batch_size=batch_size, seed=0, device=cfg.MODEL.DEVICE)

    before = seconds(prepare, cfg.MODEL.DEVICE)[1]
    report("preparing a training", f"{before:.2f} s", f"{len(rois.labels):,} RoIs, features in memory")
    held_out = HeldOut(rois, images[::3], seed=0, device=cfg.MODEL.DEVICE)
    stage = Stage(cfg, 0, rois.features.shape[1], cfg.MODEL.DEVICE)
    measure = seconds(lambda: stage.average_precision(held_out), cfg.MODEL.DEVICE)[1]
    report("one measure on held-out images", f"{measure:.2f} s", f"{len(held_out.features):,} RoIs")
    return before, measure


def detection(cfg, width, rounds, proposals):
    """Print what the detections of one image take; returns seconds."""
    from detectron2.layers import ShapeSpec

    from lt_det.bakeoff.cache.tables import ProposalTable
    from lt_det.bakeoff.scoring import detect
    from lt_det.modeling import LongTailPredictor

    generator = np.random.default_rng(0)
    rows = rounds * proposals
    features = np.maximum(generator.normal(scale=0.3, size=(rows, width)), 0).astype(np.float32)
    corners = generator.random((rows, 2)) * [900, 500]
    boxes = np.concatenate([corners, corners + 20 + generator.random((rows, 2)) * 300], axis=1).astype(np.float32)
    sizes = np.full((rounds, 2), (800, 1200))
    start = np.arange(rounds + 1) * proposals
    table = ProposalTable([features], [boxes], start, sizes, sizes, range(rounds))
    predictor = LongTailPredictor(cfg, ShapeSpec(channels=width)).to(cfg.MODEL.DEVICE).eval()
    with torch.no_grad():  # logits of standard deviation 3, and background as the class of most proposals
        torch.nn.init.normal_(predictor.cls_score.weight, std=3 / math.sqrt(0.045 * width))
        predictor.cls_score.weight[-1], predictor.cls_score.bias[-1] = 0, 15
        scores = predictor.loss.scores(predictor(torch.tensor(features[:proposals], device=cfg.MODEL.DEVICE))[0])
    threshold = cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST
    above = int((scores[:, :-1] > threshold).sum())
    detect([predictor], table, 0)
    times = [
        seconds(lambda image=image: detect([predictor], table, image), cfg.MODEL.DEVICE) for image in range(rounds)
    ]
    each = float(np.median(times, axis=0)[1])
    remark = f"{proposals} proposals, {above:,} of their scores are above {threshold:g}"
    report("detections of one image", f"{each:.3f} s", remark)
    return each


def extrapolate(steps, prepared, measure, image, args):
    """Print the hours that one candidate takes on LVIS with the defaults of a bake-off."""
    from lt_det.bakeoff.fitting.fit import LEARNING_RATES
    from lt_det.bakeoff.options import BakeoffOptions

    options = BakeoffOptions()
    on_folds = len(LEARNING_RATES) + options.folds - 1
    count = on_folds + options.seeds
    images = options.seeds * LVIS_IMAGES + LVIS_FOLD_IMAGES
    epoch = math.ceil(LVIS_ROIS / args.batch)
    beside = count * prepared * LVIS_ROIS / args.rows + on_folds * MEASURES * measure
    evaluations = images * image / 3600
    console.print(f"\nOne candidate on LVIS v1, hours on {'a CPU core' if args.device == 'cpu' else 'the GPU'}:")
    ordered = sorted(steps, key=steps.__getitem__)
    chosen = dict.fromkeys((ordered[0], ordered[len(ordered) // 2], ordered[-1]))
    for number, what in ((options.steps, "default"), (epoch, "each RoI once")):
        for name in chosen:
            hours = (count * number * steps[name] + beside) / 3600
            of_all = f"{hours + evaluations:.2f} with its evaluations"
            report(f"{name}, {count} x {number} steps ({what})", f"{hours:.2f} h", of_all)
    report("evaluations", f"{evaluations:.2f} h", f"{images:,} images")
    products = 4 * args.batch * args.width * args.classes * count * options.steps / 1e12
    remark = f"at {1000 * GPU_STEP:g} ms a step, a guess; the products are {products:,.0f} TFLOP"
    report("the default on a GPU, on paper", f"{count * options.steps * GPU_STEP / 60:.1f} min", remark)
    console.print(
        f"Assumed: {LVIS_ROIS:,} RoIs of {args.width} float16 features ({LVIS_ROIS * args.width * 2 / 1e9:.1f} GB) fit "
        f"into memory; batches of {args.batch}; {len(LEARNING_RATES)} learning rates on the first of "
        f"{options.folds} folds and one on each other, {options.seeds} seeds, no phase ended early by a plateau, "
        f"{MEASURES} measures in each training on folds; preparing grows with the RoIs; {LVIS_IMAGES:,} validation "
        f"images for each seed and {LVIS_FOLD_IMAGES:,} training images for the folds, of {args.proposals} proposals, "
        "with random logits, without matching and bootstrap. Computing the features is not in it.",
        soft_wrap=True,
    )


def mini(datasets, checkpoint, args):
    """Print the wall time of the quick list on mini_lvis with one seed by stages, as `bakeoff.json` has it."""
    os.environ["DETECTRON2_DATASETS"] = str(datasets)
    from lt_det.bakeoff.bakeoff import run_bakeoff
    from lt_det.bakeoff.options import BakeoffOptions
    from lt_det.training import load_config

    checkpoint = Path(checkpoint).resolve()
    shown = set()

    def show(bakeoff):
        for part, value in bakeoff.seconds.items():
            if part not in shown:
                report(part, f"{value:.1f} s")
        shown.update(bakeoff.seconds)

    with tempfile.TemporaryDirectory() as folder:
        overrides = ["MODEL.WEIGHTS", str(checkpoint), "MODEL.DEVICE", args.device, "OUTPUT_DIR", folder]
        overrides += ["TEST.RESAMPLES", args.draws]
        cfg = load_config(str(checkpoint.with_name("config.yaml")), overrides)
        options = BakeoffOptions(
            seeds=1, steps=args.steps, num_processes=args.processes, output=Path(folder, "bakeoff")
        )
        start = time.perf_counter()
        bakeoff = run_bakeoff(cfg, options, on_result=show)
        total = time.perf_counter() - start
        show(bakeoff)
        report("diagnosis and page", f"{total - sum(bakeoff.seconds.values()):.1f} s")
        work = f"{len(bakeoff.candidates)} candidates, {args.steps} steps, {args.draws} bootstrap draws"
        report("in all", f"{total:.1f} s", f"{work}, --processes {args.processes}")
        for entry in bakeoff.candidates:
            if entry.failed:
                console.print(f"failed: {entry.name}: {entry.failed}", markup=False, soft_wrap=True)


def lvis(args):
    """Print everything that is measured at LVIS's shape."""
    from lt_det.bakeoff.fitting.batch import RoiBatches
    from lt_det.losses import LOSSES

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cfg = detector(folder, args.classes, args.device)
        generated = time.perf_counter()
        rois = generate(folder, args.rows, args.width, args.classes)
        batches = RoiBatches(rois, np.ones(args.rows), batch_size=args.batch, seed=0, device=args.device)
        shape = f"{args.rows:,} x {args.width} float16, {args.classes} classes, batches of {args.batch}, {args.device}"
        report("generating the cache", f"{time.perf_counter() - generated:.1f} s", shape)
        steps, draw = trainings(cfg, batches, args.losses or list(LOSSES), args.rounds)
        if args.device == "cpu":
            console.print()
            reading(rois, args, draw, float(np.median(list(steps.values()))))
        prepared, measure = preparation(cfg, rois, args.batch)
        image = detection(cfg, args.width, args.rounds, args.proposals)
        extrapolate(steps, prepared, measure, image, args)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rows", type=int, default=900_000, help="RoIs of the generated cache, 2 KB each")
    parser.add_argument("--width", type=int, default=1024, help="features of a RoI")
    parser.add_argument("--classes", type=int, default=1203)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--proposals", type=int, default=PROPOSALS, help="per image of the evaluation")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--losses", nargs="+", action="extend", metavar="LOSS", help="default: all that are registered")
    parser.add_argument(
        "--mini",
        nargs=2,
        metavar=("DATASETS", "CHECKPOINT"),
        help="time the quick list with one seed instead; the config.yaml of the training lies beside the checkpoint",
    )
    parser.add_argument("--steps", type=int, default=3000, help="of each training with --mini")
    parser.add_argument("--draws", type=int, default=1000, help="of the bootstrap with --mini")
    parser.add_argument("--processes", type=int, default=2, help="with --mini")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    if parser.parse_args(arguments).quick:
        small = {"rows": 2000, "width": 16, "classes": 12, "batch": 64, "proposals": 50, "rounds": 3}
        parser.set_defaults(**small, steps=20, draws=0, processes=1)
    args = parser.parse_args(arguments)

    torch.manual_seed(0)
    torch.set_num_threads(1)
    if args.mini:
        mini(*args.mini, args)
    else:
        lvis(args)


if __name__ == "__main__":
    main()
