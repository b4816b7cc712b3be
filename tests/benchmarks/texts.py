"""Write texts that nobody tuned charrnn's defaults on.

    python tests/benchmarks/texts.py FOLDER                           those that need no network
    python tests/benchmarks/texts.py FOLDER messages-ru messages-cjk  those named

They are made of what a CPython carries and, if asked for, of Django's translations.
"""

import argparse
import ast
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data.topics import topics

DJANGO = "django==5.2.19"
CYRILLIC = ("be", "bg", "kk", "ky", "mk", "mn", "ru", "sr", "tg", "uk")


def python_docs() -> str:
    """The Python language reference: English prose with code in it, 465,000 characters."""
    return "".join(topics[name] for name in sorted(topics))


def python_docs_100k() -> str:
    """The first 100 KB of it: a small text."""
    return python_docs()[:100_000]


def python_lib() -> str:
    """The sources of Python's standard library, without its tests, cut to 10 MB: a large text."""
    library, text = Path(sysconfig.get_path("stdlib")), ""
    for path in sorted(library.rglob("*.py")):
        if not {"site-packages", "test", "tests", "idle_test"} & set(
            path.relative_to(library).parts
        ):
            text += path.read_text(encoding="utf-8", errors="ignore")
    return text[:10_000_000]


def messages(*languages: str) -> str:
    """What Django says to its users in other languages and scripts, from its translation files."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
        ]
        subprocess.run([*pip, "--dest", folder, DJANGO], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [
                name
                for name in archive.namelist()
                if name.endswith(".po") and name.split("/")[-3] in languages
            ]
            return "\n".join(
                line for name in sorted(names) for line in translations(archive.read(name).decode())
            )


def translations(po: str) -> Iterator[str]:
    """Yield the translated strings of a gettext source file, its header excepted."""
    collecting, entry = False, ""
    for line in [*po.splitlines(), "#"]:
        if line.startswith("msgstr"):
            if entry:
                yield entry
            collecting, entry = True, ast.literal_eval(line[line.index('"') :])
        elif collecting and line.startswith('"'):
            entry += ast.literal_eval(line)
        else:
            if entry and not entry.startswith("Project-Id-Version"):
                yield entry
            collecting, entry = False, ""


OFFLINE: dict[str, Callable[[], str]] = {
    "python-docs": python_docs,
    "python-docs-100k": python_docs_100k,
    "python-lib": python_lib,
}
FROM_DJANGO: dict[str, Callable[[], str]] = {
    "messages-ru": lambda: messages("ru"),
    "messages-cyrillic": lambda: messages(*CYRILLIC),
    "messages-cjk": lambda: messages("ja", "ko", "zh_Hans", "zh_Hant"),
}


def main() -> None:
    """Write the texts that were asked for, and say how long they are."""
    makers = OFFLINE | FROM_DJANGO
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(makers)}")
    args = parser.parse_args()
    for name in args.names or OFFLINE:
        if name not in makers:
            parser.error(f"no text named {name!r}; there are {', '.join(makers)}")
        text = makers[name]()
        args.folder.mkdir(parents=True, exist_ok=True)
        (args.folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
        size = f"{len(text.encode()):,} bytes, {len(set(text)):,} different characters"
        print(f"{args.folder / name}.txt: {len(text):,} characters, {size}")


if __name__ == "__main__":
    main()
