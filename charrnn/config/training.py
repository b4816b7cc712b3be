"""How a model is trained: a frozen dataclass, with the meaning beside each field.

A `ModelConfig` is all that is needed to rebuild a network; with a `TrainConfig` it is all that is
needed to train it again, bit for bit, on the same machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from charrnn.config.fields import Checked, check_field, check_names, declared, option
from charrnn.config.model import CHOSEN, ModelConfig
from charrnn.config.source import SourceConfig
from charrnn.errors import UsageError

BATCHERS = ("sequential", "random")
BPTT_MODES = ("fixed", "random", "full")
OPTIMIZERS = ("adamw", "muon", "sgd")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda", "mps")
BACKENDS = ("auto", "gloo", "nccl")
TOKENIZERS = ("char", "byte", "word", "bpe", "unigram")

DATA, LEARN = "Text and batches", "Learning"
LENGTH, REPORT = "Length", "Reports and files"
DISTILLATION = "Distillation"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """Everything that changes the weights a run ends with, and how often it reports and saves."""

    tokenizer: str = option("char", "What counts as one symbol", choices=TOKENIZERS, group=DATA)
    vocab_size: int | None = option(
        None,
        "Symbols of a word, bpe or unigram vocabulary",
        low=260,
        high=1 << 20,
        group=DATA,
        default_note="depends on the text",
    )
    records: str | None = option(
        None,
        "Each line, or each part that ends with this string (\\n: a new line), is a sequence of "
        "its own",
        group=DATA,
        flags=("--records", "--document-separator"),
        metavar="lines|SEPARATOR",
    )
    batcher: str = option(
        "sequential",
        "Parallel streams with carried state, or random windows",
        choices=BATCHERS,
        group=DATA,
    )
    batch_size: int = option(
        32, "Sequences per batch", low=1, high=1 << 16, group=DATA, default_note=CHOSEN
    )
    seq_len: int = option(
        64, "Truncated BPTT length in time steps", low=1, high=1 << 20, group=DATA
    )
    seq_len_start: int | None = option(
        None,
        "Curriculum: start with this length; it doubles up to `seq_len` in the first half",
        low=1,
        high=1 << 20,
        group=DATA,
    )
    accumulate: int = option(
        1,
        "Gradient accumulation steps: compute each batch in this many parts, to save memory",
        low=1,
        high=1 << 16,
        group=DATA,
    )
    bptt: str = option(
        "fixed",
        "Truncation: fixed length, random length around it, or none within an epoch",
        choices=BPTT_MODES,
        group=DATA,
    )
    bptt_stride: int | None = option(
        None,
        "Take an optimizer step every N time steps, through the last `seq_len`",
        low=1,
        high=1 << 20,
        group=DATA,
    )
    valid_fraction: float = option(
        0.1,
        "Fraction held out for validation: the text's end, or with `records` those of lowest hash",
        above=0,
        high=0.9,
        group=DATA,
    )
    optimizer: str = option(
        "muon",
        "Muon for the layers' matrices and AdamW for the rest, AdamW for all, or plain SGD for all",
        choices=OPTIMIZERS,
        group=LEARN,
    )
    lr: float = option(
        8e-3,
        "Peak learning rate",
        above=0,
        high=1e9,
        group=LEARN,
        default_note="0.004 to 0.02, the fewer steps the higher; 1 for sgd",
    )
    lr_floor: float = option(
        0.0, "Final learning rate as a fraction of the peak", low=0, high=1, group=LEARN
    )
    warmup: float = option(
        0.03, "Fraction of the steps in which the learning rate rises", low=0, high=1, group=LEARN
    )
    weight_decay: float = option(
        0.1,
        "Decoupled weight decay of matrices and embeddings",
        low=0,
        high=10,
        group=LEARN,
        default_note="0.1; 0 for sgd",
    )
    clip_norm: float = option(
        1.0,
        "Clip the gradient to this norm; 0 is off",
        low=0,
        high=1e9,
        group=LEARN,
    )
    clip_value: float = option(
        0.0,
        "Clip each entry of the gradient to this absolute value; 0 is off",
        low=0,
        high=1e9,
        group=LEARN,
    )
    label_smoothing: float = option(
        0.0,
        "Learn each target with this share of its probability spread over all symbols",
        low=0,
        high=0.9,
        group=LEARN,
        default_note="0; 0.1 for labels",
    )
    teacher_weight: float = option(
        0.9,
        "Weight of the teacher's probabilities in the loss; the rest is that of the text",
        low=0,
        high=1,
        group=DISTILLATION,
    )
    steps: int = option(
        1000, "Optimizer steps", low=0, high=1 << 40, group=LENGTH, default_note=CHOSEN
    )
    patience: int | None = option(
        None, "Stop after this many evaluations without improvement", low=1, group=LENGTH
    )
    seed: int = option(1, "Seed of every random choice", low=0, high=(1 << 63) - 1, group=LEARN)
    device: str = option("auto", "Where to compute", choices=DEVICES, group=LEARN)
    precision: str = option(
        "auto", "Number format of the matrix products", choices=PRECISIONS, group=LEARN
    )
    threads: int | None = option(
        None, "CPU threads", low=1, high=1024, group=LEARN, default_note="all cores"
    )
    backend: str = option(
        "auto",
        "Communication backend: NCCL between GPUs, gloo between CPUs",
        choices=BACKENDS,
        group=LEARN,
    )
    eval_every: int = option(
        200,
        "Steps between evaluations on the validation text",
        low=1,
        group=REPORT,
        default_note=CHOSEN,
    )
    valid_tokens: int | None = option(
        None,
        "Score a part of the validation text in each evaluation: about N symbols, spread over it",
        low=1,
        group=REPORT,
        default_note="all, or what takes 5 % of the time",
    )
    valid_whole: bool = option(
        True,
        "At the end, score the best model on the whole validation text",
        group=REPORT,
        default_note="on, unless a time budget is too short",
    )
    save_every: int | None = option(
        None,
        "Steps between saves of the training state",
        low=1,
        group=REPORT,
        default_note="once a minute",
    )
    log_every: int = option(20, "Steps between lines of the metrics log", low=1, group=REPORT)
    sample_every: int | None = option(
        None, "Steps between short samples on the terminal", low=1, group=REPORT
    )
    page: bool = option(
        False,
        "Keep samples from ten points of the training, and write page.html at the end",
        group=REPORT,
    )

    def __post_init__(self) -> None:
        """Check the fields, and those that depend on each other."""
        super().__post_init__()
        if self.records is not None:
            self._check_records()
        if self.seq_len_start is not None:
            self._check_curriculum(self.seq_len_start)
        if self.bptt_stride is not None:
            self._check_stride(self.bptt_stride)

    def _check_records(self) -> None:
        if self.batcher == "random":
            message = "`batcher` random cannot be used with `records`, which are never cut."
            raise UsageError(message, "Use `batcher` sequential.")
        if self.seq_len_start is not None:
            message = "`seq_len_start` cannot be used with `records`, which are never cut."
            raise UsageError(message, "Leave it out.")

    def _check_curriculum(self, start: int) -> None:
        if start > self.seq_len:
            raise UsageError(f"`seq_len_start` {start} must be at most `seq_len` {self.seq_len}.")
        if self.bptt == "full" or self.bptt_stride is not None:
            raise UsageError("`seq_len_start` needs `bptt` fixed or random, and no `bptt_stride`.")

    def _check_stride(self, stride: int) -> None:
        if stride > self.seq_len:
            raise UsageError(f"`bptt_stride` {stride} must be at most `seq_len` {self.seq_len}.")
        if self.batcher == "random" or self.bptt != "fixed":
            raise UsageError("`bptt_stride` needs `batcher` sequential and `bptt` fixed.")


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise `UsageError` at the first setting that is unknown, of the wrong type or out of range.

    Contradictions between settings are not checked here, as they may depend on others that are
    chosen later.
    """
    hints, known = dict[str, Any](), dict[str, Any]()
    # In this order: the vocab_size of `TrainConfig` and the source of `SourceConfig` count.
    for kind in (ModelConfig, TrainConfig, SourceConfig):
        hints |= get_type_hints(kind)
        known |= declared(kind)
    check_names(settings, known)
    for name, value in settings.items():
        check_field(name, value, hints[name], known[name])
