#!/usr/bin/env python
"""Make the images of README and docs that show reports and detections, from a finished training.

    pip install playwright   # for report_page.png and comparison.jpg, with a Chromium at /usr/bin/chromium
    make demo
    python docs/report_images.py comparison output/demo/softmax/comparison/compare.html
    python docs/report_images.py run configs/mini_lvis_seesaw.yaml output/mini_lvis_seesaw
    python docs/report_images.py counts annotations.json   # TACO's

The folder of a run must hold the evaluation and model_final.pth.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from lt_det.io.annotations.coco_json import load_annotations
from lt_det.reporting import write_report
from lt_det.reporting.charts.class_counts import plot_class_counts
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGES = REPOSITORY / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
# Of mini_lvis_val; with objects of all three buckets.
DEMO_IMAGES = ("val/000000004035.jpg", "val/000000004082.jpg", "val/000000004245.jpg")
PAGE_SIZE = {"width": 1060, "height": 1325}
SCALE = 1.25  # pixels of a screenshot per pixel of the page
GAP = 21  # pixels between the demo's images


@contextlib.contextmanager
def opened(file: Path, scale: float = 1) -> Iterator[Any]:
    """A page in a browser, in its light colors."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport=PAGE_SIZE, color_scheme="light", device_scale_factor=scale)
        page.goto(file.resolve().as_uri())
        yield page
        browser.close()


def report_images(run: Path) -> None:
    """report.png, the scatter of the report, and report_page.png, the upper part of the page."""
    report = write_report(run, Console(quiet=True)).parent
    shutil.copy(min(report.glob("*_bbox.png")), IMAGES / "report.png")
    with opened(report / "report.html") as page:
        page.screenshot(path=IMAGES / "report_page.png")


def comparison_image(file: Path) -> None:
    """comparison.jpg: the objects that only the second run finds."""
    with opened(file, SCALE) as page:
        page.locator(".pairs").first.screenshot(path=IMAGES / "comparison.jpg", type="jpeg", quality=82)


def demo_image(config: str, run: Path, images: list[Path]) -> None:
    """demo.jpg: images with their detections side by side."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, REPOSITORY / "tools" / "demo.py", "--config", config, "--input", *images]
        command += ["--weights", run / "model_final.pth", "--output", folder, "MODEL.DEVICE", "cpu"]
        subprocess.run(command, check=True)
        shown = [Image.open(Path(folder, image.name)) for image in images]
        scale = 1314 / (sum(image.width for image in shown) + GAP * (len(shown) - 1))
        size = round(shown[0].width * scale), round(max(image.height for image in shown) * scale)
        gap = round(GAP * scale)
        whole = Image.new("RGB", (len(shown) * (size[0] + gap) - gap, size[1]), "white")
        for place, image in enumerate(shown):
            whole.paste(image.resize(size, Image.Resampling.LANCZOS), (place * (size[0] + gap), 0))
        whole.save(IMAGES / "demo.jpg", quality=88)


def taco_counts(annotations: Path) -> None:
    """taco_counts.png, as `lt-det stats --plot` draws it."""
    stats = ClassStats.from_annotations(load_annotations(annotations), str(annotations))
    plot_class_counts(stats, FrequencyBuckets.from_edges(stats), IMAGES / "taco_counts.png", "TACO")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_comparison = kinds.add_parser("comparison", help="comparison.jpg")
    of_comparison.add_argument("page", type=Path, help="compare.html of lt-det compare")
    of_run = kinds.add_parser("run", help="report.png, report_page.png and demo.jpg")
    of_run.add_argument("config", help="the yaml config of the training")
    of_run.add_argument("run", type=Path, help="its OUTPUT_DIR")
    of_run.add_argument("--datasets", type=Path, default=Path("datasets"), help="parent folder of mini_lvis")
    of_counts = kinds.add_parser("counts", help="taco_counts.png")
    of_counts.add_argument("annotations", type=Path, help="TACO's annotation file")
    args = parser.parse_args()
    if args.kind == "comparison":
        comparison_image(args.page)
    elif args.kind == "counts":
        taco_counts(args.annotations)
    else:
        report_images(args.run)
        demo_image(args.config, args.run, [args.datasets / "mini_lvis" / name for name in DEMO_IMAGES])


if __name__ == "__main__":
    main()
