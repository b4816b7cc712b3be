"""How this program was started, for commands that the user can copy."""

import os
import shlex
import shutil
import sys
from pathlib import Path

NAME = "charrnn"


def program() -> str:
    """Return what to type for `charrnn`: the name alone only where a shell would find it."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py" and started.parent.name == NAME:
        return f"python -m {NAME}"
    if started.name != NAME or not started.is_file():
        return NAME
    found = shutil.which(NAME)
    if found and os.path.samefile(found, started):  # noqa: PTH121 (one of them is a string)
        return NAME
    return (
        shlex.quote(os.path.relpath(started)) if _is_below(started) else shlex.quote(str(started))
    )


def _is_below(path: Path) -> bool:
    return path.absolute().is_relative_to(Path.cwd())
