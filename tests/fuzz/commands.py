"""Run a command in this process on a mutated file, and say what is wrong with its answer."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import signal
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import FrameType
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from tests.fuzz.checkpoints import CREATED
from tests.fuzz.mutations import differences, mutate
from tests.fuzz.programs import PROGRAMS
from tests.fuzz.subjects import OUT, SUBJECTS, Subject

CPU_SECONDS = 30  # of one command, after which it hangs: this machine may be busy, so that wall time says nothing


class Hang(BaseException):
    """No Exception, so that the command does not handle it."""


@dataclass(frozen=True)
class Answer:
    """What a command did: its exit code, what it printed, and the files that are compared."""

    code: int
    printed: str
    errors: str
    files: tuple[bytes, ...] = ()
    failure: str = ""


@dataclass(frozen=True)
class Finding:
    """A wrong answer to a mutation."""

    subject: str
    seed: int
    words: str
    kind: str
    details: str

    def __str__(self) -> str:
        replay = f"python -m tests.fuzz --subject '{self.subject}' --seed {self.seed} --count 1"
        return f"{self.kind}: {self.words!r}\n  {self.details}\n  replay: {replay}"


def run(subject: Subject, folder: Path) -> Answer:
    """Run a subject's command. Nothing that it sets up in the process is left, and nothing that it wrote before."""
    shutil.rmtree(folder / OUT, ignore_errors=True)
    if subject.copied:
        shutil.copytree(folder / subject.copied, folder / OUT)
    out, err = io.StringIO(), io.StringIO()
    failure, code = "", 0
    with _nothing_left(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = PROGRAMS[subject.program](subject.command(folder))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except Hang:
            failure = f"more than {CPU_SECONDS} s of CPU time"
        except BaseException:
            failure = traceback.format_exc(limit=-3)
    files = tuple(file.read_bytes() for pattern in subject.outputs for file in sorted(folder.glob(pattern)))
    return Answer(code, out.getvalue(), err.getvalue(), files, failure)


def try_one(name: str, folder: Path, expected: Answer, seed: int) -> Finding | None:
    """Mutate a subject's file by a seed, run its command, and restore the file; None if the answer is right."""
    subject = SUBJECTS[name]
    file = folder / subject.file
    content = file.read_bytes()
    mutation = mutate(content, subject.form, f"{name} {seed}")
    file.write_bytes(mutation.content)
    try:
        answer = run(subject, folder)
    finally:
        file.write_bytes(content)
    found = wrong_with(answer) or _wrong_with_tool(subject, answer)
    if found is None and mutation.single:  # of several changes, nobody knows which one has changed the output
        found = _wrong_acceptance(subject, content, mutation.content, expected, answer)
    return Finding(name, seed, mutation.words, *found) if found else None


def wrong_with(answer: Answer) -> tuple[str, str] | None:
    """The kind of fault of an answer, whatever the input was, and details; None if it has none."""
    if answer.failure:
        return ("hang" if "CPU time" in answer.failure else "traceback"), answer.failure
    for words in ("Traceback (most recent", "Warning: ", "--- Logging error"):
        if words in answer.errors:
            return "noise", answer.errors[-600:]
    if answer.code not in (0, 1, 2):
        return "exit code", str(answer.code)
    sentences = [line for line in answer.errors.splitlines() if line.startswith("error: ")]
    if answer.code == 1 and not answer.printed and len(sentences) != 1:
        return "not one sentence", answer.errors[-600:]
    if any(letter != "\n" and not letter.isprintable() and letter in "\x1b\x07\r\0" for letter in answer.errors):
        return "escape sequence", ascii(answer.errors[-600:])
    return None


def _wrong_with_tool(subject: Subject, answer: Answer) -> tuple[str, str] | None:
    """What only tools can do wrong, which print before they fail, and what a hostile file can make a program do."""
    created = Path(CREATED)
    if created.exists():
        created.unlink()
        return "code of the file was executed", answer.errors[-600:]
    sentences = sum(line.startswith("error: ") for line in answer.errors.splitlines())
    if subject.program != "lt-det" and answer.code == 1 and sentences != 1:
        return "not one sentence", answer.errors[-600:]
    return None


def _wrong_acceptance(
    subject: Subject, before: bytes, after: bytes, expected: Answer, answer: Answer
) -> tuple[str, str] | None:
    """An accepted mutation leaves the output equal, or every change is one after which another output is right."""
    same = (answer.printed, answer.files) == (expected.printed, expected.files)
    if answer.code != 0 or same or subject.form is None or subject.ordinary is None:
        return None
    try:
        changes = set(differences(subject.form.load(before), subject.form.load(after)))
    except (ValueError, RecursionError) as error:  # the command reads what Python's json refuses
        return "accepted", f"{type(error).__name__}: {error}"
    wrong = sorted(change for change in changes if not _is_ordinary(subject, change))
    return ("accepted", f"{wrong}; {answer.errors[-300:]}") if wrong else None


def _is_ordinary(subject: Subject, change: tuple[str, str]) -> bool:
    assert subject.ordinary is not None
    path, how = change
    return any(
        fnmatchcase(path, pattern) and any(fnmatchcase(how, kind) for kind in kinds)
        for pattern, kinds in subject.ordinary
    )


@contextlib.contextmanager
def _nothing_left() -> Iterator[None]:
    """Limit the CPU time, and undo what commands set up: handlers of logs, warnings, registered data sets."""
    root = logging.getLogger()
    handlers, registered = list(root.handlers), set(DatasetCatalog.list())
    root.handlers.clear()

    def stop(_number: int, _frame: FrameType | None) -> Any:
        raise Hang

    before, terminated = signal.signal(signal.SIGPROF, stop), signal.getsignal(signal.SIGTERM)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        signal.signal(signal.SIGTERM, terminated)
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        for name in set(DatasetCatalog.list()) - registered:
            DatasetCatalog.remove(name)
            if name in MetadataCatalog.list():
                MetadataCatalog.remove(name)
