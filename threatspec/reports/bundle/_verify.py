"""Verifying: everything that a bundle can be asked without running anything."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping

from threatspec.claims import CampaignVerdict
from threatspec.reports.bundle._again import again_checks
from threatspec.reports.bundle._bundle import Bundle
from threatspec.reports.bundle._check_cells import cell_checks
from threatspec.reports.bundle._check_claims import claim_checks
from threatspec.reports.bundle._check_instruments import instrument_checks
from threatspec.reports.bundle._check_labels import label_checks
from threatspec.reports.bundle._check_records import record_checks
from threatspec.reports.bundle._check_spend import spend_checks
from threatspec.reports.bundle._check_verdicts import expired, recompute, verdict_checks
from threatspec.reports.bundle._checks import Check, Status, Verification, found, unknown
from threatspec.reports.bundle._judging import judging_check
from threatspec.reports.bundle._matter import Matter
from threatspec.reports.bundle._pause import uncollected
from threatspec.reports.bundle._receipts import receipt_checks
from threatspec.reports.bundle._recompile import recompiled
from threatspec.reports.bundle._replicates import replicate_checks
from threatspec.reports.bundle._unknowable import unknowable

__all__ = ["verify_bundle"]


@uncollected()
def verify_bundle(
    bundle: Bundle,
    *,
    receipts: Mapping[str, bytes] | None = None,
    today: datetime.date | None = None,
) -> Verification:
    """Compute every verdict again, and look at whatever the records are tied together by.

    Args:
        bundle: an open bundle.
        receipts: further files that may cover its plan, by name.
        today: day at which something may have expired; absent = today.
    """
    matter = Matter(bundle)
    verdict = recompute(matter)
    checks = tuple(_checks(matter, verdict, receipts or {}))
    day = today or datetime.datetime.now(datetime.UTC).date()
    return Verification(
        plan=matter.plan_id,
        plan_sha256=bundle.plan_sha256,
        created=bundle.manifest.created,
        as_of=bundle.as_of,
        finished=bundle.manifest.finished,
        checks=checks,
        expired=expired(verdict, day, matter) if verdict else {},
        recorded=bundle.recorded,
        verdict=verdict,
    )


def _checks(
    matter: Matter, verdict: CampaignVerdict | None, receipts: Mapping[str, bytes]
) -> Iterator[Check]:
    number = len(matter.bundle.manifest.files)
    text = f"{number} files have the sizes and sha256 that the manifest says"
    yield found("files", (), text)  # whatever has not was refused when it was opened
    structure = [*claim_checks(matter), *cell_checks(matter), *instrument_checks(matter)]
    yield from structure
    yield _recompiled(matter, structure)
    yield from record_checks(matter)
    yield from spend_checks(matter)
    yield judging_check(matter)
    yield from again_checks(matter)
    yield from replicate_checks(matter)
    yield from label_checks(matter)
    yield from verdict_checks(matter, verdict)
    yield from receipt_checks(matter, receipts)
    yield from unknowable(matter)


def _recompiled(matter: Matter, structure: list[Check]) -> Check:
    """A spec that asks for far more than its plan holds would take long to compile."""
    if any(check.status is Status.FAIL for check in structure):
        return unknown("compiled again", "the plan does not fit its spec, so it was not made again")
    return recompiled(matter)
