"""Sanity of the order of attacks: one that may do more must not reach less on the same prompts."""

from __future__ import annotations

from collections.abc import Iterator

from threatspec.claims._bounds import bound_of
from threatspec.claims._case import Case, Series
from threatspec.claims._counts import score
from threatspec.claims._evidence import CellEvidence
from threatspec.claims._models import CellReading, Truth
from threatspec.records import Procedure
from threatspec.statistics import Pairs, mcnemar_greater_p

__all__ = ["did_worse"]

_MORE = ("steps", "k", "rank")
"""Knobs of which more lets an attack do more."""


def did_worse(case: Case) -> Iterator[str]:
    """Pairs of attacks where the stronger one reached less (exact McNemar, Bonferroni)."""
    bound = bound_of(case.view.holds)
    if bound is None:
        return
    high = bound.at_most != case.view.some
    pairs = [(a, b) for a in case.series for b in case.series if _stronger(a, b)]
    tests = [(a, b, x, y) for a, b in pairs for x, y in _twins(a, b)]
    for strong, weak, one, other in tests:
        found = _paired(case, bound.measure, case.evidence(other), case.evidence(one))
        pair = found if high else Pairs(found.both, found.second_only, found.first_only,
                                        found.neither)  # fmt: skip
        if mcnemar_greater_p(pair) <= case.view.alpha / len(tests):
            yield (
                f"{strong.procedure.name} reached less than {weak.procedure.name} on the same "
                f"prompts ({found.first_only} against {found.second_only} where they differ), "
                "though it may do more: it is badly tuned"
            )


def _stronger(a: Series, b: Series) -> bool:
    """Whether `a` may do all that `b` may, and more."""
    one, other = a.procedure, b.procedure
    if one.attack != other.attack or one.trainer != other.trainer or one.data != other.data:
        return bool(one.data) and not other.data
    rest = {key for key in {*one.config, *other.config} if one.config.get(key) !=
            other.config.get(key)}  # fmt: skip
    return bool(rest) and rest <= set(_MORE) and all(_more(one, other, key) for key in rest)


def _more(one: Procedure, other: Procedure, key: str) -> bool:
    return float(one.config.get(key) or 0) > float(other.config.get(key) or 0)


def _twins(a: Series, b: Series) -> Iterator[tuple[CellReading, CellReading]]:
    """Cells of equal replicates; what has no randomness meets every replicate."""
    for one in a.cells:
        for other in b.cells:
            equal = one.replicate == other.replicate
            if (equal or a.procedure.deterministic or b.procedure.deterministic) and (
                one.counts is Truth.TRUE and other.counts is Truth.TRUE
            ):
                yield one, other


def _paired(case: Case, reading: str, first: CellEvidence, second: CellEvidence) -> Pairs:
    """Units that both cells decided."""
    name, _, key = reading.partition("[")
    measure = case.view.evidence.plan.measures[name]
    marks = first.marks.get(name, b""), second.marks.get(name, b"")
    units = case.view.evidence.layout(name)[key.removesuffix("]")].at(min(map(len, marks)))
    states = [tuple(score(own, unit, measure.cluster) for own in marks) for unit in units]
    return Pairs(
        both=states.count(((1, 1), (1, 1))),
        first_only=states.count(((1, 1), (0, 0))),
        second_only=states.count(((0, 0), (1, 1))),
        neither=states.count(((0, 0), (0, 0))),
    )
