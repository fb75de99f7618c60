"""Packages whose names are imported on first use."""

import importlib
import pkgutil
import sys
from types import ModuleType

import pytest

import lt_det
from lt_det.lazy_imports import lazy_exports


@pytest.fixture
def package(monkeypatch):
    package = ModuleType("a_package")
    package.__getattr__, package.__dir__ = lazy_exports(
        "a_package", {"dumps": "json", "b": "a_package.b"}, lambda module, name: importlib.import_module(module)
    )
    monkeypatch.setitem(sys.modules, "a_package", package)
    return package


def test_a_name_is_loaded_once(package):
    assert "dumps" not in vars(package)
    assert package.dumps is importlib.import_module("json").dumps
    assert "dumps" in vars(package)


def test_a_submodule_is_the_module_itself(package, monkeypatch):
    submodule = ModuleType("a_package.b")
    monkeypatch.setitem(sys.modules, "a_package.b", submodule)
    assert package.b is submodule


def test_names_are_listed_before_they_are_loaded(package):
    assert {"b", "dumps", "__name__"} <= set(dir(package))
    assert "dumps" not in vars(package)


@pytest.mark.parametrize("name", ["lt_det", "lt_det.evaluation", "lt_det.inference"])
def test_every_exported_name_can_be_imported(name):
    package = importlib.import_module(name)
    assert set(package.__all__) <= set(dir(package))
    assert all(hasattr(package, exported) for exported in package.__all__)
    with pytest.raises(AttributeError, match=f"'{name}' has no attribute 'no_such_thing'"):
        package.no_such_thing  # noqa: B018


@pytest.mark.parametrize("name", ["lt_det", "lt_det.evaluation", "lt_det.inference"])
def test_no_submodule_hides_an_exported_name(name):
    """Importing the submodule would set the package's attribute of that name."""
    package = importlib.import_module(name)
    assert not {module.name for module in pkgutil.iter_modules(package.__path__)} & set(package.__all__)


@pytest.mark.parametrize("name", ["config", "data", "evaluation", "layers", "losses", "modeling", "training"])
def test_parts_of_lt_det_are_its_submodules(name):
    assert getattr(lt_det, name) is importlib.import_module(f"lt_det.{name}")
