"""The consoles that lt_det prints to."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from lt_det.errors import output_error
from lt_det.terminal import discard_output, printable


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
        """
        Raises:
            LtDetError: the output is a file on a full disk, for example.
        """
        try:
            super().print(*objects, **options)
        except BrokenPipeError:  # of older versions of rich
            self.on_broken_pipe()
        except OSError as error:
            discard_output(self.file)
            raise output_error(error) from None

    def on_broken_pipe(self) -> None:
        """What rich calls when the pipe is closed."""
        discard_output(self.file)
        self.quiet = True
