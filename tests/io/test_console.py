"""The consoles print names as they are written."""

import io

import pytest
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


@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
def test_a_narrow_terminal_gets_all_numbers(width):
    table = Table("classes", *(f"AP{number}" for number in range(5)))
    table.add_row("all", *(f"{number}1.5" for number in range(5)))
    console = SafeConsole(file=io.StringIO(), width=width)
    console.print(table)
    printed = console.file.getvalue()
    assert all(f"{number}1.5" in printed for number in range(5))
    assert max(map(len, printed.splitlines())) <= max(width, 80)
    assert console.width == width


def test_a_table_that_fits_is_as_wide_as_the_terminal_allows():
    table = Table("name")
    table.add_row("several words that are split into lines")
    console = SafeConsole(file=io.StringIO(), width=20)
    console.print(table)
    assert max(map(len, console.file.getvalue().splitlines())) <= 20
