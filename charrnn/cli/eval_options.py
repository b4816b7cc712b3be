"""The options of `charrnn eval`."""

from dataclasses import dataclass

from charrnn.config.fields import option
from charrnn.errors import UsageError
from charrnn.evaluation.request import EvalRequest

DETAIL = "Where the text surprises the model"


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """The options of `charrnn eval`."""

    request: EvalRequest
    by_line: bool = option(
        False,
        "Score each line by itself as it is read: nats, bits per character, perplexity, line",
        group=DETAIL,
    )
    by_token: bool = option(
        False, "Write each token with its bits, its rank and the entropy", group=DETAIL
    )
    show: bool = option(False, "Show the text coloured by its surprisal", group=DETAIL)
    unit: int | None = option(
        None, "With `show`: colour by the value of this hidden unit, from 0 on", group=DETAIL
    )
    layer: int | None = option(
        None, "The unit's layer, from 1 on", group=DETAIL, default_note="the top layer"
    )
    tsv: bool = option(
        False,
        "With `by_line`: a header line, and lines without tabs or newlines of their own",
        group=DETAIL,
    )
    json: bool = option(False, "Write the result as one JSON object")

    def __post_init__(self) -> None:
        """Raise `UsageError` if a detailed view is combined with an option it cannot use."""
        views = [name for name in ("by_line", "by_token", "show") if getattr(self, name)]
        request, score = self.request, self.request.options
        unusable = {
            "dynamic": request.dynamic,
            "train": bool(score.train),
            "baselines": score.baselines is True,
            "json": self.json and self.show,
        }
        if self.by_line:
            unusable["exact"] = request.exact
            unusable["reset_every"] = request.reset_every is not None
            unusable["valid_fraction"] = score.valid_fraction is not None
        if self.unit is not None and not self.show:
            raise UsageError("`unit` needs `show`.", "Add `show` to see the text in colours.")
        if self.layer is not None and self.unit is None:
            raise UsageError("`layer` needs `unit`.")
        if self.tsv and (not self.by_line or self.json):
            raise UsageError("`tsv` needs `by_line`, without `json`.")
        if self.by_line and not request.texts:
            raise UsageError("`by_line` needs a text.", "Name it after the model, or give - .")
        others = views[1:] + [name for name, is_given in unusable.items() if is_given]
        if views and others:
            message = f"`{others[0]}` cannot be used with `{views[0]}`."
            raise UsageError(message, "Leave one out.")
