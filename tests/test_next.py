"""`charrnn next`: the likeliest next symbols, against the model in torch."""

import json
from pathlib import Path

import pytest
import torch
from command_line import Terminal
from small_runs import TEXT

from charrnn import load
from charrnn.errors import UsageError
from charrnn.sampling.next import next_symbols


@torch.no_grad()
def predicted(model: Path, prompt: str) -> torch.Tensor:
    one = load(model)
    network = one.scorer().network
    ids = [network.start, *one.tokenizer.encode(prompt).tolist()]
    logits, _ = network(torch.tensor([ids]))
    return logits[0, -1].double().log_softmax(dim=0)


@pytest.mark.parametrize("prompt", ["", "t", TEXT[:50]])
def test_they_are_what_the_model_says(prompt: str, model: Path, charrnn: Terminal) -> None:
    expected = predicted(model, prompt)
    found = json.loads(charrnn.ok("next", model, prompt, "--top", 5, "--json").out)
    assert found["prompt"] == prompt
    assert found["model"]["path"] == str(model)
    values, ids = expected.topk(5)
    assert [one["id"] for one in found["next"]] == ids.tolist()
    assert [one["log_prob"] for one in found["next"]] == pytest.approx(values.tolist(), abs=1e-4)
    tokenizer = load(model).tokenizer
    assert [one["text"] for one in found["next"]] == [
        tokenizer.decode([id_]) for id_ in ids.tolist()
    ]


def test_all_of_them_add_up_and_are_a_table(model: Path, charrnn: Terminal) -> None:
    rows = charrnn.ok("next", model, "the ", "--top", 100).out.splitlines()
    assert len(rows) == 16
    shares = [float(row.split("%")[0].split()[-1]) for row in rows]
    assert sum(shares) == pytest.approx(100, abs=0.1)
    assert shares == sorted(shares, reverse=True)
    assert any("'\\n'" in row for row in rows)
    assert any("(unknown)" in row for row in rows)


def test_what_cannot_be_asked(model: Path, charrnn: Terminal) -> None:
    assert charrnn("next", model, "Z").code == 3
    assert charrnn.ok("next", model, "Z", "--unknown", "skip").out
    with pytest.raises(UsageError, match="`top`"):
        next_symbols(load(model).generator, "", top=0)
