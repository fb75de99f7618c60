"""What a process of several says about the others."""

import pytest

from lt_det.training.launch.worker import _report


@pytest.mark.parametrize(("launcher", "named"), [("torchrun or srun", True), ("", False)])
def test_the_launcher_is_named_only_if_there_is_one(capsys, launcher, named):
    _report(RuntimeError("[gloo/tcp.cc:9] Connection closed by peer"), 1, None, False, launcher)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error in process 1: Another process has ended")
    assert "--resume" in line
    assert ("torchrun or srun" in line) == named
