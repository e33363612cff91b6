"""From evidence to verdicts, and from verdicts to the exit code of a process."""

from __future__ import annotations

from collections.abc import Sequence

from threatspec.claims._case import Case, open_case
from threatspec.claims._costs import cost_curves
from threatspec.claims._evidence import Evidence
from threatspec.claims._findings import find
from threatspec.claims._governance import governance, protects
from threatspec.claims._models import CampaignVerdict, ClaimVerdict
from threatspec.claims._rules import rule
from threatspec.claims._scope import scope
from threatspec.claims._series import seed_share_words
from threatspec.claims._turning import turning
from threatspec.claims._view import View
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
    plan, views = evidence.plan, [View(evidence, planned) for planned in evidence.plan.claims]
    return CampaignVerdict(
        plan=evidence.plan_id,
        spec_file=plan.spec_file,
        complete=all(view.complete for view in views),
        claims=tuple(_answer(open_case(view)) for view in views),
    )


def exit_code(
    verdicts: CampaignVerdict | Sequence[ClaimVerdict], *, accept_waivers: bool = False
) -> ExitCode:
    """What a process ends with: the first of 1, 7, 5, 6 that a claim calls for, else 0.

    A claim that is supported with rules waived ends with 6, unless waivers are accepted.
    """
    claims = verdicts.claims if isinstance(verdicts, CampaignVerdict) else verdicts
    if not claims:
        return ExitCode.VACUOUS
    codes = {_code(claim, accept_waivers) for claim in claims}
    return next(code for code in _PRECEDENCE if code in codes)


def _code(claim: ClaimVerdict, accept_waivers: bool) -> ExitCode:
    if not claim.passed:
        return _CODES[claim.verdict]
    return ExitCode.INCONCLUSIVE if claim.waived and not accept_waivers else ExitCode.OK


def _answer(case: Case) -> ClaimVerdict:
    view, claim, findings = case.view, case.view.claim, find(case)
    ruling = rule(case, findings)
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
        seeds_rule=claim.seeds.rule,
        subject=view.planned.models[Arm.DEFENDED],
        adversary=claim.against,
        witness=ruling.witness,
        cells=(*case.cells, *controls),
        controls=tuple(control.reading for control in case.controls),
        gates=case.gates,
        series=findings.series,
        rules=findings.rules,
        flags=findings.flags,
        costs=cost_curves(case),
        seeds=seed_share_words(case) if ruling.verdict is Verdict.SUPPORTED else "",
        turning=turning(case, ruling.verdict),
        run=view.evidence.registration.runs.get(view.planned.id, 1),
        dropped=case.dropped,
        not_run=view.planned.not_run,
        protects=protects(case),
        governance=governance(view.evidence.plan),
        next_step=ruling.next_step,
    )
