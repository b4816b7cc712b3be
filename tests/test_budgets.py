"""The budgets that CONTRIBUTING.md sets: small files, short and shallow functions."""

import ast
import io
import statistics
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1] / "charrnn"
SOURCES = sorted(ROOT.rglob("*.py"))

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6  # outside of the command line
MAX_NESTING = 3
MEDIAN_TOKENS, MOST_TOKENS, MOST_SHARE = 60, 160, 0.9
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match, ast.AsyncFor, ast.AsyncWith)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Measured:
    """A function of the source.

    Attributes:
        name: Where it stands.
        node: What it consists of.
        tokens: Names, operators, brackets and constants in its signature and its body, but not in
            its docstring. Dense lines do not make it shorter.
    """

    name: str
    node: Function
    tokens: int

    @property
    def lines(self) -> int:
        body = _body(self.node)
        return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0

    @property
    def parameters(self) -> int:
        own = self.node.args
        named = [one.arg for one in (*own.posonlyargs, *own.args, *own.kwonlyargs)]
        return len([name for name in named if name not in ("self", "cls")])


def _body(node: Function) -> list[ast.stmt]:
    return node.body[1:] if ast.get_docstring(node) is not None else node.body


def _docstring_lines(node: Function) -> range:
    if ast.get_docstring(node) is None:
        return range(0)
    first = node.body[0]
    return range(first.lineno, (first.end_lineno or 0) + 1)


@cache
def functions() -> list[Measured]:
    return [one for path in SOURCES for one in _functions_in(path)]


def _functions_in(path: Path) -> Iterator[Measured]:
    text = path.read_text(encoding="utf-8")
    tokens = [
        token
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in LAYOUT
    ]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function):
            own = range(node.lineno, (node.end_lineno or 0) + 1)
            left_out = _docstring_lines(node)
            lines = (token.start[0] for token in tokens)
            count = sum(line in own and line not in left_out for line in lines)
            name = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            yield Measured(name, node, count)


def nesting(node: ast.AST, depth: int = 0) -> int:
    """Return how deep the blocks of a function stand in each other; an elif is no deeper."""
    deepest = depth
    for name, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        for child in children:
            if not isinstance(child, ast.AST) or isinstance(
                child, (*Function.__args__, ast.Lambda)
            ):
                continue
            is_elif = isinstance(node, ast.If) and name == "orelse" and isinstance(child, ast.If)
            inside = depth + (isinstance(child, BLOCKS) and not is_elif)
            deepest = max(deepest, nesting(child, inside))
    return deepest


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert not {str(path): lines for path, lines in lengths.items() if lines > MAX_FILE_LINES}


def test_no_function_is_too_long() -> None:
    assert not {one.name: one.lines for one in functions() if one.lines > MAX_FUNCTION_LINES}


def test_no_function_has_too_many_parameters() -> None:
    below = [one for one in functions() if not one.name.startswith("cli")]
    assert not {one.name: one.parameters for one in below if one.parameters > MAX_PARAMETERS}


def test_no_function_is_nested_too_deep() -> None:
    depths = {one.name: nesting(one.node) for one in functions()}
    assert not {name: depth for name, depth in depths.items() if depth > MAX_NESTING}


def test_functions_are_short_by_what_has_to_be_read_and_not_by_dense_lines() -> None:
    tokens = sorted(one.tokens for one in functions())
    assert statistics.median(tokens) <= MEDIAN_TOKENS
    assert tokens[int(len(tokens) * MOST_SHARE)] <= MOST_TOKENS
