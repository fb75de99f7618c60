"""Pictures and films to look for objects in, and the files that are made of them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from detectron2.data.detection_utils import read_image
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lt_det.errors import LtDetError
from lt_det.io.atomic import write_whole

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_FILMS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
_JPEG_QUALITY = 92
_FRAMES_PER_SECOND = 25.0  # where a film does not say
_CODEC = "mp4v"  # MPEG-4 part 2: OpenCV's packages carry no H.264 encoder


class UnreadableMedium(LtDetError):
    """A picture or film that cannot be read; others may be."""


@dataclass(frozen=True)
class Medium:
    """A file to read, and the one to write."""

    file: Path
    result: Path

    @property
    def is_film(self) -> bool:
        return is_film(self.file)


def is_film(file: Path) -> bool:
    return file.suffix.lower() in _FILMS


def find_files(inputs: Sequence[str]) -> list[Path]:
    """What files and folders name: each file once, and the pictures and films directly in a folder, by name.

    Raises:
        LtDetError: a file or folder that is not there, or a folder without pictures.
    """
    files: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in (*_PICTURES, *_FILMS))
            if not inside:
                raise LtDetError(f"The folder {name} holds no pictures or films ({' '.join((*_PICTURES, *_FILMS))}).")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise LtDetError(f"The input {name} does not exist; give files or folders, and KEY VALUE overrides last.")
    return list(dict.fromkeys(files))


def with_results(files: Sequence[Path], output: str) -> list[Medium]:
    """Each file with its result in the folder `output`, under the same name; films become mp4.

    Raises:
        LtDetError: results that would overwrite an input or each other.
    """
    inputs = {file.resolve() for file in files}
    media: dict[Path, Medium] = {}
    for file in files:
        result = Path(output) / file.name
        if file.suffix.lower() not in _PICTURES:
            result = result.with_suffix(".mp4" if is_film(file) else ".jpg")
        if result.resolve() in inputs:
            raise LtDetError(f"The result of {file} would overwrite an input; choose another --output than {output}.")
        if result in media:
            raise LtDetError(
                f"{media[result].file} and {file} would both be written to {result}; give them in two calls."
            )
        media[result] = Medium(file, result)
    return list(media.values())


def read_picture(file: Path) -> NDArray[np.uint8]:
    """(H, W, 3) red, green, blue, turned as its EXIF data says.

    Raises:
        UnreadableMedium: the file, and what is wrong with it.
    """
    try:
        return np.array(read_image(str(file), format="RGB"), dtype=np.uint8)
    except (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow raises any
        unknown = isinstance(error, UnidentifiedImageError)  # whose text names an object in memory
        reason = "no picture" if unknown else (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
        raise UnreadableMedium(f"{file} cannot be read ({reason})") from error


def write_picture(file: Path, picture: NDArray[np.uint8]) -> None:
    """Write it in the format of its suffix; the file is there in full or not at all.

    Raises:
        LtDetError: the disk is full or not writable.
    """
    content = io.BytesIO()
    form = Image.registered_extensions()[file.suffix.lower()]
    Image.fromarray(picture).save(content, form, quality=_JPEG_QUALITY)
    try:
        write_whole(file, content.getvalue())
    except OSError as error:
        raise LtDetError(
            f"{file} cannot be written ({error.strerror or error}); make room or choose another."
        ) from error


class FilmReader:
    """The frames of a film, in order.

    Attributes:
        frames: how many the film says it has; 0 where it does not say.
        per_second: frames.
    """

    def __init__(self, file: Path) -> None:
        """
        Raises:
            UnreadableMedium: OpenCV cannot open it.
        """
        self._capture = cv2.VideoCapture(str(file))
        if not self._capture.isOpened():
            raise UnreadableMedium(f"{file} cannot be read as a film")
        self.frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        per_second = self._capture.get(cv2.CAP_PROP_FPS)
        self.per_second = per_second if 0 < per_second <= 1000 else _FRAMES_PER_SECOND

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """(H, W, 3) red, green, blue."""
        while True:
            there, frame = self._capture.read()
            if not there:
                self._capture.release()
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8)


class FilmWriter:
    """A context that writes an mp4 film; left by whatever exception, the frames written so far can be played.

    Raises:
        LtDetError: on leaving, if not every frame was written: FFmpeg raises nothing where the disk is full.
    """

    def __init__(self, file: Path, per_second: float) -> None:
        self._file, self._per_second = file, per_second
        self._writer: cv2.VideoWriter | None = None
        self._frames = 0

    def __enter__(self) -> FilmWriter:
        return self

    def write(self, frame: NDArray[np.uint8]) -> None:
        """(H, W, 3) red, green, blue, with even sides; all of one size.

        Raises:
            LtDetError: the film cannot be written.
        """
        if self._writer is None:
            size = (frame.shape[1], frame.shape[0])
            code = cv2.VideoWriter.fourcc(*_CODEC)
            self._writer = cv2.VideoWriter(str(self._file), code, self._per_second, size)
            if not self._writer.isOpened():
                raise LtDetError(f"OpenCV cannot write the film {self._file}; see whether it was built with FFmpeg.")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if kind is None and cv2.VideoCapture(str(self._file)).get(cv2.CAP_PROP_FRAME_COUNT) < self._frames:
            raise LtDetError(f"{self._file} cannot be written in full; make room or choose another --output.")
