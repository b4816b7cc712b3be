"""The scripts of a page, in an embedded JavaScript engine."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.config.model import ModelConfig
from charrnn.export.page.tokenizer import tokenizer_table
from charrnn.export.page.weights import pack
from charrnn.tokenizers import Tokenizer

SCRIPTS = Path(__file__).parents[1] / "charrnn" / "export" / "page"
WITHOUT_DOCUMENT = ("weights", "symbols", "vectors", "network", "tokenizer", "sampling", "reader")


class Engine:
    """An engine that has run all scripts but the one that needs a browser."""

    def __init__(self) -> None:
        mini_racer = pytest.importorskip("py_mini_racer")
        self.engine = mini_racer.MiniRacer()
        for name in WITHOUT_DOCUMENT:
            self.run((SCRIPTS / f"{name}.js").read_text(encoding="utf-8"))

    def run(self, script: str) -> Any:
        return self.engine.eval(script)

    def call(self, expression: str, **values: Any) -> Any:
        """Return the value of an expression over named JSON values, as JSON has it."""
        names, given = ", ".join(values), ", ".join(map(json.dumps, values.values()))
        return json.loads(self.run(f"JSON.stringify((({names}) => {expression})({given}))"))

    def load(self, config: ModelConfig, weights: dict[str, Any], number_format: str) -> None:
        """Make the network that the methods below run."""
        packed = {name: one.data for name, one in pack(weights, number_format).items()}
        given = f"{json.dumps(config.to_dict())}, unpackWeights({json.dumps(packed)})"
        self.run(f"var network = new Network({given});")

    def logits(self, ids: Sequence[int]) -> np.ndarray[Any, Any]:
        """Return the network's logits after each id, from a text's start, (ids, vocab_size)."""
        found = self.call(
            "{ let state = network.initialState(); return ids.map((id) => { const after = "
            "network.step(id, state); state = after.state; return Array.from(after.logits); }); }",
            ids=[int(id_) for id_ in ids],
        )
        return np.array(found, np.float32)

    def tokenizer(self, tokenizer: Tokenizer) -> None:
        self.run(f"var tokenizer = makeTokenizer({json.dumps(tokenizer_table(tokenizer))});")

    def encode(self, text: str) -> list[int]:
        return list(self.call("tokenizer.encode(text)", text=text))

    def decode(self, ids: Sequence[int]) -> list[str]:
        """Return the text that each id completes, and what is left at the end."""
        return list(
            self.call(
                "{ const decoder = tokenizer.decoder(); return [...ids.map((id) => "
                "decoder.feed(id)), decoder.flush()]; }",
                ids=[int(id_) for id_ in ids],
            )
        )
