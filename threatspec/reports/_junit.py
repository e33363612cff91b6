"""JUnit XML for CI: one suite per claims file, one test case per claim.

The schema that Jenkins publishes knows properties of suites only, so what belongs to one claim is
in its case's `system-out`.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from threatspec.claims import CampaignVerdict, Evidence, exit_code
from threatspec.records import Spend
from threatspec.reports._claims import ClaimView
from threatspec.reports._details import Details
from threatspec.reports._model import Report, build
from threatspec.reports._visible import one_line, visible

__all__ = ["render_junit"]


def render_junit(
    evidence: Evidence, verdict: CampaignVerdict, details: Details | None = None
) -> str:
    """One document; a claim that is not as expected is a failure, whatever its verdict."""
    report = build(evidence, verdict, details)
    root = Element("testsuites")
    suite = SubElement(root, "testsuite", _counts(report))
    properties = SubElement(suite, "properties")
    for name, value in _properties(report):
        SubElement(properties, "property", name=one_line(name), value=one_line(value))
    for view in report.claims:
        _case(suite, view, report.title)
    indent(root, " ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _counts(report: Report) -> dict[str, str]:
    failed = sum(not view.claim.passed for view in report.claims)
    return {
        "name": one_line(report.title),
        "tests": str(len(report.claims)),
        "failures": str(failed),
        "errors": "0",
        "skipped": "0",
        "time": f"{report.total.seconds:.3f}",
    }


def _properties(report: Report) -> Iterator[tuple[str, str]]:
    yield "plan", report.verdict.plan
    yield "complete", "true" if report.verdict.complete else "false"
    yield "exit-code", str(int(exit_code(report.verdict)))
    yield "steps", str(report.total.steps)
    yield "flops", f"{report.total.flops:.6g}"
    for view in report.claims:
        yield f"verdict {view.claim.id}", view.claim.verdict.value


def _case(suite: Element, view: ClaimView, title: str) -> None:
    claim = view.claim
    spent = sum((cell.spend for cell in claim.cells), Spend())
    case = SubElement(
        suite, "testcase", name=one_line(claim.id), classname=one_line(title),
        time=f"{spent.seconds:.3f}",
    )  # fmt: skip
    if not claim.passed:
        message = one_line(
            f"{claim.verdict.value}, but {view.wanted} was expected: {view.decisive}"
        )
        failure = SubElement(case, "failure", type=claim.verdict.value, message=message)
        failure.text = visible("\n".join(_why(view)))
    SubElement(case, "system-out").text = visible("\n".join(_facts(view)))


def _why(view: ClaimView) -> Iterator[str]:
    yield from view.claim.reasons
    if view.claim.witness:
        yield f"witness: {view.claim.witness.says}"
    yield f"next: {view.claim.next_step}"


def _facts(view: ClaimView) -> Iterator[str]:
    claim = view.claim
    yield f"claim: {claim.says}"
    yield f"verdict: {claim.verdict.value}"
    yield f"scope: {claim.scope}"
    yield view.paragraph
    if claim.not_run:
        yield f"not run, though access allows it: {', '.join(claim.not_run)}"
