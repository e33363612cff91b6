"""Verdict matrices as plain data: verdicts, and the cheapest runs that break."""

from __future__ import annotations

from collections.abc import Sequence

from threatspec.reports._matrix import Line, Matrix, Square

__all__ = ["matrices_data"]


def matrices_data(found: Sequence[Matrix]) -> list[dict[str, object]]:
    """The matrices as plain data: verdicts, and the cheapest runs that break."""
    return [
        {
            "subjects": list(dict.fromkeys(one.subjects)),
            "claims": [
                {"claim": band.claim, "adversary": band.adversary, "holds": band.holds,
                 "attacks": [_line_data(names, line) for line in band.lines]}
                for names, band in zip(one.columns, one.bands, strict=True)
            ],
        }
        for one in found
    ]  # fmt: skip


def _line_data(subjects: Sequence[str], line: Line) -> dict[str, object]:
    pairs = zip(subjects, line.squares, strict=True)
    return {
        "attack": line.attack,
        "subjects": {name: _square_data(square) for name, square in pairs if square},
    }


def _square_data(square: Square) -> dict[str, object]:
    witness = square.claim.witness
    data: dict[str, object] = {
        "claim": square.claim.id, "verdict": square.claim.verdict.value, "note": square.note,
        "runs": {"planned": square.planned, "run": square.run, "break": square.breaking},
    }  # fmt: skip
    if witness:
        data["witness"] = {
            "cell": witness.cell, "procedure": witness.procedure, "replicate": witness.replicate,
            "chosen": square.chosen, "rows": square.rows, "steps": witness.spend.steps,
            "flops": witness.spend.flops,
        }  # fmt: skip
    return data
