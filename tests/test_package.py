"""What `import lt_det` needs and does not need."""

import subprocess
import sys

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named '{{name}}'")
sys.meta_path.insert(0, Block())
"""


def run(blocked, code):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BLOCK.format(blocked=blocked) + code], capture_output=True, text=True
    )


def test_losses_need_torch_only():
    code = """
import torch
from lt_det.losses import EQL
loss = EQL(2, image_counts=[1, 9], num_images=9, frequency_threshold=0.5)
print(loss(torch.zeros(1, 3), torch.tensor([1])).item())
"""
    result = run(["detectron2", "cv2", "matplotlib", "pycocotools", "lvis"], code)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) > 0


def test_statistics_need_no_torch():
    code = "from lt_det.statistics.class_stats import ClassStats; import lt_det; print(lt_det.ClassStats is ClassStats)"
    result = run(["torch", "detectron2", "cv2", "matplotlib", "pycocotools", "lvis", "fvcore"], code)
    assert result.stdout == "True\n", result.stderr


def test_reporting_needs_no_torch():
    result = run(["torch", "detectron2", "cv2"], "import lt_det.reporting")
    assert result.returncode == 0, result.stderr


def test_evaluation_of_files_needs_no_torch():
    result = run(["torch", "detectron2", "cv2", "lvis"], "import lt_det.evaluation.api, lt_det.evaluation.reference")
    assert result.returncode == 0, result.stderr


def test_without_detectron2_the_message_says_so():
    result = run(["detectron2"], "import lt_det; lt_det.LongTailROIHeads")
    assert (
        "lt_det.LongTailROIHeads needs Detectron2, which does not import (No module named 'detectron2" in result.stderr
    )
    result = run(["detectron2"], "import lt_det; lt_det.no_such_thing")
    assert "has no attribute 'no_such_thing'" in result.stderr


def test_the_command_loads_detectron2_only_where_it_is_needed(tmp_path):
    """Judging files would take three times as long."""
    (tmp_path / "gt.json").write_text(
        '{"images": [{"id": 1, "height": 9, "width": 9}], "categories": [{"id": 1, "name": "a"}], "annotations": '
        '[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}]}'
    )
    (tmp_path / "found.json").write_text('[{"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [1, 1, 5, 5]}]')
    arguments = ["evaluate", "--gt", str(tmp_path / "gt.json"), "--results", str(tmp_path / "found.json")]
    code = f"""
sys.argv = ["/somewhere/bin/lt-det", *{arguments}]
from lt_det.cli import main
assert main() == 0
print([name for name in ("torch", "detectron2") if name in sys.modules])
"""
    result = run([], code)
    assert result.returncode == 0, result.stderr
    assert "100.0" in result.stdout
    assert result.stdout.endswith("[]\n")
