"""Blends of models: the members, read and checked, and what is known of them together."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from charrnn.config.blend import RULES, BlendConfig
from charrnn.config.source import SourceConfig
from charrnn.errors import UsageError
from charrnn.model.blend import Blend, Mixing
from charrnn.model.numpy_model import NumpyModel
from charrnn.storage.atomic import display_path
from charrnn.storage.blend_name import MemberName, member_names, member_weights
from charrnn.storage.model_file import SavedModel, about_part, load_model
from charrnn.tokenizers import Tokenizer
from charrnn.tokenizers.union import SymbolMap, symbol_map, union

SUM_TOLERANCE = 1e-6  # weights whose sum is as close to 1 need no word about it


@dataclass(frozen=True)
class SavedBlend:
    """Several models that predict together; a `SavedModel` has the same properties.

    Attributes:
        names: The members' paths, as they were given.
        members: The models, of one kind of tokenizer and one format of text, with sources of one
            kind or none.
        mixing: How their predictions are mixed.
        tokenizer: The tokenizer of the blend, whose symbols are those of all members.
        notes: Messages for the user.
    """

    names: tuple[str, ...]
    members: tuple[SavedModel, ...]
    mixing: Mixing
    tokenizer: Tokenizer
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> SourceConfig | None:
        """What the sources are, from a member that has attention if there is one."""
        found = [one.source for one in self.members if one.source is not None]
        attentive = (one for one in found if one.source_attention != "none")
        return next(attentive, found[0] if found else None)

    @property
    def source_tokenizer(self) -> Tokenizer | None:
        """The tokenizer of the sources, which is the same for all members."""
        return self.members[0].source_tokenizer

    @property
    def about(self) -> dict[str, Any]:
        """What the members have in common: how their texts are organised."""
        return {"train": {"records": _records(self.members[0])}}

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
        name: A run folder or a model file, or several; see `charrnn.storage.blend_name`.
        weights: The members' weights; empty for equal ones, or those in the name.
        blend: "linear" or "geometric", how predictions are mixed; None is linear.

    Raises:
        ModelFileError, MachineError: See `load_model`.
        UsageError: The members cannot be blended, or weights are given for one model.
    """
    members = member_names(name)
    rule = BlendConfig(blend=blend).blend
    if len(members) > 1:
        return _open_blend(members, member_weights(members, weights), rule or RULES[0])
    for setting in ("weights",) * bool(weights) + ("blend",) * bool(rule):
        message = f"`{setting}` is for blends, and {display_path(Path(name))} is one model."
        raise UsageError(message, "Join the names of several by a plus: A+B.")
    return load_model(Path(name))


def _open_blend(named: Sequence[MemberName], weights: tuple[float, ...], rule: str) -> SavedBlend:
    """Read the members of a blend, and check that they can be blended."""
    paths = tuple(one.path for one in named)
    members = tuple(load_model(Path(path)) for path in paths)
    for name, one in zip(paths, members, strict=True):
        _check_sources((paths[0], name), (members[0], one))
        _check_format((paths[0], name), (members[0], one))
        _check_tokenizers((paths[0], name), (members[0].tokenizer, one.tokenizer))
    both = zip(paths, members, strict=True)
    own = tuple(f"{name}: {note}" for name, one in both for note in one.notes)
    tokenizer = union([one.tokenizer for one in members])
    mixing = Mixing(_shares(weights), rule)
    return SavedBlend(paths, members, mixing, tokenizer, _sum_notes(weights) + own)


def _shares(weights: Sequence[float]) -> tuple[float, ...]:
    """Return weights that add up to 1."""
    return tuple(one / sum(weights) for one in weights)


def _sum_notes(weights: Sequence[float]) -> tuple[str, ...]:
    """Return a note about weights that do not add up to 1."""
    total, shown = sum(weights), ", ".join(f"{one:.4g}" for one in _shares(weights))
    if abs(total - 1) <= SUM_TOLERANCE:
        return ()
    return (f"The weights add up to {total:.6g}, so they are divided by that: {shown}.",)


def _check_sources(names: tuple[str, str], members: tuple[SavedModel, SavedModel]) -> None:
    """Raise `UsageError` if two models do not read the same sources in the same symbols."""
    kinds = [f"from {one.source.what}" if one.source else "without a source" for one in members]
    if kinds[0] != kinds[1]:
        message = f"{names[0]} writes {kinds[0]}, {names[1]} {kinds[1]}."
        raise UsageError(message, "The members of a blend need sources of one kind.")
    if members[0].source_tokenizer != members[1].source_tokenizer:
        message = f"The symbols of the sources of {names[0]} and {names[1]} differ."
        raise UsageError(message, "The members of a blend read their sources in the same symbols.")


def _check_format(names: tuple[str, str], members: tuple[SavedModel, SavedModel]) -> None:
    kinds = [_records(one) or "plain text" for one in members]
    if kinds[0] != kinds[1]:
        message = f"{names[0]} was trained on {_kind(kinds[0])}, {names[1]} on {_kind(kinds[1])}."
        raise UsageError(message, "The members of a blend need texts that are organised alike.")


def _kind(records: str) -> str:
    return records if records == "plain text" else f"`records` {records!r}"


def _check_tokenizers(names: tuple[str, str], tokenizers: tuple[Tokenizer, Tokenizer]) -> None:
    one, other = tokenizers
    if one.kind != other.kind:
        message = f"{names[0]} has a {one.kind} tokenizer, {names[1]} a {other.kind} tokenizer."
        raise UsageError(message, "The members of a blend need tokenizers of one kind.")
    if one.kind in ("bpe", "unigram") and one != other:
        message = f"The {one.kind} pieces of {names[0]} and {names[1]} differ."
        raise UsageError(message, f"Train one from the other: `init_from` {names[0]} keeps them.")


def _records(saved: SavedModel) -> str | None:
    """Return what separates the records of a model's text, as its file says it."""
    return about_part(saved.about, "train").get("records")


@overload
def numpy_model(saved: SavedModel) -> NumpyModel: ...
@overload
def numpy_model(saved: Saved) -> NumpyModel | Blend: ...
def numpy_model(saved: Saved) -> NumpyModel | Blend:
    """Return a model, or a blend, for inference in NumPy."""
    members = [NumpyModel(one.config, one.weights) for one in saved.members]
    if isinstance(saved, SavedModel):
        return members[0]
    return Blend(members, saved.maps, saved.mixing, saved.tokenizer.size)


def identity_facts(name: str, saved: Saved) -> dict[str, Any]:
    """Return what identifies a model, and the members of a blend, as JSON values."""
    facts = {"path": name, "sha256": saved.sha256}
    return facts if isinstance(saved, SavedModel) else facts | member_facts(saved)


def member_facts(saved: SavedBlend) -> dict[str, Any]:
    """Return the members of a blend and how they are mixed, as JSON values."""
    members = zip(saved.names, saved.members, saved.mixing.weights, strict=True)
    listed = [{"path": path, "sha256": m.sha256, "weight": weight} for path, m, weight in members]
    return {"blend": saved.mixing.rule, "members": listed}
