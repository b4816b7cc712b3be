"""The house that CONTRIBUTING.md describes, checked against the source: who may import whom."""

import ast
from collections.abc import Callable, Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import charrnn

# The rooms from the top of the house down: a module imports from its own room and from those below.
ROOMS = (
    "__main__",
    "cli",
    "terminal",
    "export",
    "__init__",
    "api",
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
# Where torch may be imported at the top of a module. All other rooms start at once.
WITH_TORCH = ("terminal.plots", "training", "evaluation", "data.batching", "model", "runtime")
# What starts at once in these rooms: what is asked, planned, told and reported, and the sampler.
WITHOUT_TORCH = (
    "training.events",
    "training.inputs",
    "training.plan",
    "training.request",
    "training.train",
    "evaluation.baselines",
    "evaluation.comparison",
    "evaluation.report",
    "evaluation.request",
    "evaluation.score",
    "model.blend",
    "model.numpy_model",
    "model.shapes",
    "runtime.distributed",
    "runtime.machine",
    "runtime.signals",
)
# What never comes to torch, not even inside of functions.
NEVER_TORCH = (
    "storage",
    "sampling",
    "tokenizers",
    "config",
    "model.blend",
    "model.numpy_model",
    "model.shapes",
)
WITH_RICH = ("terminal", "cli", "__main__")

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
    """Return what a module imports anywhere in it, inside functions and for type checkers too."""
    return set(imported(module, ast.walk(TREES[module])))


def imports_at_once(module: str) -> set[str]:
    """Return what a module imports when it is imported itself."""
    return set(imported(module, run_at_once(TREES[module].body)))


def run_at_once(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the nodes that are run when a module is: no function's, none for type checkers."""
    for node in nodes:
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from run_at_once(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from run_at_once(ast.iter_child_nodes(node))


def imported(module: str, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield what the imports among some nodes of a module name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (module_named(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{module}, line {node.lineno}: write the whole name, not a relative import"
            )
            yield from (module_named(f"{node.module}.{alias.name}") for alias in node.names)


def room(module: str) -> str:
    return module.split(".")[1]


def reaches_torch(module: str, step: Callable[[str], set[str]]) -> bool:
    """Return whether a module imports torch, directly or through others of charrnn."""
    found, waiting = set[str](), [module]
    while waiting:
        new = step(waiting.pop()) - found
        found |= new
        waiting += new & SOURCES.keys()
    return "torch" in {name.split(".")[0] for name in found}


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
        if within(module, WITHOUT_TORCH) or not within(module, WITH_TORCH):
            assert not reaches_torch(module, imports_at_once), module


def test_what_needs_no_torch_never_comes_to_it_not_even_inside_of_functions() -> None:
    for module in SOURCES:
        if within(module, NEVER_TORCH):
            assert not reaches_torch(module, imports), module


def test_the_rooms_of_torch_are_there_and_use_it() -> None:
    for place in (*WITH_TORCH, *WITHOUT_TORCH, *NEVER_TORCH):
        assert any(within(module, (place,)) for module in SOURCES), place
    for place in WITH_TORCH:
        inside = [module for module in SOURCES if within(module, (place,))]
        assert any(reaches_torch(module, imports_at_once) for module in inside), place


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
    graph = {module: imports(module) & SOURCES.keys() - {module} for module in SOURCES}
    TopologicalSorter(graph).prepare()


def test_each_room_holds_something() -> None:
    assert {room(module) for module in SOURCES} == set(ROOMS)


def test_public_names_are_sorted_and_there() -> None:
    assert list(charrnn.__all__) == sorted(charrnn.__all__)
    assert all(hasattr(charrnn, name) for name in charrnn.__all__)
