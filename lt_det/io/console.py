"""The consoles that lt_det prints to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lt_det.errors import output_error
from lt_det.terminal import discard_output, printable

_ORDINARY_WIDTH = 80  # columns


class SafeConsole(Console):
    """A rich console for text with names of the user's data: it shows them as they are written, and never acts on them.

    Control characters are escaped, and ``:car:`` stays text. Where the reader of the output has ended, as `head` does,
    the rest of the output vanishes, and the command finishes its work.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text, keep="\n\t"), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's. Tables are printed wider than a narrow terminal: rich would leave out their numbers.

        Raises:
            LtDetError: the output is a file on a full disk, for example.
        """
        given, needed = self._width, self._width_of_tables(objects)
        if needed > self.width:
            self.width = needed
        try:
            super().print(*objects, **options)
        except BrokenPipeError:  # of older versions of rich
            self.on_broken_pipe()
        except OSError as error:
            discard_output(self.file)
            raise output_error(error) from None
        finally:
            self._width = given

    def _width_of_tables(self, objects: Sequence[Any]) -> int:
        """The least width that shows all cells, up to that of an ordinary terminal; 0 without tables."""
        wide = self.options.update(width=_ORDINARY_WIDTH)
        return max((Measurement.get(self, wide, one).minimum for one in objects if isinstance(one, Table)), default=0)

    def on_broken_pipe(self) -> None:
        """What rich calls when the pipe is closed."""
        discard_output(self.file)
        self.quiet = True
