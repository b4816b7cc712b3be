"""Default settings that suit a text, a time budget and a machine.

A preset is a time budget. What fits into it depends on the machine: the measured speed decides the
batch size and the width of the model (see `charrnn.training.batch_size` and `width`) and the number
of epochs, and that decides the dropout: the more epochs, the more it takes against overfitting.
`tests/benchmarks/RESULTS.md` lists what the presets reach.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from charrnn.config.cells import CELLS
from charrnn.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named time budget.

    Attributes:
        meaning: How long it takes, in words.
        seconds: Time for the whole command.
    """

    meaning: str
    seconds: float


PRESETS = {
    "quick": Preset(meaning="a minute or so", seconds=74),
    "standard": Preset(meaning="five minutes at most", seconds=330),
    "best": Preset(meaning="half an hour at most", seconds=1560),
}
DEFAULT_PRESET = "standard"
# Where the time of a preset is more than this many times what helps a single model, it goes to
# some models that differ in their seeds, the members, and to a student that learns from them. A
# step of a student takes a third of a step longer for each of its teachers.
WITH_MEMBERS, MEMBERS_PAY, MEMBERS = "best", 2.5, 2
STUDENT_SHARE = 0.45  # of the time; the members share the rest equally
PRESET_MEANINGS = ", ".join(
    f"{name} ({preset.meaning}{'; the default' if name == DEFAULT_PRESET else ''})"
    for name, preset in PRESETS.items()
)

LONG_TEXT = 300_000  # characters from which a width other than the usual one may pay off
# (characters, hidden size): the width of a model of a text that is shorter than that. Twice or half
# of it scored worse on the text that follows the first 270, 1,500 and 6,000 characters of tiny
# Shakespeare, after 20 epochs.
SHORT_TEXTS = ((800, 32), (3_000, 64), (12_000, 128))
PAIRS = 32  # in a batch
# (least, most) characters of targets, and what then suits a model that reads texts. It has several
# times the weights of a language model, so that it needs fewer layers; see RESULTS.md.
FEW_PAIRS, FOR_FEW_PAIRS = (SHORT_TEXTS[-1][0], LONG_TEXT), {"hidden_size": 128, "num_layers": 1}
# The learning rate falls with the number of steps, within the lengths that were measured: a short
# run has to go far in each step. One that makes many passes over a short text has not.
LR, LR_STEPS, LR_POWER, LR_MEASURED = 0.0063, 1400, 0.4, (80, 4000)
MANY_PASSES, MOST_IN_MANY_PASSES = 5, 0.008
# (epochs, dropout): linear in between, constant beyond.
DROPOUT = ((3.0, 0.0), (6.0, 0.15), (12.0, 0.3), (20.0, 0.45), (30.0, 0.5))
MAX_DROPOUT = 0.55
STUDENT_DROPOUT = 0.5  # of a model with a teacher, as a fraction of the dropout of one without
# (epochs, dropout of n-gram embeddings)
NGRAM_DROPOUT = ((0.5, 0.0), (3.0, 0.5), (7.0, 0.7))
# Layers that read n-grams learn the text by heart, unless a teacher says how probable other symbols
# are, or the layers are too small for that: up to so many epochs times the root of the parameters
# per character it helps. The path to the output alone helps in any number of epochs.
MOST_FOR_LAYERS = 7.0
# The longest n-grams: those that come once or twice help as long as the text is new, and then know
# it by heart, as n-grams of more than half a record on average do.
NGRAM_ORDER, FIRST_PASS, ORDER_IN_FIRST_PASS, SHARE_OF_RECORD = 5, 1.2, 7, 0.5
# (characters for each row of a table, most rows)
NGRAM_ROWS = ((8, 1 << 15), (64, 1 << 16))
NGRAM_TOKENIZERS = ("char", "byte")  # of whole words there are too few n-grams that come again
# Matches: the most symbols to look back, characters of a text for each of them, and the shortest
# records in which there is something to find.
MATCH_WINDOW, CHARACTERS_PER_STEP_BACK, MATCH_RECORD = 1 << 12, 8, 200
MATCH_LENGTH, MATCH_LENGTH_OF_PIECES = 4, 2  # of characters and bytes, and of words and pieces


def find_preset(name: str | None) -> Preset:
    """Return the preset of that name, or the default one; raise `UsageError` if there is none."""
    name = DEFAULT_PRESET if name is None else name
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        message = f"`preset` must be one of {known}, not {name!r}."
        raise UsageError(message, meant=(name, PRESETS))
    return PRESETS[name]


def max_epochs(characters: int, cell: str = "lstm") -> int:
    """Return the number of epochs beyond which a model no longer improves, or gets worse."""
    if not CELLS[cell].recurrent:
        return 5  # without dropout
    return 11 if characters >= LONG_TEXT else 20


def shape_settings(characters: int) -> dict[str, Any]:
    """Return the settings that follow from the length of the training text."""
    # A short text is cut into fewer streams, so that each is long enough to carry context.
    fitting = (width for length, width in SHORT_TEXTS if characters < length)
    return {"hidden_size": next(fitting, 256), "batch_size": max(1, min(32, characters // 512))}


def cell_settings(cell: str) -> dict[str, Any]:
    """Return the settings that suit a cell.

    Layers without a recurrent matrix are cheap, but each sees little of the past, so they are
    stacked, with residual connections. In benchmarks they did better with gates that start half
    open than with gates that start by keeping the state, and dropout hurt them more than it helped.
    """
    if CELLS[cell].recurrent:
        return {}
    return {"num_layers": 4, "residual": True, "forget_bias": 0.0, "dropout": 0.0}


def optimizer_settings(optimizer: str) -> dict[str, Any]:
    """Return the settings that suit an optimizer.

    The updates of AdamW and Muon do not grow with the gradient. Those of plain gradient descent do,
    so that it needs a learning rate near 1, with which the usual weight decay would be far too
    much, and which does not suit tables of n-grams, whose rows are seldom needed.
    """
    plain = {"lr": 1.0, "weight_decay": 0.0, "ngram_embedding": 0}
    return plain if optimizer == "sgd" else {}


def suitable_lr(steps: int, epochs: float) -> float:
    """Return the peak learning rate of Muon or AdamW that suits a training run.

    Args:
        steps: Its optimizer steps.
        epochs: Passes over the training text.
    """
    least, most = LR_MEASURED
    lr = LR * (LR_STEPS / min(max(steps, least), most)) ** LR_POWER
    if epochs > MANY_PASSES:
        lr = min(lr, MOST_IN_MANY_PASSES)
    return float(f"{lr:.2g}")


def source_settings(source: str, target: str, characters: int) -> dict[str, Any]:
    """Return the settings that suit pairs.

    What reads a text has most of the weights, and there are few examples to learn them from. A
    model of labels soon knows those it trains on, and would then be surer and surer of each.

    Args:
        source: What the sources are.
        target: What the targets are.
        characters: Length of all targets.
    """
    chosen: dict[str, Any] = {"batch_size": PAIRS}
    if source == "text" and FEW_PAIRS[0] <= characters < FEW_PAIRS[1]:
        chosen |= FOR_FEW_PAIRS
    return chosen | ({"label_smoothing": 0.1} if target == "label" else {})


def suitable_dropout(
    epochs: float, parameters: int = 1, characters: int = 1, *, taught: bool = False
) -> float:
    """Return the dropout probability that suits a training run.

    Args:
        epochs: Passes over the training text.
        parameters: Size of the model; the more per character, the more easily it overfits.
        characters: Length of the training text.
        taught: Whether the model has a teacher, whose probabilities keep it from overfitting.
    """
    usual = interpolate(DROPOUT, epochs)
    dropout = usual + 0.06 * math.log2(parameters / characters)
    share = STUDENT_DROPOUT if taught else 1.0
    return round(share * min(max(0.0, dropout), 2 * usual, MAX_DROPOUT), 3)


def ngram_settings(tokenizer: str, characters: int) -> dict[str, Any]:
    """Return the settings of n-gram embeddings that suit a tokenizer and the length of a text.

    A shorter text has fewer n-grams that come again, and needs smaller tables. Where the epochs are
    known, other orders may suit, and another path.
    """
    if tokenizer not in NGRAM_TOKENIZERS:
        return {"ngram_embedding": 0}
    rows = max(min(1 << (characters // each).bit_length(), most) for each, most in NGRAM_ROWS)
    return {"ngram_embedding": NGRAM_ORDER, "ngram_rows": rows, "ngram_path": "both"}


def match_settings(
    tokenizer: str, characters: int, record: float = math.inf, batcher: str = "sequential"
) -> dict[str, Any]:
    """Return how far back a model should look for what followed the last symbols before.

    Args:
        tokenizer: The kind of tokenizer.
        characters: Length of the text.
        record: The mean length of its records, in characters.
        batcher: The kind of batcher. Random windows have nothing before them.
    """
    if batcher == "random" or record < MATCH_RECORD:
        return {"match_window": 0}
    fitting = 1 << int(min(record, characters / CHARACTERS_PER_STEP_BACK)).bit_length()
    length = MATCH_LENGTH if tokenizer in NGRAM_TOKENIZERS else MATCH_LENGTH_OF_PIECES
    return {"match_window": min(fitting, MATCH_WINDOW), "match_length": length}


def suitable_ngram_order(epochs: float, record: float = math.inf) -> int:
    """Return the length of the longest n-grams that help a run.

    Args:
        epochs: Passes over the training text.
        record: The mean length of its records, in characters.
    """
    order = NGRAM_ORDER if epochs > FIRST_PASS else ORDER_IN_FIRST_PASS
    return max(2, int(min(order, SHARE_OF_RECORD * record)))


def suitable_ngram_path(
    epochs: float, parameters: int, characters: int, *, taught: bool = False
) -> str:
    """Return where n-gram embeddings help a run, as `ngram_path` names it.

    Arguments are those of `suitable_dropout`.
    """
    layers = taught or epochs * math.sqrt(parameters / characters) <= MOST_FOR_LAYERS
    return "both" if layers else "output"


def suitable_ngram_dropout(epochs: float, *, taught: bool = False) -> float:
    """Return the dropout of n-gram embeddings that suits a run; see `suitable_dropout`."""
    share = STUDENT_DROPOUT if taught else 1.0
    return round(share * interpolate(NGRAM_DROPOUT, epochs), 3)


def interpolate(points: tuple[tuple[float, float], ...], x: float) -> float:
    """Interpolate linearly between `points`, (x, y) by rising x; constant beyond the ends."""
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]
