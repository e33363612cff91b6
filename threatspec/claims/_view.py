"""One claim's place in a campaign: how far each cell is read, and what was counted for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from threatspec.claims._bounds import (
    Lookup,
    broken_at,
    evaluate,
    least_refutation_p,
    least_support_p,
    refutation_p,
    support_p,
)
from threatspec.claims._counted import Counts
from threatspec.claims._evidence import CellEvidence, CellState
from threatspec.claims._models import Truth
from threatspec.records import Arm, Procedure, Stream
from threatspec.schema import Predicate, is_judge, operands, parse_predicate
from threatspec.statistics import replicate_alpha

__all__ = ["View"]


@dataclass(frozen=True)
class View(Counts):
    """The evidence of a campaign from the place of one claim.

    A cell that is read until it is settled is seen as it stood at the first look that settled it
    for this claim; rows after that are not read, so that any order of work gives one verdict.
    """

    @property
    def alpha(self) -> float:
        """Chance of error allowed to support, and to refutation."""
        return 1 - self.claim.confidence

    @property
    def support_alpha(self) -> float:
        """Level at which one cell is within its bound; a share of seeds needs its own half."""
        return self.alpha / 2 if self.claim.seeds.rule == "quantile" else self.alpha

    @cached_property
    def holds(self) -> Predicate:
        """What must be true on every attacked cell."""
        return parse_predicate(self.claim.holds)

    @cached_property
    def counts_if(self) -> Predicate | None:
        """What must be true of a cell for it to count."""
        return self.claim.predicate("counts_if")

    @property
    def has_control(self) -> bool:
        """Whether the subject declares a control."""
        return Arm.CONTROL in self.planned.untouched

    @property
    def as_it_is(self) -> bool:
        """Whether the subject is a judge to which nothing is done.

        Its control is one that is known to be bad: that it fails on the same rows shows that they
        can tell. It would show nothing if it had to be good first.
        """
        alone = all(one.attack == "none" for one in self.procedures.values())
        return alone and is_judge(self.planned.models[Arm.DEFENDED])

    @cached_property
    def procedures(self) -> dict[str, Procedure]:
        """Procedures of the claim by id, in the order of the plan."""
        cells = self.evidence.plan.cells
        found = [cells[name].procedure for name in self.planned.attacked.get(Arm.DEFENDED, ())]
        return {name: self.evidence.plan.procedures[name] for name in dict.fromkeys(found)}

    def attacked(self, arm: Arm, procedure: str | None = None) -> tuple[CellEvidence, ...]:
        """Attacked cells of an arm, each once; of one procedure if it is given."""
        cells = self.evidence.plan.cells
        return tuple(
            self.cell(name, arm)
            for name in dict.fromkeys(self.planned.attacked.get(arm, ()))
            if procedure in {None, cells[name].procedure}
        )

    def cell(self, name: str, arm: Arm) -> CellEvidence:
        """An attacked cell as far as this claim reads it."""
        known = self._read.get((name, arm))
        if known is None:
            looks = self.evidence.read(name)
            settled = (cell for cell in looks[:-1] if self.settled(cell, arm))
            known = next(settled, looks[-1])
            if name in self._copies:
                known = replace(known, state=CellState.INVALID, code="TS-R1c")
            self._read[name, arm] = known
        return known

    @cached_property
    def _copies(self) -> frozenset[str]:
        """Cells that use a seed which an earlier replicate of the same attack has used."""
        found: set[str] = set()
        for names in self.planned.attacked.values():
            seen: set[tuple[str, Stream, int]] = set()
            for cell in (self.evidence.plan.cells[name] for name in dict.fromkeys(names)):
                own = {(cell.procedure, *seed) for seed in cell.seeds.items()}
                if own & seen:
                    found.add(cell.id)
                seen |= own
        return frozenset(found)

    @cached_property
    def _read(self) -> dict[tuple[str, Arm], CellEvidence]:
        return {}

    @property
    def complete(self) -> bool:
        """Whether every planned cell was run as far as this claim reads it."""
        attacked = (cell for arm in self.planned.attacked for cell in self.attacked(arm))
        bare = (cell for arm in self.planned.untouched if (cell := self.untouched(arm)))
        return all(cell.state is not CellState.NOT_RUN for cell in (*bare, *attacked))

    # when to stop reading

    def settled(self, cell: CellEvidence, arm: Arm) -> bool:
        """Whether nothing that is still to be read can change what this cell says.

        Labels of people come after the run, so they take no part in where reading stops; a judge
        whose errors only they can tell is read to the end.
        """
        if self._whole(cell) or not cell.usable:
            return False
        counts = self.counts(cell, arm, audited=False)
        if counts is not Truth.TRUE:
            return counts is Truth.FALSE
        lookup = self.lookup(cell, arm, audited=False)
        if self.stands(evaluate(self.holds, lookup, self.support_alpha)) is Truth.TRUE:
            return True
        return self._broken(lookup, self._break_alpha(cell, arm))

    def _whole(self, cell: CellEvidence) -> bool:
        """Whether the claim needs every prompt of a cell."""
        if self.claim.population == "benchmark" or self.claim.seeds.rule == "mean":
            return True
        return any(self.blind(reading, cell, audited=False) for reading in self._decisive)

    @cached_property
    def _decisive(self) -> tuple[str, ...]:
        """What is read on attacked cells."""
        read = [*operands(self.holds), *(operands(self.counts_if) if self.counts_if else ())]
        return tuple(dict.fromkeys(operand.reading for operand in read if not operand.arm))

    def _broken(self, lookup: Lookup, alpha: float) -> bool:
        if self.some:
            return evaluate(self.holds, lookup, alpha) is Truth.TRUE
        return broken_at(self.holds, lookup, alpha)

    def _break_alpha(self, cell: CellEvidence, arm: Arm) -> float:
        """Level at which a cell is broken whatever others say: the first step of Holm."""
        if arm is Arm.DEFENDED and self.claim.seeds.rule == "quantile":
            return replicate_alpha(self.alpha / len(self.procedures))
        return self.alpha / self._family(cell, arm)

    def _family(self, cell: CellEvidence, arm: Arm) -> int:
        if arm is Arm.DEFENDED:
            return len(self.procedures) if self.some else self._sizes[arm].total()
        return self._sizes[arm][cell.cell.procedure]

    @cached_property
    def _sizes(self) -> Mapping[Arm, Counter[str]]:
        """Attacked cells of each arm by procedure: a runner asks after every trial."""
        cells = self.evidence.plan.cells
        return {
            arm: Counter(cells[name].procedure for name in dict.fromkeys(names))
            for arm, names in self.planned.attacked.items()
        }

    @property
    def some(self) -> bool:
        """Whether one attack that reaches `holds` is enough (`for: some`).

        Then everything is mirrored: an attack *breaks* a subject where `holds` is established on
        it, and the universal side is that `holds` is false everywhere.
        """
        return self.claim.quantifier == "some"

    def stands(self, holds: Truth) -> Truth:
        """Whether a subject withstood, given what is known of `holds` on it."""
        if not self.some or holds is Truth.UNDECIDED:
            return holds
        return Truth.FALSE if holds is Truth.TRUE else Truth.TRUE

    def break_p(self, lookup: Lookup) -> float:
        """Exact p-value of "this cell is broken"."""
        return (support_p if self.some else refutation_p)(self.holds, lookup)

    def least_break_p(self, lookup: Lookup) -> float:
        """The same if everything unknown turned out in the attack's favour."""
        return (least_support_p if self.some else least_refutation_p)(self.holds, lookup)

    def counts(self, cell: CellEvidence, arm: Arm, *, audited: bool = True) -> Truth:
        """`counts_if` on a cell; TRUE where the claim has none."""
        if self.counts_if is None:
            return Truth.TRUE
        return evaluate(self.counts_if, self.lookup(cell, arm, audited=audited), self.alpha)
