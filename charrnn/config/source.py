"""What a record may depend on: its source, which is a text, a label or a picture.

`SourceConfig` is the part of a model's configuration that a language model of plain records does
not have. Its settings are options of `train` like those of the model itself.
"""

import re
from dataclasses import dataclass

from charrnn.config.cells import CELLS
from charrnn.config.fields import Checked, option
from charrnn.errors import UsageError

SOURCES = ("text", "label", "image")
TARGETS = ("text", "label")
ATTENTIONS = ("additive", "dot", "none")
SOURCE_TOKENIZERS = ("char", "byte", "word", "bpe", "unigram")
SOURCE = "Source"  # the heading in the help of `train`
SIZE = re.compile(r"(\d{1,4})(?:x(\d{1,4}))?")
MAX_IMAGE_SIZE = 1024
COLOURS = 3  # channels of a picture


@dataclass(frozen=True, kw_only=True)
class SourceConfig(Checked):
    """What the source of a record is, and the shape of the network that reads it."""

    source: str = option(
        "text",
        "Each line of TEXT is a source, a TAB and a target; the source is a text, a label, or the "
        "path of a picture",
        choices=SOURCES,
        group=SOURCE,
        default_note="no source",
    )
    target: str = option(
        "text", "What follows the TAB: a text, or one of some labels", choices=TARGETS, group=SOURCE
    )
    source_tokenizer: str = option(
        "char", "What counts as one symbol of a source", choices=SOURCE_TOKENIZERS, group=SOURCE
    )
    source_vocab_size: int | None = option(
        None,
        "Symbols of a word, bpe or unigram vocabulary of the sources",
        low=2,
        high=1 << 20,
        group=SOURCE,
        default_note="depends on the text",
    )
    source_attention: str = option(
        "additive",
        "Attention to the source's states: Bahdanau's, Luong's, or none",
        choices=ATTENTIONS,
        group=SOURCE,
    )
    bidirectional: bool = option(
        True, "Read a text source in both directions, each with its own weights", group=SOURCE
    )
    source_cell: str | None = option(
        None,
        "Recurrent cell that reads a text source",
        choices=tuple(CELLS),
        group=SOURCE,
        default_note="that of `cell`",
    )
    source_layers: int = option(
        1, "Recurrent layers that read a text source", low=1, high=64, group=SOURCE
    )
    source_hidden_size: int | None = option(
        None,
        "Width of these layers, in each direction",
        low=1,
        high=16384,
        group=SOURCE,
        default_note="that of `hidden_size`",
    )
    source_embedding_size: int | None = option(
        None,
        "Width of the embedding of a source's symbols, or of a label",
        low=1,
        high=16384,
        group=SOURCE,
        default_note="that of `embedding_size`",
    )
    image_size: str = option(
        "32",
        "Resize pictures to this width and height in pixels: 64, or 256x64",
        group=SOURCE,
        metavar="SIZE",
    )
    feature_size: int | None = option(
        None, "Width of the features in .npy files, if these are the sources", low=1, high=1 << 20
    )

    def __post_init__(self) -> None:
        """Check the fields, and the size of pictures."""
        super().__post_init__()
        sizes = SIZE.fullmatch(self.image_size)
        if sizes is None or not all(8 <= one <= MAX_IMAGE_SIZE for one in self.pixels):
            raise UsageError(
                f"`image_size` must be one or two numbers from 8 to {MAX_IMAGE_SIZE:,}, such as 64 "
                f"or 256x64, not {self.image_size!r}."
            )

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height of a picture."""
        found = SIZE.fullmatch(self.image_size)
        assert found is not None
        return int(found[1]), int(found[2] or found[1])

    @property
    def is_picture(self) -> bool:
        """Whether the source is a picture, from whose pixels features are computed."""
        return self.source == "image" and self.feature_size is None

    @property
    def what(self) -> str:
        """What a source is, in words, which are the same for models that read the same."""
        if self.source != "image":
            return f"a {self.source}"
        width = self.feature_size
        return f"a picture of size {self.image_size}" if width is None else f"{width} features"

    @property
    def reads_symbols(self) -> bool:
        """Whether the source consists of symbols: a text, or a label."""
        return self.source != "image"
