"""From people's labels of judged replies to what they say of the judge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from threatspec.claims._evidence import AuditKey
from threatspec.claims._judge_error import Audit
from threatspec.records import AuditCount, LabelBook, Outcome, Plan, audit, strata

__all__ = ["audits"]


def audits(folder: Path, plan: Plan, marks: Mapping[str, bytes]) -> dict[AuditKey, Audit]:
    """By measure, family of attacks and arm; only where somebody labelled anything.

    Raises ThreatspecError TS-RECORDS if there are labels that cannot be read.
    """
    book = LabelBook.open(folder, plan)
    if not book.labels:
        return {}
    found: dict[AuditKey, dict[Outcome, AuditCount]] = {}
    for stratum, count in audit(strata(plan, marks, book.seed), book.labels).items():
        key = (stratum.measure, stratum.family, stratum.arm)
        found.setdefault(key, {})[stratum.judged] = count
    known = {key: _audit(counts[Outcome.NO], counts[Outcome.YES]) for key, counts in found.items()}
    return {key: one for key, one in known.items() if one.negatives or one.positives}


def _audit(no: AuditCount, yes: AuditCount) -> Audit:
    """Whoever cannot tell is taken at the worst."""
    return Audit(
        negatives=no.labelled,
        omitted=no.labelled - no.no,
        positives=yes.labelled,
        confirmed=yes.yes,
    )
