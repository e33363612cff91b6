"""What a plan could decide, and what it costs, before anything runs.

Reachability is read from the corners: every operand's count at none or at all of its units. A plan
under which no corner supports and none refutes cannot decide, whatever happens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from threatspec.claims import (
    Basis,
    Bound,
    Lookup,
    Tally,
    Truth,
    bound_of,
    distinct_operands,
    evaluate,
    refutation_p,
    support_p,
)
from threatspec.errors import ExitCode, ThreatspecError
from threatspec.records import Arm, Cell, Plan, PlannedClaim, Spend
from threatspec.schema import Operand, Predicate, parse_predicate
from threatspec.statistics import power_to_support, sequential_power, smallest_units

__all__ = ["ClaimForecast", "Forecast", "forecast", "require_decidable"]

_MOST_CORNERS = 10


@dataclass(frozen=True, slots=True)
class ClaimForecast:
    """What the plan could say of one claim."""

    id: str
    cells: int
    """Attacked cells of the defended subject: the family of Holm."""
    controls: int
    """Attacked cells of the control; without one the claim can only be refuted."""
    units: Mapping[str, int]
    """Units of every measure in `holds`."""
    smallest: float | None
    """Smallest rate of the bounded measure (for `>=`, of its complement) that can be told from 0;
    None if `holds` is more than one bound."""
    can_support: bool
    can_refute: bool
    looks: tuple[int, ...]
    """Units at which a cell is looked at; it is read on until it is settled."""
    expected_units: float | None
    """Units read on average of a cell with `rate_to_support`."""
    rate_to_support: float | None
    """Half the threshold, at which `power_to_support` is computed (for `>=`, half the distance of
    the threshold from 1)."""
    power_to_support: float | None
    """Chance that all cells hold if each has that true rate."""
    power_exhaustive: float | None
    """The same if every cell were read in full (`--exhaustive`)."""
    rate_to_refute: float | None
    """Twice the threshold, at most 1 (for `>=`, twice the distance from 1)."""
    power_to_refute: float | None
    """Chance that one cell of that true rate refutes by itself."""
    predicted: Spend
    """Of all its attacked cells, controls included."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a plan costs and could decide."""

    claims: tuple[ClaimForecast, ...]
    spend: Spend
    """Predicted, over all attacked cells."""
    trials: int
    cells: int


def forecast(plan: Plan) -> Forecast:
    """What `plan` costs and could decide; reads nothing but the plan."""
    return Forecast(
        claims=tuple(_claim(plan, planned) for planned in plan.claims),
        spend=_spend(plan.cells.values()),
        trials=len(plan.trials),
        cells=len(plan.cells),
    )


def require_decidable(plan: Plan) -> None:
    """Raises ThreatspecError TS-UNDECIDABLE if a claim can reach neither SUPPORTED nor REFUTED."""
    for planned, found in zip(plan.claims, forecast(plan).claims, strict=True):
        if not found.can_support and not found.can_refute:
            raise ThreatspecError(
                "TS-UNDECIDABLE", _undecidable(planned, found), exit_code=ExitCode.SPEC
            )


def _undecidable(planned: PlannedClaim, found: ClaimForecast) -> str:
    claim = planned.claim
    units = ", ".join(f"{n} units of {name}" for name, n in found.units.items())
    text = (
        f"a plan must be able to support or to refute each claim, but {units} in each of "
        f"{found.cells} cells can do neither for `{claim.holds}` of claim {planned.id}"
    )
    needed = _units_needed(planned, found)
    if needed is None or needed <= max(found.units.values(), default=0):
        return f"{text}; use more prompts or another bound"
    return f"{text}; use at least {needed} prompts or another bound"


def _units_needed(planned: PlannedClaim, found: ClaimForecast) -> int | None:
    """Units of which the most extreme outcome would decide; support needs a control as well."""
    bound, alpha = bound_of(parse_predicate(planned.claim.holds)), 1 - planned.claim.confidence
    if bound is None:
        return None
    limit, cells = _limit(bound), max(1, found.cells)
    ways = [smallest_units(1 - limit, alpha / cells)]
    ways += [smallest_units(limit, alpha)] if found.controls else []
    return min((way for way in ways if way is not None), default=None)


def _claim(plan: Plan, planned: PlannedClaim) -> ClaimForecast:
    holds = parse_predicate(planned.claim.holds)
    defended = _cells(plan, planned, Arm.DEFENDED)
    controls = _cells(plan, planned, Arm.CONTROL)
    some = planned.claim.quantifier == "some"
    rates = None if some else _Rates.of(plan, planned, bound_of(holds), len(defended))
    family = len({cell.procedure for cell in defended}) if some else len(defended)
    stand = _can_stand(plan, planned, controls)
    return ClaimForecast(
        id=planned.id,
        cells=len(defended),
        controls=len(controls),
        units={o.reading: plan.size(o.reading)[1] for o in distinct_operands(holds)},
        smallest=rates.smallest if rates else None,
        looks=_looks(plan, planned),
        expected_units=rates.expected if rates else None,
        can_support=_can_break(plan, planned, family) if some else stand,
        can_refute=stand if some else _can_break(plan, planned, family),
        rate_to_support=rates.low if rates else None,
        power_to_support=rates.support if rates else None,
        power_exhaustive=rates.whole if rates else None,
        rate_to_refute=rates.high if rates else None,
        power_to_refute=rates.refute if rates else None,
        predicted=_spend({cell.id: cell for cell in (*defended, *controls)}.values()),
    )


@dataclass(frozen=True, slots=True)
class _Rates:
    """Power where `holds` is one bound on one measure."""

    smallest: float
    expected: float
    low: float
    high: float
    support: float
    whole: float
    refute: float

    @classmethod
    def of(
        cls, plan: Plan, planned: PlannedClaim, bound: Bound | None, cells: int
    ) -> _Rates | None:
        if bound is None or not cells or not plan.size(bound.measure)[1]:
            return None
        alpha, limit = 1 - planned.claim.confidence, _limit(bound)
        low, high, looks = limit / 2, min(1.0, 2 * limit), _looks(plan, planned)
        one = Tally(units=looks[-1], yes=0, unknown=0, basis=_basis(looks))
        likely = sequential_power(looks, limit, low, alpha, cells)
        return cls(
            smallest=one.bounds(alpha).upper,
            expected=likely.expected_units,
            low=low if bound.at_most else 1 - low,
            high=high if bound.at_most else 1 - high,
            support=likely.supports**cells,
            whole=power_to_support(looks[-1], limit, low, alpha, cells),
            refute=sequential_power(looks, limit, high, alpha, cells).refutes,
        )


def _looks(plan: Plan, planned: PlannedClaim) -> tuple[int, ...]:
    """Looks at what `holds` reads first; one where a claim needs all prompts."""
    reading = distinct_operands(parse_predicate(planned.claim.holds))[0].reading
    found, units = plan.measures[reading.partition("[")[0]].looks, plan.size(reading)[1]
    whole = planned.claim.population == "benchmark" or planned.claim.seeds.rule == "mean"
    if whole or len(found) < 2:
        return (units,)
    # Units of a slice come whenever the draw brings them: half-way stands for all looks.
    return (max(1, units // 2), units) if "[" in reading else found


def _basis(looks: tuple[int, ...]) -> Basis:
    return Basis.SEQUENTIAL if len(looks) > 1 else Basis.FIXED


def _limit(bound: Bound) -> float:
    """The threshold as an upper one."""
    limit = bound.threshold if bound.at_most else 1 - bound.threshold
    return min(1.0, max(0.0, limit))


def _can_stand(plan: Plan, planned: PlannedClaim, controls: tuple[Cell, ...]) -> bool:
    """The universal side: gates can be true, `holds` as it must be, and the control can break."""
    if planned.models.get(Arm.CONTROL) == planned.models[Arm.DEFENDED]:
        return False  # what must break and what must not are one
    replicates = Counter(cell.procedure for cell in controls)
    if not replicates or not _can_break(plan, planned, max(replicates.values())):
        return False
    claim = planned.claim
    wanted = Truth.FALSE if claim.quantifier == "some" else Truth.TRUE
    if not _can_be(wanted, plan, planned, parse_predicate(claim.holds)):
        return False
    gates = [text for text in (claim.provided, claim.counts_if) if text is not None]
    return all(_can_be(Truth.TRUE, plan, planned, parse_predicate(text)) for text in gates)


def _can_be(wanted: Truth, plan: Plan, planned: PlannedClaim, predicate: Predicate) -> bool:
    alpha = 1 - planned.claim.confidence
    return _some_corner(
        plan, planned, predicate, lambda lookup: evaluate(predicate, lookup, alpha) is wanted
    )


def _can_break(plan: Plan, planned: PlannedClaim, family: int) -> bool:
    """Some corner decides `holds` as the least of `family` p-values, on a cell that counts."""
    alpha, holds = 1 - planned.claim.confidence, parse_predicate(planned.claim.holds)
    counts = planned.claim.predicate("counts_if")
    if not family or (counts and not _can_be(Truth.TRUE, plan, planned, counts)):
        return False
    p_value = support_p if planned.claim.quantifier == "some" else refutation_p
    return _some_corner(
        plan, planned, holds, lambda lookup: p_value(holds, lookup) <= alpha / family
    )


def _some_corner(
    plan: Plan, planned: PlannedClaim, predicate: Predicate, test: Callable[[Lookup], bool]
) -> bool:
    found = distinct_operands(predicate)
    if len(found) > _MOST_CORNERS:
        return True  # too many to go through, and nothing is refused on a guess
    return any(test(corner) for corner in _corners(plan, planned, found))


def _corners(plan: Plan, planned: PlannedClaim, operands: tuple[Operand, ...]) -> Iterator[Lookup]:
    sizes = [plan.size(operand.reading)[1] for operand in operands]
    for counts in product(*((0, units) for units in sizes)):
        corner = {
            str(operand): Tally(units=units, yes=yes, unknown=0, basis=_of(plan, planned, operand))
            for operand, units, yes in zip(operands, sizes, counts, strict=True)
        }
        yield _reader(corner)


def _of(plan: Plan, planned: PlannedClaim, operand: Operand) -> Basis:
    """Attacked cells are read by looks, untouched ones at once; all there are need no bound."""
    if planned.claim.population == "benchmark":
        return Basis.ENUMERATED
    looks = plan.measures[operand.measure].looks
    return _basis(looks) if not operand.arm else Basis.FIXED


def _reader(corner: Mapping[str, Tally]) -> Lookup:
    return lambda operand: corner[str(operand)]


def _cells(plan: Plan, planned: PlannedClaim, arm: Arm) -> tuple[Cell, ...]:
    return tuple(plan.cells[name] for name in dict.fromkeys(planned.attacked.get(arm, ())))


def _spend(cells: Iterable[Cell]) -> Spend:
    attacked = (cell.predicted for cell in cells if cell.attack is not None)
    return sum(attacked, Spend())
