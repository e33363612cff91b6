"""What two campaigns can be compared by: what was asked, and as far as it is there, what was found.

A side is a claims file, a results folder or a bundle.
"""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threatspec.claims import CampaignVerdict, ClaimVerdict
from threatspec.loading import load_spec
from threatspec.records import Ledger, Plan
from threatspec.reports import _words as words
from threatspec.reports.bundle._open import open_bundle
from threatspec.reports.bundle._references import spec_of
from threatspec.reports.bundle._snapshot import take
from threatspec.schema import Spec

__all__ = ["Side", "read_side"]


@dataclass(frozen=True)
class Side:
    """One of two."""

    spec: Spec
    plan: Plan | None = None
    verdict: CampaignVerdict | None = None

    def asked(self) -> dict[str, Any]:
        """The spec by section; entries have names where the file has a list."""
        data = self.spec.model_dump(mode="json", by_alias=True)
        subjects = self.spec.all_subjects.items()
        return {
            "subjects": {name: one.model_dump(mode="json") for name, one in subjects},
            **{name: data[name] for name in ("measures", "serving", "adversaries")},
            "claims": {claim["id"]: claim for claim in data["claims"]},
            **{name: data[name] for name in ("protects", "governance")},
        }

    def found(self, measures: frozenset[str]) -> dict[str, Any]:
        """Digests of what was used, verdicts, witnesses and counts of some measures."""
        if self.plan is None or self.verdict is None:
            return {}
        claims = self.verdict.claims
        return {
            "digests": self.plan.digests,
            "exhaustive": self.plan.execution.exhaustive,
            "verdicts": {claim.id: claim.verdict.value for claim in claims},
            "witnesses": {claim.id: _witness(claim) for claim in claims},
            "cells": {claim.id: _cells(claim, measures) for claim in claims},
        }


def read_side(path: Path) -> Side:
    """Read one side. Raises SpecErrors or ThreatspecError for what cannot be read."""
    if path.is_dir():
        return _folder(path)
    return _bundle(path) if zipfile.is_zipfile(path) else Side(load_spec(path).spec)


def _folder(path: Path) -> Side:
    with Ledger.open(path) as ledger:
        found = take(ledger, datetime.datetime.now(datetime.UTC))
        return Side(spec_of(found.plan), found.plan, found.verdict)


def _bundle(path: Path) -> Side:
    """Verdicts are computed from the records, not taken from the bundle."""
    with open_bundle(path) as bundle:
        return Side(bundle.spec, bundle.plan, bundle.decided())


def _witness(claim: ClaimVerdict) -> Mapping[str, Any] | None:
    """Without times, which differ always."""
    found = claim.witness
    if found is None:
        return None
    spend = {"steps": found.spend.steps, "flops": found.spend.flops}
    return {"procedure": found.procedure, "replicate": found.replicate, **spend}


def _cells(claim: ClaimVerdict, measures: frozenset[str]) -> Mapping[str, Any]:
    """By what people call a cell: ids depend on the program that planned it."""
    return {
        f"{cell.arm.value}/{cell.procedure}/{cell.replicate}": {
            "state": cell.state.value,
            **{
                reading.measure: words.units(reading)
                for reading in cell.readings
                if reading.measure.partition("[")[0] in measures
            },
        }
        for cell in claim.cells
    }
