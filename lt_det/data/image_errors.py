"""Images that cannot be read, and mappers that fail: one sentence that names the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectron2.data.detection_utils import SizeMismatchError
from PIL import Image

from lt_det.errors import LtDetError, reason_of
from lt_det.io.image_decoding import ImageFile, decoding_problem
from lt_det.io.not_an_image import first_line, why_unreadable
from lt_det.io.regular_files import check_regular

_CANNOT_BE_READ = (OSError, EOFError, SyntaxError)  # what Pillow raises
_NOT_POLYGONS = "mask_format=='polygon'"  # part of what Detectron2's mapper raises for RLE
_NO_PIXELS, _NARROW = "must be > 0", 100  # part of what Pillow raises for a size of 0, and a ratio of the sides


class ErrorOfAWorker(LtDetError):
    """An error that keeps its sentence when a data loader worker raises it."""

    def __init__(self, message: str) -> None:
        # torch passes an error of a data loader worker on as text: the traceback of the worker, which ends in it.
        super().__init__(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip())


class UnreadableImage(ErrorOfAWorker):
    """An image that is missing, truncated, not an image, or of another size than its annotations say."""


class FailedMapper(ErrorOfAWorker):
    """A mapper that raised something else on an image and its annotations."""


class NameUnreadable:
    """A Detectron2 mapper whose errors name the file; most of Pillow's errors and a mapper's own do not."""

    def __init__(self, mapper: Callable[[dict[str, Any]], Any]) -> None:
        self.mapper = mapper

    def __call__(self, record: dict[str, Any]) -> Any:
        """
        Raises:
            UnreadableImage: the file, and what is wrong with it.
            FailedMapper: the file, and what the mapper raised.
        """
        try:
            for key in record.keys() & {"file_name", "sem_seg_file_name"}:
                check_regular(record[key])  # a reader of a pipe would wait for ever
            return self.mapper(record)
        except ErrorOfAWorker:  # of a mapper inside this one
            raise
        except LtDetError as error:
            raise FailedMapper(str(error)) from error
        except Image.DecompressionBombError as error:
            raise UnreadableImage(_too_large(record)) from error
        except SizeMismatchError as error:
            raise UnreadableImage(_other_size(record, error)) from error
        except _CANNOT_BE_READ as error:
            file, advice = record.get("file_name", ""), "; download it again, or remove it from the annotation file"
            raise UnreadableImage(f"The image {file} {why_unreadable(file, error, advice)}.") from error
        except Exception as error:  # a mapper can be a user's program, and then fails in any way
            raise FailedMapper(_failure(record, error)) from error


def largest_readable() -> float:
    """The number of pixels from which on Pillow refuses an image; infinite where its limit is switched off."""
    return float("inf") if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS


def _too_large(record: dict[str, Any]) -> str:
    known = "width" in record and "height" in record
    size = f" of {record['width']} x {record['height']} pixels" if known else ""
    return (
        f"The image {record.get('file_name')}{size} cannot be read: Pillow reads at most {largest_readable():.0f} "
        "pixels; cut it into tiles or scale it down, with its annotations, or raise PIL.Image.MAX_IMAGE_PIXELS in a "
        "script of your own."
    )


def _other_size(record: dict[str, Any], error: SizeMismatchError) -> str:
    name = str(record.get("file_name"))
    problem = decoding_problem(ImageFile(record.get("image_id"), name, record["width"], record["height"]))
    advice = "write 'width', 'height' and the boxes in the pixels of the file"
    if problem is not None and "EXIF" in problem:
        advice = (
            "exchange 'width' and 'height' if the boxes are those of the turned image, which viewers show; else remove "
            "the orientation from the file"
        )
    return f"The image {name} does not have the size of its annotations ({problem or first_line(error)}); {advice}."


def _failure(record: dict[str, Any], error: Exception) -> str:
    name = record.get("file_name")
    if _NOT_POLYGONS in str(error):
        return (
            f"The image {name} has a mask that is no polygon, such as RLE, but the mapper makes polygons; set "
            "INPUT.MASK_FORMAT to bitmask (LazyConfig: instance_mask_format of the mapper)."
        )
    width, height = record.get("width") or 0, record.get("height") or 0
    if _NO_PIXELS in str(error) and max(width, height) > _NARROW * min(width, height):
        return (
            f"The image {name} of {width} x {height} pixels is too narrow: its shorter side has no pixel left when "
            "it is resized; remove it from the annotation file, cut it into parts with their annotations, or raise "
            "INPUT.MAX_SIZE_TRAIN (in an evaluation, MAX_SIZE_TEST; LazyConfig: max_size of the mapper)."
        )
    if isinstance(error, ModuleNotFoundError) and error.name:
        return (
            f"The mapper cannot process the image {name} without the package {error.name}, which is not installed; "
            f"pip install {error.name.partition('.')[0]}."
        )
    return (
        f"The mapper fails on the image {name} ({reason_of(error)}); correct the annotations of this image, or the "
        "INPUT keys or the mapper that cannot process them."
    )
