"""Images and videos as input of a detector, and the files with its output."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from detectron2.data import detection_utils
from numpy.typing import NDArray
from PIL import Image

from lt_det.compat.detectron2 import read_16_bit_images
from lt_det.errors import LtDetError, writing_advice
from lt_det.io.atomic import write_atomically
from lt_det.io.not_an_image import why_unreadable
from lt_det.io.regular_files import check_regular

_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
_JPEG_QUALITY = 92
_FRAMES_PER_SECOND = 25.0  # where a video does not say
_CODEC = "mp4v"  # MPEG-4 part 2: OpenCV's packages carry no H.264 encoder


class UnreadableMedia(LtDetError):
    """An image or video that cannot be read; the other inputs may be fine."""


@dataclass(frozen=True)
class MediaFile:
    """An input, and the file to write its result to."""

    file: Path
    result: Path

    @property
    def is_video(self) -> bool:
        return is_video(self.file)


def is_video(file: Path) -> bool:
    return file.suffix.lower() in _VIDEOS


def find_files(inputs: Sequence[str]) -> list[Path]:
    """Files, and the images and videos directly in folders, sorted by name; each file once.

    Raises:
        LtDetError: a file or folder does not exist, or a folder has no images or videos.
    """
    files: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in (*_IMAGES, *_VIDEOS))
            if not inside:
                raise LtDetError(f"The folder {name} holds no images or videos ({' '.join((*_IMAGES, *_VIDEOS))}).")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise LtDetError(f"The input {name} {_why_absent(name)}.")
    return list(dict.fromkeys(files))


def _why_absent(name: str) -> str:
    if "://" in name:
        return "is an address; download it, and give the file"
    if name.isdecimal():
        return "does not exist, and cameras cannot be read; record a video, and give its file"
    if set(name) & {"*", "?", "["}:
        return "does not exist; write the pattern without quotes, so that the shell replaces it, or give the folder"
    return "does not exist; give files or folders, and KEY VALUE overrides last"


def with_results(files: Sequence[Path], output: str) -> list[MediaFile]:
    """Each file with its result in the folder `output`, under the same name; videos become mp4.

    Raises:
        LtDetError: results would overwrite an input or each other.
    """
    inputs = {file.resolve() for file in files}
    media: dict[Path, MediaFile] = {}
    for file in files:
        result = Path(output) / file.name
        if file.suffix.lower() not in _IMAGES:
            result = result.with_suffix(".mp4" if is_video(file) else ".jpg")
        if result.resolve() in inputs:
            raise LtDetError(f"The result of {file} would overwrite an input; choose another --output than {output}.")
        if result in media:
            raise LtDetError(
                f"{media[result].file} and {file} would both be written to {result}; give them in two calls, each with "
                "its own --output."
            )
        media[result] = MediaFile(file, result)
    return list(media.values())


def read_image(file: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB as training reads it: rotated as its EXIF data says, and scaled to 8 bits, see `to_8_bits`.

    Raises:
        UnreadableMedia: names the file and what is wrong with it.
    """
    read_16_bit_images()
    try:
        check_regular(file)
        return np.array(detection_utils.read_image(str(file), format="RGB"), dtype=np.uint8)
    except (
        OSError,
        EOFError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:  # all Pillow's
        raise UnreadableMedia(f"{file} {why_unreadable(file, error)}") from error


def write_image(file: Path, image: NDArray[np.uint8]) -> None:
    """Write a (H, W, 3) RGB image in the format of the suffix; the file is complete or absent.

    Raises:
        LtDetError: the disk is full or read-only.
    """
    content = io.BytesIO()
    file_format = Image.registered_extensions()[file.suffix.lower()]
    Image.fromarray(image).save(content, file_format, quality=_JPEG_QUALITY)
    try:
        write_atomically(file, content.getvalue())
    except OSError as error:
        reason, advice = error.strerror or error, writing_advice(error)
        raise LtDetError(f"{file} cannot be written ({reason}); {advice}.") from error


class VideoReader:
    """The frames of a video, in order.

    Attributes:
        frames: number of frames according to the file; 0 if it does not say.
        frames_per_second: the frame rate, or 25 if the file does not say.
    """

    def __init__(self, file: Path) -> None:
        """
        Raises:
            UnreadableMedia: it is no file, or OpenCV cannot open it.
        """
        try:
            check_regular(file)
        except OSError as error:
            raise UnreadableMedia(f"{file} cannot be read as a video ({error})") from None
        self._capture = cv2.VideoCapture(str(file))
        if not self._capture.isOpened():
            raise UnreadableMedia(f"{file} cannot be read as a video")
        self.frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frames_per_second = rate if 0 < rate <= 1000 else _FRAMES_PER_SECOND

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """(H, W, 3) RGB."""
        while True:
            decoded, frame = self._capture.read()
            if not decoded:
                self._capture.release()
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8)


class VideoWriter:
    """A context manager that writes an mp4 video; after any exception, the frames written so far can be played.

    Raises:
        LtDetError: on exit, if not every frame was written: FFmpeg does not report a full disk.
    """

    def __init__(self, file: Path, frames_per_second: float) -> None:
        self._file, self._frames_per_second = file, frames_per_second
        self._writer: cv2.VideoWriter | None = None
        self._frames = 0

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append a (H, W, 3) RGB frame with even sides; all frames have one size.

        Raises:
            LtDetError: the video cannot be written.
        """
        if self._writer is None:
            size = (frame.shape[1], frame.shape[0])
            code = cv2.VideoWriter.fourcc(*_CODEC)
            self._writer = cv2.VideoWriter(str(self._file), code, self._frames_per_second, size)
            if not self._writer.isOpened():
                raise LtDetError(f"OpenCV cannot write the video {self._file}; check that it was built with FFmpeg.")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if kind is None and cv2.VideoCapture(str(self._file)).get(cv2.CAP_PROP_FRAME_COUNT) < self._frames:
            raise LtDetError(f"{self._file} cannot be written in full; free space or choose another --output.")
