"""Judges on labelled rows: replies that people labelled, in a benchmark's items."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

from pydantic import Field

from threatspec.cli._judge_option import ChosenJudge
from threatspec.cli._judge_rates import ALPHA, TOLD, Rate
from threatspec.errors import ExitCode, ThreatspecError
from threatspec.measures import Benchmark, Item, Response
from threatspec.records import Outcome
from threatspec.schema import Model
from threatspec.statistics import Agreement, lower_bound, upper_bound

__all__ = ["Compared", "JudgeCompared", "compared"]


class JudgeCompared(Model):
    """One judge against the labels."""

    judge: str
    exact: bool
    undecided: int
    """Rows that it cannot score; of recalls they are misses, of kappa no part."""
    kappa: float | None = None
    recall_yes: Rate
    """Of rows labelled yes, those that it says yes of."""
    recall_no: Rate
    """Of rows labelled no, those that it says no of."""
    seconds_per_1000: float
    notes: tuple[str, ...] = ()


class PairCompared(Model):
    """Two judges against each other, where both say yes or no."""

    first: str
    second: str
    rows: int
    kappa: float | None = None


class Compared(Model):
    """Judges on labelled rows (`threatspec judges compare --json`)."""

    format: Literal["threatspec/judges-compared/v1"] = Field(
        default="threatspec/judges-compared/v1", alias="schema"
    )
    benchmark: str
    rows: int
    yes: int
    no: int
    confidence: float
    """Of each one-sided bound; exact if the rows are a random sample."""
    judges: tuple[JudgeCompared, ...]
    pairs: tuple[PairCompared, ...]


def compared(found: Benchmark, judges: Sequence[ChosenJudge]) -> Compared:
    """Every judge on the items that have a response and a label.

    Raises ThreatspecError TS-LABELS if there are none.
    """
    items = [item for item in found.items() if item.label]
    if not items:
        text = f"{found.name} must have items with `response` and `label`, but has none"
        raise ThreatspecError("TS-LABELS", text, exit_code=ExitCode.USAGE)
    answers = {judge.name: _asked(judge, items) for judge in judges}
    labels = [Outcome(item.label) for item in items]
    return Compared(
        benchmark=found.name,
        rows=len(items),
        yes=labels.count(Outcome.YES),
        no=labels.count(Outcome.NO),
        confidence=1 - ALPHA,
        judges=tuple(_judge(judge, labels, *answers[judge.name]) for judge in judges),
        pairs=tuple(_pair(a, b, answers[a][0], answers[b][0]) for a, b in combinations(answers, 2)),
    )


def _asked(chosen: ChosenJudge, items: Sequence[Item]) -> tuple[list[Outcome], float]:
    """Answers, and the seconds they took."""
    responses = [Response(item, item.response) for item in items]
    began = time.perf_counter()
    said = chosen.judge.score(responses, chosen.config)
    return [one.outcome for one in said], time.perf_counter() - began


def _judge(
    chosen: ChosenJudge, labels: Sequence[Outcome], said: Sequence[Outcome], seconds: float
) -> JudgeCompared:
    return JudgeCompared(
        judge=chosen.name,
        exact=chosen.judge.exact,
        undecided=sum(one not in TOLD for one in said),
        kappa=_kappa(labels, said),
        recall_yes=_recall(Outcome.YES, labels, said),
        recall_no=_recall(Outcome.NO, labels, said),
        seconds_per_1000=1000 * seconds / len(said),
        notes=tuple(chosen.notes),
    )


def _recall(which: Outcome, labels: Sequence[Outcome], said: Sequence[Outcome]) -> Rate:
    own = [answer for label, answer in zip(labels, said, strict=True) if label is which]
    if not own:
        return Rate()
    found = own.count(which)
    return Rate(
        estimate=found / len(own),
        lower=lower_bound(found, len(own), ALPHA),
        upper=upper_bound(found, len(own), ALPHA),
    )


def _pair(a: str, b: str, one: Sequence[Outcome], other: Sequence[Outcome]) -> PairCompared:
    both = sum(x in TOLD and y in TOLD for x, y in zip(one, other, strict=True))
    return PairCompared(first=a, second=b, rows=both, kappa=_kappa(one, other))


def _kappa(one: Sequence[Outcome], other: Sequence[Outcome]) -> float | None:
    counts = Counter(zip(one, other, strict=True))
    cells = [counts[x, y] for x in TOLD for y in TOLD]
    return Agreement(*cells).kappa if any(cells) else None
