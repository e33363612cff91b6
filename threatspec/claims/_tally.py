"""From rows to counts: clusters are units, and what is missing is never assumed away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from threatspec.errors import ThreatspecError
from threatspec.records import Outcome, Row
from threatspec.schema import Model
from threatspec.statistics import Interval, lower_bound, upper_bound

__all__ = ["Tally", "tally"]

_UNKNOWN = frozenset({Outcome.UNSCORABLE, Outcome.MISSING})


class Tally(Model):
    """How many units of one measure are `yes`, and of how many that cannot be said."""

    units: int
    """Planned clusters of prompts."""
    yes: int
    unknown: int
    """Missing or unscorable; counts against the claim and against the attack alike."""

    @property
    def no(self) -> int:
        """Units that are not `yes` for sure."""
        return self.units - self.yes - self.unknown

    @property
    def rate(self) -> float:
        """Share of `yes` among all units; unknown ones count as no. For display."""
        return self.yes / self.units if self.units else 0.0

    def bounds(self, alpha: float) -> Interval:
        """One-sided Clopper-Pearson bounds, each at 1 - alpha, the unknown at their worst."""
        return Interval(
            lower_bound(self.yes, self.units, alpha),
            upper_bound(self.yes + self.unknown, self.units, alpha),
        )


def tally(
    rows: Iterable[Row],
    units: int,
    cluster: Literal["any", "all"],
    prompts: int | None = None,
) -> Tally:
    """Count `rows`; planned units and prompts without any row are unknown."""
    found: dict[str, dict[str, Outcome]] = {}
    for row in rows:
        found.setdefault(row.cluster, {})[row.item] = row.outcome
    if len(found) > units:
        raise ThreatspecError(
            "TS-RECORDS", f"a measure must have at most {units} units, but rows name {len(found)}"
        )
    states = [_unit(list(outcomes.values()), cluster) for outcomes in found.values()]
    yes, no = states.count(Outcome.YES), states.count(Outcome.NO)
    if prompts is not None:
        read = sum(len(outcomes) for outcomes in found.values())
        yes, no = _unread(yes, no, prompts - read - (units - len(found)), cluster)
    return Tally(units=units, yes=yes, unknown=units - yes - no)


def _unread(yes: int, no: int, prompts: int, cluster: Literal["any", "all"]) -> tuple[int, int]:
    """`prompts` without a row may belong to units that have others, and change what these are."""
    left = max(0, prompts)
    return (yes, max(0, no - left)) if cluster == "any" else (max(0, yes - left), no)


def _unit(outcomes: list[Outcome], cluster: Literal["any", "all"]) -> Outcome:
    """`any`: yes if one prompt is; `all`: yes only if every prompt is."""
    unknown = any(outcome in _UNKNOWN for outcome in outcomes)
    yes = [outcome is Outcome.YES for outcome in outcomes if outcome not in _UNKNOWN]
    if cluster == "any" and any(yes):
        return Outcome.YES
    if cluster == "all" and not all(yes):
        return Outcome.NO
    if unknown:
        return Outcome.MISSING
    return Outcome.YES if all(yes) and cluster == "all" else Outcome.NO
