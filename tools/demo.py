#!/usr/bin/env python
"""Show what a trained detector finds in pictures and films, with the frequency bucket of each class.

tools/demo.py --config configs/mini_lvis_eql.yaml --input datasets/mini_lvis/val --output output/shown
tools/demo.py --config configs/lvis_eql.yaml --weights model_final.pth --input street.jpg film.mp4 --output output/shown
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from lt_det.datasets.mini_lvis.progress import progress_bar
from lt_det.errors import LtDetError
from lt_det.inference.media import (
    FilmReader,
    FilmWriter,
    Medium,
    UnreadableMedium,
    find_files,
    read_picture,
    with_results,
    write_picture,
)
from lt_det.inference.predictor import TrainedDetector, classes_of, load_trained_config
from lt_det.io.atomic import check_folder, write_whole
from lt_det.reporting.drawing import Found, Painter
from lt_det.training.launch.single_process import run_single_process

RESULTS = "detections.json"
_WHOLE = 0.9  # of the frames that a film says it has: some say a few too many


def main(args: argparse.Namespace) -> None:
    media = with_results(find_files(args.input), args.output)
    cfg = load_trained_config(args.config, args.weights, args.opts, args.threshold)
    check_folder(Path(args.output), "--output")
    painter = Painter(*classes_of(cfg))
    demo = Demo(TrainedDetector(cfg), painter)
    results = Path(args.output) / RESULTS
    try:
        demo.run(media)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted; what was done so far is in {args.output}.") from None
    finally:
        content = {"weights": cfg.MODEL.WEIGHTS, "threshold": args.threshold, "classes": painter.names}
        write_numbers(results, {**content, "images": demo.images})
    found = sum(len(image["detections"]) for image in demo.images)
    print(f"Objects: {found}, pictures and frames: {len(demo.images)}, drawn in {args.output}, as numbers in {results}")
    if demo.unreadable:
        raise LtDetError(
            f"{len(demo.unreadable)} of {len(media)} inputs are not or not fully shown: {'; '.join(demo.unreadable)}; "
            "fetch or repair them."
        )


def write_numbers(file: Path, content: dict[str, Any]) -> None:
    """
    Raises:
        LtDetError: the disk is full or not writable.
    """
    try:
        write_whole(file, json.dumps(content))
    except OSError as error:
        raise LtDetError(
            f"{file} cannot be written ({error.strerror or error}); make room or choose another --output: what was "
            "drawn so far is there, its numbers are not."
        ) from error


class Demo:
    """What was found in the pictures and frames so far (`images`), and what could not be read (`unreadable`)."""

    def __init__(self, detector: TrainedDetector, painter: Painter) -> None:
        self.detector, self.painter = detector, painter
        self.images: list[dict[str, Any]] = []
        self.unreadable: list[str] = []

    def run(self, media: list[Medium]) -> None:
        pictures = [medium for medium in media if not medium.is_film]
        with progress_bar("Pictures", len(pictures), shown=len(pictures) > 1) as advance:
            for medium in pictures:
                with self._noted():
                    write_picture(medium.result, self._look_at(read_picture(medium.file), medium))
                advance()
        for medium in media:
            if medium.is_film:
                with self._noted():
                    self._show_film(medium)

    @contextlib.contextmanager
    def _noted(self) -> Any:
        """Go on after an input that cannot be read."""
        try:
            yield
        except UnreadableMedium as error:
            self.unreadable.append(str(error))

    def _show_film(self, medium: Medium) -> None:
        film = FilmReader(medium.file)
        done = 0
        with (
            FilmWriter(medium.result, film.per_second) as writer,
            progress_bar(medium.file.name, film.frames, shown=True) as advance,
        ):
            for done, frame in enumerate(film, 1):
                writer.write(self._look_at(frame, medium, frame=done - 1))
                advance()
        if done < max(_WHOLE * film.frames, 1):
            raise UnreadableMedium(f"{medium.file} ends after {done} of {film.frames} frames")

    def _look_at(self, picture: np.ndarray, medium: Medium, **where: int) -> np.ndarray:
        """The picture with its detections, which are noted down."""
        found = self.detector(picture)
        height, width = picture.shape[:2]
        names = {"file": str(medium.file), "result": str(medium.result), **where}
        self.images.append({**names, "width": width, "height": height, "detections": self._as_records(found)})
        return self.painter.draw(picture, found)

    def _as_records(self, found: Found) -> list[dict[str, Any]]:
        """As in COCO results, with names: boxes as x, y, width, height, masks run-length encoded."""
        records = []
        for place, (index, score) in enumerate(zip(found.classes.tolist(), found.scores.tolist(), strict=True)):
            x0, y0, x1, y1 = found.boxes[place].tolist()
            record = {
                "class": self.painter.names[index],
                "class_index": index,
                "bucket": self.painter.look(index).name or None,
                "score": score,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            }
            if found.masks is not None:
                encoded = mask_utils.encode(np.asfortranarray(found.masks[place], dtype=np.uint8))
                record["segmentation"] = {"size": encoded["size"], "counts": encoded["counts"].decode()}
            records.append(record)
        return records


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", required=True, metavar="FILE", help="the yaml config of the training")
    parser.add_argument("--weights", metavar="FILE", help="default: model_final.pth in the config's OUTPUT_DIR")
    parser.add_argument("--input", required=True, nargs="+", metavar="PATH", help="pictures, films, folders of them")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="for the results, under the inputs' names")
    parser.add_argument("--threshold", type=float, default=0.3, metavar="SCORE", help="lowest that is shown (0.3)")
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error was raised")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides of the config, last of all")
    return parser


if __name__ == "__main__":
    sys.exit(run_single_process(main, parser().parse_args()))
