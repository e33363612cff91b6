"""Many subjects at once: one claim about several of them, as a map of subjects x slices.

One written claim that names several subjects has a verdict for each. Beside these stands what was
counted on each subject, untouched and in the run that speaks most against the claim, over all
prompts and over each slice that the measure is shown by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from threatspec.claims import CampaignVerdict, ClaimVerdict, Evidence
from threatspec.records import PlannedClaim
from threatspec.reports._predicates import limit, own_measure
from threatspec.reports._slices import Counted, attacked_counts, untouched_counts
from threatspec.reports._words import percent

__all__ = [
    "WHICH",
    "Side",
    "SubjectLine",
    "SubjectMap",
    "counted_data",
    "short",
    "subject_maps",
    "subjects_data",
]

Side = Literal["untouched", "attacked"]
WHICH: dict[Side, str] = {
    "untouched": "before any attack",
    "attacked": "in the run that speaks most against the claim there",
}
_WEIGHT: tuple[Side, ...] = ("attacked", "untouched")
"""What subjects are ordered by; between equals the second decides."""


@dataclass(frozen=True, slots=True)
class SubjectLine:
    """One subject, with what was counted by slice; "" is all prompts, None was not read."""

    subject: str
    claim: ClaimVerdict
    untouched: dict[str, Counted | None]
    attacked: dict[str, Counted | None]

    def of(self, side: Side) -> dict[str, Counted | None]:
        """What was counted before any attack, or under attack."""
        return self.untouched if side == "untouched" else self.attacked


@dataclass(frozen=True, slots=True)
class SubjectMap:
    """What one written claim reads on all its subjects; the worst subject is the first."""

    claim: str
    """Id as it is written, with what is the same for all its subjects."""
    holds: str
    measure: str
    key: str
    """What the slices are of; "" where the measure is shown by none."""
    values: tuple[str, ...]
    """Slices without their key, the one with the worst mean over subjects first."""
    lines: tuple[SubjectLine, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of readings in a line: all prompts first."""
        return ("", *(f"{self.key}={value}" for value in self.values))

    def squares(self, line: SubjectLine, side: Side) -> tuple[tuple[str, int | None, str], ...]:
        """By column: number, level of colour (0 to 10; None: it was not read), and counts."""
        return tuple(_square(line.of(side)[name]) for name in self.columns)

    @property
    def unknown(self) -> bool:
        """Whether any number leaves something open: what could not be judged counts as no."""
        return any(one.tally.unknown for one in self._counted)

    @property
    def partly(self) -> bool:
        """Whether any number is of a part of its slice: its cell was settled early."""
        return any(one.partly for one in self._counted)

    @property
    def _counted(self) -> Iterator[Counted]:
        found = (one for line in self.lines for side in WHICH for one in line.of(side).values())
        return (one for one in found if one)


def subject_maps(evidence: Evidence, verdict: CampaignVerdict) -> tuple[SubjectMap, ...]:
    """One map for each written claim about several subjects and each key of slices."""
    planned = {one.id: one for one in evidence.plan.claims}
    groups: dict[str, list[tuple[PlannedClaim, ClaimVerdict]]] = {}
    for claim in verdict.claims:
        one = planned[claim.id]
        groups.setdefault(_written(one), []).append((one, claim))
    several = ((name, found) for name, found in groups.items() if len(found) > 1)
    return tuple(one for name, found in several for one in _maps(evidence, name, found))


def short(counted: Counted | None) -> str:
    """Percent for a narrow cell; a star: something of it is unknown; a ring: a part was read."""
    if counted is None:
        return "–"
    unknown, partly = "*" if counted.tally.unknown else "", "°" if counted.partly else ""
    return f"{percent(counted.tally.rate)}{unknown}{partly}"


def _square(counted: Counted | None) -> tuple[str, int | None, str]:
    if counted is None:
        return short(None), None, ""
    tally = counted.tally
    return short(counted), round(tally.rate * 10), f"{tally.yes} of {tally.units}"


def subjects_data(maps: Sequence[SubjectMap]) -> list[dict[str, object]]:
    """The maps as plain data: counts, and the run that they are of."""
    return [
        {
            "claim": one.claim, "holds": one.holds, "measure": one.measure, "key": one.key,
            "subjects": [_line_data(one, line) for line in one.lines],
        }
        for one in maps
    ]  # fmt: skip


def _written(planned: PlannedClaim) -> str:
    """The id without the subject, which stands first in brackets where there are several."""
    own = planned.claim.id
    return own + planned.id.removeprefix(own).removeprefix(f"[{planned.subject}]")


def _maps(
    evidence: Evidence, name: str, found: Sequence[tuple[PlannedClaim, ClaimVerdict]]
) -> Iterator[SubjectMap]:
    claim = found[0][1]
    measure = own_measure(claim.holds)
    if measure not in evidence.plan.measures:
        return
    slices = evidence.plan.measures[measure].slices
    keys = dict.fromkeys(part.partition("=")[0] for part in slices)
    for key in keys or ("",):
        columns = ("", *(part for part in slices if key and part.startswith(f"{key}=")))
        lines = [_line(evidence, *one, columns) for one in found]
        at_most = limit(claim.holds).at_most
        lines.sort(key=lambda line: [_order(at_most, (line.of(side)[""],)) for side in _WEIGHT])
        values = sorted(
            columns[1:],
            key=lambda part: _order(at_most, [line.attacked[part] for line in lines]),
        )
        plain = tuple(part.partition("=")[2] for part in values)
        yield SubjectMap(name, claim.holds, measure, key, plain, tuple(lines))


def _line(
    evidence: Evidence, planned: PlannedClaim, claim: ClaimVerdict, columns: Sequence[str]
) -> SubjectLine:
    untouched = untouched_counts(evidence, planned, claim.holds)
    attacked = attacked_counts(evidence, planned, claim)
    return SubjectLine(
        planned.subject,
        claim,
        {name: untouched(name) for name in columns},
        {name: attacked(name) for name in columns},
    )


def _order(at_most: bool, counted: Sequence[Counted | None]) -> tuple[bool, float]:
    """The worst comes first; what was not read comes last."""
    rates = [one.tally.rate for one in counted if one]
    mean = sum(rates) / len(rates) if rates else 0.0
    return not rates, -mean if at_most else mean


def _line_data(found: SubjectMap, line: SubjectLine) -> dict[str, object]:
    return {
        "subject": line.subject,
        "claim": line.claim.id,
        "verdict": line.claim.verdict.value,
        "slices": {
            name or "all": {side: counted_data(line.of(side)[name]) for side in WHICH}
            for name in found.columns
        },
    }


def counted_data(counted: Counted | None) -> dict[str, object] | None:
    """Counts and the run that they are of; None: it was not read."""
    if counted is None:
        return None
    tally = counted.tally
    return {
        "cell": counted.cell, "procedure": counted.procedure, "replicate": counted.replicate,
        "yes": tally.yes, "unknown": tally.unknown, "units": tally.units,
        "planned": counted.planned,
    }  # fmt: skip
