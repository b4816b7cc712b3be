"""Prose that comes with Python: the paragraphs of its language reference and its docstrings."""

import ast
import inspect
import re
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MIN_LENGTH = 80  # characters of a paragraph
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "pydoc_data", "__pycache__"}
MARKUP = re.compile(r"\*\*?(?=\S)([^*\n]+)\*\*?|``?([^`\n]+)``?|\s*\[\d+\]")
# What code, tables, formulas, references to issues and addresses have, and sentences do not.
NOT_PROSE = re.compile(r">>>|::|https?:|[=<>{}\\|#@$%^~_]|\.\.|\w\(|--|^\d|\n\s*[-*+]\s|\[|\]")


def python_prose() -> str:
    """Return the paragraphs, each on a line of its own with a blank line after it.

    Those of the language reference come first, by topic, then those of the docstrings, by file.
    """
    from pydoc_data.topics import topics  # half a megabyte, so imported only here

    texts = [*(topics[name] for name in sorted(topics)), *docstrings()]
    found = dict.fromkeys(one for text in texts for one in paragraphs(text))
    return "".join(f"{one}\n\n" for one in found)


def docstrings() -> Iterator[str]:
    """Yield the docstrings of the standard library, file by file, without running any."""
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if not LEFT_OUT & {*path.relative_to(library).parts}:
            with suppress(SyntaxError, ValueError, OSError):
                yield from docstrings_in(path.read_text(encoding="utf-8"))


def docstrings_in(source: str) -> Iterator[str]:
    """Yield the docstrings of a source file; raise `SyntaxError` if it is not one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield inspect.cleandoc(ast.get_docstring(node) or "")


def paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a text that are prose, each as one line, without emphasis."""
    for block in re.split(r"\n\s*\n", text):
        plain = MARKUP.sub(lambda found: found[1] or found[2] or "", block)
        line = " ".join(plain.split())
        is_sentence = line[:1].isupper() and line.endswith((".", "?", "!"))
        if is_sentence and len(line) >= MIN_LENGTH and not NOT_PROSE.search(plain.strip()):
            yield line
