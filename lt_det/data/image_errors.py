"""Images that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectron2.data.detection_utils import SizeMismatchError

from lt_det.errors import LtDetError
from lt_det.io.regular_files import check_regular


class UnreadableImage(LtDetError):
    """An image that is missing, truncated, not an image, or of another size than its annotations say."""

    def __init__(self, message: str) -> None:
        # torch passes an error of a data loader worker on as text: the traceback of the worker, which ends in it.
        super().__init__(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip())


class NameUnreadable:
    """A Detectron2 mapper whose errors name the file that cannot be read; most of Pillow's errors do not."""

    def __init__(self, mapper: Callable[[dict[str, Any]], Any]) -> None:
        self.mapper = mapper

    def __call__(self, record: dict[str, Any]) -> Any:
        """
        Raises:
            UnreadableImage: the file, and what is wrong with it.
        """
        try:
            for key in record.keys() & {"file_name", "sem_seg_file_name"}:
                check_regular(record[key])  # a reader of a pipe would wait for ever
            return self.mapper(record)
        except (OSError, EOFError, SyntaxError, SizeMismatchError) as error:  # what Pillow and Detectron2 raise
            # Some of Pillow's messages end with a full stop, and some have a second line.
            reason = (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
            raise UnreadableImage(
                f"The image {record.get('file_name')} cannot be read ({reason}); download it again, or remove it "
                "from the annotation file."
            ) from error
