"""Blends of models: how they are named, and what is known of one."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from charrnn.config.blend import RULES, BlendConfig, weight_of
from charrnn.errors import UsageError
from charrnn.model.blend import Blend, Mixing
from charrnn.model.numpy_model import NumpyModel
from charrnn.storage.atomic import display_path
from charrnn.storage.model_file import SavedModel, load_model
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.union import SymbolMap, symbol_map, union

SUM_TOLERANCE = 1e-6  # weights whose sum is as close to 1 are taken as they are


@dataclass(frozen=True)
class SavedBlend:
    """Several models that predict together.

    Attributes:
        names: The members' paths, as they were given.
        members: The models, of one kind of tokenizer and one format of text, without sources.
        mixing: How their predictions are mixed.
        tokenizer: The tokenizer of the blend, whose symbols are those of all members.
        about: What the members have in common, as in `SavedModel.about`: how texts are organised.
        notes: Messages for the user.
    """

    names: tuple[str, ...]
    members: tuple[SavedModel, ...]
    mixing: Mixing
    tokenizer: Tokenizer
    about: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> None:
        """What its texts depend on: nothing."""
        return

    @property
    def source_tokenizer(self) -> None:
        """The tokenizer of the sources: none."""
        return

    @cached_property
    def maps(self) -> tuple[SymbolMap | None, ...]:
        """How each member's symbols stand for those of the blend."""
        return tuple(symbol_map(one.tokenizer, self.tokenizer) for one in self.members)

    @property
    def identity(self) -> str:
        """The blend's part of a signature: its rule, and the members' hashes and weights."""
        both = zip(self.members, self.mixing.weights, strict=True)
        members = "+".join(f"{one.sha256[:12]}:{weight:.6g}" for one, weight in both)
        return f"blend:{self.mixing.rule}|model:{members}"

    @property
    def sha256(self) -> str:
        """SHA-256 of the rule, and of the members' hashes and weights."""
        both = zip(self.members, self.mixing.weights, strict=True)
        facts = "+".join(f"{one.sha256}:{weight!r}" for one, weight in both)
        return hashlib.sha256(f"{self.mixing.rule}:{facts}".encode()).hexdigest()


Saved = SavedModel | SavedBlend


def open_model(
    name: str | Path, *, weights: Sequence[float] = (), blend: str | None = None
) -> Saved:
    """Read a model, or the members of a blend.

    Args:
        name: A run folder or a model file, or several, joined by a plus: `a+b`. Each may have a
            weight: `a:0.7+b:0.3`. A path that exists is itself, whatever signs are in it.
        weights: The members' weights; empty for equal ones, or those in the name.
        blend: "linear" or "geometric", how predictions are mixed; None is linear.

    Raises:
        ModelFileError, MachineError: See `load_model`.
        UsageError: The members cannot be blended, or weights are given for one model.
    """
    parts = blend_parts(str(name))
    if len(parts) == 1 and parts[0] == str(name):
        for option, value in {"weights": weights, "blend": blend}.items():
            if value:
                message = f"`{option}` is for blends, and {display_path(Path(name))} is one model."
                raise UsageError(message, "Join the names of several by a plus: A+B.")
        return load_model(Path(name))
    rule = BlendConfig(blend=blend).blend or RULES[0]
    names, in_name = zip(*map(_weighted, parts), strict=True)
    if "" in names:
        raise UsageError(f"A member of the blend {name} has no name.", "Name a blend A+B.")
    mixing, notes = _mixing(_member_weights(in_name, weights), rule)
    members = tuple(load_model(Path(one)) for one in names)
    _check_members(names, members)
    tokenizer = union([one.tokenizer for one in members])
    train = {name: one for name, one in _train(members[0]).items() if name == "records"}
    both = zip(names, members, strict=True)
    notes += tuple(f"{path}: {note}" for path, one in both for note in one.notes)
    return SavedBlend(names, members, mixing, tokenizer, {"train": train}, notes)


def blend_parts(name: str) -> list[str]:
    """Return the names of a blend's members, with their weights; of one model, its name.

    Where names contain pluses themselves, the longest that exist are taken.
    """
    if "+" not in name or os.path.lexists(name):
        return [name]
    places = [place for place, sign in enumerate(name) if sign == "+"]
    for place in reversed(places):
        if os.path.lexists(_weighted(name[:place])[0]):
            return [name[:place], *blend_parts(name[place + 1 :])]
    return name.split("+")


def refuse_blend(name: str | Path, what: str) -> None:
    """Raise `UsageError` if a blend is named where one model is needed; `what` needs it."""
    parts = blend_parts(str(name))
    if len(parts) > 1:
        message = f"{what} takes one model, but {name} is a blend of {len(parts)}."
        raise UsageError(message, f"Name one of them, such as {parts[0]}.")


def _weighted(part: str) -> tuple[str, float | None]:
    """Return a member's name, and its weight if it has one."""
    name, colon, weight = part.rpartition(":")
    if not colon or os.path.lexists(part):
        return part, None
    return name, weight_of(weight)


def _member_weights(in_name: Sequence[float | None], given: Sequence[float]) -> Sequence[float]:
    """Return each member's weight, which is given in the name or beside it, or else is 1 / members.

    Raises:
        UsageError: It is given twice, or for some members only, or is not above 0.
    """
    count, named = len(in_name), [one for one in in_name if one is not None]
    if given and named:
        raise UsageError("The weights are given twice, in the name and in `weights`.")
    known = named or [weight_of(one) for one in given] or [1 / count] * count
    if len(known) == count:
        return known
    numbers = "1 weight" if len(known) == 1 else f"{len(known)} weights"
    message = f"The blend has {count} members, but {numbers}."
    raise UsageError(message, "Give each member a weight, or none.")


def _mixing(weights: Sequence[float], rule: str) -> tuple[Mixing, tuple[str, ...]]:
    """Return how members are mixed, and a note about weights that do not add up to 1."""
    total = sum(weights)
    scaled = tuple(one / total for one in weights)
    if abs(total - 1) <= SUM_TOLERANCE:
        return Mixing(scaled, rule), ()
    shown = ", ".join(f"{one:.4g}" for one in scaled)
    note = f"The weights add up to {total:.6g}, so they are divided by that: {shown}."
    return Mixing(scaled, rule), (note,)


def _check_members(names: Sequence[str], members: Sequence[SavedModel]) -> None:
    """Raise `UsageError` unless the members predict texts of one kind, in one way."""
    shown, first = [display_path(Path(name)) for name in names], members[0]
    for name, one in zip(shown, members, strict=True):
        if one.source is not None:
            message = f"{name} depends on a source, and such models cannot be blended."
            raise UsageError(message, "Blend models of plain text or of records.")
        kinds = f"{shown[0]} has a {first.tokenizer.kind} tokenizer"
        if one.tokenizer.kind != first.tokenizer.kind:
            message = f"{kinds}, {name} a {one.tokenizer.kind} tokenizer."
            raise UsageError(message, "The members of a blend need tokenizers of one kind.")
        if one.tokenizer != first.tokenizer and one.tokenizer.kind in ("bpe", "unigram"):
            message = f"{kinds}, and so has {name}, but of other pieces."
            hint = f"Train one from the other: `init_from` {shown[0]} keeps its pieces."
            raise UsageError(message, hint)
        if _train(one).get("records") != _train(first).get("records"):
            message = f"The texts of {shown[0]} and {name} are organised in different ways."
            raise UsageError(message, "Blend models of the same `records`, or of none.")


def _train(saved: SavedModel) -> dict[str, Any]:
    train = saved.about.get("train")
    return train if isinstance(train, dict) else {}


def numpy_model(saved: Saved) -> NumpyModel | Blend:
    """Return a model, or a blend, for inference in NumPy."""
    members = [NumpyModel(one.config, one.weights) for one in saved.members]
    if isinstance(saved, SavedModel):
        return members[0]
    return Blend(members, saved.maps, saved.mixing, saved.tokenizer.size)


def identity_facts(name: str, saved: Saved) -> dict[str, Any]:
    """Return what identifies a model, and the members of a blend, as JSON values."""
    facts: dict[str, Any] = {"path": name, "sha256": saved.sha256}
    if isinstance(saved, SavedModel):
        return facts
    members = zip(saved.names, saved.members, saved.mixing.weights, strict=True)
    listed = [{"path": path, "sha256": m.sha256, "weight": weight} for path, m, weight in members]
    return facts | {"blend": saved.mixing.rule, "members": listed}
