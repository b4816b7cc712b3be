"""The house that CONTRIBUTING.md describes, checked against the source: who may import whom."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import charrnn

# The rooms from the top of the house down: a module imports from its own room and from those below.
ROOMS = (
    "__main__",
    "cli",
    "commands",
    "terminal",
    "__init__",
    "api",
    "export",
    "training",
    "evaluation",
    "data",
    "storage",
    "sampling",
    "model",
    "runtime",
    "tokenizers",
    "config",
    "version",
    "errors",
)
# What imports torch, at its top or, above training, inside of functions; everything else does
# without, even through others, so that it starts at once.
WITH_TORCH = (
    *ROOMS[: ROOMS.index("training")],
    "training",
    "evaluation.dynamic",
    "evaluation.gradient_flow",
    "evaluation.scoring",
    "evaluation.surprisal",
    "data.batching",
    "model.adaptive_softmax",
    "model.attention",
    "model.cells",
    "model.dropout",
    "model.network",
    "runtime",
)
WITH_RICH = ("terminal", "commands", "cli", "__main__")

ROOT = Path(__file__).parents[1] / "charrnn"
SOURCES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path
    for path in sorted(ROOT.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def module_named(name: str) -> str:
    """Return the source that an imported name is in.

    A package is its __init__, a name in a module is that module.
    """
    for candidate in (
        name,
        f"{name}.__init__",
        name.rpartition(".")[0],
        f"{name.rpartition('.')[0]}.__init__",
    ):
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
            assert node.level == 0, (
                f"{module}, line {node.lineno}: write the whole name, not a relative import"
            )
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


def within(module: str, places: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"charrnn.{place}.") for place in places)


def test_imports_go_down() -> None:
    for module in SOURCES:
        assert room(module) in ROOMS, (
            f"{module}: give its room a place in ROOMS of {Path(__file__).name}"
        )
        for other in imports(module) & SOURCES.keys():
            assert ROOMS.index(room(other)) >= ROOMS.index(room(module)), (
                f"{module} must not import {other}"
            )


def test_what_starts_at_once_does_without_torch_even_through_others() -> None:
    for module in SOURCES:
        if not within(module, WITH_TORCH):
            assert "torch" not in {name.split(".")[0] for name in reachable(module)}, module


def test_modules_are_documented_and_show_nothing_below_the_terminal() -> None:
    for module, tree in TREES.items():
        assert ast.get_docstring(tree), f"{module} has no docstring"
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not [
            call.lineno for call in calls if isinstance(call, ast.Name) and call.id == "print"
        ], module
        if not within(module, WITH_RICH):
            assert not {name.split(".")[0] for name in imports(module)} & {
                "rich",
                "typer",
                "click",
            }, module


def test_no_import_cycles() -> None:
    TopologicalSorter({module: imports(module) & SOURCES.keys() for module in SOURCES}).prepare()


def test_each_room_holds_something() -> None:
    assert {room(module) for module in SOURCES} | {"export"} == set(ROOMS)


def test_public_names_are_sorted_and_there() -> None:
    assert list(charrnn.__all__) == sorted(charrnn.__all__)
    assert all(hasattr(charrnn, name) for name in charrnn.__all__)
