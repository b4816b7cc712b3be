"""What `charrnn train` can be asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `charrnn train` was asked.

    `settings` are fields of `ModelConfig` and `TrainConfig` that were given.
    """

    texts: Sequence[str]
    valid: Sequence[str]
    encoding: str
    settings: dict[str, Any]
    preset: str | None
    epochs: float | None
    seconds: float | None
    init_from: Path | None
    out: Path | None
    dry_run: bool
    fresh: bool
    quiet: bool
    json: bool
