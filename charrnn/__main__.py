"""The process.

Runs the command line and turns whatever goes wrong into one line and an exit code.
"""

import os
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import typer

from charrnn.cli import app
from charrnn.cli.options import with_flags
from charrnn.errors import CharRNNError, MachineError, UsageError
from charrnn.terminal.console import show_error

# How often an OpenMP thread looks for work before it sleeps. GNU's default is so high that on a
# machine that does something else as well the threads mostly wait for each other; a much lower one
# would slow an idle machine.
SPINS = "10000"
BROKEN_PIPE = 141  # what a shell shows of a process that SIGPIPE ended
INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit; the entry point of the `charrnn` command."""
    sys.stdout, sys.stderr = (
        sys.stdout or nowhere(),
        sys.stderr or nowhere(),
    )  # None if closed: charrnn ... 2>&-
    for stream in (sys.stdout, sys.stderr):
        if hasattr(
            stream, "reconfigure"
        ):  # text is UTF-8 and its line ends are its own, whatever the locale says
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    try:
        code = run(sys.argv[1:])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    if among_ranks():
        leave_the_ranks(code)
    sys.exit(code)


def among_ranks() -> bool:
    """Return whether this process talks to other ranks."""
    if "torch" not in sys.modules:
        return False
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()


def leave_the_ranks(code: int) -> None:
    """End a process whose threads talk to other ranks.

    Now and then, these abort an exit in the usual way.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def nowhere() -> TextIO:
    """Return a stream that forgets what is written to it."""
    return Path(os.devnull).open("w", encoding="utf-8")


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        code = app(arguments or ["--help"], prog_name="charrnn", standalone_mode=False)
        sys.stdout.flush()
    except CharRNNError as error:
        return fail(error)
    except typer.TyperException as error:
        return fail(
            UsageError(
                reworded(error.format_message()), "See charrnn --help, or charrnn COMMAND --help."
            )
        )
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return hang_up()
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # Typer has turned it into a 1
            return hang_up()
        raise
    except OSError as error:
        return fail(
            MachineError(
                f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}."
            )
        )
    except MemoryError:
        return fail(
            MachineError(
                "Out of memory.", "Try a smaller --batch-size, --hidden-size or --seq-len."
            )
        )
    except Exception:
        return report_bug()
    return (
        code or 0
    )  # Typer returns the code of an Exit, its answer to Ctrl-C too, and None if there was none


def fail(error: CharRNNError) -> int:
    """Show an error and return its exit code; standard output is given up."""
    show_error(error, with_flags)
    silence_stdout()
    return error.exit_code


def hang_up() -> int:
    """The reader of our output has gone, which is its right."""
    silence_stdout()
    return BROKEN_PIPE


def silence_stdout() -> None:
    """Let nothing fail when the interpreter flushes what standard output still holds."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def reworded(message: str) -> str:
    """Keep a usage message to one line, with a full stop."""
    line = " ".join(message.split())
    return line if line.endswith((".", "?", ")")) else f"{line}."


def report_bug() -> int:
    """Write the traceback into a file, say where it is, and return 1.

    With CHARRNN_DEBUG=1, show it instead.
    """
    trace = traceback.format_exc()
    if os.environ.get("CHARRNN_DEBUG"):
        sys.stderr.write(trace)
        return 1
    with tempfile.NamedTemporaryFile(
        "w", prefix="charrnn-crash-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"{' '.join(sys.argv)}\n{trace}")
    what = traceback.format_exception_only(sys.exc_info()[1])[-1].strip()
    return fail(
        CharRNNError(
            f"Internal error: {what}",
            f"This is a bug in charrnn; please report it with {Path(file.name)}.",
        )
    )


if __name__ == "__main__":
    main()
