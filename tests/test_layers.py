"""The layout of the package: each floor imports only from floors below it, see CONTRIBUTING; tests mirror it."""

import ast
import re
import sys

from tests.helpers import REPOSITORY, SLOW

PACKAGE = REPOSITORY / "lt_det"

# From the top down. The Detectron2 evaluator is kept with the evaluation but is above `data`, which it looks up.
FLOORS = (
    "cli",
    "doctor",
    "zoo",
    "starting_config",
    "inference",
    "bakeoff",
    "training",
    "reporting",
    "modeling",
    "evaluation.evaluator",
    "data",
    "datasets",
    "evaluation",
    "trainer_keys",
    "unused_loss",
    "config",
    "meta",
    "losses",
    "layers",
    "statistics",
    "user_modules",
    "compat",
    "io",
    "registry",
    "lazy_imports",
    "errors",
    "numbers",
    "terminal",
)

# Other packages that a floor may import, so that it works where the rest is not installed.
PACKAGES_OF = {
    "unused_loss": set(),
    "config": {"fvcore", "numpy"},
    "meta": {"torch"},
    "losses": {"torch", "numpy"},
    "layers": {"torch", "numpy"},
    "statistics": {"numpy"},
    "user_modules": set(),
    "registry": set(),
    "lazy_imports": set(),
    "errors": set(),
    "numbers": set(),
    "terminal": set(),
}
WITHOUT_DETECTRON2 = ("reporting", "datasets", "evaluation", "io")


def modules():
    """Dotted names without the leading ``lt_det.``, and files. The package's own ``__init__`` imports lazily."""
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            yield name, file


def floor(name):
    best = max((f for f in FLOORS if name == f or name.startswith(f + ".")), key=len)
    return FLOORS.index(best)


def imported(file):
    """Full names of everything that a file imports, inside functions and for type checking too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(file):
    """lt_det modules that a file imports, without the leading ``lt_det.``."""
    names = {name for name, _ in modules()}
    shorts = (name.removeprefix("lt_det.") for name in imported(file) if name.startswith("lt_det."))
    return [name for name in shorts if name in names]


def packages(file):
    """Packages of other projects that a file imports."""
    return {name.partition(".")[0] for name in imported(file)} - sys.stdlib_module_names - {"lt_det"}


def test_every_module_is_on_a_floor():
    unplaced = [name for name, _ in modules() if not any(name == f or name.startswith(f + ".") for f in FLOORS)]
    assert unplaced == []


def test_no_import_goes_up():
    upward = [
        f"{name} -> {target}" for name, file in modules() for target in imports(file) if floor(target) < floor(name)
    ]
    assert upward == []


def test_lower_floors_import_few_packages():
    wrong = []
    for name, file in modules():
        on = FLOORS[floor(name)]
        if on in PACKAGES_OF:
            wrong += [f"{name} -> {package}" for package in packages(file) - PACKAGES_OF[on]]
        elif on in WITHOUT_DETECTRON2:
            wrong += [f"{name} -> {package}" for package in packages(file) & {"torch", "torchvision", "detectron2"}]
    assert wrong == []


def test_no_import_is_circular():
    graph = {name: set(imports(file)) - {name} for name, file in modules()}
    folders = {name for name in graph if (PACKAGE / name.replace(".", "/")).is_dir()}
    graph = {name: targets - folders for name, targets in graph.items() if name not in folders}
    done: set[str] = set()

    def visit(name, path):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for target in graph[name]:
                visit(target, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])


def test_folders_and_files_stay_small():
    folders: dict[str, int] = {}
    for name, file in modules():
        assert len(file.read_text().splitlines()) < 400, name
        folders[str(file.parent)] = folders.get(str(file.parent), 0) + (file.name != "__init__.py")
    # There may be many losses, since each has a file of its own.
    crowded = {folder: number for folder, number in folders.items() if number > 14 and not folder.endswith("losses")}
    assert crowded == {}


def test_tests_mirror_the_package():
    """Every folder of tests is named after a folder of lt_det; the others test, or help to test, what is named here."""
    others = {"benchmarks", "faults", "fuzz", "helpers", "tools", "losses/fixtures"}
    tests = REPOSITORY / "tests"
    folders = {str(file.parent.relative_to(tests)) for file in tests.rglob("*.py")} - {"."}
    assert {folder for folder in folders if not (PACKAGE / folder).is_dir()} <= others
    for file in tests.rglob("*.py"):
        for name in imported(file):
            shared = name.startswith(("tests.helpers", f"tests.{file.parent.name}."))
            assert shared or not name.startswith("tests."), f"{file} imports {name}"


def rows_of_contributing(heading):
    """The paths in backquotes in each column of each row of the table under a heading."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    return [[re.findall(r"`([^`]+/|[^`]+\.py)`", column) for column in row] for row in rows]


def test_contributing_lists_the_layers():
    listed = [path for paths, *_ in rows_of_contributing("Layers of the package") for path in paths]
    paths = ["lt_det/" + name.replace(".", "/") for name in FLOORS]
    expected = [f"{path}/" if (REPOSITORY / path).is_dir() else f"{path}.py" for path in paths]
    assert listed == ["tools/", "configs/", *expected]


def test_files_that_contributing_names_exist():
    named = [path for _, paths in rows_of_contributing("To change X, open Y") for path in paths]
    assert len(named) >= 10
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


def test_slow_tests_exist():
    assert [name for name in SLOW if not (REPOSITORY / "tests" / name).exists()] == []
