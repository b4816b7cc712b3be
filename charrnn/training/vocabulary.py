"""The vocabulary of a new run: learned from its text, or that of other models."""

from collections.abc import Mapping
from typing import Any

from charrnn.data.encoding import unknown_characters
from charrnn.errors import UsageError
from charrnn.storage.blend import Saved
from charrnn.storage.model_file import SavedModel
from charrnn.tokenizers import CharTokenizer, Tokenizer, train_tokenizer
from charrnn.training.inputs import RunInputs
from charrnn.training.settings import other_than_base
from charrnn.training.sources import learn_labels

MAX_NAMED = 20  # new characters that a note names


def new_tokenizer(
    settings: Mapping[str, Any], inputs: RunInputs
) -> tuple[Tokenizer, tuple[str, ...]]:
    """Return the tokenizer of a new run, and notes."""
    if inputs.teacher is not None:
        return _teacher_tokenizer(inputs.teacher, inputs, settings)
    if inputs.start is not None:
        _check_vocabulary_stays(inputs.start, settings, "init_from")
        return _extended_tokenizer(inputs.start, inputs)
    kind, size = settings.get("tokenizer", "char"), settings.get("vocab_size")
    units = inputs.text.train.units("Learning the vocabulary")
    if settings.get("target") == "label":
        return learn_labels(inputs.text), ()
    return train_tokenizer(kind, units, size), ()


def _teacher_tokenizer(
    teacher: Saved, inputs: RunInputs, settings: Mapping[str, Any]
) -> tuple[Tokenizer, tuple[str, ...]]:
    """Return the tokenizer of the teacher, which the student shares."""
    if teacher.source is None and inputs.sources is not None:
        raise UsageError("The texts of the `teacher` do not depend on a source.")
    if teacher.source is not None and inputs.sources is None:
        hint = f"Say `source` {teacher.source.source}."
        raise UsageError("The texts of the `teacher` depend on a source.", hint)
    _check_vocabulary_stays(teacher, settings, "teacher")
    if inputs.start is not None and inputs.start.tokenizer != teacher.tokenizer:
        raise UsageError("The models of `teacher` and `init_from` have different vocabularies.")
    units = inputs.text.train.units("Comparing the vocabulary")
    unknown = unknown_characters(teacher.tokenizer, units)
    what = "Unknown to the teacher, and so not told apart by its student"
    return teacher.tokenizer, (f"{what}: {_named(unknown)}",) if unknown else ()


def _check_vocabulary_stays(model: Saved, settings: Mapping[str, Any], role: str) -> None:
    """Raise `UsageError` if the request is for another tokenizer than a model's."""
    kept = {"tokenizer": model.tokenizer.kind, "vocab_size": model.tokenizer.size}
    for name in kept:
        if settings.get(name) not in (None, kept[name]):
            raise other_than_base(name, kept[name], role)


def _extended_tokenizer(start: SavedModel, inputs: RunInputs) -> tuple[Tokenizer, tuple[str, ...]]:
    """Extend a model's vocabulary by the text's new characters; old symbols keep their ids."""
    units = inputs.text.train.units("Comparing the vocabulary")
    new = unknown_characters(start.tokenizer, units)
    if not new:
        return start.tokenizer, ()
    if not isinstance(start.tokenizer, CharTokenizer):
        raise UsageError(f"A {start.tokenizer.kind} vocabulary cannot be extended.")
    note = f"New to the model, added to its vocabulary: {_named(new)}"
    return start.tokenizer.extended("".join(new)), (note,)


def _named(characters: list[str]) -> str:
    """Return the first characters of a list, and the number of the others."""
    named = " ".join(repr(character) for character in characters[:MAX_NAMED])
    more = len(characters) - MAX_NAMED
    return f"{named} and {more} more" if more > 0 else named
