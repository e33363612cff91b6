"""What was tested, what broke it, and what follows: the sentences around a verdict."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from threatspec.claims._bounds import bound_of, distinct_operands
from threatspec.claims._case import Case
from threatspec.claims._evidence import CellState
from threatspec.claims._governance import limits, waivers
from threatspec.claims._models import CellReading, Witness
from threatspec.claims._replies import reply_words
from threatspec.claims._text import listed, plural, up
from threatspec.claims._view import View
from threatspec.claims._words import break_words, confidence_words, spend_words, unit_words
from threatspec.records import Arm
from threatspec.schema import Serving, is_judge

__all__ = ["honest_claim", "scope", "serving_words", "witness"]


def witness(case: Case, cell: CellReading) -> Witness:
    """The cell that refutes, in one sentence."""
    evidence = case.evidence(cell)
    procedure = case.view.evidence.plan.procedures[evidence.cell.procedure]
    which = [] if procedure.deterministic else [f"replicate {cell.replicate}"]
    found = [f"the search chose {cell.chosen}"] if cell.chosen else []
    how = "; ".join([*which, *found, spend_words(cell.spend)])
    return Witness(
        cell=cell.cell,
        procedure=cell.procedure,
        replicate=cell.replicate,
        spend=cell.spend,
        says=f"{cell.procedure} ({how}): {break_words(case.view, cell)}",
    )


def scope(case: Case) -> str:
    """One sentence that says what was tested."""
    view = case.view
    subject = view.planned.models[Arm.DEFENDED]
    control = view.planned.models.get(Arm.CONTROL)
    against = f", against the control {control}" if control else ", without a control"
    return (
        f"{_attacks(case)} by the adversary `{view.claim.against}` on {subject}"
        f"{_guarded(view)}{against}; "
        f"{_measures(case)}; {_asked(case, subject)}; "
        f"{confidence_words(view)} confidence{_rules(view)}{limits(view.claim.scope)}"
        f"{waivers(view.claim, view.evidence.at)}."
    )


def _guarded(view: View) -> str:
    """Safeguards of the subject by name; those in its weights already are part of the model."""
    spec = view.evidence.plan.spec
    subjects = spec.get("subjects") or {"subject": spec.get("subject")}
    subject = subjects.get(view.planned.subject) or {}
    kinds = [one["kind"] for one in subject.get("safeguards", ()) if not one.get("fitted")]
    return f" (guarded by {listed(kinds)}, seed {subject.get('build_seed', 0)})" if kinds else ""


def _asked(case: Case, subject: str) -> str:
    """A judge is shown replies as people saw them, a classifier images: how models are asked says
    nothing of these."""
    if is_judge(subject):
        return "shown the labelled replies"
    if case.view.planned.classifies:
        return "shown images alone"
    return serving_words(case.view.evidence.plan.spec)


def _rules(view: View) -> str:
    """How prompts, seeds and the judge's label are meant, where it is not the usual way."""
    claim, parts = view.claim, []
    if claim.seeds.rule != "each":
        share = f" ({claim.seeds.share:g})" if claim.seeds.share else ""
        parts.append(f"seeds by {claim.seeds.rule}{share}")
    parts += [f"a margin of {claim.margin:g} on every threshold"] if claim.margin else []
    parts += ["about exactly these prompts"] if claim.population == "benchmark" else []
    parts += ["about the judge's label"] if claim.about == "label" else []
    parts += ["each cell read until settled"] if _stopped(view) else []
    return "".join(f"; {part}" for part in parts)


def _stopped(view: View) -> bool:
    return any(view.cell(name, Arm.DEFENDED) is not view.evidence.cells[name]
               for name in view.planned.attacked.get(Arm.DEFENDED, ()))  # fmt: skip


def honest_claim(case: Case) -> str:
    """The strongest bound that all planned cells hold together (Bonferroni), or nothing.

    Only planned cells take part, so nothing was chosen after seeing the data.
    """
    bound = bound_of(case.view.holds)
    if bound is None or any(cell.state is not CellState.DONE for cell in case.cells):
        return ""
    level = case.view.alpha / len(case.cells)
    tallies = [
        reading.tally
        for cell in case.cells
        for reading in cell.readings
        if reading.measure == bound.measure
    ]
    if bound.at_most:
        number = up(max(tally.bounds(level).upper for tally in tallies))
        return _could(case, f"{bound.measure} <= {number}") if float(number) < 1 else ""
    number = up(1 - min(tally.bounds(level).lower for tally in tallies))
    kept = f"{1 - float(number):.3f}"
    return _could(case, f"{bound.measure} >= {kept}") if float(number) < 1 else ""


def _could(case: Case, text: str) -> str:
    many = f"all {len(case.cells)} cells together, " if len(case.cells) > 1 else ""
    more = " Reading on (`--exhaustive`) would make it tighter." if _stopped(case.view) else ""
    return (
        f"Of exactly these attacks, `{text}` could be claimed ({many}"
        f"{confidence_words(case.view)}); any other bound chosen now needs fresh prompts.{more}"
    )


def _attacks(case: Case) -> str:
    """`2 procedures x 5 replicates, 1 procedure without randomness (11 cells)`."""
    sizes = Counter(
        0 if series.procedure.deterministic else len(series.cells) for series in case.series
    )
    parts = [
        f"{plural(n, 'procedure')} x {plural(size, 'replicate')}"
        if size
        else f"{plural(n, 'procedure')} without randomness"
        for size, n in sorted(sizes.items(), reverse=True)
    ]
    left = f"; left out: {listed(case.dropped)}" if case.dropped else ""
    return f"{listed(parts)} ({plural(len(case.cells), 'attacked cell')}{left})"


def _measures(case: Case) -> str:
    names = dict.fromkeys(operand.reading for operand in distinct_operands(case.view.holds))
    return listed(_measure(case, name) for name in names)


def _measure(case: Case, name: str) -> str:
    planned = case.view.evidence.plan.measures[name.partition("[")[0]]
    _, units = case.view.evidence.plan.size(name)
    unit = unit_words(case.view, name)
    spec = case.view.evidence.plan.spec
    several = reply_words(planned, _servings(spec), tuple(case.view.procedures.values()))
    many = f", {several}" if several else ""
    return f"{name} on {units:,} {unit} of {planned.benchmark} ({planned.split} split){many}"


def _servings(spec: dict[str, Any]) -> list[Serving]:
    return [Serving.model_validate_json(json.dumps(one)) for one in spec.get("serving") or [{}]]


def serving_words(spec: dict[str, Any]) -> str:
    """How the subject is asked, as the spec declares it."""
    ways = [_one_serving(serving) for serving in _servings(spec)]
    if len(ways) == 1:
        return f"asked with {ways[0]}"
    return f"asked in {len(ways)} ways: {'; or '.join(ways)}"


def _one_serving(serving: Serving) -> str:
    template = "the model's own template" if serving.template == "native" else "no template"
    system = "" if serving.system is None else ", a system prompt"
    begins = "" if serving.bos is None else f", {'with' if serving.bos else 'without'} BOS"
    most = f"{_decoding(serving)}, at most {plural(serving.max_tokens, 'token')}"
    return f"{template}{system}{begins}, {most}"


def _decoding(serving: Serving) -> str:
    if serving.decoding == "greedy":
        return "greedy decoding"
    kept = "" if serving.top_k is None else f", the {serving.top_k} most probable tokens"
    kept += "" if serving.top_p == 1 else f", top-p {serving.top_p:g}"
    many = plural(serving.samples, "sample")
    return f"{many} at temperature {serving.temperature:g}{kept}"
