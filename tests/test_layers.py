"""Each floor of the house imports only from floors below it; see CONTRIBUTING."""

import ast

from tests.helpers import REPOSITORY

PACKAGE = REPOSITORY / "lt_det"

# From the top down. The Detectron2 evaluator lives with the evaluation and stands above the data it looks up.
FLOORS = (
    "cli",
    "doctor",
    "inference",
    "training",
    "reporting",
    "modeling",
    "evaluation.evaluator",
    "data",
    "datasets",
    "evaluation",
    "trainer_keys",
    "config",
    "losses",
    "layers",
    "statistics",
    "compat",
    "io",
    "errors",
)


def modules():
    """Dotted names without the leading ``lt_det.``, and files; the package's own ``__init__`` only hands names on."""
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            yield name, file


def floor(name):
    best = max((f for f in FLOORS if name == f or name.startswith(f + ".")), key=len)
    return FLOORS.index(best)


def imports(file):
    """lt_det modules that a file imports, inside functions and for type checking too."""
    names = {name for name, _ in modules()}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            found = [node.module or ""]
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            if name.startswith("lt_det.") and (short := name.removeprefix("lt_det.")) in names:
                yield short


def test_every_module_stands_on_a_floor():
    unplaced = [name for name, _ in modules() if not any(name == f or name.startswith(f + ".") for f in FLOORS)]
    assert unplaced == []


def test_no_import_goes_up():
    upward = [
        f"{name} -> {target}" for name, file in modules() for target in imports(file) if floor(target) < floor(name)
    ]
    assert upward == []


def test_modules_do_not_import_each_other_in_a_loop():
    graph = {name: set(imports(file)) - {name} for name, file in modules()}
    packages = {name for name in graph if (PACKAGE / name.replace(".", "/")).is_dir()}
    graph = {name: {t for t in targets if t not in packages} for name, targets in graph.items() if name not in packages}
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
    # Losses may be many, because each file is one loss.
    crowded = {folder: number for folder, number in folders.items() if number > 14 and not folder.endswith("losses")}
    assert crowded == {}
