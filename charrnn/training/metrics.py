"""The lines of metrics.jsonl, the log of a run: one JSON object each, in the order of the steps.

    {"step": 40, "loss": 2.71, "lr": 0.008, "grad_norm": 0.61, "tokens": 81920, "seconds": 3.2}
    {"step": 80, "valid": 1.83, "bits_per_char": 2.64, "seconds": 7.9}

A line of a step, one every `log_every` steps:

    step          optimizer steps taken so far, at least 1
    loss          what is minimised: nats per token of this step's batch, with dropout; the
                  targets are smoothed, if they are; with a teacher, it is the weighted sum of the
                  cross entropy to the text and to the teacher
    lr            learning rate of this step
    grad_norm     norm of the gradient before clipping
    tokens        tokens seen so far in the whole run
    seconds       time spent on training so far, in all of the run's parts

A line of an evaluation has `step`, `seconds` and

    valid         nats per token of the validation text; a line is an evaluation's if it has this
    bits_per_char bits per character of the validation text

Numbers are finite. A step has at most one line of each kind, also after any number of resumes.
Readers should ignore entries that they do not know; newer versions may add some.
"""

from collections.abc import Mapping

from charrnn.training.events import Evaluated, Trained


def metrics_line(event: Trained | Evaluated, log_every: int) -> Mapping[str, float] | None:
    """Return the entries for an event, without step and seconds, or None if no line is due."""
    if isinstance(event, Evaluated):
        score = event.score
        return {"valid": score.nats_per_token, "bits_per_char": score.bits_per_char}
    if event.step % log_every:
        return None
    values = {"loss": event.loss, "lr": event.lr, "grad_norm": event.grad_norm}
    return values | {"tokens": event.tokens}
