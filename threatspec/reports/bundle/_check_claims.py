"""Does the plan ask what its spec says? Claims, attacks, measures, models.

A plan is a consequence of its spec, so it is derived again. Whoever leaves out an attack or a claim
after having seen results must change the spec as well, and with it what was registered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from threatspec.campaign import as_attack, attack_cards, models_of, procedure_id, procedure_ids
from threatspec.errors import ThreatspecError
from threatspec.records import PlannedMeasure
from threatspec.reports.bundle._checks import Check, found, unknown
from threatspec.reports.bundle._matter import Matter, attack_of, benchmark_of, judge_of, streams_of
from threatspec.schema import Adversary, Measure, Use

__all__ = ["claim_checks"]


def claim_checks(matter: Matter) -> Iterator[Check]:
    """Whatever can be said of the plan's questions."""
    yield found("claims", _claims(matter), "the plan answers every claim of its spec, as written")
    yield found("measures", _measures(matter), "measures are those of the spec, looked at as fixed")
    yield _attacks(matter)
    yield _order(matter)


# claims


def _claims(matter: Matter) -> Iterator[str]:
    spec = matter.spec
    for name in matter.expanded.keys() - matter.planned.keys():
        yield f"claim {name} of the spec is not in the plan"
    for name in matter.planned.keys() - matter.expanded.keys():
        yield f"claim {name} of the plan is not in the spec"
    for name in sorted(matter.expanded.keys() & matter.planned.keys()):
        wanted, planned = matter.expanded[name], matter.planned[name]
        subject = spec.all_subjects.get(wanted.subject)
        if planned.claim != wanted.claim or planned.subject != wanted.subject:
            yield f"claim {name} is worded in another way than in the spec"
        elif subject is None or planned.models != models_of(subject, wanted.subject):
            yield f"claim {name} is about other models than in the spec"


# attacks


def _attacks(matter: Matter) -> Check:
    spec = matter.spec
    used = {claim.against for claim in spec.claims}
    adversaries = {name: one for name, one in spec.adversaries.items() if name in used}
    faults = [f for name, one in adversaries.items() for f in _of_adversary(matter, name, one)]
    if faults or all(one.attacks is not None for one in adversaries.values()):
        text = "every attack that an adversary names is a procedure, with the knobs it was given"
        return found("attacks", faults, text)
    chosen = ", ".join(sorted(n for n, one in adversaries.items() if one.attacks is None))
    text = (
        f"which attacks {chosen} can make was read from the cards of the program that planned; "
        "whether one was left out shows only where the plan is compiled again"
    )
    return unknown("attacks", text)


def _of_adversary(matter: Matter, name: str, adversary: Adversary) -> Iterator[str]:
    procedures = matter.of(name)
    if not procedures:
        yield f"adversary {name} makes no attack"
    for one in procedures:
        identity = (one.attack, one.config, one.data, one.adversary, one.trainer, one.search)
        if one.id != procedure_id(*identity):
            yield f"procedure {one.name} of {name} does not have the id of its content"
        streams = streams_of(one)
        if streams is not None and one.deterministic != (not streams):
            yield f"procedure {one.name} of {name} says wrongly whether chance plays a part in it"
        if one.named != (adversary.attacks is not None):
            yield f"procedure {one.name} of {name} says wrongly whether it was named"
    if adversary.attacks is not None:
        yield from _named(matter, name, adversary, adversary.attacks)


def _named(matter: Matter, name: str, adversary: Adversary, uses: tuple[Use, ...]) -> Iterator[str]:
    wanted = {}
    for use in uses:
        ids = _procedures_of(name, adversary, use)
        wanted.update(dict.fromkeys(ids))
        if not ids and not any(use.use in {p.card, p.attack} for p in matter.of(name)):
            yield f"attack {use.use} of {name} is not in the plan"
        elif any(one not in matter.plan.procedures for one in ids):
            yield f"attack {use.use} of {name} is not in the plan as the spec gives its knobs"
    known = all(_procedures_of(name, adversary, use) for use in uses)
    extra = [p.name for p in matter.of(name) if p.id not in wanted] if known else []
    yield from (f"procedure {other} of {name} is not in the spec" for other in extra)


def _procedures_of(name: str, adversary: Adversary, use: Use) -> list[str]:
    """Ids of the procedures that an entry of `attacks:` stands for; none if that is not known."""
    try:
        flat = as_attack(use, attack_cards())
    except ThreatspecError:
        return []
    card = attack_cards().get(flat.use)
    attack = attack_of(card.attack if card else flat.use)
    if attack is None:
        return []
    try:
        return procedure_ids(name, adversary, flat, card, attack)
    except (KeyError, ValueError):
        return []


# measures


def _measures(matter: Matter) -> Iterator[str]:
    from threatspec.statistics import looks

    spec = matter.spec
    if spec.measures.keys() != matter.plan.measures.keys():
        yield "the plan has other measures than the spec"
    for name, planned in matter.plan.measures.items():
        written = spec.measures.get(name)
        if written is not None and _told(planned) != _written(written):
            yield f"measure {name} is another one than in the spec"
        judge = judge_of(planned.judge.get("use", ""))
        if judge and planned.exact != judge.exact:
            yield f"measure {name} says wrongly whether its judge is exact"
        exhaustive = matter.plan.execution.exhaustive
        if planned.looks != ((planned.units,) if exhaustive else looks(planned.units)):
            yield f"measure {name} is looked at at other moments than {planned.units} prompts are"


def _told(planned: PlannedMeasure) -> Mapping[str, Any]:
    names = ("benchmark", "split", "judge", "span", "cluster", "query", "aggregation",
             "calibration")  # fmt: skip
    return {name: getattr(planned, name) for name in names}


def _written(measure: Measure) -> Mapping[str, Any]:
    judge = measure.judge.model_dump(mode="json")
    return {**_told(measure), "judge": judge}  # type: ignore[arg-type]


def _order(matter: Matter) -> Check:
    """Whoever may choose the order of reading may choose where to stop."""
    faults, strange = [], []
    for name, planned in matter.plan.measures.items():
        own = benchmark_of(planned.benchmark)
        if own is None or own.digest != matter.plan.digests.get(planned.benchmark):
            strange.append(planned.benchmark)
            continue
        order = own.reading_order(planned.split)
        if planned.order != tuple(tuple(item.id for item in cluster) for cluster in order):
            faults.append(f"{name} is read in another order than its content gives")
    if faults or not strange:
        return found(
            "reading order", faults, "prompts are read in the order that their content gives"
        )
    names = ", ".join(dict.fromkeys(strange))
    return unknown("reading order", f"{names} is not here, or another version of it is")
