"""A model in one file: weights, configuration, tokenizer, and facts about its training."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.config.source import SourceConfig
from charrnn.errors import DivergedError, ModelFileError, UsageError
from charrnn.model.shapes import weight_shapes
from charrnn.storage.atomic import display_path
from charrnn.storage.container import Arrays, digest, from_bytes, read_file, save
from charrnn.storage.sparse_rows import pack_rows, unpack_rows
from charrnn.tokenizers import Tokenizer, tokenizer_from_dict


@dataclass(frozen=True)
class SavedModel:
    """All that is needed to sample from a model or to score a text with it.

    Attributes:
        config: The shape of the network.
        tokenizer: The tokenizer; its `size` equals the configuration's `vocab_size`.
        weights: float32 arrays, named and shaped as `charrnn.model.shapes.weight_shapes` says.
        about: Facts for users, as JSON values: step, score, the data's name, charrnn's version.
        sha256: Checksum of the file that it was read from; empty for a new model.
        source_tokenizer: The tokenizer of the sources, if they are texts or labels.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    weights: Arrays
    about: dict[str, Any]
    sha256: str = ""
    source_tokenizer: Tokenizer | None = None

    @property
    def source(self) -> SourceConfig | None:
        """What its texts depend on, if they depend on a source."""
        return self.config.source

    @property
    def identity(self) -> str:
        """The model's part of a score's signature."""
        return f"model:{self.sha256[:12]}"

    @property
    def notes(self) -> tuple[str, ...]:
        """A message for the user if it was not validated."""
        if self.about.get("validated", True) is not False:
            return ()
        step = self.about.get("step")
        return (f"These are the run's weights at step {step}, which are not validated yet.",)

    @property
    def members(self) -> tuple["SavedModel", ...]:
        """The models of which it consists: itself. A `SavedBlend` has several."""
        return (self,)


def about_part(about: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return one part of `SavedModel.about`, such as "text" or "train"; {} if there is none."""
    part = about.get(name)
    return part if isinstance(part, dict) else {}


def save_model(path: Path, model: SavedModel) -> None:
    """Write `model` to the file `path`.

    Raises:
        DivergedError: A weight is not finite; nothing is written.
        MachineError: See `charrnn.storage.atomic.write_atomic`.
    """
    if diverged := _not_finite(model.weights):
        message = f"{diverged!r} holds values that are not finite; the model is not saved."
        raise DivergedError(message)
    metadata = {
        "config": model.config.to_dict(),
        "tokenizer": model.tokenizer.to_dict(),
        "about": model.about,
    }
    if model.source_tokenizer is not None:
        metadata["source_tokenizer"] = model.source_tokenizer.to_dict()
    save(path, pack_rows(model.weights), metadata)


def load_model(path: Path) -> SavedModel:
    """Read a model and check that its parts agree.

    Args:
        path: A model file, or a run folder, whose `model.safetensors` is read. Before the first
            validation there is none; then, and if it is given itself, `last.safetensors` is read,
            the newest weights.

    Raises:
        ModelFileError: The file is missing, damaged, foreign, of a newer format, contradictory, or
            of a model that diverged.
        MachineError: See `charrnn.storage.container.read_file`.
    """
    file = _model_in(path) if os.path.isdir(path) else path  # noqa: PTH112 (never raises)
    name = display_path(file)
    data = read_file(file)
    weights, metadata = from_bytes(data, name)
    if "trainer" in metadata:
        weights, metadata = _model_of_state(weights, metadata)
    weights = unpack_rows(weights, name)
    about = metadata.get("about")
    parts = metadata.keys() - {"source_tokenizer"}
    if parts != {"config", "tokenizer", "about"} or not isinstance(about, dict):
        hint = "Give a run folder, or its model.safetensors."
        raise ModelFileError(f"{name} is not a model.", hint)
    config, tokenizer = _config_and_tokenizer(metadata, name)
    source_tokenizer = _source_tokenizer(metadata, config, name)
    weights = _checked_weights(weights, config, name)
    return SavedModel(config, tokenizer, weights, about, digest(data), source_tokenizer)


def _model_in(folder: Path) -> Path:
    """Return the file of a run's best model, or that of its training state before there is one."""
    for name in ("model.safetensors", "last.safetensors"):
        if os.path.lexists(folder / name):
            return folder / name
    members = sorted(file.parent for file in folder.glob("members/*/model.safetensors"))
    hint = f"Its members are trained first: name {display_path(members[0])}." if members else ""
    raise ModelFileError(
        f"{display_path(folder)} holds no model.safetensors: training has not saved a model there "
        "yet.",
        hint,
    )


def _model_of_state(weights: Arrays, state: Mapping[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    """Return the weights and the metadata of the model in a training state, not validated."""
    trainer = state["trainer"] if isinstance(state["trainer"], dict) else {}
    progress = trainer.get("progress")
    step = progress.get("step") if isinstance(progress, dict) else None
    about = {name: state[name] for name in ("text", "train", "charrnn") if name in state}
    model = {
        name.removeprefix("model."): array
        for name, array in weights.items()
        if name.startswith("model.")
    }
    metadata = {"config": state.get("model"), "tokenizer": state.get("tokenizer")}
    metadata |= {name: state[name] for name in ("source_tokenizer",) if name in state}
    return model, metadata | {"about": about | {"step": step, "validated": False}}


def _config_and_tokenizer(metadata: Mapping[str, Any], name: str) -> tuple[ModelConfig, Tokenizer]:
    """Return the configuration and tokenizer of a model file, after checking that they agree."""
    _refuse_unknown_cell(metadata["config"], name)
    try:
        config = ModelConfig.from_dict(metadata["config"])
        tokenizer = tokenizer_from_dict(metadata["tokenizer"])
    except (UsageError, ModelFileError) as error:
        raise ModelFileError(f"{name}: {error.message}", error.hint) from error
    if tokenizer.size != config.vocab_size:
        sizes = f"the tokenizer has {tokenizer.size} symbols, the network {config.vocab_size}"
        raise ModelFileError(f"{name}: {sizes}.")
    return config, tokenizer


def _source_tokenizer(
    metadata: Mapping[str, Any], config: ModelConfig, name: str
) -> Tokenizer | None:
    """Return the tokenizer of the sources, if the model reads symbols, after checking its size."""
    source, values = config.source, metadata.get("source_tokenizer")
    if source is None or not source.reads_symbols:
        if values is not None:
            raise ModelFileError(f"{name} has a tokenizer for sources that it cannot read.")
        return None
    try:
        tokenizer = tokenizer_from_dict(values)
    except ModelFileError as error:
        raise ModelFileError(f"{name}, sources: {error.message}", error.hint) from error
    if tokenizer.size != source.source_vocab_size:
        sizes = f"{tokenizer.size} symbols, the network {source.source_vocab_size}"
        raise ModelFileError(f"{name}: the tokenizer of the sources has {sizes}.")
    return tokenizer


def _refuse_unknown_cell(config: Any, name: str) -> None:
    """Raise `ModelFileError` if a configuration names a cell that this version does not know."""
    cell = config.get("cell") if isinstance(config, dict) else None
    if isinstance(cell, str) and cell not in CELLS:
        raise ModelFileError(
            f"{name} has the cell {cell[:40]!r}, which this charrnn does not know; it knows "
            f"{', '.join(CELLS)}.",
            "A newer charrnn may have made it; upgrade: pip install -U charrnn",
        )


def _checked_weights(weights: Arrays, config: ModelConfig, name: str) -> Arrays:
    """Return `weights` in the model's order, after checking their names, shapes and values."""
    shapes = weight_shapes(config)
    if odd := sorted(shapes.keys() ^ weights.keys()):
        where = "in its weights or in its configuration, but not in both"
        raise ModelFileError(f"{name}: {odd[0]!r} is {where}.")
    for key, shape in shapes.items():
        found = weights[key]
        if found.shape != shape or found.dtype != np.float32:
            needed = f"its configuration needs float32 {shape}"
            raise ModelFileError(f"{name}: {key!r} is {found.dtype} {found.shape}; {needed}.")
    if diverged := _not_finite(weights):
        what = "holds values that are not finite; this model diverged"
        raise ModelFileError(f"{name}: {diverged!r} {what}.")
    return {key: weights[key] for key in shapes}


def _not_finite(weights: Mapping[str, NDArray[Any]]) -> str:
    return next((key for key, array in weights.items() if not np.isfinite(array).all()), "")
