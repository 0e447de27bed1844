"""Imports run one way: every module stands on a floor, and reads its own floor and those below alone."""

import ast
import graphlib
import inspect
import re
import socket
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import distilnlp

PACKAGE = Path(distilnlp.__file__).parent

# From the ground up. A new module or folder of the package gets its place here, as low as it can stand.
FLOORS = [
    {"errors", "screen", "serving"},
    {"files", "losses", "server"},
    {"validation", "signals"},
    {"labels", "models"},
    {"data", "metrics"},
    {"tasks"},
    {"objective", "evaluation", "augmentation"},
    {"teachers", "students"},
    {"answers", "export"},
    {"training"},
    {"recipe"},
    {"report"},
    {"runs"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
ROOT = "distilnlp"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
BELOW_THE_ROOT = [name for name in MODULES if name != ROOT]


def imports_of(module: str) -> set[str]:
    """Every module that a module imports, wherever in its text; of our own package the exact module."""
    path, found = MODULES[module], set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found |= {
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source for alias in node.names
            }
    return found


def part_of(module: str) -> str:
    return module.split(".")[1]


def own(modules: set[str]) -> set[str]:
    return {name for name in modules if name == ROOT or name.startswith(f"{ROOT}.")}


def test_every_module_has_its_floor() -> None:
    parts = {part_of(module) for module in BELOW_THE_ROOT}
    assert parts - FLOOR_OF.keys() == set(), "place these in FLOORS"
    assert FLOOR_OF.keys() - parts == set(), "these are gone: take them out of FLOORS"
    assert len(FLOOR_OF) == sum(map(len, FLOORS)), "a module stands on one floor"


@pytest.mark.parametrize("module", BELOW_THE_ROOT)
def test_a_module_reads_its_own_floor_and_those_below(module: str) -> None:
    read = own(imports_of(module))
    assert ROOT not in read, "import from the module that defines it: the package's root stands above all"
    above = {name for name in read if FLOOR_OF[part_of(name)] > FLOOR_OF[part_of(module)]}
    assert above == set()


def test_no_two_modules_read_each_other() -> None:
    graph = {module: own(imports_of(module)) - {module} for module in BELOW_THE_ROOT}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith(f"{ROOT}.losses")])
def test_losses_are_functions_of_tensors(module: str) -> None:
    assert {name for name in own(imports_of(module)) if part_of(name) != "losses"} == set()
    assert {name.split(".")[0] for name in imports_of(module)} <= {"torch", ROOT, "math", "collections", "typing"}


def test_every_package_that_is_imported_is_declared_and_no_other_is() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    roots = {name.split(".")[0] for module in MODULES for name in imports_of(module)}
    provided = packages_distributions()
    others = roots - {ROOT} - sys.stdlib_module_names
    imported = {provided.get(name, [name])[0].lower().replace("_", "-") for name in others}
    extras = {
        re.split(r"[<>=]", line)[0]
        for name, lines in project["optional-dependencies"].items()
        for line in lines
        if name != "dev"
    }
    assert imported - declared - extras == set(), "declare these in pyproject.toml"
    assert declared - imported == set(), "take these out of pyproject.toml"


def test_importing_the_package_prints_nothing_and_warns_of_nothing() -> None:
    command = [sys.executable, "-W", "error::FutureWarning", "-c", "import distilnlp"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_tests_have_no_network() -> None:
    with pytest.raises(ConnectionRefusedError, match="must not use the network"):
        socket.create_connection(("192.0.2.1", 9), timeout=1)


# ---- The public names ----


def test_the_public_names_are_imported_when_they_are_asked_for() -> None:
    assert sorted(distilnlp._MODULE_OF) == sorted(distilnlp.__all__)
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    for_checkers = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    names = {
        alias.name: node.module for node in for_checkers for alias in node.names if alias.name in distilnlp.__all__
    }
    assert names == {name: f"{ROOT}.{module}" for name, module in distilnlp._MODULE_OF.items()}
    assert {"__version__", *distilnlp.__all__} <= {*dir(distilnlp)}
    with pytest.raises(AttributeError, match="no attribute 'Distill'"):
        _ = distilnlp.Distill


def test_the_public_names_are_sorted_and_exist() -> None:
    assert distilnlp.__all__ == sorted(distilnlp.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(distilnlp, name) for name in distilnlp.__all__)


@pytest.mark.parametrize("name", distilnlp.__all__)
def test_a_public_name_has_a_docstring_of_its_own(name: str) -> None:
    public = getattr(distilnlp, name)
    if name.isupper():
        pytest.skip(f"{name} is a table, which has no docstring of its own")
    docstring = vars(public).get("__doc__") if inspect.isclass(public) else public.__doc__
    assert docstring
    assert not docstring.startswith(f"{name}("), "this is the signature that dataclasses write by themselves"
