"""The consoles print names as they are written."""

import io

from rich.table import Table

from lt_det.io.console import SafeConsole


def test_names_are_not_acted_on():
    stream = io.StringIO()
    console = SafeConsole(file=stream, width=100)
    table = Table(title="\x1b[31m title")
    table.add_column("\x07 column")
    table.add_row(":car: \x1b]0;x\x07")
    console.print(table)
    console.print("a\n\x1b[5m :car:", markup=False)
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.count(":car:") == 2
    assert "\na\n" in text


class Closed(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_closed_pipe_ends_the_output_and_not_the_work():
    console = SafeConsole(file=Closed())
    console.print("one")
    console.print("two")
    assert console.quiet
