"""The table of `charrnn info`: a model, and the run that made it."""

from collections.abc import Mapping
from typing import Any

from charrnn.errors import counted
from charrnn.model.shapes import describe_shape
from charrnn.terminal.tables import described_source, format_duration, model_features

Rows = list[tuple[str, str]]


def info_rows(facts: Mapping[str, Any]) -> Rows:
    """Return the rows of the table that describes a model file, and its run if there is one."""
    config, text, valid = facts["config"], facts.get("text", {}), facts.get("valid", {})
    shape = describe_shape(config)
    characters, epochs = text.get("train", 0), facts.get("epochs")
    passes = "" if epochs is None else f", {counted(epochs, 'epoch')}"
    known = facts["model"]
    parameters, tables = f"{known['parameters']:,}", known["table_parameters"]
    parameters += f" and {tables:,} in tables of n-grams" if tables else ""
    rows = [
        ("model", ", ".join([shape, *model_features(config)])),
        ("parameters", parameters),
        ("tokenizer", f"{known['tokenizer']}, {counted(config['vocab_size'], 'symbol')}"),
        ("trained on", f"{text.get('name')}, {counted(characters, 'character')}{passes}"),
        ("step", f"{facts.get('step', 0):,}"),
    ]
    if teachers := facts.get("teachers"):
        weight = facts["train"]["teacher_weight"]
        named = ", ".join(one[:12] for one in teachers)
        rows.append(("teacher", f"{counted(len(teachers), 'model')}, weight {weight:g}: {named}"))
    if records := facts.get("train", {}).get("records"):
        rows.append(("records", f"{records}, each from zero state"))
    if source := config.get("source"):
        rows.append(("source", described_source(source)))
    if valid:
        nats, bits = valid["nats_per_token"], valid["bits_per_char"]
        rows.append(("validation", f"{nats:.4f} nats per token, {bits:.3f} bits per character"))
    else:
        rows.append(("validation", "none yet; these are the newest weights"))
    rows += run_rows(facts["run"]) if facts.get("run") else []
    rows += machine_rows(facts["machine"]) if facts.get("machine") else []
    made_by = [("made by", f"charrnn {facts['charrnn']}")] if "charrnn" in facts else []
    return [*rows, *made_by, ("SHA-256", known["sha256"])]


def blend_rows(facts: Mapping[str, Any]) -> Rows:
    """Return the rows of the table that describes a blend; see `charrnn.cli.info.blend_facts`."""
    means = {"linear": "mean of probabilities", "geometric": "mean of log probabilities"}
    rows = [("blend", f"{facts['blend']}: {means[facts['blend']]}")]
    for one in facts["members"]:
        shape = describe_shape(one["config"])
        size = f"{one['parameters']:,} parameters, SHA-256 {one['sha256'][:12]}"
        rows.append((f"{one['weight']:.4g}", f"{one['path']}: {shape}, {size}"))
    rows.append(("parameters", f"{facts['parameters']:,}"))
    rows.append(("tokenizer", f"{facts['tokenizer']}, {facts['vocab_size']:,} symbols"))
    return [*rows, ("SHA-256", facts["sha256"])]


def run_rows(run: Mapping[str, Any]) -> Rows:
    """Return the rows about a run: how far it is, how to continue it, its text, when and how long.

    Args:
        run: See `charrnn.cli.info.run_facts`.
    """
    rows, step, steps = [], run["step"], run["steps"]
    if run["state"] == "finished":
        rows.append(("run", f"finished at step {step:,} of {steps:,}"))
        rows.append(("train longer", f"{run['continue']} --steps {2 * max(steps, 1)}"))
    elif run["state"] == "training":
        rows.append(
            ("run", f"training now ({run['held_by']}), saved at step {step:,} of {steps:,}")
        )
    else:
        rows.append(("run", f"stopped at step {step:,} of {steps:,}"))
        rows.append(("continue", run["continue"]))
    if run.get("texts"):
        rows.append(("text", ", ".join(run["texts"])))
    for name in ("began", "saved"):
        if run.get(name):
            when = run[name].replace("T", " ").replace("+00:00", " UTC")
            rows.append((name, when))
    if run.get("seconds"):
        rows.append(("trained for", format_duration(run["seconds"])))
    return rows


def _cpu(machine: Mapping[str, Any]) -> str:
    return f"{machine['device']}, {counted(machine['threads'], 'thread')}"


def machine_rows(machine: Mapping[str, Any]) -> Rows:
    """Return the rows about the machine that a model was trained on."""
    device = machine.get("gpu") or _cpu(machine)
    ranks = f", {machine['ranks']} ranks" if machine.get("ranks", 1) > 1 else ""
    software = f"torch {machine.get('torch')}, Python {machine.get('python')}"
    return [
        ("machine", f"{machine.get('processor')}, {machine.get('system')}"),
        ("device", f"{device}{ranks}, {machine['precision']}"),
        ("software", software),
    ]
