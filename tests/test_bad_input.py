"""Every way to ask for what cannot be done.

An exit code, one line that says why, a hint at most, and nothing else.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from command_line import CHARRNN, Terminal, process
from small_runs import OPTIONS, TEXT

NEW = "--out {tmp}/new"


@pytest.fixture
def places(tmp_path: Path, text: Path, model: Path) -> dict[str, Path]:
    """Make what the commands below are given."""
    contents: dict[str, bytes] = {
        "empty.txt": b"",
        "blank.txt": b" \n\t\n",
        "short.txt": b"abc",
        "tabs.txt": "\u2581\u2585".encode() * 20,
        "latin.txt": b"first line\nit\x92s a cat\n",
        "cut.txt": "caf\u00e9".encode()[:-1],
        "image.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff",
        "broken.gz": b"\x1f\x8bnothing",
        "settings.json": b'{"hidden_size": 8',
        "list.json": b"[1, 2]",
        "typo.json": b'{"hiden_size": 8}',
        "wrong.json": b'{"hidden_size": "eight"}',
        "deep.json": b"[" * 100_000,
        "bytes.toml": b"cell = '\xff'",
        "notes.safetensors": b"these are notes\n",
        "pickle.safetensors": b"\x80\x04\x95\x0f\0\0\0\0\0\0\0}\x94.",
        "zip.pt": b"PK\x03\x04archive/data.pkl",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "nothing").mkdir()
    whole = (model / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return {"tmp": tmp_path, "text": text, "model": model}


TEXTS = {
    "missing": ("{tmp}/nowhere.txt", r"Cannot read '.*nowhere\.txt': no such file\."),
    "misspelt": ("{tmp}/shrot.txt", r"Cannot read '.*shrot\.txt': no such file\."),
    "empty": ("{tmp}/empty.txt", r"There is no text in '.*empty\.txt'\."),
    "blank": ("{tmp}/blank.txt", r"There is nothing but white space \(4 characters\) in '.*'\."),
    "too short": (
        "{tmp}/short.txt",
        r"The text has 3 characters; at least 11 are needed for --valid-fraction 0\.1\.",
    ),
    "windows": (
        "{tmp}/latin.txt",
        r"'.*latin\.txt' is not UTF-8: byte 0x92 at offset 13 \(line 2\)\.",
    ),
    "cut off": ("{tmp}/cut.txt", r"'.*cut\.txt' is not UTF-8: byte 0xc3 at offset 3 \(line 1\)\."),
    "image": (
        "{tmp}/image.png",
        r"'.*image\.png' is not UTF-8: byte 0x89 at offset 0 \(line 1\)\.",
    ),
    "damaged gz": ("{tmp}/broken.gz", r"Cannot unpack '.*broken\.gz': .*\."),
    "no text in it": ("{tmp}/nothing", r"There is no text in '.*nothing'\."),
    "a model": ("{model}/model.safetensors", r"'.*model\.safetensors' is not UTF-8: .*\."),
}
MODELS = {
    "missing": ("{tmp}/nowhere", r"Cannot read .*nowhere: no such file or folder\."),
    "no model in it": (
        "{tmp}/nothing",
        r".*nothing holds no model\.safetensors: training has not saved a model there.*",
    ),
    "text": ("{tmp}/notes.safetensors", r".*notes\.safetensors is text\."),
    "pickle": (
        "{tmp}/pickle.safetensors",
        r".* is a Python pickle, which can run code when it is opened\.",
    ),
    "pytorch": (
        "{tmp}/zip.pt",
        r".* is a zip archive, as PyTorch's \.pt files are, which can run code .*\.",
    ),
    "cut off": ("{tmp}/cut.safetensors", r".*cut\.safetensors is.* damaged.*"),
    "one bit": (
        "{tmp}/flipped.safetensors",
        r".*flipped\.safetensors is damaged: its checksum does not match\.",
    ),
    "empty": ("{tmp}/empty.txt", r".*empty\.txt is empty\."),
    "device": ("/dev/null", r"/dev/null is a device, not a model file\."),
}
# option: (a value that is out of range or no value at all, what is said)
VALUES = {
    "--cell": ("lstmm", r"--cell must be one of rnn, gru, lstm, mingru, minlstm, not 'lstmm'\."),
    "--activation": ("sigmod", r"--activation must be one of tanh, relu, sigmoid, not 'sigmod'\."),
    "--attention": ("-1", r"--attention must be at least 0 and at most 65536, not -1\."),
    "--num-layers": ("0", r"--num-layers must be at least 1 and at most 64, not 0\."),
    "--hidden-size": ("2.5", r".*--hidden-size.*'2\.5' is not a whole number\."),
    "--embedding-size": ("many", r".*--embedding-size.*'many' is not a number\."),
    "--dropout": ("1", r"--dropout must be at least 0 and at most 0\.95, not 1\.0\."),
    "--forget-bias": ("nan", r"--forget-bias must be at least -20 and at most 20, not nan\."),
    "--tokenizer": ("chars", r"--tokenizer must be one of .*, not 'chars'\."),
    "--vocab-size": ("100", r"--vocab-size must be at least 260 and at most 1048576, not 100\."),
    "--batcher": ("sequental", r"--batcher must be one of sequential, random, not 'sequental'\."),
    "--batch-size": ("-1", r"--batch-size must be at least 1 and at most 65536, not -1\."),
    "--seq-len": ("0", r"--seq-len must be at least 1 and at most .*, not 0\."),
    "--seq-len-start": ("0", r"--seq-len-start must be at least 1 and at most .*, not 0\."),
    "--bptt": ("none", r"--bptt must be one of fixed, random, full, not 'none'\."),
    "--bptt-stride": ("0", r"--bptt-stride must be at least 1 and at most .*, not 0\."),
    "--optimizer": ("adam", r"--optimizer must be one of adamw, muon, sgd, not 'adam'\."),
    "--lr": ("0", r"--lr must be greater than 0 and at most .*, not 0\.0\."),
    "--lr-floor": ("2", r"--lr-floor must be at least 0 and at most 1, not 2\.0\."),
    "--warmup": ("-0.1", r"--warmup must be at least 0 and at most 1, not -0\.1\."),
    "--weight-decay": ("inf", r"--weight-decay must be at least 0 and at most 10, not inf\."),
    "--clip-norm": ("-1", r"--clip-norm must be at least 0 and at most 1000000000\.0, not -1\.0\."),
    "--clip-value": (
        "1e308",
        r"--clip-value must be at least 0 and at most 1000000000\.0, not 1e\+308\.",
    ),
    "--valid-fraction": ("1", r"--valid-fraction must be .*at most 0\.9, not 1\.0\."),
    "--steps": ("-1", r"--steps must be at least 0 .*, not -1\."),
    "--patience": ("0", r"--patience must be at least 1, not 0\."),
    "--eval-every": ("1e99999", r".*--eval-every.*'1e99999' is not a whole number\."),
    "--save-every": ("0", r"--save-every must be at least 1, not 0\."),
    "--log-every": ("0", r"--log-every must be at least 1, not 0\."),
    "--sample-every": ("0", r"--sample-every must be at least 1, not 0\."),
    "--seed": ("-1", r"--seed must be at least 0 and at most .*, not -1\."),
    "--device": ("gpu", r"--device must be one of auto, cpu, cuda, mps, not 'gpu'\."),
    "--precision": ("fp8", r"--precision must be one of auto, fp32, bf16, fp16, not 'fp8'\."),
    "--threads": ("0", r"--threads must be at least 1 and at most 1024, not 0\."),
    "--preset": ("quik", r"--preset must be one of .*, not 'quik'\."),
    "--encoding": ("utf-9", r"--encoding 'utf-9' is not a text encoding that Python knows\."),
    "--config": ("{tmp}/nowhere.json", r"Cannot read .*nowhere\.json: No such file or directory\."),
}
TABLE: dict[str, tuple[str, int, str]] = {
    **{
        f"train: text: {name}": (f"train {path} {NEW}", 3, line)
        for name, (path, line) in TEXTS.items()
    },
    **{
        f"eval: text: {name}": (f"eval {{model}} {path}", 3, line)
        for name, (path, line) in TEXTS.items()
        if name != "too short"
    },
    **{
        f"sample: model: {name}": (f"sample {path}", 4, line)
        for name, (path, line) in MODELS.items()
    },
    **{
        f"eval: model: {name}": (f"eval {path} {{text}}", 4, line)
        for name, (path, line) in MODELS.items()
    },
    **{
        f"novelty: model: {name}": (f"novelty {path} {{text}}", 4, line)
        for name, (path, line) in MODELS.items()
    },
    **{
        f"novelty: text: {name}": (f"novelty {{model}} {path}", 3, line)
        for name, (path, line) in TEXTS.items()
    },
    **{f"info: model: {name}": (f"info {path}", 4, line) for name, (path, line) in MODELS.items()},
    **{
        f"init-from: {name}": (f"train {{text}} {NEW} --init-from {path}", 4, line)
        for name, (path, line) in MODELS.items()
    },
    **{
        f"train: {option}": (f"train {{text}} {NEW} {option} {value}", 2, line)
        for option, (value, line) in VALUES.items()
    },
    "no text": ("train", 2, r"A text is needed to train on\."),
    "two lengths": (
        f"train {{text}} {NEW} --epochs 2",
        2,
        r"--steps and --epochs both say how long to train\.",
    ),
    "two more lengths": (
        f"train {{text}} {NEW} --time 5m",
        2,
        r"--steps and --time both say how long to train\.",
    ),
    "three lengths": (
        f"train {{text}} {NEW} --epochs 2 --time 5m",
        2,
        r"--steps and --epochs both say how long to train\.",
    ),
    "no epochs": (
        f"train {{text}} {NEW} --epochs 0",
        2,
        r"--epochs must be greater than 0, not 0\.0\.",
    ),
    "no duration": (
        f"train {{text}} {NEW} --time 5x",
        2,
        r".*--time.*'5x' is not a duration; write .*",
    ),
    "no time": (
        f"train {{text}} {NEW} --time 0s",
        2,
        r".*--time.*'0s' is not a duration; write 90s, 5m, .*",
    ),
    "two validations": (
        f"train {{text}} {NEW} --valid {{text}} --valid-fraction 0.2",
        2,
        r"--valid and --valid-fraction both say what is held out\.",
    ),
    "valid: missing": (
        f"train {{text}} {NEW} --valid {{tmp}}/nowhere.txt",
        3,
        r"Cannot read '.*': no such file\.",
    ),
    "tied": (
        f"train {{text}} {NEW} --quiet --tied",
        2,
        r"--tied needs --embedding-size \(4\) to equal --hidden-size \(8\)\.",
    ),
    "long stride": (
        f"train {{text}} {NEW} --quiet --bptt-stride 17",
        2,
        r"--bptt-stride 17 must be at most --seq-len 16\.",
    ),
    "absurd attention": (
        f"train {{text}} {NEW} --attention 1e9",
        2,
        r"--attention must be at least 0 and at most 65536, not 1000000000\.",
    ),
    "long start": (
        f"train {{text}} {NEW} --quiet --seq-len-start 17",
        2,
        r"--seq-len-start 17 must be at most --seq-len 16\.",
    ),
    "too long for the memory": (
        "train {text} --out {tmp}/new --quiet --hidden-size 16384 --num-layers 64",
        5,
        r"Training with --seq-len 16 and --batch-size 3 needs about [\d,.]+ GB of memory; "
        r"[\d,.]+ GB are free\.",
    ),
    "stride": (
        f"train {{text}} {NEW} --quiet --bptt-stride 4 --batcher random",
        2,
        r"--bptt-stride needs --batcher sequential .*",
    ),
    "other shape": (
        f"train {{text}} {NEW} --quiet --init-from {{model}} --hidden-size 9",
        2,
        r"--hidden-size cannot differ from the --init-from model's, which is 8\.",
    ),
    "vocabulary: of characters": (
        f"train {{text}} {NEW} --quiet --vocab-size 300",
        2,
        r"--vocab-size cannot be used with --tokenizer char\.",
    ),
    "vocabulary: too large": (
        f"train {{text}} {NEW} --quiet --tokenizer bpe --vocab-size 9000",
        2,
        r"--vocab-size 9000 is more than the text can fill: it has \d+ bpe symbols\.",
    ),
    "vocabulary: nothing to learn": (
        f"train {{tmp}}/tabs.txt {NEW} --quiet --tokenizer unigram",
        3,
        r"The text is too small to train unigram on: it has 36 characters\.",
    ),
    "vocabulary: another kind": (
        f"train {{text}} {NEW} --quiet --init-from {{model}} --tokenizer word",
        2,
        r"--tokenizer cannot differ from the --init-from model's, which is char\.",
    ),
    "vocabulary: another size": (
        f"train {{text}} {NEW} --quiet --init-from {{model}} --vocab-size 300",
        2,
        r"--vocab-size cannot differ from the --init-from model's, which is 16\.",
    ),
    "tokenize: lone surrogate": (
        "tokenize {model} a\udcff",
        3,
        r"The character at offset 1 is half of a surrogate .*",
    ),
    "config: broken": (
        f"train {{text}} {NEW} --config {{tmp}}/settings.json",
        2,
        r".*settings\.json is not JSON: .*\.",
    ),
    "config: list": (
        f"train {{text}} {NEW} --config {{tmp}}/list.json",
        2,
        r".* should hold a table of settings, not list\.",
    ),
    "config: too deep": (
        f"train {{text}} {NEW} --config {{tmp}}/deep.json",
        2,
        r".*deep\.json is not JSON: .*\.",
    ),
    "config: bytes": (
        f"train {{text}} {NEW} --config {{tmp}}/bytes.toml",
        2,
        r".*bytes\.toml is not TOML: .*\.",
    ),
    "config: unknown": (
        f"train {{text}} {NEW} --config {{tmp}}/typo.json",
        2,
        r"Unknown setting 'hiden_size'\.",
    ),
    "config: folder": (
        f"train {{text}} {NEW} --config {{tmp}}",
        2,
        r"Cannot read .*: Is a directory\.",
    ),
    "out: a file": (
        "train {text} --out {tmp}/short.txt",
        5,
        r".*short\.txt is not a folder, and a run needs one\.",
    ),
    "out: below a file": ("train {text} --out {tmp}/short.txt/run", 5, r"Cannot .*short\.txt.*\."),
    "cuda": (
        f"train {{text}} {NEW} --device cuda",
        5,
        r"--device cuda was asked for, but .* finds none\.",
    ),
    "fp16": (f"train {{text}} {NEW} --precision fp16", 5, r"--precision fp16 needs a GPU\."),
    "sample: cold": (
        "sample {model} --temperature -1",
        2,
        r"--temperature must be at least 0 and at most 100, not -1\.0\.",
    ),
    "sample: nothing": ("sample {model} --length 0", 2, r"--length must be at least 1 .*, not 0\."),
    "sample: top-k": ("sample {model} --top-k 0", 2, r"--top-k must be at least 1, not 0\."),
    "sample: top-p": (
        "sample {model} --top-p 1.5",
        2,
        r"--top-p must be greater than 0 and at most 1, not 1\.5\.",
    ),
    "sample: seed": ("sample {model} --seed -1", 2, r"--seed must be at least 0, not -1\."),
    "sample: none": (
        "sample {model} --num 0",
        2,
        r"--num must be at least 1 and at most 65536, not 0\.",
    ),
    "sample: min-p": (
        "sample {model} --min-p 0",
        2,
        r"--min-p must be greater than 0 and at most 1, not 0\.0\.",
    ),
    "sample: no-repeat": (
        "sample {model} --no-repeat 1",
        2,
        r"--no-repeat must be at least 2 and at most 1000, not 1\.",
    ),
    "sample: until": (
        "sample {model} --until 3words",
        2,
        r"--until must be a number of lines or sentences, such as 3lines, not '3words'\.",
    ),
    "sample: no beam": (
        "sample {model} --beam 0",
        2,
        r"--beam must be at least 1 and at most 1024, not 0\.",
    ),
    "sample: beams": (
        "sample {model} --beam 2 --num 3",
        2,
        r"--num must be at most --beam, which is 2, not 3\.",
    ),
    "sample: beam and temperature": (
        "sample {model} --beam 2 -t 1",
        2,
        r"--beam draws nothing, so --temperature cannot be used with it\.",
    ),
    "sample: beam and seed": (
        "sample {model} --beam 2 --seed 1",
        2,
        r"--beam draws nothing, so --seed cannot be used with it\.",
    ),
    "sample: two prompts": (
        "sample {model} the --prompt-file {text}",
        2,
        r"PROMPT and --prompt-file cannot be used together\.",
    ),
    "sample: no prompt": (
        "sample {model} --prompt-file {tmp}/nowhere.txt",
        3,
        r"Cannot read the prompt in .*nowhere\.txt: No such file or directory\.",
    ),
    "sample: prompt in latin": (
        "sample {model} --prompt-file {tmp}/latin.txt",
        3,
        r"The prompt in .*latin\.txt is not UTF-8: byte 0x92 at offset 13\.",
    ),
    "sample: stop": ("sample {model} --stop=", 2, r"--stop must not be empty\."),
    "sample: unknown": (
        "sample {model} --unknown drop",
        2,
        r"--unknown must be one of error, skip, replace, not 'drop'\.",
    ),
    "sample: strangers": (
        "sample {model} Zoë --seed 1",
        3,
        r"The prompt has 2 characters that the model has never seen: "
        r"'Z' \(U\+005A\), 'ë' \(U\+00EB\)\.",
    ),
    "eval: precision": (
        "eval {model} {text} --precision fp8",
        2,
        r"--precision must be one of auto, fp32, bf16, fp16, .*",
    ),
    "eval: half": (
        "eval {model} {text} --device cpu --precision fp16",
        5,
        r"--precision fp16 needs a GPU\.",
    ),
    "eval: device": (
        "eval {model} {text} --device gpu",
        2,
        r"--device must be one of auto, cpu, cuda, mps, not 'gpu'\.",
    ),
    "eval: threads": (
        "eval {model} {text} --threads 0",
        2,
        r"--threads must be at least 1 and at most 1024, not 0\.",
    ),
    "eval: reset": (
        "eval {model} {text} --reset-every 0",
        2,
        r"--reset-every must be at least 1, not 0\.",
    ),
    "eval: both": (
        "eval {model} {text} --exact --reset-every 9",
        2,
        r"--exact carries the state and cannot be used with --reset-every\.",
    ),
    "eval: unknown": (
        "eval {model} {text} --unknown skip",
        2,
        r"--unknown must be one of charge, error, not 'skip'\.",
    ),
    "eval: share": (
        "eval {model} {text} --valid-fraction 0",
        2,
        r"--valid-fraction must be greater than 0 and at most 0\.9, not 0\.0\.",
    ),
    **{
        f"eval: {option}": (f"eval {{model}} {{text}} --dynamic {option} {value}", 2, line)
        for option, (value, line) in {
            "--dynamic-lr": (
                "-1",
                r"--dynamic-lr must be greater than 0 and at most 1, not -1\.0\.",
            ),
            "--dynamic-decay": (
                "2",
                r"--dynamic-decay must be at least 0 and at most 1, not 2\.0\.",
            ),
            "--dynamic-segment": (
                "0",
                r"--dynamic-segment must be at least 1 and at most 65536, not 0\.",
            ),
            "--reset-every": (
                "9",
                r"--dynamic carries the state and cannot be used with --reset-every\.",
            ),
            "--by-line": ("", r"--dynamic cannot be used with --by-line\."),
        }.items()
    },
    "eval: learning": (
        "eval {model} {text} --dynamic-lr 0.1",
        2,
        r"--dynamic-lr needs --dynamic\.",
    ),
    "eval: two views": (
        "eval {model} {text} --by-token --by-line",
        2,
        r"--by-token cannot be used with --by-line\.",
    ),
    "eval: shown as JSON": (
        "eval {model} {text} --show --json",
        2,
        r"--json cannot be used with --show\.",
    ),
    "eval: share of lines": (
        "eval {model} {text} --by-line --valid-fraction 0.1",
        2,
        r"--valid-fraction cannot be used with --by-line\.",
    ),
    "eval: lines carried": (
        "eval {model} {text} --by-line --exact",
        2,
        r"--exact cannot be used with --by-line\.",
    ),
    "eval: lines of nothing": (
        "eval {model} {tmp}/nowhere.txt --by-line",
        3,
        r"Cannot read '.*nowhere\.txt': No such file or directory\.",
    ),
    "eval: lines of a folder": (
        "eval {model} {tmp} --by-line",
        3,
        r"Cannot read .*: Is a directory\.",
    ),
    "eval: lines of nonsense": (
        "eval {model} {tmp}/broken.gz --by-line",
        3,
        r"Cannot read '.*broken\.gz': .*\.",
    ),
    "eval: lines encoded": (
        "eval {model} {text} --by-line --encoding utf-9",
        2,
        r"--encoding 'utf-9' is not a text encoding that Python knows\.",
    ),
    "eval: primer": (
        "eval {model} {text} --train {tmp}/empty.txt",
        3,
        r"There is no text in '.*empty\.txt'\.",
    ),
    **{
        f"compare: model: {name}": (f"compare {{model}} {path} {{text}}", 4, line)
        for name, (path, line) in MODELS.items()
    },
    "compare: no model": (
        "compare {text}",
        2,
        r"No model is given, only the text .*animals\.txt\.",
    ),
    "compare: no text": (
        "compare {model}",
        2,
        r"The last argument should be the text, but .*animals is a model\.",
    ),
    "compare: other way round": (
        "compare {text} {model}",
        2,
        r"The last argument should be the text, but .*animals is a model\.",
    ),
    "compare: two texts": ("compare {model} {text} {text}", 4, r".*animals\.txt is text\."),
    "compare: empty": (
        "compare {model} {tmp}/empty.txt",
        3,
        r"There is no text in '.*empty\.txt'\.",
    ),
    "data: no such": (
        "data shakespear",
        2,
        r"There is no dataset 'shakespear'; there are python-prose, python-docs, shakespeare\.",
    ),
    "no such command": ("trian {text}", 2, r"No such command 'trian'\. Did you mean 'train'\?"),
    "no such option": (
        "train {text} --hiden-size 9",
        2,
        r"There is no option --hiden-size\.",
    ),
    "a run as a text": (
        f"train {{model}} {NEW}",
        3,
        r".* is the folder of a run, not a text\.",
    ),
    "too much": ("info {model} {model}", 2, r"Got unexpected extra argument.*"),
    "no value": ("sample {model} --top-k", 2, r"Option '--top-k' requires an argument\."),
}
HINTS = {
    "train: text: misspelt": "Did you mean 'short.txt'?",
    "train: text: windows": "use --encoding cp1252",
    "train: --cell": "Did you mean 'lstm'?",
    "train: --batcher": "Did you mean 'sequential'?",
    "train: --preset": "Did you mean 'quick'?",
    "train: --encoding": "Did you mean 'utf'?",
    "config: unknown": "Did you mean 'hidden_size'?",
    "data: no such": "Did you mean 'shakespeare'?",
    "sample: strangers": "--unknown skip",
    "cuda": "--device cpu",
    "tied": "--embedding-size 8",
    "no such option": "Did you mean '--hidden-size'?",
    "vocabulary: of characters": "word, bpe, unigram",
    "vocabulary: too large": "Give --vocab-size",
}


def words(command: str, places: dict[str, Path]) -> list[str]:
    """Fill in the places, and the small settings where a run might come of it if all were well."""
    given = [word.format(**places) for word in command.split()]
    if given[0] != "train" or len(given) == 1:
        return given
    pairs = zip(OPTIONS[::2], OPTIONS[1::2], strict=True)
    return given + [
        word for option, value in pairs if option not in given for word in (option, value)
    ]


@pytest.fixture(autouse=True)
def a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.mark.parametrize("case", TABLE)
def test_it_is_refused_in_one_line(case: str, places: dict[str, Path], charrnn: Terminal) -> None:
    command, code, line = TABLE[case]
    before = sorted(places["tmp"].rglob("*"))
    outcome = charrnn(*words(command, places))
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    said, *hints = outcome.err.splitlines()
    assert re.fullmatch(f"charrnn: (?:{line})", said), said
    assert len(hints) <= 1
    assert all(hint.startswith("  ") and HINTS.get(case, "") in hint for hint in hints), hints
    assert len(hints) >= (case in HINTS)
    assert "Traceback" not in outcome.err
    new = [
        path for path in sorted(places["tmp"].rglob("*")) if path not in before and path.is_file()
    ]
    assert [path.name for path in new if path.name != ".lock"] == []


@pytest.mark.parametrize("case", HINTS)
def test_every_hint_belongs_to_a_row(case: str) -> None:
    assert case in TABLE


def test_one_character_over_and_over_is_learned(tmp_path: Path, charrnn: Terminal) -> None:
    (tmp_path / "a.txt").write_text("a" * 300)
    charrnn.ok(
        "train",
        tmp_path / "a.txt",
        "--out",
        tmp_path / "run",
        *OPTIONS,
        "--steps",
        60,
        "--lr",
        0.05,
    )
    score = charrnn.ok("eval", tmp_path / "run", tmp_path / "a.txt", "--json")
    assert '"unknown": 0' in score.out
    perplexity = json.loads(score.out)["score"]["perplexity"]
    assert perplexity == pytest.approx(1, abs=0.01)
    assert charrnn.ok("sample", tmp_path / "run", "a", "-n", 20, "--seed", 1).out == "a" * 21 + "\n"


@pytest.mark.parametrize("length", [20, 21, 40])
def test_a_text_shorter_than_a_batch_is_trained_on_all_the_same(
    length: int, tmp_path: Path, charrnn: Terminal
) -> None:
    (tmp_path / "short.txt").write_text(TEXT[:length])
    for batcher in ("sequential", "random"):
        out = tmp_path / batcher
        charrnn.ok(
            "train",
            tmp_path / "short.txt",
            "--out",
            out,
            *OPTIONS,
            "--batcher",
            batcher,
            "--batch-size",
            64,
        )
        assert (out / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("skip", "the dog"), ("replace", "the \u00e9dog\u00e9")],
    ids=["skip", "replace"],
)
def test_unknown_characters_of_a_prompt_may_be_tolerated(
    choice: str, expected: str, model: Path, charrnn: Terminal
) -> None:
    outcome = charrnn.ok(
        "sample", model, "the \u00e9dog\u00e9", "--unknown", choice, "--seed", 1, "--length", 10
    )
    assert outcome.out.startswith("the \u00e9dog\u00e9"), "the prompt is shown as it was given"
    if choice == "skip":
        plain = charrnn.ok("sample", model, expected, "--seed", 1, "--length", 10)
        assert outcome.out[len("the \u00e9dog\u00e9") :] == plain.out[len(expected) :]


def test_a_prompt_on_standard_input_has_to_be_utf_8(model: Path) -> None:
    outcome = process(
        f"import sys, io; sys.stdin = io.TextIOWrapper(io.BytesIO(b'ab\\xffc'));{CHARRNN}",
        "sample",
        model,
        "-",
    )
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith(
        "charrnn: The prompt on standard input is not UTF-8: byte 0xff at offset 2.\n"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_takes_no_files_is_noticed_before_the_work(
    tmp_path: Path, text: Path, charrnn: Terminal
) -> None:
    (tmp_path / "run").mkdir(mode=0o500)
    outcome = charrnn("train", text, "--out", tmp_path / "run", *OPTIONS)
    assert outcome.code == 5
    assert re.match(r"charrnn: Cannot write to .*: Permission denied\.\n", outcome.err)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "command", [["sample", "{}", "--seed", "1"], ["info", "{}"], ["--help"]], ids=lambda c: c[0]
)
def test_a_full_disk_under_standard_output_is_one_line(command: list[str], model: Path) -> None:
    with Path("/dev/full").open("w") as full:
        outcome = process(CHARRNN, *[word.format(model) for word in command], stdout=full)
    assert (outcome.code, outcome.err) == (5, "charrnn: No space left on device.\n")


@pytest.mark.parametrize("length", [5, 1_000_000], ids=["after the end", "in the middle"])
def test_a_reader_that_goes_away_is_no_error(length: int, model: Path) -> None:
    program = f"import os; r, w = os.pipe(); os.dup2(w, 1); os.close(r);{CHARRNN}"
    outcome = process(program, "sample", model, "--seed", 1, "--length", length)
    assert (outcome.code, outcome.err) == (141, "")


@pytest.mark.parametrize("descriptor", [1, 2])
def test_closed_streams_are_no_error(descriptor: int, model: Path) -> None:
    name = ("stdin", "stdout", "stderr")[descriptor]
    program = f"import os, sys; os.close({descriptor}); sys.{name} = None;{CHARRNN}"
    outcome = process(program, "sample", model, "--seed", 1, "-n", 9)
    assert (outcome.code, outcome.err) == (0, "")


def test_a_bug_is_one_line_too_and_the_rest_is_in_a_file(
    model: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("of a kind that nobody thought of")

    monkeypatch.setattr("charrnn.api.open_model", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    outcome = charrnn("info", model)
    (log,) = tmp_path.glob("charrnn-crash-*.log")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines() == [
        "charrnn: Internal error: ZeroDivisionError: of a kind that nobody thought of",
        f"  This is a bug in charrnn; please report it with {log}.",
    ]
    assert "Traceback" in log.read_text()
    monkeypatch.setenv("CHARRNN_DEBUG", "1")
    assert "Traceback" in charrnn("info", model).err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MemoryError(), 5, "charrnn: Out of memory."),
        (OSError(28, "No space left on device", "x"), 5, "charrnn: No space left on device: x."),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=["memory", "disk", "ctrl-c"],
)
def test_what_the_machine_refuses_is_not_a_bug(
    error: BaseException,
    code: int,
    line: str,
    model: Path,
    charrnn: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("charrnn.api.open_model", fail)
    outcome = charrnn("info", model)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.split("\n")[0] == line
