"""Draw the detections of a detector on images and videos, and collect them as numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from lt_det.inference.detector import TooNarrow, TrainedDetector
from lt_det.inference.media import MediaFile, UnreadableMedia, VideoReader, VideoWriter, read_image, write_image
from lt_det.io.progress import progress_bar
from lt_det.reporting.visualizer import Detections, DetectionVisualizer

_COMPLETE = 0.9  # of the frames that a video claims to have: some claim a few too many


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
    def _collect_errors(self) -> Iterator[None]:
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
        try:
            detections = self.detector(image)
        except TooNarrow as error:
            raise UnreadableMedia(f"{media_file.file} {error}") from error
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
