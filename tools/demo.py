#!/usr/bin/env python
"""Draw the detections of a trained detector on images and videos, with the frequency bucket of each class.

tools/demo.py --config configs/mini_lvis_eql.yaml --input datasets/mini_lvis/val --output output/shown
tools/demo.py --config configs/lvis_eql.yaml --weights model_final.pth --input a.jpg b.mp4 --output output/shown
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from lt_det.errors import LtDetError
from lt_det.inference.detector import TrainedDetector, classes_of, load_trained_config
from lt_det.inference.media import (
    MediaFile,
    UnreadableMedia,
    VideoReader,
    VideoWriter,
    find_files,
    read_image,
    with_results,
    write_image,
)
from lt_det.io.atomic import check_folder, write_atomically
from lt_det.io.plain_values.yaml_files import UNSAFE_HELP, UNSAFE_OPTION
from lt_det.io.progress import progress_bar
from lt_det.reporting.visualizer import Detections, DetectionVisualizer
from lt_det.training.launch.single_process import run_single_process

RESULTS = "detections.json"
_COMPLETE = 0.9  # of the frames that a video claims to have: some claim a few too many


def main(args: argparse.Namespace) -> None:
    media = with_results(find_files(args.input), args.output)
    cfg = load_trained_config(args.config, args.weights, args.opts, args.threshold, args.allow_unsafe_config)
    check_folder(Path(args.output), "--output")
    visualizer = DetectionVisualizer(*classes_of(cfg))
    demo = Demo(TrainedDetector(cfg), visualizer)
    results = Path(args.output) / RESULTS
    try:
        demo.run(media)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted; the results so far are in {args.output}.") from None
    finally:
        content = {"weights": cfg.MODEL.WEIGHTS, "threshold": args.threshold, "classes": visualizer.names}
        write_numbers(results, {**content, "images": demo.images})
    count = sum(len(image["detections"]) for image in demo.images)
    print(f"Detections: {count}, images and frames: {len(demo.images)}; drawn in {args.output}, numbers in {results}")
    if demo.unreadable:
        raise LtDetError(
            f"{len(demo.unreadable)} of {len(media)} inputs cannot be read in full: {'; '.join(demo.unreadable)}; "
            "download or repair them."
        )


def write_numbers(file: Path, content: dict[str, Any]) -> None:
    """
    Raises:
        LtDetError: the disk is full or read-only.
    """
    try:
        write_atomically(file, json.dumps(content))
    except OSError as error:
        raise LtDetError(
            f"{file} cannot be written ({error.strerror or error}); free space or choose another --output: the "
            "images drawn so far are there, their numbers are not."
        ) from error


class Demo:
    """The detections in the images and frames so far (`images`), and the inputs that failed (`unreadable`)."""

    def __init__(self, detector: TrainedDetector, visualizer: DetectionVisualizer) -> None:
        self.detector, self.visualizer = detector, visualizer
        self.images: list[dict[str, Any]] = []
        self.unreadable: list[str] = []

    def run(self, media: list[MediaFile]) -> None:
        images = [media_file for media_file in media if not media_file.is_video]
        with progress_bar("Images", len(images), shown=len(images) > 1) as advance:
            for media_file in images:
                with self._collect_errors():
                    write_image(media_file.result, self._process(read_image(media_file.file), media_file))
                advance()
        for media_file in media:
            if media_file.is_video:
                with self._collect_errors():
                    self._process_video(media_file)

    @contextlib.contextmanager
    def _collect_errors(self) -> Any:
        """Continue after an input that cannot be read."""
        try:
            yield
        except UnreadableMedia as error:
            self.unreadable.append(str(error))

    def _process_video(self, media_file: MediaFile) -> None:
        video = VideoReader(media_file.file)
        done = 0
        with (
            VideoWriter(media_file.result, video.frames_per_second) as writer,
            progress_bar(media_file.file.name, video.frames, shown=True) as advance,
        ):
            for done, frame in enumerate(video, 1):
                writer.write(self._process(frame, media_file, frame=done - 1))
                advance()
        if done < max(_COMPLETE * video.frames, 1):
            raise UnreadableMedia(f"{media_file.file} ends after {done} of {video.frames} frames")

    def _process(self, image: np.ndarray, media_file: MediaFile, **where: int) -> np.ndarray:
        """The image with its detections, which are added to `images`."""
        detections = self.detector(image)
        height, width = image.shape[:2]
        names = {"file": str(media_file.file), "result": str(media_file.result), **where}
        self.images.append({**names, "width": width, "height": height, "detections": self._as_dicts(detections)})
        return self.visualizer.draw(image, detections)

    def _as_dicts(self, detections: Detections) -> list[dict[str, Any]]:
        """As in COCO results, with names: boxes as x, y, width, height, masks in RLE."""
        dicts = []
        for place, index in enumerate(detections.classes.tolist()):
            x0, y0, x1, y1 = detections.boxes[place].tolist()
            entry = {
                "class": self.visualizer.names[index],
                "class_index": index,
                "bucket": self.visualizer.bucket_name(index),
                "score": float(detections.scores[place]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            }
            if detections.masks is not None:
                encoded = mask_utils.encode(np.asfortranarray(detections.masks[place], dtype=np.uint8))
                entry["segmentation"] = {"size": encoded["size"], "counts": encoded["counts"].decode()}
            dicts.append(entry)
        return dicts


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", required=True, metavar="FILE", help="the yaml config of the training")
    parser.add_argument("--weights", metavar="FILE", help="default: model_final.pth in the config's OUTPUT_DIR")
    parser.add_argument("--input", required=True, nargs="+", metavar="PATH", help="images, videos, or folders of them")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="for the results, named like the inputs")
    parser.add_argument("--threshold", type=float, default=0.3, metavar="SCORE", help="minimum score (default 0.3)")
    parser.add_argument(UNSAFE_OPTION, action="store_true", help=UNSAFE_HELP)
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE config overrides, after all options")
    return parser


if __name__ == "__main__":
    sys.exit(run_single_process(main, parser().parse_args()))
