"""What a model is: a frozen dataclass, with the meaning beside each field, checked when created."""

from dataclasses import dataclass
from typing import Any

from charrnn.config.cells import CELLS
from charrnn.config.fields import Checked, option, part
from charrnn.config.source import SourceConfig
from charrnn.errors import UsageError

MAX_TABLES = 1 << 28  # numbers in the tables of n-grams, which a file need not hold: 1 GB

ACTIVATIONS = ("tanh", "relu", "sigmoid")

MODEL = "Model"  # the heading in the help of `train`
CHOSEN = "depends on text length and time budget"


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Checked):
    """The shape of a network: everything that determines its weights."""

    vocab_size: int = option(
        2, "Symbols that the model predicts, the unknown one included", low=2, high=1 << 21
    )
    cell: str = option("lstm", "Recurrent cell", choices=tuple(CELLS), group=MODEL)
    activation: str = option(
        "tanh", "Activation function of the rnn cell", choices=ACTIVATIONS, group=MODEL
    )
    num_layers: int = option(
        2,
        "Recurrent layers",
        low=1,
        high=64,
        group=MODEL,
        default_note="2; 4 for mingru and minlstm; 1 with few pairs of texts",
    )
    hidden_size: int = option(
        256,
        "Width of each recurrent layer",
        low=1,
        high=16384,
        group=MODEL,
        default_note=CHOSEN,
    )
    embedding_size: int = option(
        64, "Width of a symbol's embedding", low=1, high=16384, group=MODEL
    )
    ngram_embedding: int = option(
        0,
        "Embed the last 2 to N symbols together, beside each symbol alone; 0 is off",
        low=0,
        high=16,
        group=MODEL,
        default_note="for char and byte 5, or 7 for about one epoch; fewer for short records",
    )
    ngram_rows: int = option(
        1 << 15,
        "Rows of the table of each order, which n-grams share by their hash",
        low=1,
        high=1 << 24,
        group=MODEL,
        default_note="up to 65536, depending on text length",
    )
    ngram_path: str = option(
        "input",
        "Where n-gram embeddings go: to the first layer, past all layers to the output, or both",
        choices=("input", "output", "both"),
        group=MODEL,
        default_note="both; output in runs of many epochs",
    )
    ngram_dropout: float = option(
        0.0,
        "Dropout probability of each n-gram's embedding as a whole",
        low=0,
        high=0.95,
        group=MODEL,
        default_note=CHOSEN,
    )
    match_window: int = option(
        0,
        "Embed what followed when the last symbols were read before, at most N symbols ago; 0 is "
        "off",
        low=0,
        high=1 << 16,
        group=MODEL,
        default_note="up to 4096; 0 for short records and random batches",
    )
    match_length: int = option(
        4,
        "How many of the last symbols have to be the same; longer matches, up to three times as "
        "long, count apart",
        low=1,
        high=16,
        group=MODEL,
        default_note="4; 2 for word, bpe and unigram",
    )
    dropout: float = option(
        0.0,
        "Dropout probability of each layer's outputs",
        low=0,
        high=0.95,
        group=MODEL,
        default_note=CHOSEN,
    )
    layer_norm: bool = option(True, "Normalise each layer's outputs", group=MODEL)
    residual: bool = option(
        False,
        "Add each layer's input to its output, where both have the same width",
        group=MODEL,
        default_note="off; on for mingru and minlstm",
    )
    attention: int = option(
        0,
        "Attend to the last N states of the top layer, including the current one; 0 is off",
        low=0,
        high=1 << 16,
        group=MODEL,
    )
    tied: bool = option(
        False, "Use the embedding as the output layer too (needs equal sizes)", group=MODEL
    )
    adaptive: bool = option(
        False,
        "Adaptive softmax: predict rare symbols through narrower layers",
        group=MODEL,
        default_note="on from 2,000 symbols, but not for char",
    )
    forget_bias: float = option(
        1.0,
        "Initial bias of the gate that keeps the old state (all cells but rnn)",
        low=-20,
        high=20,
        group=MODEL,
        default_note="1.0; 0.0 for mingru and minlstm",
    )
    orthogonal: bool = option(True, "Initialise recurrent matrices as orthogonal ones", group=MODEL)
    source: SourceConfig | None = part(  # noqa: RUF009 (a declaration, like `option`)
        SourceConfig, "What each record depends on"
    )

    @property
    def ngram_orders(self) -> range:
        """The lengths of the n-grams that have an embedding: 2 to `ngram_embedding`, or none."""
        return range(2, self.ngram_embedding + 1)

    @property
    def ngrams_to_input(self) -> bool:
        """Whether n-gram embeddings are a part of the first layer's input."""
        return bool(self.ngram_embedding) and self.ngram_path != "output"

    @property
    def ngrams_to_output(self) -> bool:
        """Whether n-gram embeddings are led past all layers to the output layer."""
        return bool(self.ngram_embedding) and self.ngram_path != "input"

    @property
    def match_lengths(self) -> tuple[int, int, int]:
        """The lengths of the matches that are looked for, ascending."""
        return self.match_length, (7 * self.match_length + 2) // 4, 3 * self.match_length

    @property
    def match_history(self) -> int:
        """How many symbols a state remembers to find matches of any length in the window."""
        return self.match_window + self.match_lengths[-1] - 1

    def __post_init__(self) -> None:
        """Check the fields, and those that depend on each other."""
        super().__post_init__()
        self._check_ngrams()
        if self.tied and self.embedding_size != self.hidden_size:
            raise UsageError(
                f"`tied` needs `embedding_size` ({self.embedding_size}) to equal "
                f"`hidden_size` ({self.hidden_size}).",
                f"Try `embedding_size` {self.hidden_size}.",
            )
        if self.adaptive and self.tied:
            raise UsageError("`adaptive` cannot be used with `tied`.", "Leave one out.")
        if self.adaptive and self.vocab_size < 8:
            raise UsageError(
                f"`adaptive` needs at least 8 symbols, and there are {self.vocab_size}.",
                "Leave it out.",
            )

    def _check_ngrams(self) -> None:
        if self.ngram_embedding == 1:
            raise UsageError(
                "`ngram_embedding` must be 0 or at least 2, not 1: each symbol has an embedding "
                "without it."
            )
        numbers = len(self.ngram_orders) * self.ngram_rows * self.embedding_size
        if numbers > MAX_TABLES:
            raise UsageError(
                f"The tables of `ngram_embedding` {self.ngram_embedding} with `ngram_rows` "
                f"{self.ngram_rows:,} and `embedding_size` {self.embedding_size} hold {numbers:,} "
                f"numbers; at most {MAX_TABLES:,} are allowed.",
                "Give fewer `ngram_rows`.",
            )

    def settings(self) -> dict[str, Any]:
        """Return the fields as the settings of training, those of the source among them."""
        return self.to_dict() | (self.source.to_dict() if self.source is not None else {})
