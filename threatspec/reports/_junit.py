"""JUnit XML for CI: one suite per claims file, one test case per claim.

The schema that Jenkins publishes knows properties of suites only, so what belongs to one claim is
in its case's `system-out`.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from threatspec.claims import CampaignVerdict, Evidence, exit_code
from threatspec.errors import ExitCode
from threatspec.records import Spend
from threatspec.reports import _words as words
from threatspec.reports._claims import ClaimView
from threatspec.reports._details import Details
from threatspec.reports._model import Report, build
from threatspec.reports._rules import rules_in_short
from threatspec.reports._visible import one_line, visible

__all__ = ["render_junit"]


def render_junit(
    evidence: Evidence,
    verdict: CampaignVerdict,
    details: Details | None = None,
    *,
    accept_waivers: bool = False,
) -> str:
    """One document; a claim that alone would not exit 0 is a failure, whatever its verdict."""
    report = build(evidence, verdict, details)
    failures = {view.claim.id: _failure(view, accept_waivers) for view in report.claims}
    root = Element("testsuites")
    suite = SubElement(root, "testsuite", _counts(report, sum(map(bool, failures.values()))))
    properties = SubElement(suite, "properties")
    for name, value in _properties(report, accept_waivers):
        SubElement(properties, "property", name=one_line(name), value=one_line(value))
    for view in report.claims:
        _case(suite, view, report.title, failures[view.claim.id])
    indent(root, " ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _failure(view: ClaimView, accept_waivers: bool) -> tuple[str, str] | None:
    """Type and message, or nothing if the claim passes."""
    claim = view.claim
    if not claim.passed:
        says = f"{claim.verdict.value}, but {view.wanted} was expected: {view.why}"
        return claim.verdict.value, says
    if exit_code([claim], accept_waivers=accept_waivers) is ExitCode.OK:
        return None
    return "waived", f"{claim.verdict.value}, but only with waivers: {view.waivers}"


def _counts(report: Report, failed: int) -> dict[str, str]:
    return {
        "name": one_line(report.title),
        "tests": str(len(report.claims)),
        "failures": str(failed),
        "errors": "0",
        "skipped": "0",
        "time": f"{report.total.seconds:.3f}",
    }


def _properties(report: Report, accept_waivers: bool) -> Iterator[tuple[str, str]]:
    yield "plan", report.verdict.plan
    yield "complete", "true" if report.verdict.complete else "false"
    yield "exit-code", str(int(exit_code(report.verdict, accept_waivers=accept_waivers)))
    yield "steps", str(report.total.steps)
    yield "flops", f"{report.total.flops:.6g}"
    for view in report.claims:
        claim = view.claim
        yield f"verdict {claim.id}", claim.verdict.value
        flags = "; ".join(dict.fromkeys(found.flag for found in claim.flags))
        about = {"rules": rules_in_short(claim), "flags": flags, "seeds": claim.seeds}
        yield from ((f"{name} {claim.id}", text) for name, text in about.items() if text)


def _case(suite: Element, view: ClaimView, title: str, failed: tuple[str, str] | None) -> None:
    claim = view.claim
    spent = sum((cell.spend for cell in claim.cells), Spend())
    case = SubElement(
        suite, "testcase", name=one_line(claim.id), classname=one_line(title),
        time=f"{spent.seconds:.3f}",
    )  # fmt: skip
    if failed:
        kind, message = failed
        failure = SubElement(case, "failure", type=kind, message=one_line(message))
        failure.text = visible("\n".join(_why(view)))
    SubElement(case, "system-out").text = visible("\n".join(_facts(view)))


def _why(view: ClaimView) -> Iterator[str]:
    yield from view.claim.reasons
    if view.claim.witness:
        yield f"witness: {view.claim.witness.says}"
    if view.waivers:
        yield f"with waivers: {view.waivers}"
    yield from (f"flag {words.flag(found)}" for found in view.claim.flags)
    yield f"next: {view.claim.next_step}"


def _facts(view: ClaimView) -> Iterator[str]:
    claim = view.claim
    yield f"claim: {claim.says}"
    yield f"verdict: {claim.verdict.value}"
    yield f"scope: {claim.scope}"
    yield view.paragraph
    yield from (f"rule {line.reading.rule}: {line.reading.says}; {line.answer}"
                for line in view.rules)  # fmt: skip
    for label, text in (("seeds", claim.seeds), ("near", claim.turning), ("run", view.runs)):
        if text:
            yield f"{label}: {text}"
    if claim.not_run:
        yield f"not run, though access allows it: {', '.join(claim.not_run)}"
