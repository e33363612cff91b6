"""Verdict matrices: claims `for: each` about several subjects, as a table of attacks x subjects.

One written claim stands for a verdict per subject and attack; written claims about the same
subjects share a matrix, each with lines of its own. A broken square tells the cheapest run that
breaks it; any other the run that speaks most against the claim, or why nothing can be said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from threatspec.claims import (
    CampaignVerdict,
    CellState,
    ClaimVerdict,
    Evidence,
    Truth,
    Witness,
    broke_the_model,
)
from threatspec.errors import ExitCode, ThreatspecError
from threatspec.records import Arm, PlannedClaim
from threatspec.reports._rules import rules_apart
from threatspec.reports._words import cell_word, counted, flops, percent
from threatspec.reports._worst import worst
from threatspec.schema import Verdict

__all__ = [
    "MATRIX_SAYS",
    "Band",
    "Line",
    "Matrix",
    "Square",
    "matrices",
    "required",
]

NOT_RUN = "not run"
MATRIX_SAYS = (
    "A square is the verdict of one claim: one attack on one subject, over all of its runs. Where "
    "it is REFUTED, the square tells how many of the runs break the claim, and what the cheapest "
    "of those took, search included. Elsewhere it tells the share in the run that speaks most "
    "against the claim, or why nothing can be said. A dash is an attack that is not made on the "
    "subject."
)
_RUN = frozenset(CellState) - {CellState.NOT_RUN}


@dataclass(frozen=True, slots=True)
class Square:
    """One subject under one attack."""

    claim: ClaimVerdict
    run: int
    """Attacked runs of the subject that are there."""
    planned: int
    breaking: int
    """Of those that are there, how many break the claim."""
    rows: int
    """Distinct training rows of the cheapest run that breaks it; 0: it trained on none."""
    chosen: str
    """Knobs that a search has chosen for that run."""
    note: str
    """In a few words: why nothing is said, or how near the worst run came."""

    @property
    def word(self) -> str:
        """The verdict, unless nothing of it was run."""
        return self.claim.verdict.value if self.run else NOT_RUN

    @property
    def broken(self) -> str:
        """`3 of 5 runs`; "" where no witness refutes it."""
        if self.claim.witness is None:
            return ""
        return f"{self.breaking} of {counted(self.planned, 'run')}"

    @property
    def parts(self) -> tuple[str, ...]:
        """Everything that a square shows, the verdict first."""
        short = f"{self.run} of {self.planned} run" if 0 < self.run < self.planned else ""
        found = (self.word, self.broken, *self.cheapest, self.chosen, self.note, short)
        return tuple(part for part in found if part)

    @property
    def cheapest(self) -> tuple[str, ...]:
        """What the cheapest run that breaks it took; nothing where there is none."""
        return _cheapest(self.claim.witness, self.rows) if self.claim.witness else ()


@dataclass(frozen=True, slots=True)
class Line:
    """One attack; None where it is not planned on a subject."""

    attack: str
    squares: tuple[Square | None, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """The lines of one written claim."""

    claim: str
    says: str
    adversary: str
    holds: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """All that is asked `for: each` attack of the same subjects, in the order of the file."""

    subjects: tuple[str, ...]
    bands: tuple[Band, ...]
    apart: bool = False
    """Whether each band is about one subject alone, the one at its place in `subjects`."""

    @property
    def columns(self) -> tuple[tuple[str, ...], ...]:
        """The subjects of each band."""
        return (
            tuple((name,) for name in self.subjects)
            if self.apart
            else ((self.subjects,) * len(self.bands))
        )

    @property
    def squares(self) -> Iterator[Square]:
        """All that are planned."""
        lines = (line for band in self.bands for line in band.lines)
        return (square for line in lines for square in line.squares if square)

    @property
    def tally(self) -> tuple[tuple[str, int], ...]:
        """How many squares have which word, in the order of verdicts."""
        words = [square.word for square in self.squares]
        names = (*(one.value for one in Verdict), NOT_RUN)
        return tuple((name, words.count(name)) for name in names if name in words)


_Pair = tuple[PlannedClaim, ClaimVerdict]


def matrices(evidence: Evidence, verdict: CampaignVerdict) -> tuple[Matrix, ...]:
    """One for each set of several subjects that claims `for: each` are made about.

    What is asked of one subject only (attacks against its own safeguard) comes last, in one more.
    """
    groups: dict[tuple[str, ...], list[Band]] = {}
    for found in _written(evidence, verdict):
        subjects = tuple(dict.fromkeys(one.subject for one, _ in found))
        groups.setdefault(subjects, []).append(_band(evidence, subjects, found))
    several = [Matrix(names, tuple(bands)) for names, bands in groups.items() if len(names) > 1]
    single = [(names[0], band) for names, bands in groups.items() if len(names) == 1
              for band in bands]  # fmt: skip
    if not several or not single:
        return tuple(several)
    names = tuple(name for name, _ in single)
    return (*several, Matrix(names, tuple(band for _, band in single), apart=True))


def _written(evidence: Evidence, verdict: CampaignVerdict) -> Iterator[Sequence[_Pair]]:
    """What each written claim `for: each` stands for."""
    planned = {one.id: one for one in evidence.plan.claims}
    found: dict[str, list[_Pair]] = {}
    for claim in verdict.claims:
        one = planned[claim.id]
        if one.claim.quantifier == "each":
            found.setdefault(one.claim.id, []).append((one, claim))
    yield from found.values()


def required(found: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
    """Matrices for a page of nothing else. Raises TS-USAGE if there are none."""
    if not found:
        raise ThreatspecError(
            "TS-USAGE",
            "a verdict matrix needs a claim `for: each` about two or more subjects, but the "
            "campaign has none; write such a claim, or ask for `--html`",
            exit_code=ExitCode.USAGE,
        )
    return found


def _band(evidence: Evidence, subjects: Sequence[str], found: Sequence[_Pair]) -> Band:
    squares: dict[str, dict[str, Square]] = {}
    for planned, claim in found:
        line = squares.setdefault(_attack(evidence, planned), {})
        line[planned.subject] = _square(evidence, claim)
    first = found[0][1]
    return Band(
        claim=found[0][0].claim.id,
        says=first.says,
        adversary=first.adversary,
        holds=first.holds,
        lines=tuple(
            Line(name, tuple(line.get(subject) for subject in subjects))
            for name, line in squares.items()
        ),
    )


def _attack(evidence: Evidence, planned: PlannedClaim) -> str:
    """Name of the procedure, and of the perspective where there are two."""
    plan = evidence.plan
    procedures = [plan.cells[cell].procedure for cell in planned.attacked[Arm.DEFENDED]]
    name = plan.procedures[procedures[0]].name
    ends = [one for one in ("safety", "security") if planned.id.endswith(f"[{one}]")]
    return f"{name}, {ends[0]}" if planned.claim.perspective == "both" and ends else name


def _square(evidence: Evidence, claim: ClaimVerdict) -> Square:
    cells = [cell for cell in claim.cells if cell.arm is Arm.DEFENDED]
    witness = claim.witness.cell if claim.witness else ""
    realised = evidence.cells[witness].realised if witness else ()
    return Square(
        claim=claim,
        run=sum(cell.state in _RUN for cell in cells),
        planned=len(cells),
        breaking=sum(cell_word(cell) == "breaks" for cell in cells),
        rows=max((run.rows for run in realised), default=0),
        chosen=next((cell.chosen for cell in cells if cell.cell == witness), ""),
        note=_note(claim),
    )


def _cheapest(witness: Witness, rows: int) -> tuple[str, ...]:
    spent = witness.spend
    parts = [flops(spent.flops) if spent.flops else "", counted(spent.steps, "step"),
             counted(rows, "row")]  # fmt: skip
    kept = (part for part in parts if part and not part.startswith("0 "))
    return tuple(kept) or ("no training",)


def _note(claim: ClaimVerdict) -> str:
    match claim.verdict:
        case Verdict.VACUOUS:
            return _vacuous(claim)
        case Verdict.INADMISSIBLE:
            return _open(list(dict.fromkeys(one.rule for one in rules_apart(claim)[1])))
        case Verdict.REFUTED:
            return ""
        case _:
            run = worst([c for c in claim.cells if c.arm is Arm.DEFENDED], claim.holds)
            return f"worst {percent(run.reading.tally.rate)} %" if run else ""


def _open(rules: Sequence[str]) -> str:
    """The first open rule, and how many others are open."""
    others = f" and {counted(len(rules) - 1, 'other')}" if len(rules) > 1 else ""
    return f"{rules[0]}{others}" if rules else "no valid run"


def _vacuous(claim: ClaimVerdict) -> str:
    for gate in claim.gates:
        if gate.truth is Truth.FALSE:
            if gate.name != "provided":
                return "control breaks untouched"
            return "safeguard broke the model" if broke_the_model(gate) else "of no use untouched"
    if any(one.live is Truth.FALSE or one.breaks is Truth.FALSE for one in claim.controls):
        return "control did not break"
    if all(cell.counts is Truth.FALSE for cell in claim.cells if cell.arm is Arm.DEFENDED):
        return "attack broke the model"
    return ""
