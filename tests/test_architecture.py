"""The house that CONTRIBUTING.md describes, checked against the source: who may import whom."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import charrnn

# Imports go down only; inside a row, only to the left.
ROWS = (
    ("errors", "config", "shapes", "presets"),
    (
        "tokenizers",
        "files",
        "sources",
        "division",
        "corpus",
        "mapped",
        "records",
        "checkpoints",
        "locks",
        "runs",
        "datasets",
    ),
    ("machine", "ranks", "batching", "cells", "dropout", "attention", "adaptive", "model", "numpy_model"),
    ("baselines", "bootstrap", "scoring", "surprisal", "dynamic", "gradients", "sampling", "novelty"),
    ("optim", "step", "training", "api", "__init__", "speed", "planning", "session", "starting"),
    ("signals", "console", "chart", "heat", "reading", "view"),
    ("commands", "cli", "__main__"),
)
PLACES = {room: (row, column) for row, rooms in enumerate(ROWS) for column, room in enumerate(rooms)}
WITHOUT_TORCH = {*ROWS[0], *ROWS[1], "numpy_model", "baselines", "bootstrap", "sampling", "novelty"}
WITH_TERMINAL = {"console", "heat", "reading", "view", "cli", "__main__"}

ROOT = Path(__file__).parents[1] / "charrnn"
SOURCES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def module_named(name: str) -> str:
    """Return the source that an imported name is in: a package is its __init__, a name in a module is that module."""
    for candidate in (name, f"{name}.__init__", name.rpartition(".")[0], f"{name.rpartition('.')[0]}.__init__"):
        if candidate in SOURCES:
            return candidate
    return name


def imports(module: str) -> set[str]:
    """Return what a module imports anywhere in it, inside functions too."""
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found |= {module_named(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: write the whole name, not a relative import"
            found |= {module_named(f"{node.module}.{alias.name}") for alias in node.names}
    return found - {module}


def room(module: str) -> str:
    return module.split(".")[1]


def reachable(module: str) -> set[str]:
    """Return what a module imports, directly or through others of charrnn."""
    found, waiting = set[str](), [module]
    while waiting:
        new = imports(waiting.pop()) - found
        found |= new
        waiting += new & SOURCES.keys()
    return found


@pytest.mark.parametrize("module", SOURCES)
def test_the_module_has_a_place_and_imports_only_from_below_or_from_its_left(module: str) -> None:
    assert room(module) in PLACES, f"{module}: give it a place in ROWS of {Path(__file__).name} and in CONTRIBUTING.md"
    for other in imports(module) & SOURCES.keys():
        assert PLACES.get(room(other), (99, 99)) <= PLACES[room(module)], f"{module} must not import {other}"


@pytest.mark.parametrize("module", [name for name in SOURCES if room(name) in WITHOUT_TORCH])
def test_the_module_does_without_torch_even_through_others(module: str) -> None:
    assert not [name for name in reachable(module) if name.split(".")[0] == "torch"]


@pytest.mark.parametrize("module", SOURCES)
def test_the_module_is_documented_and_shows_nothing_below_the_terminal(module: str) -> None:
    assert ast.get_docstring(TREES[module]), f"{module} has no docstring"
    calls = [node.func for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call, ast.Name) and call.id == "print"]
    if room(module) not in WITH_TERMINAL:
        assert not {name.split(".")[0] for name in imports(module)} & {"rich", "typer", "click"}


def test_no_import_cycles() -> None:
    TopologicalSorter({module: imports(module) & SOURCES.keys() for module in SOURCES}).prepare()


def test_no_room_is_listed_that_does_not_exist() -> None:
    assert PLACES.keys() == {room(module) for module in SOURCES}


def test_public_names_are_sorted_and_there() -> None:
    assert list(charrnn.__all__) == sorted(charrnn.__all__)
    assert all(hasattr(charrnn, name) for name in charrnn.__all__)
