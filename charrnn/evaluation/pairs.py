"""How good a model of pairs is: the score of targets given sources, and the measure of its task.

A text is measured by what the model writes for each source, a label by the most probable one. For a
model whose sources are labels, the measure is Bayes' rule: which label explains a text best.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.config.sampling import SamplingConfig
from charrnn.config.source import SourceConfig
from charrnn.data.encoding import Encoded, refuse_unknown
from charrnn.data.id_cache import encode_to_tempfile
from charrnn.data.pairs import END, PairSplit, split_pairs, whole_part
from charrnn.data.sources import reader_of
from charrnn.data.split import TextPart
from charrnn.data.text import OnProgress, Text, no_progress, read_text
from charrnn.errors import UsageError
from charrnn.evaluation.baselines.baseline_score import BaselineScore
from charrnn.evaluation.baselines.naive_bayes import ORDERS, NaiveBayes
from charrnn.evaluation.baselines.ngram import ORDER, Alphabet, ngram_nats
from charrnn.evaluation.held_out_pairs import held_out_note, held_out_pairs
from charrnn.evaluation.measures import LabelMeasures, TextMeasures, bleu_and_chrf
from charrnn.evaluation.model_score import ModelScore, open_scorer
from charrnn.evaluation.overlap import TrainingOverlap, training_overlap
from charrnn.evaluation.request import EvalRequest
from charrnn.evaluation.score import ScoreBreakdown, ScoringProtocol
from charrnn.evaluation.scored_text import text_facts
from charrnn.sampling.beam_search import search
from charrnn.sampling.generate import Generator
from charrnn.sampling.sources import with_source
from charrnn.storage.blend import Saved, numpy_model
from charrnn.tokenizers import LabelTokenizer

if TYPE_CHECKING:
    from charrnn.evaluation.scorer import Scorer
    from charrnn.evaluation.surprisal import Surprisal

PROTOCOL = str(ScoringProtocol.records())
WRITING = "Writing a target for each source"
UNUSABLE = ("dynamic", "reset_every", "exact")
MIN_LENGTH = 500  # characters that a target may have, besides twice the longest reference's

Sides = tuple[TextPart, TextPart]  # sources and targets, in the same order


@dataclass(frozen=True)
class PairReport:
    """The score of a model of pairs, the measure of its task, and baselines.

    Attributes:
        model: The score of the targets.
        text: What identifies the targets, as JSON values.
        texts: The measures of the texts that the model writes, if targets are texts.
        labels: The measures of its labels, if targets are labels, or for sources by Bayes' rule.
        measures: Further measures, such as BLEU, with their signatures.
        baselines: The same measures of methods without a network, by name.
        scores: The scores of methods without a network.
        notes: Messages for the user.
    """

    model: ModelScore
    text: dict[str, Any]
    texts: TextMeasures | None = None
    labels: LabelMeasures | None = None
    measures: dict[str, Any] = field(default_factory=dict)
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    scores: tuple[BaselineScore, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the notes as JSON values."""
        facts = {"text": self.text} | self.model.to_dict()
        for measures in (self.texts, self.labels):
            if measures is not None:
                facts["measures"] = measures.to_dict() | self.measures
        baselines = [one.to_dict() for one in self.scores]
        baselines += [{"name": name, "measures": one} for name, one in self.baselines.items()]
        return facts | {"baselines": baselines}


class PairEvaluation:
    """The evaluation of a model of pairs on a file of pairs.

    Args:
        request: What to evaluate and how.
        saved: The model.
        on_progress: Called while the text is read, and while targets are written.
    """

    def __init__(
        self, request: EvalRequest, saved: Saved, on_progress: OnProgress = no_progress
    ) -> None:
        for name in UNUSABLE:
            if getattr(request, name):
                raise UsageError(f"`{name}` cannot be used with a model of pairs.")
        self.reader = reader_of(saved)
        self.source: SourceConfig = self.reader.config
        if request.by_label and self.source.source != "label":
            raise UsageError("`by_label` needs a model whose sources are labels.")
        self.request, self.saved, self.on_progress = request, saved, on_progress

    @cached_property
    def sides(self) -> tuple[Sides, Sides | None, tuple[str, ...]]:
        """The pairs to evaluate, those that the baselines learn from, and notes."""
        options = self.request.options
        if not self.request.texts:
            held = held_out_pairs(self.request.model, self.saved, self.source, self.on_progress)
            return _valid(held), _train(held), (held_out_note(held),)
        text = self._read(self.request.texts)
        train = self._whole(self._read(options.train)) if options.train else None
        if options.valid_fraction is None:
            return self._whole(text), train, text.notes
        split = split_pairs(text, self.source, options.valid_fraction)
        return _valid(split), train or _train(split), text.notes

    def _read(self, paths: Sequence[str]) -> Text:
        encoding = self.request.options.reading.encoding
        return read_text(paths, encoding=encoding, on_progress=self.on_progress)

    def _whole(self, text: Text) -> Sides:
        parts = [whole_part(text, self.source, source=source) for source in (True, False)]
        return parts[0], parts[1]

    @cached_property
    def overlap(self) -> TrainingOverlap:
        """How much of the targets was seen in training; nothing is known about that of labels."""
        return training_overlap(self.saved, self.targets)

    @cached_property
    def targets(self) -> Encoded:
        """The targets, as ids in a mapped file."""
        (_, targets), _, _ = self.sides
        if self.request.unknown == "error":
            units = targets.units("Looking for unknown characters")
            refuse_unknown(self.saved.tokenizer, units, "targets")
        return encode_to_tempfile(self.saved.tokenizer, targets, "Encoding the targets")

    @cached_property
    def encoded(self) -> Encoded:
        """The targets with their sources, as ids in mapped files."""
        (sources, _), _, _ = self.sides
        read = encode_to_tempfile(self.reader.encoder, sources, "Encoding the sources")
        sha256 = hashlib.sha256(f"{read.sha256}{self.targets.sha256}".encode()).hexdigest()
        assert read.starts is not None
        return replace(self.targets, sources=self.reader.of(read.ids, read.starts), sha256=sha256)

    def report(self) -> PairReport:
        """Score the targets, measure what the model makes of the sources, and baselines."""
        encoded, scorer = self.encoded, self._scorer()
        if isinstance(self.saved.tokenizer, LabelTokenizer):
            return self._label_report(scorer, encoded)
        breakdown = scorer.score(encoded)
        report = self._report(scorer, breakdown)
        if self.request.by_label:
            return replace(report, labels=self._labels_by_bayes(scorer, encoded))
        report = replace(report, scores=self._language_model())
        if self.source.source == "label" or not self.request.beam:
            return report
        return self._text_report(report)

    def tokens(self) -> tuple[str, "Iterator[tuple[str, list[Surprisal]]]"]:
        """Return the signature, and each source with the surprisals of its target's tokens."""
        encoded, scorer = self.encoded, self._scorer()
        signature = self._signature(scorer)
        (_, targets), _, _ = self.sides
        return signature, self._by_pair(scorer.pair_tokens(targets.read(), encoded), encoded)

    def _by_pair(
        self, tokens: "Iterator[Surprisal]", encoded: Encoded
    ) -> "Iterator[tuple[str, list[Surprisal]]]":
        assert encoded.starts is not None
        lengths = np.diff(np.append(encoded.starts, len(encoded.ids)))
        (sources, _), _, _ = self.sides
        for source, length in zip(sources.units(), lengths, strict=True):
            yield source.removesuffix(END), list(islice(tokens, int(length)))

    def _scorer(self) -> "Scorer":
        scorer = open_scorer(self.saved, self.request.options)
        scorer.on_progress = self.on_progress
        return scorer

    def _signature(self, scorer: "Scorer") -> str:
        return scorer.signature(PROTOCOL, self.encoded.sha256, overlap=self.overlap)

    def _report(self, scorer: "Scorer", breakdown: ScoreBreakdown) -> PairReport:
        name, signature = str(self.request.model), self._signature(scorer)
        model = ModelScore(name, self.saved, breakdown, PROTOCOL, signature, self.overlap)
        text = text_facts(self.sides[0][1].text.name, self.encoded)
        return PairReport(model, text, notes=self.overlap.notes)

    def _label_report(self, scorer: "Scorer", encoded: Encoded) -> PairReport:
        """Return the report of a model of labels, and its baselines."""
        labels = self.saved.tokenizer
        assert isinstance(labels, LabelTokenizer)
        breakdown, found = scorer.classify(encoded)
        measures = LabelMeasures.of(labels.labels, encoded.ids, found)
        usual = max(range(labels.size), key=labels.counts.__getitem__)
        share = float((encoded.ids == usual).mean())
        name = f"most frequent label, {labels.labels[usual]!r}"
        baselines: dict[str, dict[str, Any]] = {name: {"accuracy": share}}
        (sources, targets), train, _ = self.sides
        if train is not None and self.source.source == "text" and self._wants_baselines:
            for unit, order in ORDERS.items():
                bayes = NaiveBayes(_pairs(train), unit)
                right = [bayes.classify(s) == t for s, t in _pairs((sources, targets))]
                accuracy = sum(right) / len(right)
                baselines[f"naive Bayes, {unit}, up to {order}-grams"] = {"accuracy": accuracy}
        report = self._report(scorer, breakdown)
        return replace(report, labels=measures, baselines=baselines)

    def _labels_by_bayes(self, scorer: "Scorer", encoded: Encoded) -> LabelMeasures:
        """Return how often the label that explains a text best is its own."""
        labels = self.reader.tokenizer
        assert isinstance(labels, LabelTokenizer)
        true, nats = scorer.nats_by_label(encoded, labels.counts)
        return LabelMeasures.of(labels.labels, true, nats.argmin(axis=1))

    @property
    def _wants_baselines(self) -> bool:
        return self.request.options.baselines is not False

    def _language_model(self) -> tuple[BaselineScore, ...]:
        """Return the score of the targets by an n-gram that has seen those of the training set."""
        (_, targets), train, _ = self.sides
        if train is None or not self._wants_baselines:
            return ()
        learned, text = train[1].read(), targets.read()
        alphabet = Alphabet.of(learned)
        ids = alphabet.encode(text)
        nats = ngram_nats(alphabet.encode(learned), ids, alphabet.size).sum()
        nats += alphabet.unknown_nats * int((ids == 0).sum())
        return (BaselineScore.of(f"{ORDER}-gram of targets, without sources", nats, text),)

    def _text_report(self, report: PairReport) -> PairReport:
        references = dict[str, list[str]]()
        for source, target in _pairs(self.sides[0]):
            references.setdefault(source, []).append(target)
        found = list(self.written(references))
        texts = TextMeasures.of(found)
        translation = bleu_and_chrf(found)
        notes, baselines = report.notes, dict[str, dict[str, Any]]()
        if translation is None:
            notes = (*notes, "For BLEU and chrF: pip install 'charrnn[mt]'")
        if self.source.source == "text" and self._wants_baselines:
            copied = TextMeasures.of(references.items())
            baselines["copy of the source"] = copied.to_dict()
        measures = {"beam": self.request.beam} | (translation or {})
        return replace(report, texts=texts, measures=measures, baselines=baselines, notes=notes)

    @cached_property
    def _generator(self) -> Generator:
        return Generator(numpy_model(self.saved), self.saved.tokenizer, END)

    def _given(self, source: str) -> Generator:
        """Return the model for one source, whose unknown characters are the unknown symbol."""
        return with_source(self._generator, self.reader.read(source, "replace"))

    def written(self, references: dict[str, list[str]]) -> Iterator[tuple[str, list[str]]]:
        """Yield what the model writes for each source, with the references for it."""
        longest = max(len(one) for targets in references.values() for one in targets)
        config = SamplingConfig(length=max(MIN_LENGTH, 2 * longest))
        for number, (source, targets) in enumerate(references.items(), 1):
            (best,) = search(self._given(source), "", config, beam=self.request.beam)
            yield best.text, targets
            self.on_progress(WRITING, number, len(references))


def _train(split: PairSplit) -> Sides:
    return split.sources.train, split.targets.train


def _valid(split: PairSplit) -> Sides:
    return split.sources.valid, split.targets.valid


def _pairs(sides: Sides) -> Iterator[tuple[str, str]]:
    """Yield the source and the target of each pair, without their ends."""
    plain = ((unit.removesuffix(END) for unit in part.units()) for part in sides)
    yield from zip(*plain, strict=True)
