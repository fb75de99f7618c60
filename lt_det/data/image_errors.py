"""Images that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectron2.data.detection_utils import SizeMismatchError

from lt_det.errors import LtDetError


class UnreadableImage(LtDetError):
    """An image that is missing, truncated, no image at all, or of another size than its annotation says."""

    def __init__(self, message: str) -> None:
        # From a process that loads data torch passes an error on as text, at the end of the traceback there.
        super().__init__(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip())


class NameUnreadable:
    """A Detectron2 mapper that says which file it could not read: Pillow's errors mostly do not."""

    def __init__(self, mapper: Callable[[dict[str, Any]], Any]) -> None:
        self.mapper = mapper

    def __call__(self, record: dict[str, Any]) -> Any:
        """
        Raises:
            UnreadableImage: the file, and what is wrong with it.
        """
        try:
            return self.mapper(record)
        except (OSError, EOFError, SyntaxError, SizeMismatchError) as error:  # what Pillow and Detectron2 raise
            # Pillow ends a sentence on a full stop or not, and some of its errors go on in a second line.
            reason = (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
            raise UnreadableImage(
                f"The image {record.get('file_name')} cannot be read ({reason}); fetch or repair it, or take it out of "
                "the annotation file."
            ) from error
