"""What `import lt_det` and its parts load and need, and what they say where a package is missing or broken."""

import ast
import os
import subprocess
import sys

import pytest

from tests.helpers import REPOSITORY

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name in {blocked} or name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
sys.meta_path.insert(0, Block())
"""
# Everything that lt_det uses somewhere, except torch and numpy.
ALL_BUT_TORCH_AND_NUMPY = [
    *("cv2", "detectron2", "fvcore", "hydra", "iopath", "jinja2", "lvis", "matplotlib", "msgspec", "omegaconf", "onnx"),
    *("onnxruntime", "PIL", "pycocotools", "rich", "torchvision", "yacs", "yaml"),
]


def run(blocked, code, path=()):
    """Run code in a new process in which the `blocked` modules cannot be imported, with the folders `path` first."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BLOCK.format(blocked=blocked) + code],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), str(REPOSITORY)])},
    )


def printed(blocked, code):
    result = run(blocked, code)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def loaded(code, *modules):
    """Which of the modules a new process has loaded after the code; every one of them is installed here."""
    return printed([], f"{code}\nprint(*[name for name in {modules} if name in sys.modules])").split()


# ------------------------------------------------------------------------------------------ light imports


def test_the_package_loads_nothing_heavy():
    assert loaded("import lt_det", "torch", "detectron2", "numpy", "cv2", "pycocotools", "msgspec", "fvcore") == []


@pytest.mark.slow
def test_losses_need_torch_and_numpy_only():
    code = """
import torch
import lt_det
loss = lt_det.losses.EQL(2, image_counts=[1, 9], num_images=9, frequency_threshold=0.5)
print(loss(torch.zeros(1, 3), torch.tensor([1])).item())
"""
    assert float(printed(ALL_BUT_TORCH_AND_NUMPY, code)) > 0


@pytest.mark.slow
def test_losses_load_torch_and_numpy_only():
    """Also where the other packages are installed, as they are here."""
    code = "import lt_det.losses, lt_det.layers"
    assert loaded(code, "torch", "numpy") == ["torch", "numpy"]
    assert loaded(code, "detectron2", "cv2", "pycocotools", "msgspec", "fvcore", "matplotlib", "PIL", "yaml") == []


def test_statistics_need_numpy_only():
    code = "from lt_det.statistics.class_stats import ClassStats; import lt_det; print(lt_det.ClassStats is ClassStats)"
    assert printed(["torch", *ALL_BUT_TORCH_AND_NUMPY], code) == "True"


def test_reporting_needs_no_torch():
    printed(["torch", "detectron2", "cv2"], "import lt_det.reporting")


def test_evaluation_of_files_needs_no_torch():
    printed(["torch", "detectron2", "cv2", "lvis"], "import lt_det.evaluation.api, lt_det.evaluation.reference")


def test_the_command_loads_detectron2_only_where_it_is_needed(tmp_path):
    """Evaluating files would take three times as long."""
    (tmp_path / "gt.json").write_text(
        '{"images": [{"id": 1, "height": 9, "width": 9}], "categories": [{"id": 1, "name": "a"}], "annotations": '
        '[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}]}'
    )
    (tmp_path / "found.json").write_text('[{"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [1, 1, 5, 5]}]')
    arguments = ["evaluate", "--gt", str(tmp_path / "gt.json"), "--results", str(tmp_path / "found.json")]
    code = f"""
from lt_det.cli import main
assert main({arguments}) == 0
print([name for name in ("torch", "detectron2") if name in sys.modules])
"""
    output = printed([], code)
    assert "100.0" in output
    assert output.endswith("[]")


@pytest.mark.slow
def test_importing_the_package_is_enough_to_use_its_parts():
    """As messages name them: `lt_det.training.equip(...)`."""
    code = """
import lt_det
print(lt_det.training.equip.__name__, lt_det.inference.TrainedDetector.__name__, lt_det.reporting.write_report.__name__)
print(all(hasattr(lt_det.inference, name) for name in lt_det.inference.__all__))
"""
    assert printed([], code).split() == ["equip", "TrainedDetector", "write_report", "True"]


# ------------------------------------------------------------------------------------------- registration

REGISTERED = """
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import BACKBONE_REGISTRY, ROI_HEADS_REGISTRY
def registered():
    heads = [name for name, _ in ROI_HEADS_REGISTRY if name.startswith("LongTail")]
    return len(heads), "build_mini_backbone" in BACKBONE_REGISTRY, "mini_lvis_val" in DatasetCatalog
"""


@pytest.mark.slow
def test_add_lt_config_registers_heads_backbone_and_mini_lvis():
    """Under any name of the program: `lt-det` is nothing special."""
    code = f"""
import lt_det
from detectron2.config import get_cfg
{REGISTERED}
sys.argv = ["/somewhere/bin/lt-det"]
print(*registered())
cfg = get_cfg()
lt_det.add_lt_config(cfg)
print(*registered(), MetadataCatalog.get("mini_lvis_val").evaluator_type)
lt_det.add_lt_config(get_cfg())
print(cfg.MODEL.LONG_TAIL.LOSS.NAME, all(getattr(lt_det, name) for name in lt_det.__all__))
print(set(lt_det.__all__) <= set(dir(lt_det)))
"""
    assert printed([], code).splitlines() == ["0 False False", "3 True True lvis", "softmax True", "True"]


@pytest.mark.slow
def test_importing_modeling_registers_the_heads():
    """A LazyConfig imports it, and has no `add_lt_config`."""
    assert printed([], f"import lt_det.modeling\n{REGISTERED}\nprint(registered()[:2])") == "(3, True)"


# --------------------------------------------------------------------------------- missing and broken packages

ADVICE = "run `lt-det doctor`"


@pytest.mark.parametrize("missing", ["detectron2", "torch"])
@pytest.mark.parametrize("use", ["lt_det.LongTailROIHeads", "lt_det.register_dataset", "lt_det.add_lt_config(None)"])
def test_a_missing_package_is_named(missing, use):
    result = run([missing], f"import lt_det; {use}")
    assert f"ImportError: {use.partition('(')[0]} needs" in result.stderr
    assert f"No module named '{missing}" in result.stderr
    assert ADVICE in result.stderr


def test_an_unknown_name_is_an_attribute_error():
    result = run(["detectron2"], "import lt_det; lt_det.no_such_thing")
    assert "AttributeError" in result.stderr
    assert "'no_such_thing'" in result.stderr


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("import numpy; numpy.no_such_alias", "has no attribute 'no_such_alias'"),  # numpy.bool, once
        ("raise OSError('libcudart.so.11: cannot open shared object file')", "libcudart.so.11"),
    ],
)
def test_a_broken_detectron2_is_named(tmp_path, failure, reason):
    (tmp_path / "detectron2" / "modeling").mkdir(parents=True)
    (tmp_path / "detectron2" / "__init__.py").touch()
    (tmp_path / "detectron2" / "modeling" / "__init__.py").write_text(failure)
    result = run([], "import lt_det; lt_det.LongTailROIHeads", path=[tmp_path])
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: lt_det.LongTailROIHeads needs")
    assert reason in last
    assert ADVICE in last


@pytest.mark.slow
def test_a_detectron2_that_lacks_a_name_is_named(tmp_path):
    """An older or newer one than lt_det knows."""
    (tmp_path / "detectron2" / "modeling").mkdir(parents=True)
    (tmp_path / "detectron2" / "__init__.py").touch()
    (tmp_path / "detectron2" / "modeling" / "__init__.py").touch()
    last = run([], "import lt_det; lt_det.LongTailROIHeads", path=[tmp_path]).stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: lt_det.LongTailROIHeads needs")
    assert "detectron2" in last
    assert ADVICE in last


@pytest.mark.slow
def test_a_mistake_in_lt_det_is_not_blamed_on_detectron2():
    code = """
import traceback
from importlib.machinery import ModuleSpec
import lt_det
class Failing:
    source = ""
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name == "lt_det.modeling.roi_heads" else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(self.source, module.__dict__)
failing = Failing()
sys.meta_path.insert(0, failing)
for failing.source in ("from lt_det.losses import NoSuchLoss", "1 / 0"):
    try:
        lt_det.LongTailROIHeads
    except Exception as error:
        print(traceback.format_exc())
"""
    output = printed([], code)
    assert "ImportError: cannot import name 'NoSuchLoss' from 'lt_det.losses'" in output
    assert "ZeroDivisionError" in output
    assert ADVICE not in output


# --------------------------------------------------------------------------------------------------- Python


def test_all_sources_are_python_3_10():
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    files = tracked.stdout.split()
    assert len(files) > 100
    for file in files:
        ast.parse((REPOSITORY / file).read_text(), filename=file, feature_version=(3, 10))
