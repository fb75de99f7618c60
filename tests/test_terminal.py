"""Text for a terminal: what is escaped, logs, encodings without a letter, and outputs that end early."""

import json
import logging
import os
import subprocess
import sys

import pytest

from lt_det.errors import LtDetError, exit_code_of
from lt_det.terminal import count_of, decimals, make_logs_printable, one_line, printable, signed, signed_interval, span
from tests.helpers import REPOSITORY
from tests.helpers.evaluations import evaluation, write_run

ESCAPES = "\x1b]0;title\x07\x1b[31mred\x1b[0m\x9b2J\r\x08"


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [
        (0.0, "0.0", "0.0"),
        (-0.0, "0.0", "0.0"),
        (-0.04, "0.0", "0.0"),
        (0.04, "0.0", "0.0"),
        (-0.051, "-0.1", "-0.1"),
        (0.051, "0.1", "+0.1"),
        (-12.34, "-12.3", "-12.3"),
        (100, "100.0", "+100.0"),
    ],
)
def test_what_rounds_to_zero_has_no_sign(value, plain, with_sign):
    assert (decimals(value), signed(value)) == (plain, with_sign)
    assert span((value, 1)) == f"{plain} to 1.0"
    assert signed_interval((value, 1)) == f"[{with_sign}, +1.0]"


def test_decimals_and_a_missing_difference():
    assert (decimals(-0.004, 2), decimals(-0.04, 2), signed(None)) == ("0.00", "-0.04", "n/a")


@pytest.mark.parametrize("text", ["espresso cup", "Grüße, 日本語, 😀, ‘’", "नमस्ते\u200d", "a\u00a0b", "[red]$x$\\"])
def test_ordinary_text_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\u202eabc", r"\u202eabc"),
        ("\ud800", r"\ud800"),
        ("\x9b\x00\x7f", r"\x9b\x00\x7f"),
        ("\u2028", r"\u2028"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_a_terminal_would_act_on_is_escaped(text, shown):
    assert printable(text) == shown


def test_lines_can_stay():
    assert printable("a\n\x1bb", keep="\n") == "a\n\\x1bb"
    assert one_line("first\nsecond\x1b") == "first second\\x1b"


def test_error_sentence(capsys):
    def command():
        raise LtDetError(f"The class {ESCAPES} is\nunknown.")

    assert exit_code_of(command, traceback=False) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: The class \\x1b]0;title\\x07")
    assert error.count("\n") == 1
    assert error[:-1].isprintable()


def test_logs(capsys):
    logger = logging.getLogger("test_terminal")
    logger.addHandler(logging.StreamHandler(sys.stderr))
    make_logs_printable(logger)
    make_logs_printable(logger)
    logger.warning("class '%s'\nis new", ESCAPES)
    logger.warning("\x1b[32mcolored\x1b[0m by Detectron2")
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.isprintable()
    assert "title" in first
    assert second == "is new"
    assert third == "colored by Detectron2"


def lt_det(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **options.pop("env", {})}
    command = [sys.executable, "-m", "lt_det.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=environment, timeout=120, **options)


@pytest.fixture
def odd_names(tmp_path):
    """Annotations whose classes have letters that few encodings have, in a folder whose name is no UTF-8."""
    folder = tmp_path / os.fsdecode(b"\xff\x1b[1m")
    folder.mkdir()
    data = {
        "images": [{"id": 1, "height": 40, "width": 60, "file_name": "1.png"}],
        "categories": [{"id": 1, "name": "日本語 ✓"}, {"id": 2, "name": ESCAPES}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0}],
    }
    (folder / "train.json").write_text(json.dumps(data))
    return folder / "train.json"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_encodings_that_lack_letters(odd_names, encoding):
    done = lt_det("stats", odd_names, env={"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    assert "\\udcff\\x1b[1m" in text
    assert "\x1b" not in text
    assert ("日本語" if encoding == "utf-8" else "\\u65e5\\u672c\\u8a9e ok") in text


@pytest.mark.slow
def test_plain_c_locale(odd_names):
    env = {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = lt_det("stats", odd_names, env=env)
    assert (done.returncode, done.stderr) == (0, b"")


# What commands and tools do: they print, log, let rich print, and write files.
COMMAND = """
import logging, sys
from pathlib import Path
from lt_det.errors import exit_code_of
from lt_det.io.console import SafeConsole

def command():
    logging.basicConfig(stream=sys.stdout, level=logging.INFO)
    console = SafeConsole()
    for line in range(300):
        print("printed", line, "x" * 50)
        logging.info("logged %d", line)
        console.print("by rich", line)
        print("on standard error", file=sys.stderr)
    Path("written").touch()

sys.exit(exit_code_of(command, traceback=False))
"""
PIPES = {
    "| true": (0, b""),
    "| head -1 > /dev/null": (0, b""),
    ">&-": (0, b""),
    "> /dev/full": (1, b"error: The output of the command cannot be written (No space left on device)"),
    "2>&1 | true": (0, b""),
}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("pipe", PIPES)
def test_output_that_cannot_be_written(tmp_path, pipe, unbuffered):
    """The command finishes its work, without tracebacks."""
    code, error = PIPES[pipe]
    done = in_shell(f'"$0" -c "$1" {pipe}', COMMAND, cwd=tmp_path, env={"PYTHONUNBUFFERED": unbuffered})
    message = done.stderr.replace(b"on standard error\n", b"")
    assert (done.stdout, message[: len(error) or None]) == (b"%d\n" % code, error)
    assert message.count(b"\n") == code
    assert (tmp_path / "written").exists()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(("pipe", "code"), [("| true", 0), ("> /dev/full", 1)])
def test_a_command_whose_output_cannot_be_written_writes_its_files(tmp_path, pipe, code):
    for name in "ab":
        write_run(tmp_path / name, evaluation())
    done = in_shell(f'"$0" -m lt_det.cli compare a b --out "$1" {pipe}', "out", cwd=tmp_path)
    assert done.stdout == b"%d\n" % code
    assert done.stderr.count(b"\n") == code
    assert (tmp_path / "out" / "compare.json").exists()


def in_shell(script, argument, env=None, **options):
    """Run a script in which $0 is Python; it prints the exit code of the first command of its pipe."""
    return subprocess.run(
        ["bash", "-c", f"{script}; echo ${{PIPESTATUS[0]}}", sys.executable, argument],
        capture_output=True, timeout=120, env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})}, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (0, "class", "0 classes"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (1, "training image", "1 training image"),
        (3, "box", "3 boxes"),
        (2, "entry", "2 entries"),
        (2, "key", "2 keys"),
        (2, "epoch", "2 epochs"),
    ],
)
def test_counts_with_their_noun(number, noun, words):
    assert count_of(number, noun) == words
