"""How a blend of models is named: `a+b`, or with weights `a:0.7+b:0.3`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from charrnn.config.blend import weight_of
from charrnn.errors import UsageError

PLUS, COLON = "+", ":"


class MemberName(NamedTuple):
    """A member of a blend as it is named: its path, and its weight if the name has one."""

    path: str
    weight: float | None


def blend_parts(name: str) -> list[str]:
    """Return the members of a blend as they are named, with their weights; of one model, its name.

    A path that exists is itself, whatever signs are in it, and of several ways to cut a name, the
    one whose first paths exist and are the longest is taken.
    """
    if PLUS not in name or _exists(name):
        return [name]
    places = (place for place in range(len(name) - 1, -1, -1) if name[place] == PLUS)
    for place in places:
        if _exists(name[:place]):
            return [name[:place], *blend_parts(name[place + 1 :])]
    return name.split(PLUS)


def member_names(name: str | Path) -> list[MemberName]:
    """Return the paths and weights of a blend's members; of one model, its path; see `blend_parts`.

    Raises:
        UsageError: A weight is not above 0, or a member has no name.
    """
    parts = blend_parts(str(name))
    if len(parts) == 1:
        return [MemberName(str(name), None)]
    if not all(parts):
        raise UsageError(f"A member of the blend {name} has no name.", "Name a blend A+B.")
    return [_member(part) for part in parts]


def refuse_blend(name: str | Path, what: str, instead: str = "") -> None:
    """Raise `UsageError` if a blend is named where one model is needed.

    Args:
        name: The name that was given.
        what: What needs one model.
        instead: What else can be done with a blend, as a part of a sentence.
    """
    parts = blend_parts(str(name))
    if len(parts) > 1:
        message = f"{what} takes one model, but {name} is a blend of {len(parts)}."
        raise UsageError(message, f"Name one of them, such as {_member(parts[0]).path}{instead}.")


def member_weights(members: Sequence[MemberName], given: Sequence[float]) -> tuple[float, ...]:
    """Return each member's weight, which is in its name, or in `given`, or the same for all.

    Raises:
        UsageError: Weights are in both places, too many or too few, or not above 0.
    """
    named = tuple(one.weight for one in members if one.weight is not None)
    if given and named:
        message = "The weights are given twice, in the name and in `weights`."
        raise UsageError(message, "Give them once.")
    known = named or tuple(map(weight_of, given)) or (1 / len(members),) * len(members)
    if len(known) != len(members):
        numbers = "1 weight" if len(known) == 1 else f"{len(known)} weights"
        message = f"The blend has {len(members)} members, but {numbers}."
        raise UsageError(message, "Give each member a weight, or none.")
    return known


def _exists(part: str) -> bool:
    path, _, weight = part.rpartition(COLON)
    return os.path.lexists(part) or (os.path.lexists(path) and PLUS not in weight)


def _member(part: str) -> MemberName:
    path, _, weight = part.rpartition(COLON)
    if not path or os.path.lexists(part):
        return MemberName(part, None)
    return MemberName(path, weight_of(weight))
