"""Seeds rules `quantile` and `mean`: what is said of a procedure as a whole, not of each replicate.

`quantile` is about the share of all seeds under which the subject withstands: supported if every
replicate passes at half the level and so many passes show the share; refuted if more replicates are
broken than the share allows. `mean` is about the mean over the replicates that were run: units are
prompts, scores their share of replicates, and bounds come from betting on them.
"""

from __future__ import annotations

from collections.abc import Sequence

from threatspec.claims._bounds import Lookup, distinct_operands, evaluate
from threatspec.claims._case import Case, Series
from threatspec.claims._counts import score
from threatspec.claims._evidence import CellEvidence
from threatspec.claims._models import CellReading, SeriesReading, Truth
from threatspec.claims._tally import Basis, Tally
from threatspec.claims._text import down, plural, up
from threatspec.claims._view import View
from threatspec.records import Arm
from threatspec.schema import Operand
from threatspec.statistics import Interval, holm, replicate_alpha, replicates_to_refute, seed_share

__all__ = ["read_series", "seed_share_words"]


def read_series(case: Case) -> tuple[SeriesReading, ...]:
    """One reading per procedure; none for the rule `each`, where cells speak for themselves."""
    match case.view.claim.seeds.rule:
        case "quantile":
            return tuple(_quantile(case, series) for series in case.series)
        case "mean":
            return _means(case)
    return ()


# quantile


def _quantile(case: Case, series: Series) -> SeriesReading:
    view, share = case.view, case.view.claim.seeds.share or 0.0
    passed = [cell for cell in series.cells if _passes(view, cell)]
    level = view.alpha / len(case.series)
    shown = _share(view, len(series.cells), series.procedure.deterministic)
    if _refuted(series, share, level):
        stands = Truth.FALSE
    elif len(passed) == len(series.cells) and shown >= share:
        stands = Truth.TRUE
    else:
        stands = Truth.UNDECIDED
    count = plural(len(series.cells), "replicate")
    says = f"{series.procedure.name}: {len(passed)} of {count} passed"
    if len(passed) == len(series.cells):
        says += f", which shows at least {down(shown)} of seeds; {share:g} are claimed"
    return SeriesReading(procedure=series.procedure.name, stands=stands, says=says)


def _refuted(series: Series, share: float, level: float) -> bool:
    """More replicates are broken than the share of bad seeds that is claimed at most explains."""
    if series.procedure.deterministic:
        return all(cell.p <= level for cell in series.cells)
    broken = sum(cell.p <= replicate_alpha(level) for cell in series.cells)
    needed = replicates_to_refute(len(series.cells), share, level)
    return needed is not None and broken >= needed


def _passes(view: View, cell: CellReading) -> bool:
    evidence = view.cell(cell.cell, cell.arm)
    if cell.counts is not Truth.TRUE or not evidence.usable:
        return False
    truth = evaluate(view.holds, view.lookup(evidence, cell.arm), view.alpha / 2)
    return view.stands(truth) is Truth.TRUE


def _share(view: View, replicates: int, deterministic: bool) -> float:
    """Share of seeds that so many passes show, in the harder case of shared prompts."""
    return 1.0 if deterministic else seed_share(replicates, view.alpha / 2, view.alpha)


def seed_share_words(case: Case) -> str:
    """What the passes say of seeds that were not run; needs bounds at half the level."""
    random = [series for series in case.needed if not series.procedure.deterministic]
    if not random:
        return ""
    fewest = min(len(series.cells) for series in random)
    if not all(_passes(case.view, cell) for series in random for cell in series.cells):
        return (
            "what the replicates say of other seeds is not available: it needs every replicate "
            "within its bound at half the level (`--exhaustive` reads on)"
        )
    shown = down(_share(case.view, fewest, deterministic=False))
    return (
        f"{fewest} of {fewest} seeds passed under each attack; with "
        f"{case.view.claim.confidence * 100:g} % confidence at least {shown} of all seeds would"
    )


# mean


def _means(case: Case) -> tuple[SeriesReading, ...]:
    lookups = [_pooled(case, series) for series in case.series]
    adjusted = holm([_p(case, series, look) for series, look in zip(case.series, lookups,
                                                                     strict=True)])  # fmt: skip
    return tuple(
        _mean(case, series, look, p)
        for series, look, p in zip(case.series, lookups, adjusted, strict=True)
    )


def _p(case: Case, series: Series, lookup: Lookup) -> float:
    """Nothing is refuted by replicates of which it is not known whether they count."""
    if not all(cell.counts is Truth.TRUE for cell in series.cells):
        return 1.0
    return case.view.break_p(lookup)


def _mean(case: Case, series: Series, lookup: Lookup, adjusted_p: float) -> SeriesReading:
    view = case.view
    counting = all(cell.counts is Truth.TRUE for cell in series.cells)
    truth = view.stands(evaluate(view.holds, lookup, view.alpha)) if counting else Truth.UNDECIDED
    if adjusted_p <= view.alpha:
        stands = Truth.FALSE
    else:
        stands = truth if truth is Truth.TRUE else Truth.UNDECIDED
    seen = "; ".join(_seen(view, operand, lookup) for operand in distinct_operands(view.holds)
                     if not operand.arm)  # fmt: skip
    count = plural(len(series.cells), "replicate")
    says = f"{series.procedure.name}: {seen} over {count}"
    return SeriesReading(procedure=series.procedure.name, stands=stands, says=says)


def _seen(view: View, operand: Operand, lookup: Lookup) -> str:
    tally = lookup(operand)
    bounds = tally.bounds(view.alpha) if tally else Interval(0.0, 1.0)
    return f"mean {operand} between {down(bounds.lower)} and {up(bounds.upper)}"


def _pooled(case: Case, series: Series) -> Lookup:
    """Operands of the attacked subject are means over the replicates; others are as they are."""
    view = case.view
    cells = [view.cell(cell.cell, Arm.DEFENDED) for cell in series.cells]
    alone = view.lookup(cells[0], Arm.DEFENDED)

    def find(operand: Operand) -> Tally | None:
        if operand.arm:
            return alone(operand)
        return _mean_tally(view, cells, operand.reading)

    return find


def _mean_tally(view: View, cells: Sequence[CellEvidence], reading: str) -> Tally:
    name, _, key = reading.partition("[")
    measure = view.evidence.plan.measures[name]
    places = view.evidence.layout(name)[key.removesuffix("]")]
    size = sum(len(unit) for unit in measure.order)
    letters = [cell.marks.get(name, b"").ljust(size, b"-") for cell in cells]
    marks = [[score(own, unit, measure.cluster) for own in letters] for unit in places.units]
    count = len(cells)
    scores = tuple(
        (sum(low for low, _ in unit) / count, sum(high for _, high in unit) / count)
        for unit in marks
    )
    yes = sum(low for unit in marks for low, _ in unit)
    most = sum(high for unit in marks for _, high in unit)
    pooled = Tally(
        units=count * len(marks), yes=yes, unknown=most - yes, basis=Basis.MEAN, scores=scores
    )
    error = view.error(reading, cells[0], audited=False)  # labels are of single replicates
    return pooled.model_copy(update={"error": error}) if error else pooled
