"""Warnings of the checks before a training are in log.txt, once, and are printed if there is no log."""

import subprocess
import sys

from lt_det.training import argument_parser, setup

PROGRAM = """
import logging, sys
from lt_det.training.log.early_warnings import early_warnings_in_log
from lt_det.training.log.files import set_up_log_files

@early_warnings_in_log()
def set_up(folder):
    logging.getLogger("lt_det.training").warning("no effect")
    logging.getLogger("lt_det").info("a detail")
    if folder is None:
        raise SystemExit("an error")
    set_up_log_files(folder)
    logging.getLogger("lt_det").warning("found later")

set_up(sys.argv[1] if len(sys.argv) > 1 else None)
"""


def run(*arguments):
    return subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=300)


def test_they_are_logged_once_with_their_level(tmp_path):
    done = run(str(tmp_path))
    written = (tmp_path / "log.txt").read_text()
    for text in ("no effect", "found later"):
        assert written.count(f"WARNING: {text}") == 1
        assert done.stdout.count(text) == 1
        assert text not in done.stderr
    assert "a detail" not in written + done.stdout


def test_without_a_log_they_are_printed():
    done = run()
    assert done.stderr.splitlines() == ["no effect", "an error"]


def test_an_override_without_effect_is_in_the_log(sixty_config, tmp_path):
    of_network, of_training = "MODEL.LONG_TAIL.LOSS.FOCAL.GAMMA", "SOLVER.BASE_LR_END"
    words = ["--config", str(sixty_config), "DATASETS.TEST", "('streamed',)", of_network, "1.0", of_training, "0.001"]
    for options in (["--eval-only"], []):
        folder = tmp_path / str(len(options))
        setup(argument_parser().parse_args([*options, *words, "OUTPUT_DIR", str(folder)]))
        log = (folder / "log.txt").read_text()
        assert f"{of_network} has no effect" in log
        assert (f"{of_training} 0.001 has no effect" in log) == (not options)
