"""What a model is and how it is trained, as two frozen dataclasses with the meaning beside each field.

`ModelConfig` is all that is needed to rebuild a network; `TrainConfig` is all that is needed to
train one again, bit for bit, on the same machine. Both check themselves when they are made, so a
value out of range never travels further, and both read back what they wrote (`to_dict`,
`from_dict`), which is how a model file is checked before it is trusted.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from charrnn.errors import UsageError, did_you_mean

CELLS = ("rnn", "gru", "lstm", "mingru", "minlstm")
ACTIVATIONS = ("tanh", "relu", "sigmoid")
BATCHERS = ("sequential", "random")
BPTT_MODES = ("fixed", "random", "full")
OPTIMIZERS = ("adamw", "muon")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda", "mps")
BACKENDS = ("auto", "gloo", "nccl")
TOKENIZERS = ("char", "byte", "word", "bpe", "unigram")


def option(
    default: Any,
    meaning: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
    above: float = -math.inf,
) -> Any:
    """Declare a field with its meaning and the values that it may take.

    Args:
        default: The field's default.
        meaning: One sentence, also the command line's help.
        low: Smallest value allowed.
        high: Largest value allowed.
        choices: The strings allowed, if the field is a name.
        above: A value that the field has to exceed.
    """
    metadata = {"meaning": meaning, "low": low, "high": high, "choices": choices, "above": above}
    return field(default=default, metadata=metadata)


class Checked:
    """A dataclass whose fields were declared with `option`.

    They are checked when it is made, and it reads back.
    """

    def __post_init__(self) -> None:
        """Raise `UsageError` at the first field whose type or range is wrong."""
        hints = get_type_hints(type(self))
        for spec in fields(self):  # type: ignore[arg-type]
            check_field(spec.name, getattr(self, spec.name), hints[spec.name], dict(spec.metadata))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Rebuild from what `to_dict` gave; what is missing takes its default.

        Raises:
            UsageError: `values` is no mapping, a name is unknown, or a value is out of range.
        """
        if not isinstance(values, dict):
            raise UsageError(
                f"{cls.__name__}: expected a table of settings, found {type(values).__name__}."
            )
        names = [spec.name for spec in fields(cls)]  # type: ignore[arg-type]
        for name in values:
            if name not in names:
                raise UsageError(
                    f"Unknown setting {str(name)[:80]!r}.", did_you_mean(str(name), names)
                )
        return cls(**values)


def flag(name: str) -> str:
    """Return what the command line calls a setting."""
    return "--time" if name == "seconds" else f"--{name.replace('_', '-')}"


def check_field(name: str, value: Any, kind: Any, spec: dict[str, Any]) -> None:
    """Raise `UsageError` unless `value` is of type `kind` and within what `spec` (see `option`) allows."""
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if value is None and NoneType in kinds:
        return
    wanted = next(get_origin(k) or k for k in kinds if k is not NoneType)
    named = flag(name)
    if type(value) is not wanted and not (wanted is float and type(value) is int):
        raise UsageError(f"{named} must be {_kind_name(wanted)}, not {_shown(value)}.")
    if spec["choices"] and value not in spec["choices"]:
        known = ", ".join(spec["choices"])
        raise UsageError(
            f"{named} must be one of {known}, not {_shown(value)}.",
            did_you_mean(value, spec["choices"]),
        )
    if isinstance(value, (int, float)) and not _within(value, spec):
        raise UsageError(f"{named} must be {_range_text(spec)}, not {_shown(value)}.")


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise `UsageError` at the first setting that no configuration has, or whose type or range is wrong.

    Settings that only contradict each other pass: whether they do depends on those that are not
    settled yet.
    """
    # TrainConfig comes last: the vocab_size that can be asked for is its own, and the model's
    # follows from the text
    specs = {
        spec.name: (kind, spec) for kind in (ModelConfig, TrainConfig) for spec in fields(kind)
    }
    for name, value in settings.items():
        if name not in specs:
            raise UsageError(f"Unknown setting {str(name)[:80]!r}.", did_you_mean(str(name), specs))
        kind, spec = specs[name]
        check_field(name, value, get_type_hints(kind)[name], dict(spec.metadata))


def _within(value: float, spec: dict[str, Any]) -> bool:
    finite = (
        abs(value) <= sys.float_info.max
    )  # unlike math.isfinite, at home with whole numbers of any size
    return bool(spec["low"] <= value <= spec["high"] and value > spec["above"] and finite)


def _range_text(spec: dict[str, Any]) -> str:
    least = (
        f"greater than {spec['above']}" if spec["above"] > -math.inf else f"at least {spec['low']}"
    )
    return least if spec["high"] == math.inf else f"{least} and at most {spec['high']}"


def _kind_name(kind: type) -> str:
    return {
        int: "a whole number",
        float: "a number",
        str: "a word",
        bool: "true or false",
        tuple: "a list",
    }[kind]


def _shown(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 40 else repr(value)[:37] + "..."


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Checked):
    """The shape of a network: everything that its weights have to agree with."""

    vocab_size: int = option(
        2, "Symbols that the model predicts, the unknown one included", low=2, high=1 << 21
    )
    cell: str = option("lstm", "Recurrent cell", choices=CELLS)
    activation: str = option(
        "tanh", "Squashing function of the plain rnn cell", choices=ACTIVATIONS
    )
    num_layers: int = option(2, "Recurrent layers", low=1, high=64)
    hidden_size: int = option(256, "Width of each recurrent layer", low=1, high=16384)
    embedding_size: int = option(64, "Width of a symbol's embedding", low=1, high=16384)
    dropout: float = option(
        0.0, "Share of each layer's outputs dropped in training", low=0, high=0.95
    )
    layer_norm: bool = option(True, "Normalise each layer's output")
    residual: bool = option(
        False, "Add each layer's input to its output, where both have one width"
    )
    attention: int = option(
        0,
        "States of the top layer that each step looks back to, its own included; 0 is off",
        low=0,
        high=1 << 16,
    )
    tied: bool = option(False, "Use the embedding as the output layer too (needs equal sizes)")
    forget_bias: float = option(
        1.0,
        "Bias at the start of the gate that keeps the old state (all cells but rnn)",
        low=-20,
        high=20,
    )
    adaptive: bool = option(
        False, "Predict rare symbols through narrower layers, for large vocabularies"
    )
    orthogonal: bool = option(True, "Start each recurrent block as an orthogonal matrix")

    def __post_init__(self) -> None:
        """Check the fields, and those that depend on each other."""
        super().__post_init__()
        if self.tied and self.embedding_size != self.hidden_size:
            raise UsageError(
                f"--tied needs --embedding-size ({self.embedding_size}) to equal --hidden-size ({self.hidden_size}).",
                f"Try --embedding-size {self.hidden_size}.",
            )
        if self.adaptive and self.tied:
            raise UsageError(
                "--adaptive has an output layer of its own, and --tied takes the embedding.",
                "Leave one out.",
            )
        if self.adaptive and self.vocab_size < 8:
            raise UsageError(
                f"--adaptive needs at least 8 symbols, and there are {self.vocab_size}.",
                "Leave it out.",
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """Everything about a run that changes the weights it ends with, and how often it reports and saves."""

    tokenizer: str = option("char", "What counts as one symbol", choices=TOKENIZERS)
    vocab_size: int | None = option(
        None,
        "Symbols of a word, bpe or unigram vocabulary; what suits the text if not given",
        low=260,
        high=1 << 20,
    )
    records: str | None = option(
        None,
        "Each line, or each part that ends with this string (\\n: a new line), is a sequence of its own",
    )
    batcher: str = option(
        "sequential", "Parallel streams with carried state, or random windows", choices=BATCHERS
    )
    batch_size: int = option(32, "Sequences per batch", low=1, high=1 << 16)
    seq_len: int = option(64, "Steps that a gradient reaches back", low=1, high=1 << 20)
    seq_len_start: int | None = option(
        None,
        "Begin with so short sequences; they double to --seq-len in the first half",
        low=1,
        high=1 << 20,
    )
    accumulate: int = option(
        1,
        "Compute each batch in so many parts, one after the other, to save memory",
        low=1,
        high=1 << 16,
    )
    bptt: str = option(
        "fixed",
        "Truncation: fixed length, random length around it, or none in an epoch",
        choices=BPTT_MODES,
    )
    bptt_stride: int | None = option(
        None, "Update every so many steps, through the last --seq-len", low=1, high=1 << 20
    )
    optimizer: str = option(
        "muon",
        "Muon for the layers' matrices and AdamW for the rest, or AdamW for all",
        choices=OPTIMIZERS,
    )
    lr: float = option(8e-3, "Peak learning rate", above=0, high=1e9)
    lr_floor: float = option(0.05, "Share of the peak that the cosine ends at", low=0, high=1)
    warmup: float = option(
        0.03, "Share of the steps in which the learning rate rises", low=0, high=1
    )
    weight_decay: float = option(
        0.1, "Decoupled weight decay of matrices and embeddings", low=0, high=10
    )
    clip_norm: float = option(
        1.0, "Largest norm of the gradient; a larger one is scaled down; 0 is off", low=0, high=1e9
    )
    clip_value: float = option(
        0.0, "Largest absolute value of each gradient entry; 0 is off", low=0, high=1e9
    )
    valid_fraction: float = option(
        0.1,
        "Share that validates: the text's end, or with --records those of lowest hash",
        above=0,
        high=0.9,
    )
    steps: int = option(1000, "Updates of the weights", low=1, high=1 << 40)
    patience: int | None = option(
        None, "Stop after this many evaluations without a better one", low=1
    )
    eval_every: int = option(200, "Steps between evaluations on the validation text", low=1)
    save_every: int | None = option(
        None, "Steps between saves of the training state; once a minute if not given", low=1
    )
    log_every: int = option(20, "Steps between lines of the metrics log", low=1)
    sample_every: int | None = option(None, "Steps between short samples on the terminal", low=1)
    seed: int = option(1, "Seed of every random choice", low=0, high=(1 << 63) - 1)
    device: str = option("auto", "Where to compute", choices=DEVICES)
    precision: str = option("auto", "Number format of the matrix products", choices=PRECISIONS)
    threads: int | None = option(
        None, "Processor threads; all cores if not given", low=1, high=1024
    )
    backend: str = option(
        "auto", "How ranks talk: NCCL between GPUs, gloo between CPUs", choices=BACKENDS
    )

    def __post_init__(self) -> None:
        """Check the fields, and those that depend on each other."""
        super().__post_init__()
        if self.records is not None:
            if self.batcher == "random":
                raise UsageError(
                    "--records takes whole records; --batcher random takes pieces from anywhere."
                )
            if self.seq_len_start is not None:
                raise UsageError(
                    "--records takes whole records; --seq-len-start begins with short pieces of a text."
                )
        if self.seq_len_start is not None:
            if self.seq_len_start > self.seq_len:
                raise UsageError(
                    f"--seq-len-start {self.seq_len_start} must be at most --seq-len {self.seq_len}."
                )
            if self.bptt == "full" or self.bptt_stride is not None:
                raise UsageError(
                    "--seq-len-start needs --bptt fixed or random, without --bptt-stride."
                )
        if self.bptt_stride is None:
            return
        if self.bptt_stride > self.seq_len:
            raise UsageError(
                f"--bptt-stride {self.bptt_stride} must be at most --seq-len {self.seq_len}."
            )
        if self.batcher == "random" or self.bptt != "fixed":
            raise UsageError("--bptt-stride needs --batcher sequential and --bptt fixed.")


@dataclass(frozen=True, kw_only=True)
class DynamicConfig(Checked):
    """How a model goes on learning while it is scored; see `charrnn.evaluation.dynamic`."""

    dynamic_lr: float = option(
        3e-4, "Size of the step that --dynamic takes after each segment", above=0, high=1
    )
    dynamic_decay: float = option(
        1e-3, "Strength of the pull back to the trained weights", low=0, high=1
    )
    dynamic_segment: int = option(
        32, "Tokens that are scored between two steps", low=1, high=1 << 16
    )

    def __str__(self) -> str:
        """Name the protocol, for a score's signature."""
        return f"state:dynamic-{self.dynamic_segment}-lr-{self.dynamic_lr:g}-decay-{self.dynamic_decay:g}"
