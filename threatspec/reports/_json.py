"""JSON for machines. ASCII only, so control characters in model output stay escapes."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from threatspec.claims import CampaignVerdict, Evidence
from threatspec.reports._details import Details
from threatspec.reports._instruments import instruments_data
from threatspec.reports._matrix_data import matrices_data
from threatspec.reports._model import Report, build
from threatspec.reports._subjects import subjects_data

__all__ = ["report_data", "report_json", "verdict_json"]


def verdict_json(verdict: CampaignVerdict) -> str:
    """The verdicts alone (`threatspec/verdict/v2`)."""
    return _dumped(verdict.model_dump(mode="json", by_alias=True))


def report_json(
    evidence: Evidence, verdict: CampaignVerdict, details: Details | None = None
) -> str:
    """The whole report (`threatspec/report/v2`)."""
    return _dumped(report_data(evidence, verdict, details))


def report_data(
    evidence: Evidence, verdict: CampaignVerdict, details: Details | None = None
) -> dict[str, Any]:
    """The whole report as plain data; details only if they were collected."""
    report = build(evidence, verdict, details)
    plan = evidence.plan
    data: dict[str, Any] = {
        "schema": "threatspec/report/v2",
        "verdict": verdict.model_dump(mode="json", by_alias=True),
        "measures": {name: m.model_dump(mode="json") for name, m in plan.measures.items()},
        "procedures": {name: p.model_dump(mode="json") for name, p in plan.procedures.items()},
        "digests": plan.digests,
        "execution": plan.execution.model_dump(mode="json"),
        "spend": _spend(report),
    }
    if report.subjects:
        data["subjects"] = subjects_data(report.subjects)
    if report.matrices:
        data["matrices"] = matrices_data(report.matrices)
    if report.instruments:
        data["instruments"] = instruments_data(report.instruments)
    if evidence.warnings:
        data["warnings"] = {view.claim.id: view.warnings for view in report.claims}
    if details is not None:
        data["disagreements"] = [asdict(found) for found in details.disagreements]
        data["transcripts"] = [asdict(transcript) for transcript in details.transcripts]
        if details.pictures:
            data["pictures"] = [asdict(found) for found in details.pictures]
        data["timeline"] = details.timeline.data if details.timeline else {}
    return data


def _spend(report: Report) -> dict[str, Any]:
    lines: list[dict[str, Any]] = [
        {"procedure": line.procedure, "subject": line.subject, "runs": line.runs,
         **line.spend.model_dump(mode="json")}
        for line in report.spend
    ]  # fmt: skip
    return {"total": report.total.model_dump(mode="json"), "procedures": lines}


def _dumped(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=1, allow_nan=False)
