"""From people's labels of judged replies to what they say of the judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from threatspec.claims._evidence import AuditKey
from threatspec.claims._judge_error import Audit
from threatspec.records import AuditCount, Label, LabelBook, Outcome, Plan, audit, strata

__all__ = ["audits", "audits_of"]


def audits(folder: Path, plan: Plan, marks: Mapping[str, bytes]) -> dict[AuditKey, Audit]:
    """By measure, family of attacks and arm; only where somebody labelled anything.

    Raises ThreatspecError TS-RECORDS if there are labels that cannot be read.
    """
    book = LabelBook.open(folder, plan)
    return audits_of(plan, marks, book.labels, book.seed)


def audits_of(
    plan: Plan, marks: Mapping[str, bytes], labels: Iterable[Label], seed: int
) -> dict[AuditKey, Audit]:
    """The same from labels that were drawn in the order of `seed`."""
    known = tuple(labels)
    if not known:
        return {}
    counts: dict[AuditKey, dict[Outcome, AuditCount]] = {}
    for stratum, count in audit(strata(plan, marks, seed), known).items():
        key = (stratum.measure, stratum.family, stratum.arm)
        counts.setdefault(key, {})[stratum.judged] = count
    found = {key: _audit(own[Outcome.NO], own[Outcome.YES]) for key, own in counts.items()}
    return {key: one for key, one in found.items() if one.negatives or one.positives}


def _audit(no: AuditCount, yes: AuditCount) -> Audit:
    """Whoever cannot tell is taken at the worst."""
    return Audit(
        negatives=no.labelled,
        omitted=no.labelled - no.no,
        positives=yes.labelled,
        confirmed=yes.yes,
    )
