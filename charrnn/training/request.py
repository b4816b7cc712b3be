"""A request to train, from the command line or from Python. No torch."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from charrnn.config.fields import Checked, argument, option, settings_of
from charrnn.config.ignored import refuse_ignored
from charrnn.config.model import MODEL, ModelConfig
from charrnn.config.pairs import source_config
from charrnn.config.presets import (
    MEMBERS,
    PRESET_MEANINGS,
    PRESETS,
    WITH_MEMBERS,
    find_preset,
)
from charrnn.config.source import SOURCE, SourceConfig
from charrnn.config.training import (
    DATA,
    DISTILLATION,
    LENGTH,
    REPORT,
    TrainConfig,
    check_settings,
)
from charrnn.data.text import TEXTS
from charrnn.errors import UsageError
from charrnn.storage.blend_name import blend_parts

Paths = str | Path | Iterable[str | Path] | None


@dataclass(frozen=True, kw_only=True)
class TrainRequest(Checked):
    """A request to train; a plan chooses what it does not give.

    Attributes:
        settings: The fields of `ModelConfig`, `TrainConfig` and `SourceConfig` that were given.
        share: Part of the time budget that this run may take, above 0, at most 1.
    """

    texts: tuple[str, ...] = argument(TEXTS, "TEXT", ())
    out: Path | None = option(
        None,
        "Run folder",
        group=REPORT,
        flags=("--out", "-o"),
        default_note="checkpoints/NAME",
    )
    preset: str | None = option(
        None,
        f"Settings that fit a time budget: {PRESET_MEANINGS}",
        choices=tuple(PRESETS),
        group=LENGTH,
    )
    epochs: float | None = option(None, "Passes over the training text", above=0, group=LENGTH)
    seconds: float | None = option(
        None,
        "Finish in about this time: 90s, 5m, 1h30m",
        above=0,
        group=LENGTH,
        flags=("--time",),
        metavar="TIME",
    )
    init_from: Path | None = option(
        None, "Start from this model's weights and vocabulary", group=MODEL, metavar="MODEL"
    )
    init_source_from: Path | None = option(
        None,
        "Start what reads a text source in the forward direction from this language model",
        group=SOURCE,
        metavar="MODEL",
    )
    teacher: str | None = option(
        None,
        "Also learn the probabilities that this model gives, or this blend of several",
        group=DISTILLATION,
        metavar="MODEL[+MODEL]",
    )
    members: int | None = option(
        None,
        "Train this many models that differ in their seed, and then the model, which learns from "
        "all of them; the time is divided among them",
        low=1,
        high=64,
        group=DISTILLATION,
        default_note=f"1; {MEMBERS} with `preset` {WITH_MEMBERS} if the text is short",
    )
    keep_members: bool = option(
        False, "Keep the members in the run folder after the end", group=DISTILLATION
    )
    valid: tuple[str, ...] = option(
        (), "Validate on this text, and train on all of TEXT", group=DATA, metavar="TEXT"
    )
    encoding: str = option("utf-8", "Encoding of the text", group=DATA, metavar="NAME")
    resume: Path | None = option(
        None,
        "Continue the run in this folder, with its own text and options; a longer `seconds`, "
        "`steps` or `epochs` extends it",
        group=REPORT,
        metavar="FOLDER",
    )
    fresh: bool = option(
        False, "Start again; a run that is in the folder is moved aside", group=REPORT
    )
    settings: Mapping[str, Any] = settings_of(ModelConfig, TrainConfig, SourceConfig)
    share: float = 1.0

    def __post_init__(self) -> None:
        """Raise `UsageError` if a setting is wrong, or if settings contradict each other."""
        super().__post_init__()
        check_settings(self.settings)
        if not self.texts and self.resume is None:
            hint = "As in: charrnn train novel.txt. `resume` FOLDER continues a run without it."
            raise UsageError("A text is needed to train on.", hint)
        for name in ("out", "fresh", "init_from", "preset") if self.resume else ():
            if getattr(self, name):
                message = f"`{name}` cannot be used with `resume`, which continues a run as it is."
                raise UsageError(message, "Leave one out.")
        source = source_config(self.settings)
        if self.init_source_from is not None and (source is None or source.source != "text"):
            raise UsageError("`init_source_from` needs `source` text.")
        self._check_teacher()
        if source is not None and self.settings.get("page"):
            hint = "Leave one out."
            raise UsageError("`page` cannot show a model whose texts depend on a `source`.", hint)
        if self.init_from is not None and source is not None and source.target == "label":
            hint = "For what reads the source, use `init_source_from`."
            raise UsageError("`init_from` cannot be used with `target` label.", hint)
        lengths = {
            "steps": self.settings.get("steps"),
            "epochs": self.epochs,
            "seconds": self.seconds,
        }
        given = [f"`{name}`" for name, value in lengths.items() if value is not None]
        if len(given) > 1:
            message = f"{' and '.join(given[:2])} both say how long to train."
            raise UsageError(message, "Give one of them.")
        if self.valid and "valid_fraction" in self.settings:
            message = "`valid` and `valid_fraction` both say what is held out."
            raise UsageError(message, "Give one of them.")

    def _check_teacher(self) -> None:
        """Raise `UsageError` for a teacher or members where there can be none."""
        several = self.members is not None and self.members > 1
        if several and self.init_from is not None:
            message = "`members` cannot be used with `init_from`: they would be much alike."
            raise UsageError(message, "Leave one out.")
        if several and "-" in (*self.texts, *self.valid):
            message = "`members` need a text that can be read several times."
            raise UsageError(message, "Give a file instead of -.")

    @property
    def may_have_members(self) -> bool:
        """Whether members may be trained first: they are asked for, or the preset uses them."""
        if self.members is not None:
            return self.members > 1 and self.teacher is None
        own = self.preset == WITH_MEMBERS and self.seconds is None and self.is_timed
        others = self.teacher, self.init_from
        return own and not any(others) and "-" not in (*self.texts, *self.valid)

    def refuse_ignored(self) -> None:
        """Raise `UsageError` if something was given that would have no effect beside the rest.

        Only what a person gives is checked: a run that is continued has what it began with.
        """
        for name in ("steps", "epochs", "seconds") if self.preset else ():
            if self.settings.get(name, getattr(self, name, None)) is not None:
                message = f"`preset` and `{name}` both say how long to train."
                raise UsageError(message, "Give one of them.")
        if self.init_from is None:
            refuse_ignored(self.settings)
        if "teacher_weight" in self.settings and not self.may_be_taught:
            raise UsageError("`teacher_weight` needs `teacher`.", "Name the model to learn from.")
        if self.keep_members and not (self.resume or self.may_have_members):
            raise UsageError("`keep_members` needs `members`.", "Say how many.")

    @property
    def may_be_taught(self) -> bool:
        """Whether there may be a teacher; a run that is continued may have one."""
        return bool(self.teacher or self.resume or self.may_have_members)

    @classmethod
    def of(cls, texts: Paths, options: Mapping[str, Any]) -> Self:
        """Return the request for the arguments of the Python API.

        Args:
            texts: One file or folder, or several.
            options: Other fields, and settings; a path may be a string, and one path need not be in
                a list.
        """
        names = {spec.name for spec in fields(cls)} - {"settings", "texts"}
        own = {name: value for name, value in options.items() if name in names}
        for name in own.keys() & {"out", "init_from", "init_source_from", "resume"}:
            own[name] = None if own[name] is None else Path(own[name])
        if isinstance(own.get("teacher"), Path):
            own["teacher"] = str(own["teacher"])
        if "valid" in own:
            own["valid"] = _paths(own["valid"])
        settings = {name: value for name, value in options.items() if name not in names}
        return cls(texts=_paths(texts), settings=settings, **own)

    @property
    def budget(self) -> float:
        """Seconds that the run may take if a time budget decides its length."""
        return self.share * (self.seconds or find_preset(self.preset).seconds)

    @property
    def is_timed(self) -> bool:
        """Whether a time budget decides the length of the run."""
        return self.epochs is None and "steps" not in self.settings

    def sources(self) -> dict[str, Any]:
        """Return where the text and the teacher are, with absolute paths, as JSON values."""
        return {
            "texts": [_absolute(path) for path in self.texts],
            "valid": [_absolute(path) for path in self.valid],
            "encoding": self.encoding,
            "teacher": "+".join(map(_absolute, blend_parts(self.teacher))) if self.teacher else "",
        }

    def requested(
        self,
        init_from: str | None = None,
        init_source_from: str | None = None,
        teacher: str | None = None,
    ) -> dict[str, Any]:
        """Return the options that the run depends on, as JSON values.

        They have to be the same when the run is continued.

        Args:
            init_from: SHA-256 of the model to start from.
            init_source_from: SHA-256 of the model that what reads the sources starts from.
            teacher: SHA-256 of the model, or the blend, to learn from.
        """
        values = {
            "preset": self.preset,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "init_from": init_from,
            "init_source_from": init_source_from,
            "teacher": teacher,
            "members": self.members,
        }
        return {name: one for name, one in values.items() if one is not None} | dict(self.settings)


def _absolute(path: str) -> str:
    return path if path == "-" else os.path.abspath(path)  # noqa: PTH100 (keeps symbolic links)


def _paths(given: Paths) -> tuple[str, ...]:
    one = isinstance(given, (str, Path))
    return (str(given),) if one else tuple(map(str, given or ()))  # type: ignore[arg-type]
