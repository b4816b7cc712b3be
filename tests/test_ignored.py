"""No option of `train` is silently ignored: beside what makes it useless, it is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Terminal

from charrnn.cli.options import flag, parameters_of
from charrnn.cli.train import TrainOptions, with_config
from charrnn.config.ignored import ignored_settings
from charrnn.training.request import TrainRequest

# For each option, the options beside which it would change nothing, and what is said.
REFUSED = {
    "preset": [
        ("--preset quick --time 9s", "--preset and --time both say how long"),
        ("--preset quick --steps 9", "--preset and --steps both say how long"),
        ("--preset quick --epochs 9", "--preset and --epochs both say how long"),
        ("--preset quick --resume {tmp}", "--preset cannot be used with --resume"),
    ],
    "epochs": [("--epochs 1 --steps 9", "--steps and --epochs both say how long")],
    "seconds": [("--time 9s --epochs 1", "--epochs and --time both say how long")],
    "steps": [("--steps 9 --time 9s", "--steps and --time both say how long")],
    "out": [("--out {tmp}/a --resume {tmp}", "--out cannot be used with --resume")],
    "fresh": [("--fresh --resume {tmp}", "--fresh cannot be used with --resume")],
    "init_from": [
        ("--init-from {tmp} --resume {tmp}", "--init-from cannot be used with --resume"),
        ("--init-from {tmp} --source text --target label", "cannot be used with --target label"),
    ],
    "init_source_from": [("--init-source-from {tmp}", "--init-source-from needs --source text")],
    "resume": [("--resume {tmp} --seeds 2", "--seeds cannot be used with --resume")],
    "valid_fraction": [("--valid-fraction 0.2 --valid {text}", "both say what is held out")],
    "label_smoothing": [
        ("--label-smoothing 0.1 --adaptive", "--label-smoothing cannot be used with --adaptive"),
    ],
    "teacher": [
        ("--teacher {tmp} --members 2", "--members are a --teacher already"),
    ],
    "teacher_weight": [
        ("--teacher-weight 0.7", "--teacher-weight needs --teacher"),
        ("--teacher-weight 0.7 --members 1", "--teacher-weight needs --teacher"),
    ],
    "members": [
        ("--members 2 --init-from {tmp}", "--members cannot be used with --init-from"),
    ],
    "keep_members": [("--keep-members --steps 9", "--keep-members needs --members")],
    "seeds": [("--seeds 2 --dry-run", "--seeds cannot be used with --dry-run")],
    "sample_every": [("--sample-every 5 --quiet", "--sample-every has no effect with --quiet")],
    "backend": [("--backend gloo", "--backend has no effect in one process")],
    "activation": [("--activation relu", "--activation has no effect with --cell lstm")],
    "forget_bias": [("--cell rnn --forget-bias 2", "--forget-bias has no effect with --cell rnn")],
    "orthogonal": [
        ("--cell mingru --no-orthogonal", "--orthogonal has no effect with --cell mingru"),
    ],
    "embedding_size": [("--embedding-size 9 --tied --hidden-size 8", "--tied needs")],
    "ngram_embedding": [
        ("--ngram-embedding 3 --source text --target label", "no effect with --target label"),
    ],
    "ngram_rows": [
        ("--ngram-rows 9 --tokenizer word", "--ngram-rows has no effect: without --ngram-emb"),
        ("--ngram-rows 9 --ngram-embedding 0", "no effect with --ngram-embedding 0"),
    ],
    "ngram_path": [
        ("--ngram-path both --optimizer sgd", "--ngram-path has no effect: without --ng"),
        ("--ngram-path both --ngram-embedding 0", "no effect with --ngram-embedding 0"),
    ],
    "ngram_dropout": [
        ("--ngram-dropout 0.5 --source text", "--ngram-dropout has no effect: without"),
        ("--ngram-dropout 0.5 --ngram-embedding 0", "no effect with --ngram-embedding 0"),
    ],
    "match_window": [
        ("--match-window 9 --source text --target label", "no effect with --target label"),
    ],
    "match_length": [
        ("--match-length 2 --match-window 0", "no effect with --match-window 0"),
        ("--match-length 2 --batcher random", "--match-length has no effect without --match-w"),
    ],
    "attention": [("--attention 9 --source text --target label", "no effect with --target label")],
    "tied": [("--tied --source text --target label", "cannot be used with --target label")],
    "adaptive": [
        ("--adaptive --source text --target label", "cannot be used with --target label"),
        ("--adaptive --tied --embedding-size 8 --hidden-size 8", "cannot be used with --tied"),
    ],
    "tokenizer": [
        ("--tokenizer word --source text --target label", "cannot be used with --target label"),
    ],
    "vocab_size": [
        ("--vocab-size 300", "--vocab-size cannot be used with --tokenizer char"),
        ("--vocab-size 300 --source text --target label", "no effect with --target label"),
    ],
    "records": [("--records x --source text", "--records cannot be used with --source")],
    "batcher": [
        ("--batcher random --records lines", "cannot be used with --records"),
        ("--batcher random --source text", "--batcher cannot be used with --source"),
    ],
    "seq_len": [
        ("--seq-len 9 --bptt full", "--seq-len has no effect with --bptt full"),
        ("--seq-len 9 --source text", "--seq-len cannot be used with --source"),
    ],
    "seq_len_start": [
        ("--seq-len-start 4 --bptt full", "--seq-len-start needs --bptt fixed or random"),
        ("--seq-len-start 4 --records lines", "cannot be used with --records"),
        ("--seq-len-start 4 --source text", "cannot be used with --source"),
    ],
    "accumulate": [("--accumulate 3 --batch-size 4", "is not divisible by 3 accumulation steps")],
    "bptt": [
        ("--bptt full --batcher random", "--bptt has no effect with --batcher random"),
        ("--bptt full --source text", "--bptt cannot be used with --source"),
    ],
    "bptt_stride": [
        ("--bptt-stride 4 --bptt full", "--bptt-stride needs --batcher sequential"),
        ("--bptt-stride 4 --batcher random", "--bptt-stride needs --batcher sequential"),
        ("--bptt-stride 4 --source text", "cannot be used with --source"),
    ],
    "source": [],
    "target": [("--target label", "--target needs --source")],
    "source_tokenizer": [
        ("--source-tokenizer word", "needs --source"),
        ("--source-tokenizer word --source label", "needs --source text, not label"),
    ],
    "source_vocab_size": [
        ("--source-vocab-size 300", "needs --source"),
        ("--source-vocab-size 300 --source label", "needs --source text, not label"),
        ("--source-vocab-size 300 --source text", "cannot be used with --source-tokenizer char"),
    ],
    "source_attention": [("--source-attention none", "needs --source")],
    "bidirectional": [
        ("--no-bidirectional", "--bidirectional needs --source"),
        ("--no-bidirectional --source label", "needs --source text, not label"),
    ],
    "source_cell": [("--source-cell gru --source label", "needs --source text, not label")],
    "source_layers": [("--source-layers 2 --source label", "needs --source text, not label")],
    "source_hidden_size": [
        ("--source-hidden-size 8 --source image", "needs --source text, not image"),
    ],
    "source_embedding_size": [
        ("--source-embedding-size 8", "needs --source"),
        ("--source-embedding-size 8 --source image", "needs --source text or label, not image"),
    ],
    "image_size": [
        ("--image-size 9", "needs --source"),
        ("--image-size 9 --source text", "needs --source image, not text"),
        ("--image-size 9 --source image", "--image-size has no effect on features"),
    ],
}
# They change every run, or only how it is shown, or what it would be.
ALWAYS = {
    *("texts", "valid", "encoding", "cell", "num_layers", "hidden_size", "dropout", "layer_norm"),
    *("residual", "batch_size", "optimizer", "lr", "lr_floor", "warmup", "weight_decay"),
    *("clip_norm", "clip_value", "patience", "seed", "device", "precision", "threads"),
    *("eval_every", "valid_tokens", "valid_whole", "save_every", "log_every", "page", "config"),
    *("tensorboard", "dry_run", "quiet", "json"),
}


def test_every_option_of_train_is_in_one_of_the_two_tables() -> None:
    """A new option needs a line: is there anything beside which it would have no effect?"""
    names = {one.name for one in parameters_of(TrainOptions)}
    assert names == REFUSED.keys() | ALWAYS
    assert not REFUSED.keys() & ALWAYS


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_have_no_effect_is_refused(name: str, tmp_path: Path, charrnn: Terminal) -> None:
    text = tmp_path / "pairs.tsv"
    text.write_text("".join(f"{word}.npy\t{word}\n" for word in "abcdefgh"))
    np.save(tmp_path / "a.npy", np.zeros(4, np.float32))
    for word in "bcdefgh":
        (tmp_path / f"{word}.npy").write_bytes((tmp_path / "a.npy").read_bytes())
    for command, said in REFUSED[name]:
        given = command.format(tmp=tmp_path, text=text).split()
        assert flag(name).removeprefix("--") in " ".join(given)
        length = [] if {"--steps", "--time", "--epochs", "--preset"} & {*given} else ["--steps", 1]
        folder = [] if {"--out", "--resume"} & {*given} else ["--out", tmp_path / "run"]
        found = charrnn("train", text, *given, *length, *folder)
        assert found.code == 2, (command, found.err)
        assert said in found.err, (command, found.err)


def test_a_file_of_settings_has_more_than_is_used(tmp_path: Path) -> None:
    """Of a run's config.json, what has no effect is left out; what is typed beside it is not."""
    file = tmp_path / "config.json"
    settings = {"cell": "lstm", "activation": "relu", "bptt": "full", "seq_len": 9, "lr": 0.1}
    file.write_text(json.dumps(settings | {"steps": 5}))
    assert ignored_settings(settings).keys() == {"activation", "seq_len"}
    request = with_config(TrainRequest.of("text", {"preset": "quick"}), file)
    assert request.settings == {"cell": "lstm", "bptt": "full", "lr": 0.1}
    request.refuse_ignored()


def test_the_same_holds_in_python(text: Path, tmp_path: Path) -> None:
    from charrnn import train
    from charrnn.errors import UsageError

    for options in ({"seq_len": 9, "bptt": "full"}, {"preset": "quick", "seconds": 9.0}):
        with pytest.raises(UsageError, match=r"`(seq_len|preset)`"):
            list(train(text, out=tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()
