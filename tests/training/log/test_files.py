"""log.txt has everything; the console leaves out the config and the network."""

import subprocess
import sys

PROGRAM = """
import logging, sys
from lt_det.training.log.files import set_up_log_files
set_up_log_files(sys.argv[1])
set_up_log_files(sys.argv[1])
logging.getLogger("detectron2").info("Running with full config:\\nSEED: 7")
logging.getLogger("detectron2.engine.defaults").info("Model:\\nthe network")
logging.getLogger("detectron2").warning("careful")
logging.getLogger("lt_det").info("a sentence")
"""


def test_config_and_network_are_only_in_the_file(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    written = (tmp_path / "log.txt").read_text()
    for text in ("SEED: 7", "the network"):
        assert text in written
        assert text not in shown
    for text in ("careful", "a sentence"):
        assert text in written
        assert text in shown
    assert str(tmp_path / "log.txt") in shown
