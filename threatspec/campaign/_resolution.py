"""A spec with everything it names looked up and checked: what the compiler works from."""

from __future__ import annotations

from dataclasses import dataclass, field

from threatspec.campaign._resolve import Resolved, Resolver
from threatspec.errors import ThreatspecError
from threatspec.loading import LoadedSpec
from threatspec.measures import Benchmark
from threatspec.records import Arm, Spend
from threatspec.schema import Adversary, Claim, Spec, Subject
from threatspec.subjects import SubjectCard, check_reference, describe

__all__ = ["Resolution", "models_of", "resolve"]

Place = tuple[str | int, ...]


@dataclass
class Resolution:
    """Attacks by adversary, benchmarks by measure, subject cards by reference."""

    loaded: LoadedSpec
    resolver: Resolver
    attacks: dict[str, list[Resolved]] = field(default_factory=dict)
    cards: dict[str, SubjectCard] = field(default_factory=dict)

    @property
    def spec(self) -> Spec:
        """The spec as it was read."""
        return self.loaded.spec

    @property
    def benchmarks(self) -> dict[str, Benchmark]:
        """Benchmark by name of the measure."""
        return self.resolver.benchmarks

    def subject_name(self, claim: Claim) -> str:
        """Name of the claim's subject."""
        return claim.subject or next(iter(self.spec.all_subjects))

    def subject(self, claim: Claim) -> Subject:
        """The claim's subject."""
        return self.spec.all_subjects[self.subject_name(claim)]

    def predicted(self, resolved: Resolved, ref: str) -> Spend:
        """Predicted spend; steps are known even where the model is not there."""
        card = self.cards.get(ref)
        if card is None:
            return Spend(steps=getattr(resolved.config, "steps", 0))
        data = self.resolver.data_card(resolved.data)
        return resolved.attack.cost(card, resolved.config, data)


def resolve(loaded: LoadedSpec, *, models_must_exist: bool) -> Resolution:
    """Look everything up. Raises SpecErrors with all that is wrong.

    Weights of a model that does not ship with the program may be absent for a static check.
    """
    found = Resolution(loaded, Resolver(loaded))
    _ = found.benchmarks
    _attacks(found)
    for name, subject in loaded.spec.all_subjects.items():
        _models(found, name, subject, models_must_exist)
    if not found.resolver.problems:
        _offers(found)
        _answers(found)
        _budgets(found)
    found.resolver.finish()
    return found


def models_of(subject: Subject) -> dict[Arm, str]:
    """Reference of the model of each arm that the subject declares."""
    arms = {
        Arm.DEFENDED: subject.model,
        Arm.CONTROL: subject.control,
        Arm.UNDEFENDED: subject.undefended,
    }
    return {arm: ref for arm, ref in arms.items() if ref}


def _attacks(found: Resolution) -> None:
    used = {claim.against for claim in found.spec.claims}
    for name, adversary in found.spec.adversaries.items():
        before = len(found.resolver.problems)
        found.attacks[name] = found.resolver.attacks(name, adversary)
        clean = len(found.resolver.problems) == before
        if name in used and clean:
            _require_attacks(found, name)


def _require_attacks(found: Resolution, name: str) -> None:
    if not found.attacks[name]:
        text = "the adversary must be able to make an attack, but its access, data and compute "
        text += "admit none of the shipped cards"
        found.resolver.complain("TS-ACCESS", text, "adversaries", name, key=True)


def _models(found: Resolution, name: str, subject: Subject, must_exist: bool) -> None:
    place: Place = ("subject",) if found.spec.subject else ("subjects", name)
    for arm, ref in models_of(subject).items():
        try:
            check_reference(ref)
            if must_exist or ref.startswith("specimen:"):
                found.cards[ref] = describe(ref, found.loaded.folder)
        except ThreatspecError as error:
            key = "model" if arm is Arm.DEFENDED else arm.value
            found.resolver.complain(error.code, error.message, *place, key)


def _offers(found: Resolution) -> None:
    for claim in found.spec.claims:
        for resolved, place in _entries(found, claim):
            for ref in models_of(found.subject(claim)).values():
                card = found.cards.get(ref)
                lacking = sorted(resolved.attack.offers - card.offers) if card else []
                if lacking:
                    text = f"{resolved.name} needs a subject that offers {', '.join(lacking)}, "
                    found.resolver.complain("TS-ACCESS", text + f"but {ref} does not", *place)


def _answers(found: Resolution) -> None:
    """Attacks that write the start of an answer need benchmarks that know one."""
    for name, measure in found.spec.measures.items():
        if all(item.answer for item in found.benchmarks[name].items(measure.split)):
            continue
        for claim in found.spec.claims:
            for resolved, place in _entries(found, claim):
                if resolved.attack.uses_answers:
                    text = f"{resolved.name} needs a complying answer to every prompt, but "
                    text += f"{measure.benchmark} ({measure.split}) has prompts without one"
                    found.resolver.complain("TS-DATA", text, *place)
                    return


def _budgets(found: Resolution) -> None:
    """Named attacks must be affordable; of the others, those that are not are not selected."""
    for name in dict.fromkeys(claim.against for claim in found.spec.claims):
        adversary = found.spec.adversaries[name]
        claims = [claim for claim in found.spec.claims if claim.against == name]
        refs = dict.fromkeys(found.subject(claim).model for claim in claims)
        for resolved, place in _entries(found, claims[0]):
            over = [text for ref in refs if (text := _excess(found, resolved, adversary, ref))]
            if over and resolved.named:
                found.resolver.complain("TS-BUDGET", over[0], *place)
            elif over:
                found.attacks[name].remove(resolved)
        _require_attacks(found, name)


def _entries(found: Resolution, claim: Claim) -> list[tuple[Resolved, Place]]:
    place: Place = ("adversaries", claim.against)
    return [
        (resolved, (*place, "attacks", index) if resolved.named else place)
        for index, resolved in enumerate(found.attacks[claim.against])
    ]


def _excess(found: Resolution, resolved: Resolved, adversary: Adversary, ref: str) -> str:
    predicted = found.predicted(resolved, ref)
    for what, need, limit in (
        ("steps", predicted.steps, adversary.compute.steps),
        ("FLOPs", predicted.flops, adversary.compute.flops),
    ):
        if limit is not None and need > limit:
            return (
                f"{what} of {resolved.name} on {ref} must stay within the adversary's {limit:g}, "
                f"but {need:.3g} are predicted"
            )
    return ""
