"""Sampling: from a model's logits to new text, without torch.

    config.py   what can be asked for
    rules.py    logits -> logits -> symbols
    repeats.py  what would repeat what has been written
    streams.py  a model's state -> streams of symbols
    endings.py  where a text ends
    healing.py  prompts that end inside of a word
    text.py     prompts -> symbols -> text
    beam.py     the likeliest text, instead of a random one
    records.py  texts that end by themselves, until there are enough new ones
    conversation.py  a text that is written in turns

Rules are functions from logits to logits on the last axis, the vocabulary's; what a rule removes
becomes -inf. They are applied in one order, whatever the order of the options:

    banned -> no_repeat -> temperature -> top_k -> top_p -> min_p -> draw

so top_p sees the probabilities after the temperature, among the symbols that top_k left, and min_p
those that both left.
"""

from charrnn.config.sampling import DRAWING, SamplingConfig
from charrnn.sampling.beam_search import search
from charrnn.sampling.conversation import Conversation
from charrnn.sampling.decoding import Place, Step, StepModel, generate_ids
from charrnn.sampling.generate import (
    ESCAPES,
    Sample,
    encode_prompt,
    generate_samples,
    generate_text,
    generate_texts,
    unknown_error,
    visible,
)
from charrnn.sampling.logits import (
    apply_min_p,
    apply_rules,
    apply_temperature,
    ban,
    draw,
    keep_top_k,
    keep_top_p,
    softmax,
)
from charrnn.sampling.records import check_beginning, ending_records, generate_records
from charrnn.sampling.stopping import Cutter

__all__ = [
    "DRAWING",
    "ESCAPES",
    "Conversation",
    "Cutter",
    "Place",
    "Sample",
    "SamplingConfig",
    "Step",
    "StepModel",
    "apply_min_p",
    "apply_rules",
    "apply_temperature",
    "ban",
    "check_beginning",
    "draw",
    "encode_prompt",
    "ending_records",
    "generate_ids",
    "generate_records",
    "generate_samples",
    "generate_text",
    "generate_texts",
    "keep_top_k",
    "keep_top_p",
    "search",
    "softmax",
    "unknown_error",
    "visible",
]
