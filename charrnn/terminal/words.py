"""Sentences that say what figures mean."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.evaluation.novelty import Copied

Facts = Mapping[str, Any]
NEAR = 0.005  # a difference that is called none
RECITES = 2.0  # times as much copied text as in held-out text
SIZE = 20  # characters of the passages by which copying is judged


def score_words(facts: Facts) -> list[str]:
    """Return what a score means; `facts` are those that `charrnn eval --json` writes."""
    bits = facts["score"]["bits_per_char"]
    if not bits:
        return []
    words = ["Lower is better."]
    costs = [cost for cost in facts["baselines"] if cost["score"]["bits_per_char"]]
    known = {cost["name"].split(",")[0]: cost for cost in costs}
    primed = "5-gram" in known
    compared = [_beside(bits, known["5-gram"], "the 5-gram")] if primed else []
    packers = [known[name] for name in ("gzip", "bz2", "xz") if name in known]
    if packers:
        best = min(packers, key=lambda cost: float(cost["score"]["bits_per_char"]))
        by_heart = ", which knows the training text by heart" if primed else ""
        compared.append(_beside(bits, best, best["name"].split(",")[0]) + by_heart)
    if compared:
        words.append(f"The model predicts this text {' and '.join(compared)}.")
    if facts["training"]["is_validation_text"]:
        words.append("It is the text that chose the best step of the training, which is usual.")
    if (facts["training"]["overlap"] or 0) >= 0.5:
        words.append("But it has seen this text in training.")
    return words


def pair_words(facts: Facts) -> list[str]:
    """Return what the score of a model of pairs means; `facts` are those of `charrnn eval --json`.

    They compare the model with the n-gram of targets, or with the best guess of labels.
    """
    accuracy, words = facts.get("measures", {}).get("accuracy"), list[str]()
    for one in facts["baselines"]:
        if "score" in one and accuracy is None:
            words.append(_targets_words(facts["score"]["bits_per_char"], one))
    labels = [one for one in facts["baselines"] if "accuracy" in one.get("measures", {})]
    if labels:
        best = max(labels, key=lambda one: float(one["measures"]["accuracy"]))
        words.append(_label_words(accuracy - best["measures"]["accuracy"], best["name"]))
    if (facts["training"]["overlap"] or 0) >= 0.5:
        words.append("But it has seen these targets in training.")
    return words


def _targets_words(bits: float, cost: Facts) -> str:
    beside = _beside(bits, cost, "the n-gram")
    return (
        f"Lower bits are better. The model predicts the targets {beside}, which does not see the "
        "sources."
    )


def _label_words(more: float, name: str) -> str:
    how = f"{abs(more):.1%} {'more' if more >= 0 else 'fewer'}"
    plain = name.split(",")[0].replace("most", "the most")
    return f"The model is right for {how} of the pairs than {plain}."


def _beside(bits: float, cost: Facts, name: str) -> str:
    """Return how a model compares with a baseline."""
    change = bits / cost["score"]["bits_per_char"] - 1
    if abs(change) < NEAR:
        return f"as well as {name}"
    return f"{abs(change):.0%} {'better' if change < 0 else 'worse'} than {name}"


def comparison_words(facts: Facts) -> list[str]:
    """Return what a comparison means; `facts` are those that `charrnn compare --json` writes."""
    models = sorted(facts["models"], key=lambda model: float(model["score"]["nats"]))
    words = ["Lower is better."]
    if len(models) < 2:
        return words
    best, second = models[0], models[1]
    words.append(f"{best['name']} predicts this text best.")
    for one in facts["differences"]:
        if one["better"] == best["name"]:
            words.append(_difference_words(one, best["score"]["bits_per_char"]))
    if second is not best and all(len(model["runs"]) == 1 for model in models):
        words.append(
            "What another seed in training would change is not counted: compare folders of runs "
            "with several seeds for that."
        )
    return words


def _difference_words(one: Facts, bits: float) -> str:
    """Return a sentence about a difference, in percent of the better model's bits."""
    what = f"{one['worse']} needs {one['bits_per_char'] / bits:.1%} more bits"
    if one["interval"] is None:
        return f"{what}; the text is too short to tell whether that is noise."
    low, high = (bound / bits for bound in one["interval"])
    noise = "more than noise" if one["beyond_noise"] else "no more than noise may be"
    return f"{what}, which is {noise} (95 % interval, paired: {low:.1%} to {high:.1%})."


def novelty_words(columns: "Mapping[str, Copied]") -> list[str]:
    """Return whether a sample recites; `columns` are the sample and the held-out text."""
    sample, held_out = (columns[name].shares[SIZE] for name in ("sample", "held out"))
    if sample is None or held_out is None:
        return []
    shares = f"{sample:.1%} of the sample and {held_out:.1%} of held-out text"
    words = f"Of passages of {SIZE} characters, {shares} stand in the training text:"
    if sample > RECITES * held_out + 0.02:
        return [words, "the model recites more than texts of this kind repeat each other."]
    return [words, "the model writes anew, as far as texts of this kind do."]
