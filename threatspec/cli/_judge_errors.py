"""Judges against labels: which replies, which labels, which judges, and what these took."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from threatspec.cli._judge_option import items_of, spec_folder
from threatspec.cli._judge_rates import ALPHA, TOLD, Group, Sample, group, parts
from threatspec.cli._labelling import replies_of, require_known
from threatspec.errors import ExitCode, ThreatspecError, did_you_mean
from threatspec.measures import JUDGES, Response, judge_of
from threatspec.records import (
    ABSENT,
    MARKS,
    Label,
    LabelBook,
    Ledger,
    Outcome,
    Pair,
    PlannedMeasure,
    audit,
    consensus,
    strata,
)
from threatspec.schema import Model, canonical_json
from threatspec.statistics import Agreement

__all__ = ["Between", "Evaluation", "JudgeUsed", "Measured", "evaluate"]

_UNREAD = {mark[0] for mark in (ABSENT, MARKS[Outcome.MISSING], MARKS[Outcome.REJECTED])}
"""What no judge was shown."""


class JudgeUsed(Model):
    """A judge and what it costs."""

    judge: str
    recorded: bool
    """Whether its answers are those that the campaign counts."""
    exact: bool
    replies: int
    """Replies that the time was measured on."""
    seconds_per_1000: float | None = None


class Between(Model):
    """Two labellers on the replies of which both say yes or no; drawn by stratum, not weighted."""

    first: str
    second: str
    replies: int
    observed: float
    """The share on which they agree."""
    kappa: float


class Measured(Model):
    """One measure whose replies have been labelled."""

    measure: str
    exact: bool
    """Whether the judge is what the measure means, so that labels correct nothing."""
    labellers: tuple[str, ...]
    between: tuple[Between, ...]
    judges: tuple[JudgeUsed, ...]
    groups: tuple[Group, ...]


class Evaluation(Model):
    """Judges against labels (`threatspec judges evaluate --json`)."""

    format: Literal["threatspec/judges/v1"] = Field(default="threatspec/judges/v1", alias="schema")
    plan: str
    confidence: float
    """Of each one-sided bound."""
    measures: tuple[Measured, ...]


def evaluate(
    ledger: Ledger, book: LabelBook, measure: str | None = None, kinds: Sequence[str] = ()
) -> Evaluation:
    """Every measure that has labels, with its own judge and the judges of `kinds`.

    Raises ThreatspecError for unknown names, and TS-LABELS if there is no label.
    """
    if measure is not None:
        require_known("TS-UNKNOWN-MEASURE", "measure", measure, list(ledger.plan.measures))
    for kind in kinds:
        _require_judge(kind)
    reader = _Reader(ledger, book, kinds)
    wanted = [measure] if measure is not None else list(ledger.plan.measures)
    found = [reader.measured(name) for name in wanted if reader.labels(name)]
    if not found:
        raise ThreatspecError(
            "TS-LABELS",
            f"judges can be compared with labels only, but {book.path} has none of "
            f"{measure or 'any measure'}; label replies: threatspec judges label {ledger.folder}",
            exit_code=ExitCode.USAGE,
        )
    return Evaluation(plan=ledger.plan.id, confidence=1 - ALPHA, measures=tuple(found))


def _require_judge(kind: str) -> None:
    if kind not in JUDGES:
        text = f"unknown judge {kind!r}{did_you_mean(kind, JUDGES.names())}"
        raise ThreatspecError("TS-UNKNOWN-JUDGE", text, exit_code=ExitCode.USAGE)


class _Reader:
    """Reads one campaign and its labels."""

    def __init__(self, ledger: Ledger, book: LabelBook, kinds: Sequence[str]) -> None:
        self.ledger, self.plan, self.book, self.kinds = ledger, ledger.plan, book, kinds
        self.marks = ledger.marks()
        found = strata(ledger.plan, self.marks, book.seed)
        counts, said = audit(found, book.labels), consensus(book.labels)
        self.samples = [
            Sample(part, len(pairs), counts[part],
                   {pair: said[pair] for pair in pairs[: counts[part].labelled]})
            for part, pairs in found.items()
            if pairs
        ]  # fmt: skip

    def labels(self, measure: str) -> list[Label]:
        """All labels of a measure's replies, whether they count or not."""
        trials = self._trials(measure)
        return [label for label in self.book.labels if label.trial in trials]

    def measured(self, measure: str) -> Measured:
        """Everything about one measure."""
        planned = self.plan.measures[measure]
        samples = [sample for sample in self.samples if sample.stratum.measure == measure]
        others = list(self._others(planned, [p for sample in samples for p in sample.labels]))
        own = planned.judge["use"]
        used = JudgeUsed(
            judge=own, recorded=True, exact=planned.exact, **_timed(*self._work(measure))
        )
        answers = {other.used.judge: other.judged for other in others}
        said = _by_labeller(self.labels(measure))
        return Measured(
            measure=measure,
            exact=planned.exact,
            labellers=tuple(said),
            between=tuple(_between(said)),
            judges=(used, *(other.used for other in others)),
            groups=tuple(group(part, own, answers) for part in parts(samples)),
        )

    def _trials(self, measure: str) -> set[str]:
        cells = self.plan.cells.values()
        return {trial for cell in cells for trial in cell.measures.get(measure, ())}

    def _work(self, measure: str) -> tuple[int, float]:
        """Replies that the recorded judge was shown, and the seconds it took for them."""
        results = self.ledger.results()
        done = self._trials(measure) & results.keys()
        marks = Counter(b"".join(self.marks.get(trial, b"") for trial in done))
        replies = sum(n for mark, n in marks.items() if mark not in _UNREAD)
        return replies, sum(results[trial].spend.seconds for trial in done)

    # other judges

    def _others(self, planned: PlannedMeasure, pairs: Sequence[Pair]) -> Iterator[_Other]:
        """Every judge that was asked for, on the labelled replies as they were generated."""
        if self.kinds:
            items = items_of(self.ledger, planned)
            replies = replies_of(self.ledger, pairs)
            shown = [
                Response(items[reply.item], reply.span(planned.span)) for reply in replies.values()
            ]
            folder, pairs = spec_folder(self.ledger), list(replies)
            for kind in dict.fromkeys(self.kinds):
                for name, settings in self._settings(kind):
                    yield _judged(kind, name, settings, folder, shown, pairs)

    def _settings(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Those of every measure that uses the judge, else its defaults."""
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for measure, planned in self.plan.measures.items():
            if planned.judge["use"] == kind:
                found.setdefault(
                    canonical_json(planned.judge), (measure, planned.judge["settings"])
                )
        if len(found) <= 1:
            yield kind, next(iter(found.values()))[1] if found else {}
            return
        yield from ((f"{kind} of {measure}", judge) for measure, judge in found.values())


@dataclass(frozen=True, slots=True)
class _Other:
    """A judge that was asked again."""

    used: JudgeUsed
    judged: Mapping[Pair, Outcome]


def _judged(
    kind: str,
    name: str,
    settings: Mapping[str, Any],
    folder: Path,
    shown: Sequence[Response],
    pairs: Sequence[Pair],
) -> _Other:
    try:
        judge, config = judge_of({"use": kind, "settings": settings}, folder)
    except ValidationError as error:
        missing = ", ".join(str(part) for one in error.errors() for part in one["loc"])
        raise ThreatspecError(
            "TS-USAGE",
            f"judge {kind!r} must be given {missing}, but no measure of the plan uses it; choose "
            "another judge",
            exit_code=ExitCode.USAGE,
        ) from None
    began = time.perf_counter()
    answers = judge.score(shown, config)
    seconds = time.perf_counter() - began
    used = JudgeUsed(judge=name, recorded=False, exact=judge.exact, **_timed(len(shown), seconds))
    outcomes = (answer.outcome for answer in answers)
    return _Other(used, dict(zip(pairs, outcomes, strict=True)))


def _timed(replies: int, seconds: float) -> dict[str, Any]:
    return {"replies": replies, "seconds_per_1000": 1000 * seconds / replies if replies else None}


# labellers


def _by_labeller(labels: Sequence[Label]) -> dict[str, dict[Pair, Outcome]]:
    """The last label of each labeller for each reply."""
    found: dict[str, dict[Pair, Outcome]] = {
        name: {} for name in sorted({la.labeller for la in labels})
    }
    for label in labels:
        found[label.labeller][label.pair] = label.label
    return found


def _between(said: Mapping[str, Mapping[Pair, Outcome]]) -> Iterator[Between]:
    for first, second in combinations(said, 2):
        one, other = said[first], said[second]
        both = Counter((one[pair], other[pair]) for pair in one.keys() & other.keys())
        cells = [both[a, b] for a in TOLD for b in TOLD]
        if any(cells):
            found = Agreement(*cells)
            yield Between(
                first=first,
                second=second,
                replies=found.items,
                observed=found.observed,
                kappa=found.kappa,
            )
