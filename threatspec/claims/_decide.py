"""From evidence to verdicts, and from verdicts to the exit code of a process."""

from __future__ import annotations

from collections.abc import Sequence

from threatspec.claims._case import Case, open_case
from threatspec.claims._cells import View
from threatspec.claims._evidence import Evidence
from threatspec.claims._governance import governance, protects
from threatspec.claims._models import CampaignVerdict, ClaimVerdict
from threatspec.claims._rules import rule
from threatspec.claims._scope import scope
from threatspec.errors import ExitCode
from threatspec.records import Arm
from threatspec.schema import Verdict

__all__ = ["decide", "exit_code"]

_CODES = {
    Verdict.REFUTED: ExitCode.REFUTED,
    Verdict.SUPPORTED: ExitCode.REFUTED,
    Verdict.INADMISSIBLE: ExitCode.INADMISSIBLE,
    Verdict.VACUOUS: ExitCode.VACUOUS,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}
"""Of a claim that is not as expected."""
_PRECEDENCE = (
    ExitCode.REFUTED,
    ExitCode.INADMISSIBLE,
    ExitCode.VACUOUS,
    ExitCode.INCONCLUSIVE,
    ExitCode.OK,
)


def decide(evidence: Evidence) -> CampaignVerdict:
    """Answer every claim of a campaign, as far as it was run."""
    plan = evidence.plan
    return CampaignVerdict(
        plan=plan.id,
        spec_file=plan.spec_file,
        complete=evidence.complete,
        claims=tuple(_answer(open_case(View(evidence, planned))) for planned in plan.claims),
    )


def exit_code(verdicts: CampaignVerdict | Sequence[ClaimVerdict]) -> ExitCode:
    """What a process ends with: the first of 1, 7, 5, 6 that a claim calls for, else 0."""
    claims = verdicts.claims if isinstance(verdicts, CampaignVerdict) else verdicts
    if not claims:
        return ExitCode.VACUOUS
    codes = {ExitCode.OK if claim.passed else _CODES[claim.verdict] for claim in claims}
    return next(code for code in _PRECEDENCE if code in codes)


def _answer(case: Case) -> ClaimVerdict:
    view, claim = case.view, case.view.claim
    ruling = rule(case)
    expected = claim.expect.verdict if claim.expect else Verdict.SUPPORTED
    controls = tuple(cell for control in case.controls for cell in control.cells)
    return ClaimVerdict(
        id=view.planned.id,
        says=claim.says,
        verdict=ruling.verdict,
        expected=expected,
        because=(claim.expect.because or "") if claim.expect else "",
        passed=ruling.verdict is expected,
        reasons=ruling.reasons,
        scope=scope(case),
        confidence=claim.confidence,
        holds=claim.holds,
        provided=claim.provided or "",
        counts_if=claim.counts_if or "",
        subject=view.planned.models[Arm.DEFENDED],
        adversary=claim.against,
        witness=ruling.witness,
        cells=(*case.cells, *controls),
        controls=tuple(control.reading for control in case.controls),
        gates=case.gates,
        dropped=case.dropped,
        not_run=view.planned.not_run,
        protects=protects(case),
        governance=governance(view.evidence.plan),
        next_step=ruling.next_step,
    )
