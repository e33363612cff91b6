"""What `threatspec show` shows, as data (`threatspec/show/v2`)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from threatspec.errors import ExitCode, ThreatspecError
from threatspec.records import Cell, Generation, Ledger, Picture, Row, TrialResult
from threatspec.reports import trials_behind

__all__ = ["judged", "outcomes", "pictures_of", "replies_of", "show_json", "warnings_of"]

Judged = tuple[str, tuple[Generation, ...], Row]
"""Name of a measure, the replies that were judged, and how."""


def show_json(ledger: Ledger, cell: Cell | None, prompt: str | None) -> str:
    """All cells, one cell, or one prompt of it. ASCII only: control characters stay escapes."""
    data: dict[str, Any] = {"schema": "threatspec/show/v2"}
    if cell is None:
        data["cells"] = [_named(ledger, one) for one in ledger.plan.cells.values()]
    elif prompt is None:
        data["cell"] = _cell(ledger, cell)
    else:
        found = judged(ledger, cell, prompt)
        data["cell"] = _named(ledger, cell)
        data["replies"] = [reply.model_dump(mode="json") for reply in replies_of(found)]
        if pictures := pictures_of(ledger, cell, prompt):
            data["pictures"] = [picture.model_dump(mode="json") for picture in pictures]
        data["judged"] = {measure: row.model_dump(mode="json") for measure, _, row in found}
    return json.dumps(data, indent=1)


def judged(ledger: Ledger, cell: Cell, prompt: str) -> list[Judged]:
    """The prompt's replies with every judgement of them.

    Raises ThreatspecError TS-UNKNOWN-CELL if the cell has no such prompt, TS-RECORDS if the reply
    is lost.
    """
    found: list[Judged] = []
    for measure, trials in cell.measures.items():
        for trial in trials:
            row = next((r for r in ledger.rows(trial) if r.item == prompt), None)
            if row is not None:
                [asked] = ledger.plan.trials[trial].needs
                found.append((measure, _replies(ledger, asked, prompt), row))
    if not found:
        text = f"{cell.id} must have a judged prompt {prompt!r}, but has none"
        raise ThreatspecError("TS-UNKNOWN-CELL", text, exit_code=ExitCode.USAGE)
    return found


def replies_of(found: Sequence[Judged]) -> tuple[Generation, ...]:
    """Every reply once, under whatever measures it was judged; two of them may have asked apart."""
    return tuple(dict.fromkeys(reply for _, replies, _ in found for reply in replies))


def _replies(ledger: Ledger, asked: str, prompt: str) -> tuple[Generation, ...]:
    """All replies to a prompt; there is one where it is asked once."""
    found = tuple(g for g in ledger.generations(asked) if g.item == prompt)
    if not found:
        text = f"{ledger.folder} must hold the reply that was judged for {prompt!r}, but does not"
        raise ThreatspecError("TS-RECORDS", text)
    return found


def pictures_of(ledger: Ledger, cell: Cell, prompt: str | None = None) -> tuple[Picture, ...]:
    """Images that a cell has shown with a prompt, or at all, as far as they are kept."""
    first = (trials[0] for trials in cell.measures.values() if trials)
    asked = dict.fromkeys(ledger.plan.trials[trial].needs[0] for trial in first)
    found = dict.fromkeys(picture for trial in asked for picture in ledger.pictures(trial))
    return tuple(picture for picture in found if prompt in {None, picture.item})


def warnings_of(ledger: Ledger, cell: Cell, results: Mapping[str, TrialResult]) -> tuple[str, ...]:
    """What weakens the cell without failing it, each once."""
    names = trials_behind(ledger.plan, [cell.id])
    return tuple(dict.fromkeys(w for n in names if n in results for w in results[n].warnings))


def _named(ledger: Ledger, cell: Cell) -> dict[str, Any]:
    procedure = ledger.plan.procedures.get(cell.procedure)
    return {
        "id": cell.id,
        "procedure": procedure.name if procedure else "untouched",
        "subject": cell.subject,
        "replicate": cell.replicate,
    }


def _cell(ledger: Ledger, cell: Cell) -> dict[str, Any]:
    results = ledger.results()
    procedure = ledger.plan.procedures.get(cell.procedure)
    attack = results.get(cell.attack) if cell.attack else None
    return {
        **_named(ledger, cell),
        "seeds": {stream.value: seed for stream, seed in cell.seeds.items()},
        "config": procedure.config if procedure else {},
        "attack": _attack(attack),
        "measures": {name: outcomes(ledger, cell, name) for name in cell.measures},
        **({"warnings": list(found)} if (found := warnings_of(ledger, cell, results)) else {}),
    }


def _attack(result: TrialResult | None) -> dict[str, Any] | None:
    if result is None:
        return None
    fields = {"status", "spend", "realised", "edits", "optimised", "code", "message"}
    return result.model_dump(mode="json", include=fields)


def outcomes(ledger: Ledger, cell: Cell, measure: str) -> dict[str, int]:
    """How often each outcome was read, as far as the cell was read; without any row it is empty."""
    trials = cell.measures[measure]
    return dict(sorted(Counter(r.outcome.value for t in trials for r in ledger.rows(t)).items()))
