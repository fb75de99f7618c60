"""`lt-det subset`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lt_det.cli.console import console, working
from lt_det.datasets.imbalance import IMBALANCE_KINDS
from lt_det.errors import LtDetError
from lt_det.terminal import count_of, printable

if TYPE_CHECKING:
    from lt_det.datasets.subset import LongTail, SubsetPlan
    from lt_det.datasets.subset_files import Written
    from lt_det.reporting.tables import TextTable
    from lt_det.statistics.class_stats import ClassStats

_SHOWN = 10  # of the largest classes, and of the smallest
_NEAR = 0.1  # deviation from the target


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "subset",
        help="make a long-tailed training set from an annotation json, for experiments",
        description="Write a long-tailed subset of a COCO- or LVIS-format json, like COCO-LT and CIFAR-LT: "
        "n_k = n_max R^(-k / (K - 1)) images of class k (exponential), or n_max images for half of the classes "
        "and n_max / R for the others (step). Images are selected as a whole, and show objects of several classes, so "
        "the counts only come close to these targets; a table shows them. The image files stay where they are.",
    )
    parser.add_argument("json", type=Path, help="annotation file")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="annotation file to write")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--imbalance", choices=IMBALANCE_KINDS, help="shape of the long tail")
    what.add_argument(
        "--classes-of",
        type=Path,
        metavar="SUBSET_JSON",
        help="instead of --imbalance: keep all images, but only the classes of this subset, with its frequencies; for "
        "the validation set",
    )
    parser.add_argument(
        "--ratio", type=float, metavar="R", help="images of the largest class divided by those of the smallest"
    )
    parser.add_argument(
        "--num-classes", type=int, metavar="K", help="only the first K classes of the order (default: all)"
    )
    parser.add_argument(
        "--order",
        choices=("count", "index", "random"),
        help="order of the classes, the largest first: by number of images in the json (count, the default: rare "
        "classes stay rare), by category id (index, as for CIFAR-LT), or a permutation that depends on the seed "
        "(random)",
    )
    parser.add_argument(
        "--largest", type=int, metavar="N", help="n_max, images of the largest class (default: as many as possible)"
    )
    parser.add_argument("--seed", type=int, help="another seed selects other images (default 0)")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.datasets.subset import LongTail
    from lt_det.datasets.subset_files import write_subset, write_with_classes_of

    if args.classes_of is not None:
        for option in ("ratio", "num_classes", "order", "largest", "seed"):
            if getattr(args, option) is not None:
                name = option.replace("_", "-")
                raise LtDetError(f"--{name} has no effect with --classes-of, which keeps all images; leave it out.")
        with working("Writing"):
            written = write_with_classes_of(args.json, args.classes_of, args.out, args.force)
        _print(f"{count_of(written.num_images, 'image')}, {count_of(written.stats.num_classes, 'class')}")
    else:
        if args.ratio is None:
            raise LtDetError("--imbalance needs a ratio; add --ratio R, such as 100.")
        order, seed = args.order or "count", args.seed or 0
        long_tail = LongTail(args.imbalance, args.ratio, args.num_classes, order, args.largest, seed)
        with working("Selecting images"):
            plan, whole, written = write_subset(args.json, args.out, long_tail, args.force)
        console.print(class_table(plan).to_rich())
        for line in summary(plan, long_tail, whole, written):
            _print(line)
    _print(f"Written: {args.out}")
    return 0


def _print(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)


def class_table(plan: SubsetPlan) -> TextTable:
    """Images of each class before and in the subset; of many classes, the largest and the smallest."""
    from lt_det.reporting.tables import TextTable

    rows = [
        [name, str(before), str(target), str(achieved)]
        for name, before, target, achieved in zip(plan.names, plan.before, plan.targets, plan.achieved, strict=True)
    ]
    if len(rows) > 2 * _SHOWN:
        rows[_SHOWN:-_SHOWN] = [[f"... {len(rows) - 2 * _SHOWN} more", "", "", ""]]
    return TextTable("Images per class", ["class", "before", "target", "achieved"], rows)


def summary(plan: SubsetPlan, long_tail: LongTail, whole: ClassStats, written: Written) -> list[str]:
    """Sentences about a subset: its size, and how far it is from its targets."""
    instances = f"{written.stats.counts('instances').sum()} of {whole.counts('instances').sum()} instances"
    lines = [f"{written.num_images} of {whole.num_images} annotated images, {instances}"]
    deviations = plan.deviations
    exact, near = (plan.achieved == plan.targets).sum(), (deviations <= _NEAR).sum()
    lines.append(f"Ratio of the largest class to the smallest: {plan.ratio:.4g} (target: {long_tail.ratio:g})")
    text = f"{exact} of {count_of(len(plan.names), 'class')} exactly at the target, {near} within 10 %; mean deviation "
    text += f"{100 * deviations.mean():.1f} %"
    worst = int(deviations.argmax())
    if deviations[worst]:
        text += f", largest {printable(plan.names[worst])} ({plan.achieved[worst]} instead of {plan.targets[worst]})"
    lines.append(text)
    if long_tail.largest is None:
        limit = f"{printable(plan.names[plan.limit])}, which has {count_of(int(plan.before[plan.limit]), 'image')}"
        text = f"Target of the largest class: {count_of(int(plan.targets[0]), 'image')}"
        if plan.targets[0] == plan.possible:
            lines.append(f"{text}; the limit is {limit}")
        else:
            lines.append(f"{text}; {limit}, would allow {plan.possible}, but not together with the other targets")
    return lines
