"""Procedures that differ by their back-end only: what training really did on either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from threatspec.claims import CellEvidence, Evidence
from threatspec.records import Procedure
from threatspec.schema import canonical_json
from threatspec.training._replay import in_words, realised_differences

__all__ = ["Replay", "replays"]


@dataclass(frozen=True, slots=True)
class Replay:
    """One configuration on two back-ends, with the same seeds on one subject."""

    procedure: str
    subject: str
    replicate: int
    says: tuple[str, ...]
    """Every difference of what was realised; empty if there is none."""


def replays(evidence: Evidence) -> tuple[Replay, ...]:
    """All pairs, in the order of the plan; one replicate stands for the others if it is alike."""
    alike: dict[str, list[Procedure]] = {}
    for procedure in evidence.plan.procedures.values():
        if procedure.trainer:
            key = [procedure.attack, procedure.config, procedure.data, procedure.adversary,
                   procedure.search]  # fmt: skip
            alike.setdefault(canonical_json(key), []).append(procedure)
    return tuple(
        replay
        for found in alike.values()
        for first, second in combinations(found, 2)
        for replay in _pairs(evidence, first, second)
    )


def _pairs(evidence: Evidence, first: Procedure, second: Procedure) -> Iterator[Replay]:
    seen: set[tuple[str, tuple[str, ...]]] = set()
    mine, theirs = _cells(evidence, first), _cells(evidence, second)
    for key, cell in mine.items():
        other = theirs.get(key)
        if other is None or not cell.realised or not other.realised:
            continue
        says = tuple(
            text
            for a, b in zip(cell.realised, other.realised, strict=False)
            for text in in_words(realised_differences(a, b), first.trainer, second.trainer)
        )
        if (key[0], says) not in seen:
            seen.add((key[0], says))
            name = f"{first.name} / {second.name}"
            yield Replay(name, key[0], key[1], says)


def _cells(evidence: Evidence, procedure: Procedure) -> dict[tuple[str, int], CellEvidence]:
    return {
        (cell.cell.subject, cell.cell.replicate): cell
        for cell in evidence.cells.values()
        if cell.cell.procedure == procedure.id
    }
