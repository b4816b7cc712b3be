"""Pairs as a user meets them: train, sample, eval; what is wrong with them; and resuming."""

import io
import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import Terminal
from pair_runs import SMALL, WORDS, lines_of, train
from PIL import Image
from small_runs import arguments, results

from charrnn import load
from charrnn.storage.container import load as load_arrays


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("text"), "text")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("classes"), "text", "label", steps=60)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("labels"), "label", steps=60)


@pytest.fixture(scope="module")
def describer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("pictures"), "image", image_size="12x8")


def pairs_of(run: Path) -> Path:
    return run.parent / "pairs.tsv"


def test_sources_from_standard_input_give_a_line_each(
    translator: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [charrnn.ok("sample", translator, "--source", one).out for one in ("sun sea", "rain")]
    given = io.TextIOWrapper(io.BytesIO(b"sun sea\nrain\n"))
    monkeypatch.setattr(sys, "stdin", given)
    assert charrnn.ok("sample", translator, "--source", "-").out == "".join(alone)


def test_samples_as_json_have_the_attention(translator: Path, charrnn: Terminal) -> None:
    facts = json.loads(charrnn.ok("sample", translator, "--source", "sun", "--json").out)
    assert facts["source"] == "sun"
    assert facts["beam"] == 5
    (found,) = facts["attention"]
    assert found["source"] == ["s", "u", "n", "\n"]
    assert "".join(found["target"]) == facts["samples"][0]["text"]
    assert np.allclose(np.sum(found["weights"], axis=1), 1, atol=1e-5)


def test_attention_is_shown_below_a_text(translator: Path, charrnn: Terminal) -> None:
    text, *rows = charrnn.ok("sample", translator, "--source", "sun", "--show-attention").out.split(
        "\n"
    )
    assert rows[0].split() == ["s", "u", "n", "\u21b5"]
    assert [row[0] for row in rows[1:] if row] == [*text.replace(" ", "\u2423")]


def test_a_seed_draws_and_a_beam_does_not(translator: Path, charrnn: Terminal) -> None:
    def sample(*options: str) -> str:
        return charrnn.ok("sample", translator, "--source", "sun", *options).out

    assert sample() == sample("--beam", "5")
    drawn = sample("--seed", "3", "--num", "4")
    assert drawn == sample("--seed", "3", "--num", "4")
    assert len(drawn.splitlines()) == 4
    assert len(sample("--beam", "4", "--num", "3").splitlines()) == 3


def test_a_longer_source_than_any_in_training_works(translator: Path, charrnn: Terminal) -> None:
    assert charrnn.ok("sample", translator, "--source", "sun " * 200).out


def test_a_label_is_printed_with_its_probability(classifier: Path, charrnn: Terminal) -> None:
    label, probability = charrnn.ok("sample", classifier, "--source", "bird bird").out.split()
    facts = json.loads(charrnn.ok("sample", classifier, "--source", "bird bird", "--json").out)
    assert next(iter(facts["labels"])) == label
    assert sum(facts["labels"].values()) == pytest.approx(1)
    assert f"{facts['labels'][label]:.4f}" == probability
    both = charrnn.ok("sample", classifier, "--source", "bird", "--num", "5").out
    assert sorted(line.split()[0] for line in both.splitlines()) == ["early", "late"]


def test_labels_can_be_mixed(labelled: Path, charrnn: Terminal) -> None:
    def sample(source: str) -> str:
        return charrnn.ok("sample", labelled, "--source", source, "--seed", "1").out

    assert sample("early:0.7,late:0.3") == sample("early:7,late:3")
    assert sample("early:1,late:0") == sample("early")


def test_a_picture_is_described(describer: Path, charrnn: Terminal) -> None:
    picture = describer.parent / "3.png"
    assert charrnn.ok("sample", describer, "--source", picture).out.strip()
    transparent = describer.parent / "clear.png"
    Image.new("RGBA", (30, 4), (0, 0, 0, 0)).save(transparent)
    grey = describer.parent / "white.jpg"
    Image.new("L", (5, 5), 255).save(grey)
    white, clear = (
        charrnn.ok("sample", describer, "--source", path, "--json").out
        for path in (grey, transparent)
    )
    assert json.loads(white)["samples"] == json.loads(clear)["samples"]


def test_features_are_read_and_never_unpickled(tmp_path: Path, charrnn: Terminal) -> None:
    for number in range(20):
        np.save(tmp_path / f"{number}.npy", np.full((1 + number % 3, 5), number, np.float32))
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{number}.npy\t{WORDS[number % 5]}\n" for number in range(20)))
    out = tmp_path / "run"
    options = arguments(**SMALL | {"source": "image"})
    charrnn.ok("train", pairs, "--out", out, *options)
    assert charrnn.ok("sample", out, "--source", tmp_path / "7.npy").out
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "narrow.npy", np.zeros(4))
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'")
    np.save(tmp_path / "nan.npy", np.full(5, np.nan))
    for name, message in {
        "objects": "Python objects, which are never opened",
        "narrow": "width 4; the others have 5",
        "broken": "it is damaged",
        "nan": "not finite",
        "missing": "no such file",
    }.items():
        found = charrnn("sample", out, "--source", tmp_path / f"{name}.npy")
        assert (found.code, message in found.err) == (3, True), found.err


def test_pictures_that_cannot_be_read_are_refused(
    describer: Path, charrnn: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = describer.parent
    (folder / "text.png").write_text("no picture")
    whole = (folder / "1.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (9000, 9000)).save(folder / "huge.png")
    Image.new("1", (20000, 20000)).save(folder / "bomb.png")
    for name, message in {
        "text.png": "it is damaged, or no picture",
        "half.png": "it is damaged, or no picture",
        "huge.png": "pixels",
        "bomb.png": "pixels",
        "missing.png": "no such picture",
        "7.npy": "holds features, but the other sources are pictures",
    }.items():
        found = charrnn("sample", describer, "--source", folder / name)
        assert (found.code, message in found.err) == (3, True), (name, found.err)
    monkeypatch.setitem(sys.modules, "PIL", None)
    found = charrnn("sample", describer, "--source", folder / "1.png")
    assert (found.code, "pip install 'charrnn[images]'" in found.err) == (5, True)


def test_eval_compares_what_is_written_with_the_targets(
    translator: Path, charrnn: Terminal
) -> None:
    pairs = pairs_of(translator)
    facts = json.loads(charrnn.ok("eval", translator, pairs, "--train", pairs, "--json").out)
    references: dict[str, list[str]] = {}
    for line in pairs.read_text().splitlines():
        source, target = line.split("\t")
        references.setdefault(source, []).append(target)
    model = load(translator)
    right = [
        model.given(source).search(beam=5)[0].text in targets
        for source, targets in references.items()
    ]
    assert facts["measures"]["exact"] == pytest.approx(np.mean(right))
    assert facts["measures"]["count"] == len(references)
    names = [one["name"] for one in facts["baselines"]]
    assert names == ["5-gram of targets, without sources", "copy of the source"]
    targets = [line.split("\t")[1] for line in pairs.read_text().splitlines()]
    assert facts["score"]["characters"] == sum(len(target) + 1 for target in targets)
    table = charrnn.ok("eval", translator, pairs).out
    assert "exact match" in table
    assert "copy of the source" in table


def test_the_score_is_the_sum_of_what_each_pair_costs(translator: Path, charrnn: Terminal) -> None:
    pairs = pairs_of(translator)
    whole = json.loads(charrnn.ok("eval", translator, pairs, "--beam", "0", "--json").out)
    lines = charrnn.ok("eval", translator, pairs, "--by-line", "--json").out.splitlines()
    each = [json.loads(line) for line in lines]
    nats = whole["score"]["nats"]
    assert sum(one["score"]["nats"] for one in each) == pytest.approx(nats, rel=1e-5)
    assert [f"{one['source']}\t{one['target']}" for one in each] == pairs.read_text().splitlines()
    tokens = charrnn.ok("eval", translator, pairs, "--by-token", "--json").out.splitlines()
    bits = sum(json.loads(line)["bits"] for line in tokens)
    assert bits * np.log(2) == pytest.approx(nats, rel=1e-5)
    assert "sun" in charrnn.ok("eval", translator, pairs, "--show").out


def test_a_classifier_is_measured_by_its_labels(classifier: Path, charrnn: Terminal) -> None:
    pairs = pairs_of(classifier)
    facts = json.loads(charrnn.ok("eval", classifier, pairs, "--train", pairs, "--json").out)
    measures, right, wanted = facts["measures"], 0, []
    for line in pairs.read_text().splitlines():
        source, target = line.split("\t")
        found = charrnn.ok("sample", classifier, "--source", source).out.split("\t")[0]
        right += found == target
        wanted.append(target)
    assert measures["accuracy"] == pytest.approx(right / len(wanted))
    low, high = measures["accuracy_interval"]
    assert low < measures["accuracy"] <= high
    assert np.sum(measures["confusion"]) == len(wanted) == facts["score"]["tokens"]
    usual = max(set(wanted), key=wanted.count)
    baselines = {one["name"]: one["measures"]["accuracy"] for one in facts["baselines"]}
    share = wanted.count(usual) / len(wanted)
    assert baselines[f"most frequent label, {usual!r}"] == pytest.approx(share)
    assert any(name.startswith("naive Bayes, words") for name in baselines)
    assert "true label" in charrnn.ok("eval", classifier, pairs).out


def test_labels_are_smoothed_unless_told_otherwise(classifier: Path, tmp_path: Path) -> None:
    """And a score is that of the labels as they are."""
    sharp = train(tmp_path, "text", "label", label_smoothing=0)
    settings = [json.loads((run / "config.json").read_text()) for run in (classifier, sharp)]
    assert [each["label_smoothing"] for each in settings] == [0.1, 0]
    assert results(sharp)["model"] != results(classifier)["model"]


def test_a_writer_in_the_manner_of_labels_classifies_by_bayes_rule(
    labelled: Path, charrnn: Terminal
) -> None:
    pairs = pairs_of(labelled)
    facts = json.loads(charrnn.ok("eval", labelled, pairs, "--by-label", "--json").out)
    lines = [line.split("\t") for line in pairs.read_text().splitlines()]
    tokenizer = load(labelled).saved.source_tokenizer
    assert tokenizer is not None
    prior = dict(zip(tokenizer.to_dict()["labels"], tokenizer.to_dict()["counts"], strict=True))
    nats = {}
    for label in prior:
        other = pairs.with_name(f"{label}.tsv")
        other.write_text("".join(f"{label}\t{text}\n" for _, text in lines))
        scored = charrnn.ok("eval", labelled, other, "--by-line", "--json").out.splitlines()
        nats[label] = [json.loads(line)["score"]["nats"] - np.log(prior[label]) for line in scored]
    right = sum(
        min(nats, key=lambda label: nats[label][row]) == true for row, (true, _) in enumerate(lines)
    )
    assert facts["measures"]["accuracy"] == pytest.approx(right / len(lines))


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--source", "text", "--bptt", "full"], 2, "--bptt cannot be used with --source"),
        (["--target", "label"], 2, "--target needs --source"),
        (["--source", "label", "--source-layers", "2"], 2, "needs --source text, not label"),
        (["--source", "text", "--records", "x"], 2, "--records cannot be used with --source"),
        (["--source", "text", "--image-size", "99999"], 2, "--image-size must be one or two"),
        (["--source", "txt"], 2, "Did you mean 'text'?"),
        (["--source", "text", "--target", "label", "--tied"], 2, "with --target label"),
        (["--source", "image"], 3, "no such picture"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, charrnn: Terminal, options: list[str], code: int, message: str
) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(lines_of("text", "text", tmp_path)))
    found = charrnn("train", pairs, "--out", tmp_path / "run", *options, *arguments(**SMALL))
    assert (found.code, message in found.err) == (code, True), found.err


def test_a_label_that_only_the_validation_file_has_is_refused_with_the_known_ones(
    tmp_path: Path, charrnn: Terminal
) -> None:
    pairs, valid = tmp_path / "pairs.tsv", tmp_path / "valid.tsv"
    pairs.write_text("".join(lines_of("text", "label", tmp_path)))
    valid.write_text("sun\tnever\n")
    options = arguments(**SMALL | {"source": "text", "target": "label"})
    found = charrnn("train", pairs, "--valid", valid, "--out", tmp_path / "run", *options)
    assert found.code == 3
    assert "never seen the label 'never'" in found.err
    assert "It knows 'early', 'late'." in found.err


def test_two_files_are_told_how_to_become_one(tmp_path: Path, charrnn: Terminal) -> None:
    for name in "ab":
        (tmp_path / name).write_text("one\ntwo\n")
    found = charrnn("train", tmp_path / "a", tmp_path / "b", "--source", "text")
    assert found.code == 3
    assert "paste a b > pairs.tsv" in found.err


def test_next_follows_a_source(translator: Path, charrnn: Terminal) -> None:
    words = ("next", translator, "--source", "sun", "--json", "--top", 3)
    found = json.loads(charrnn.ok(*words).out)["next"]
    first = load(translator).given("sun").search(beam=1, length=1)[0].text
    assert len(found) == 3
    assert found[0]["text"].strip("\n") == first


def test_a_source_is_needed_exactly_by_a_model_of_pairs(
    translator: Path, labelled: Path, model: Path, charrnn: Terminal
) -> None:
    for words, code, message in (
        (["sample", model, "--source", "a"], 2, "do not depend on a source"),
        (["sample", translator], 2, "depend on a source, and none is given"),
        (["sample", translator, "--source", " "], 3, "The source is empty"),
        (["sample", translator, "--source", "QQ"], 3, "The source has 1 character"),
        (["sample", labelled, "--source", "lat"], 3, "never seen the label 'lat'"),
        (["sample", translator, "--source", "a", "--interactive"], 2, "--interactive"),
        (["eval", translator, pairs_of(translator), "--by-label"], 2, "sources are labels"),
        (["next", translator, "a"], 2, "depend on a source, and none is given"),
        (["next", model, "a", "--source", "a"], 2, "do not depend on a source"),
        (["eval", model, "--by-label"], 2, "--by-label needs a model of pairs"),
        (["eval", model, "--beam", 3], 2, "--beam needs a model of pairs"),
        (["sample", model, "--show-attention"], 2, "--show-attention needs a model of pairs"),
        (
            ["eval", model, pairs_of(translator), "--train", "x", "--no-baselines"],
            *(2, "--train has no effect without --baselines"),
        ),
        (["eval", translator, pairs_of(translator), "--dynamic"], 2, "--dynamic"),
        (["novelty", translator, pairs_of(translator)], 2, "depend on a source"),
        (["compare", translator, translator, pairs_of(translator)], 2, "charrnn eval"),
        (["gradients", translator, pairs_of(translator)], 2, "source"),
    ):
        found = charrnn(*words)
        assert (found.code, message in found.err) == (code, True), (words, found.err)


@pytest.mark.parametrize(
    ("kind", "target"), [("text", "text"), ("text", "label"), ("label", "text"), ("image", "label")]
)
def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    tmp_path: Path, kind: str, target: str
) -> None:
    from charrnn.errors import InterruptedRun
    from charrnn.training.request import TrainRequest
    from charrnn.training.train import training_events

    whole, stopped = tmp_path / "a", tmp_path / "b"
    for folder in (whole, stopped):
        folder.mkdir()
        (folder / "pairs.tsv").write_text("".join(lines_of(kind, target, folder)))
    settings = SMALL | {"source": kind, "target": target, "dropout": 0.2, "save_every": 100}

    def events(folder: Path, stop: int = 10**9) -> None:
        steps = iter(range(1, 10**9))
        request = TrainRequest.of(folder / "pairs.tsv", settings | {"out": folder / "run"})
        list(training_events(request, should_stop=lambda: 2 if next(steps) >= stop else None))

    events(whole)
    with pytest.raises(InterruptedRun):
        events(stopped, stop=5)
    events(stopped)
    assert results(stopped / "run") == results(whole / "run")


@pytest.mark.parametrize(
    ("kind", "target"), [("text", "text"), ("text", "label"), ("label", "text"), ("image", "label")]
)
def test_a_run_that_is_stopped_before_it_is_validated_has_a_model(
    tmp_path: Path, kind: str, target: str, charrnn: Terminal
) -> None:
    out = train(tmp_path, kind, target, steps=0)
    (out / "model.safetensors").unlink()  # as it is before the first validation
    source = {"text": "sun", "label": "early", "image": str(tmp_path / "3.png")}[kind]
    found = charrnn.ok("sample", out, "--source", source, "--json")
    assert "not validated yet" in found.err
    assert json.loads(found.out)["model"]["path"] == str(out)
    assert "newest weights" in charrnn.ok("info", out).out
    assert "held out" in charrnn.ok("eval", out, "--beam", 0).err
    assert charrnn.ok("eval", out, pairs_of(out), "--by-line").out


def test_what_to_type_next_works_as_it_stands(tmp_path: Path, charrnn: Terminal) -> None:
    """For a model that needs a source, a short one of its own is named."""
    for kind in ("text", "label", "image"):
        (tmp_path / kind).mkdir()
        pairs = tmp_path / kind / "pairs.tsv"
        pairs.write_text("".join(lines_of(kind, "text", pairs.parent)))
        options = arguments(**SMALL | {"source": kind, "steps": 1})
        told = charrnn.ok("train", pairs, "--out", pairs.parent / "run", *options).err
        program, *words = shlex.split(told.split("Next: ")[1])
        assert program == "charrnn"
        assert charrnn.ok(*words).out


def test_the_pairs_that_a_run_held_out_are_scored_without_naming_them(
    tmp_path: Path, translator: Path, charrnn: Terminal
) -> None:
    found = json.loads(charrnn.ok("eval", translator, "--beam", 0, "--json").out)
    valid = json.loads(charrnn.ok("info", translator, "--json").out)["valid"]
    assert found["score"]["nats"] == pytest.approx(valid["nats"], rel=1e-5)
    assert found["training"]["is_validation_text"]
    whole = charrnn.ok("eval", translator, pairs_of(translator), "--beam", 0)
    assert "stands in the text that the model was trained on" in whole.err
    shutil.copytree(translator, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "other.tsv").write_text("sun\tnus\nmoon\tnoom\n")
    for texts, said in (([str(tmp_path / "other.tsv")], "has changed"), (["-"], "is not known")):
        record["sources"]["texts"] = texts
        (tmp_path / "run" / "run.json").write_text(json.dumps(record))
        refused = charrnn("eval", tmp_path / "run")
        assert (refused.code, said in refused.err) == (3, True), refused.err


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    found = []
    for parts in (1, 4):
        folder = tmp_path / str(parts)
        folder.mkdir()
        out = train(folder, "text", accumulate=parts, optimizer="adamw", lr=0.01, steps=4)
        found.append(load_arrays(out / "last.safetensors")[0])
    for name, value in found[0].items():
        if name.startswith("model."):
            np.testing.assert_allclose(found[1][name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_run_starts_from_language_models(tmp_path: Path, charrnn: Terminal) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(lines_of("text", "text", tmp_path)))
    text = tmp_path / "text.txt"
    text.write_text(
        "".join(line.replace("\t", "\n") for line in lines_of("text", "text", tmp_path))
    )
    lm = tmp_path / "lm"
    charrnn.ok(
        "train",
        text,
        "--out",
        lm,
        *arguments(**SMALL | {"num_layers": 2, "ngram_embedding": 0, "match_window": 0}),
    )
    start, _ = load_arrays(lm / "model.safetensors")
    options = arguments(**SMALL | {"steps": 1, "lr": 1e-9, "lr_floor": 1})
    shape = ("--hidden-size", "--embedding-size", "--num-layers")
    short = [
        word
        for before, word in zip(["", *options], options, strict=False)
        if word not in shape and before not in shape
    ]
    out = tmp_path / "decoder"
    charrnn.ok("train", pairs, "--source", "text", "--init-from", lm, "--out", out, *short)
    found, _ = load_arrays(out / "model.safetensors")
    for name, value in start.items():
        np.testing.assert_allclose(found[name][: len(value)], value, atol=1e-6)
    out = tmp_path / "encoder"
    charrnn.ok("train", pairs, "--source", "text", "--init-source-from", lm, "--out", out, *options)
    found, _ = load_arrays(out / "model.safetensors")
    prefix = "source.encoder.layers.1.directions.0.rnn.weight_ih_l0"
    np.testing.assert_allclose(
        found[prefix][:, :12], start["layers.1.cell.rnn.weight_ih_l0"], atol=1e-6
    )
    np.testing.assert_allclose(found[prefix][:, 12:], 0, atol=1e-6)
    assert charrnn.ok("sample", out, "--source", "sun").out
    again = tmp_path / "again"
    charrnn.ok("train", pairs, "--source", "text", "--init-from", out, "--out", again, *short)
    assert charrnn("train", pairs, "--init-from", out, "--out", again, *short).code == 2


def test_settings_of_a_run_train_another(
    translator: Path, tmp_path: Path, charrnn: Terminal
) -> None:
    shutil.copy(pairs_of(translator), tmp_path / "pairs.tsv")
    config, out = translator / "config.json", tmp_path / "other"
    charrnn.ok("train", tmp_path / "pairs.tsv", "--config", config, "--out", out, "--quiet")
    weights = [load_arrays(path / "model.safetensors")[0] for path in (translator, out)]
    for name, value in weights[0].items():
        assert np.array_equal(weights[1][name], value)


def test_info_and_a_dry_run_know_of_the_source(
    translator: Path, charrnn: Terminal, tmp_path: Path
) -> None:
    assert "source text with additive attention" in charrnn.ok("info", translator).out
    found = charrnn.ok(
        "train",
        pairs_of(translator),
        "--source",
        "text",
        "--dry-run",
        "--json",
        *arguments(**SMALL),
        "--out",
        tmp_path / "none",
    )
    facts = json.loads(found.out)
    assert facts["config"]["source"]["source"] == "text"
    assert facts["memory_bytes"] > 4 * facts["parameters"]


def test_samples_during_training_are_of_held_out_sources(tmp_path: Path, charrnn: Terminal) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(lines_of("text", "text", tmp_path)))
    options = arguments(**SMALL | {"source": "text", "sample_every": 6})
    shown = charrnn.ok("train", pairs, "--out", tmp_path / "run", *options).err
    assert "--- sample at step 6 ---" in shown
    sources = {line.split("\t")[0] for line in pairs.read_text().splitlines()}
    sampled = shown.partition("--- sample at step 6 ---\n")[2].partition("\n---")[0].splitlines()
    assert len(sampled) >= 2
    assert {line.split(" \u2192 ")[0] for line in sampled} <= sources
