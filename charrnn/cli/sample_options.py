"""The options of `charrnn sample`, its prompt, and its samples as JSON values."""

import secrets
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from charrnn.api import Model
from charrnn.config.blend import BlendConfig
from charrnn.config.fields import argument, option, settings_of
from charrnn.config.sampling import DRAWING_FIELDS, RULES, WRITE, SamplingConfig
from charrnn.errors import TextError, UsageError
from charrnn.evaluation.model_score import model_facts
from charrnn.evaluation.request import MODEL_OR_BLEND
from charrnn.sampling.generate import Sample
from charrnn.storage.atomic import display_path
from charrnn.terminal.console import show_note


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """The options of `charrnn sample`; `settings` are the given fields of `SamplingConfig`."""

    model: Path = argument(MODEL_OR_BLEND, "MODEL")
    prompt: str = argument("Text to continue; - reads it from standard input", "PROMPT", default="")
    prompt_file: Path | None = option(None, "Continue the text of this file", metavar="FILE")
    source: str | None = option(
        None,
        "What the text depends on: a text, a label, labels with weights (poems:0.7,news:0.3) or a "
        "picture's path; - reads one a line from standard input",
        flags=("--source",),
        metavar="TEXT",
    )
    show_attention: bool = option(
        False, "Show how much each symbol attends to each part of its source"
    )
    settings: dict[str, Any] = settings_of(SamplingConfig)
    blending: BlendConfig
    beam: int | None = option(
        None,
        "Beam search: draw nothing, keep this many texts at each step, and write the `num` best",
        group=RULES,
    )
    seed: int | None = option(
        None, "The same seed gives the same text; if not given, one is drawn and shown"
    )
    num: int = option(1, "Texts to write")
    training_text: str | None = option(
        None,
        "Mark the records that occur in this text, for a model trained with `records`",
        group=WRITE,
        metavar="TEXT",
    )
    novel: bool = option(False, "Leave out the records that occur in `training_text`", group=WRITE)
    echo: bool = option(True, "Write the prompt before the text")
    interactive: bool = option(
        False,
        "Write in turns with you; /help there lists the commands",
        flags=("--interactive", "-i"),
    )
    json: bool = option(False, "Write the result as one JSON object")

    def __post_init__(self) -> None:
        """Raise `UsageError` if options cannot be used together."""
        if self.prompt_file is not None and self.prompt:
            message = "PROMPT and `prompt_file` cannot be used together."
            raise UsageError(message, "Give one of them.")
        if self.beam is not None and self.seed is not None:
            message = "`beam` draws nothing, so `seed` cannot be used with it."
            raise UsageError(message, "Leave one out.")
        if self.novel and self.training_text is None:
            hint = "Name it with `training_text` FILE."
            raise UsageError("`novel` needs the training text, but none is given.", hint)
        if self.novel and self.beam is not None:
            raise UsageError("`novel` cannot be used with `beam`, which draws nothing.")
        if self.show_attention and self.json:
            raise UsageError("`show_attention` cannot be used with `json`, which has the weights.")
        if self.interactive:
            self._check_interactive()

    def _check_interactive(self) -> None:
        given = {"json": self.json, "beam": self.beam is not None, "num": self.num != 1}
        for name, is_given in given.items():
            if is_given:
                why = "which writes one text as you type"
                raise UsageError(f"`{name}` cannot be used with `interactive`, {why}.")
        if self.prompt == "-":
            raise UsageError(
                "`interactive` reads what you type from standard input, so the prompt cannot come "
                "there."
            )

    @cached_property
    def beam_or_seed(self) -> dict[str, int]:
        """The beam width, or else the seed, which is drawn if it is not given."""
        if self.beam is not None:
            return {"beam": self.beam}
        return {"seed": secrets.randbelow(1 << 32) if self.seed is None else self.seed}

    def show_drawn_seed(self) -> None:
        """Show the seed if it was drawn, so that the same text can be generated again."""
        if self.seed is None and self.beam is None:
            show_note(f"--seed {self.beam_or_seed['seed']}")


def read_prompt(prompt: str, path: Path | None = None) -> str:
    """Return the prompt that was given, or else the content of standard input ("-") or of a file.

    Raises:
        UsageError: Standard input is closed.
        TextError: The prompt cannot be read, or is not UTF-8.
    """
    if path is None and prompt != "-":
        return prompt
    if path is None and sys.stdin is None:
        raise UsageError("Standard input is closed.", "Give the prompt itself instead of '-'.")
    place = "on standard input" if path is None else f"in {display_path(path)}"
    try:
        raw = sys.stdin.buffer.read() if path is None else path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise TextError(f"Cannot read the prompt {place}: {reason}.") from None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        where = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise TextError(f"The prompt {place} is not UTF-8: {where}.") from None


def samples_to_dict(
    model: Model, prompt: str, options: SampleOptions, samples: list[Sample]
) -> dict[str, Any]:
    """Return samples, and all that they depend on, as JSON values."""
    decode = model.tokenizer.decode
    values = [
        {
            "text": one.text,
            "tokens": [decode([id_]) for id_ in one.ids],
            "log_probs": list(one.log_probs),
        }
        for one in samples
    ]
    settings = SamplingConfig(**options.settings).to_dict()
    if options.beam is not None:
        settings = {name: one for name, one in settings.items() if name not in DRAWING_FIELDS}
    known = model_facts(str(options.model), model.saved)
    facts = {"model": known, "prompt": prompt, "samples": values}
    return facts | {"settings": settings} | options.beam_or_seed
