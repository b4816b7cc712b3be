"""Score the best model of a run whose evaluations score a part of the validation text."""

from dataclasses import replace
from typing import Any

from charrnn.evaluation.score import Score
from charrnn.model.network import from_weights
from charrnn.storage.model_file import load_model, save_model
from charrnn.storage.run_folder import RunFolder
from charrnn.training.trainer import Trainer
from charrnn.training.validation import ShouldStop, score_unless_stopped


def score_best_on_whole(
    folder: RunFolder, trainer: Trainer, should_stop: ShouldStop
) -> Score | None:
    """Score the model in a run's folder on the whole validation text, and write that into it.

    The score of the part, by which the model was chosen, is kept beside it. Where the whole was
    scored before, nothing is done.

    Returns:
        The score, or None if `should_stop` returned a signal first.
    """
    group, text = trainer.group, trainer.data.valid
    best = group.on_main(lambda: load_model(folder.model))
    found = best.about["valid"]
    if found["tokens"] == len(text.ids):
        return _score_of(found)
    model = from_weights(best.config, best.weights).to(trainer.model.device)
    score = score_unless_stopped(model, best.tokenizer, text, trainer.autocast, group, should_stop)
    if score is not None:
        about = best.about | {"valid": score.to_dict(), "valid_part": found}
        group.on_main(lambda: save_model(folder.model, replace(best, about=about)))
    return score


def _score_of(found: dict[str, Any]) -> Score:
    """Undo `Score.to_dict`."""
    names = ("nats", "tokens", "characters", "bytes", "unknown", "unknown_nats")
    return Score(**{name: found[name] for name in names})
