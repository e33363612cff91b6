"""`for: some`: one attack that reaches what is claimed, in every replicate, supports the claim.

Holm runs over procedures; within one, every replicate must pass, so the largest of its p-values
counts (intersection-union).
"""

from __future__ import annotations

from dataclasses import dataclass

from threatspec.claims._case import Case, Series
from threatspec.claims._cells import cost
from threatspec.claims._models import Truth, Witness
from threatspec.claims._text import plural
from threatspec.claims._words import break_words, spend_words
from threatspec.statistics import holm

__all__ = ["Reached", "reached", "witness_of"]


@dataclass(frozen=True, slots=True)
class Reached:
    """Procedures that establish `holds` in all of their replicates."""

    series: tuple[Series, ...]
    of: int
    """Planned procedures: the family of Holm."""

    @property
    def cheapest(self) -> Series:
        """The one whose dearest replicate costs least."""
        return min(self.series, key=lambda series: max(map(cost, series.cells)))


def reached(case: Case) -> Reached | None:
    """What supports the claim, or nothing."""
    adjusted = holm([_p(series) for series in case.series])
    found = [
        series for series, p in zip(case.series, adjusted, strict=True) if p <= case.view.alpha
    ]
    return Reached(tuple(found), len(case.series)) if found else None


def witness_of(case: Case, series: Series) -> Witness:
    """The weakest replicate stands for its procedure."""
    weakest = max(series.cells, key=lambda cell: (cell.p, cell.cell))
    count = plural(len(series.cells), "replicate")
    every = "" if series.procedure.deterministic else f" in each of {count}, the weakest with"
    how = f"the search chose {weakest.chosen}; " if weakest.chosen else ""
    return Witness(
        cell=weakest.cell,
        procedure=weakest.procedure,
        replicate=weakest.replicate,
        spend=weakest.spend,
        says=(
            f"{weakest.procedure} ({how}{spend_words(weakest.spend)}) succeeds{every or ':'} "
            f"{break_words(case.view, weakest)}"
        ),
    )


def _p(series: Series) -> float:
    """A replicate that cannot speak speaks against its procedure."""
    if any(cell.counts is not Truth.TRUE for cell in series.cells):
        return 1.0
    return max((cell.p for cell in series.cells), default=1.0)
