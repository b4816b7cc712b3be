"""How much of a text that is scored was seen in training."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from charrnn.data.encoding import Encoded
from charrnn.data.sketch import Sketch
from charrnn.storage.blend import Saved
from charrnn.storage.model_file import SavedModel, about_part
from charrnn.tokenizers import LabelTokenizer
from charrnn.tokenizers.base import Ids
from charrnn.tokenizers.union import SymbolMap

NOTED = 0.1  # fraction from which a note says so; texts that repeat themselves come near it
ALL = 0.9


@dataclass(frozen=True)
class TrainingOverlap:
    """How much of a text was seen in training.

    Attributes:
        share: About which fraction of it stands in the training text; None if that is not known,
            because the text is short or consists of labels, or the model's file says nothing about
            its text.
        is_validation_text: Whether it is the text that validated the model, which took no part in
            training, but chose its best step.
    """

    share: float | None
    is_validation_text: bool

    def __str__(self) -> str:
        """Return the overlap as a part of a signature."""
        return "overlap:unknown" if self.share is None else f"overlap:{self.share:.0%}"

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for the user about a model that knows the text."""
        if self.share is None or self.share < NOTED:
            return ()
        how_much = "All" if self.share >= ALL else f"About {self.share:.0%}"
        return (
            f"{how_much} of this text stands in the text that the model was trained on: the score "
            "says little about new text.",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"overlap": self.share, "is_validation_text": self.is_validation_text}


def training_overlap(saved: Saved, text: Encoded) -> TrainingOverlap:
    """Return how much of a text a model, or the member of a blend that saw most, has seen.

    Args:
        saved: The model, or a blend.
        text: The text, encoded by the model's tokenizer.
    """
    maps = (None,) if isinstance(saved, SavedModel) else saved.maps
    found = [_overlap(*both, text) for both in zip(saved.members, maps, strict=True)]
    share = max((one.share for one in found if one.share is not None), default=None)
    return TrainingOverlap(share, all(one.is_validation_text for one in found))


def _overlap(member: SavedModel, symbols: SymbolMap | None, text: Encoded) -> TrainingOverlap:
    """Return how much of a text a model has seen, whose symbols `symbols` maps to the text's."""
    known = about_part(member.about, "text")
    sketch = Sketch.from_dict(known.get("sketch"))

    def blocks(overlap: int) -> Iterator[Ids]:
        for ids in text.blocks(overlap):
            yield ids if symbols is None else symbols.outputs[ids]

    is_label = isinstance(member.tokenizer, LabelTokenizer)  # the order of labels says nothing
    share = sketch.share(blocks) if sketch and not is_label else None
    return TrainingOverlap(share, text.sha256 == known.get("valid_sha256"))
