"""A spec with everything it names looked up and checked: what the compiler works from."""

from __future__ import annotations

from dataclasses import dataclass, field

from threatspec.campaign._claim_answers import check_answers
from threatspec.campaign._overlap import overlaps
from threatspec.campaign._resolve import Resolved, Resolver
from threatspec.errors import ThreatspecError, did_you_mean
from threatspec.loading import LoadedSpec
from threatspec.measures import Benchmark
from threatspec.records import Arm, Overlap, Spend
from threatspec.schema import Adversary, Claim, Spec, Subject, operands, parse_predicate
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
    overlaps: tuple[Overlap, ...] | None = None
    """Between prompts that are measured and rows; see `threatspec.campaign._overlap`."""

    @property
    def spec(self) -> Spec:
        """The spec as it was read."""
        return self.loaded.spec

    @property
    def benchmarks(self) -> dict[str, Benchmark]:
        """Benchmark by name of the measure; none where it is only described."""
        return self.resolver.benchmarks

    def subjects(self, claim: Claim) -> dict[str, Subject]:
        """The claim's subjects by name; all if it names none."""
        known = self.spec.all_subjects
        return {name: known[name] for name in claim.subject or known}

    def not_run(self, adversary: str) -> tuple[str, ...]:
        """Cards that the adversary's access admits and that it does not use."""
        used = {resolved.card.name for resolved in self.attacks[adversary] if resolved.card}
        allowed = self.resolver.allowed(self.spec.adversaries[adversary])
        return tuple(name for name in allowed if name not in used)

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
    found = Resolution(loaded, Resolver(loaded, runs=models_must_exist))
    _ = found.benchmarks
    _attacks(found)
    there = models_must_exist and not found.resolver.refused  # nothing is fetched for nothing
    for name, subject in loaded.spec.all_subjects.items():
        _models(found, name, subject, there)
    if not found.resolver.problems:
        _offers(found)
        _answers(found)
        _slices(found)
        _budgets(found)
    if not found.resolver.problems:
        check_answers(found)
        _disjoint(found)
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
            for ref in _references(found, claim):
                card = found.cards.get(ref)
                lacking = sorted(resolved.attack.offers - card.offers) if card else []
                if lacking:
                    text = f"{resolved.name} needs a subject that offers {', '.join(lacking)}, "
                    found.resolver.complain("TS-ACCESS", text + f"but {ref} does not", *place)


def _references(found: Resolution, claim: Claim) -> list[str]:
    subjects = found.subjects(claim).values()
    return list(dict.fromkeys(ref for subject in subjects for ref in models_of(subject).values()))


def _slices(found: Resolution) -> None:
    """Slices that predicates read must have prompts."""
    for index, claim in enumerate(found.spec.claims):
        for which in ("holds", "provided", "counts_if"):
            predicate = claim.predicate(which)
            for operand in operands(predicate) if predicate else ():
                if operand.slice:
                    _slice(found, operand.measure, operand.slice, ("claims", index, which))
        for key, shares in claim.frequency.items():
            for name in {o.measure for o in operands(parse_predicate(claim.holds))}:
                for value in shares:
                    _slice(found, name, f"{key}={value}", ("claims", index, "frequency"))


def _slice(found: Resolution, measure: str, wanted: str, place: Place) -> None:
    if measure not in found.benchmarks:
        return
    used = found.spec.measures[measure]
    items = found.benchmarks[measure].items(used.split)
    known = sorted({f"{k}={v}" for item in items for k, v in item.all_slices.items()})
    if wanted not in known:
        text = f"{used.benchmark} ({used.split}) must have prompts in slice {wanted}, but has none"
        found.resolver.complain("TS-DATA", text + did_you_mean(wanted, known), *place)


def _answers(found: Resolution) -> None:
    """Attacks that write the start of an answer need benchmarks that know one; others are left."""
    for name, measure in found.spec.measures.items():
        known = found.benchmarks.get(name)
        if known is None or all(item.answer for item in known.items(measure.split)):
            continue
        for claim in found.spec.claims:
            for resolved, place in _entries(found, claim):
                if resolved.attack.uses_answers and resolved.named:
                    text = f"{resolved.name} needs a complying answer to every prompt, but "
                    text += f"{measure.benchmark} ({measure.split}) has prompts without one"
                    found.resolver.complain("TS-DATA", text, *place)
                elif resolved.attack.uses_answers:
                    found.attacks[claim.against].remove(resolved)


def _budgets(found: Resolution) -> None:
    """Named attacks must be affordable; of the others, those that are not are not selected."""
    for name in dict.fromkeys(claim.against for claim in found.spec.claims):
        adversary = found.spec.adversaries[name]
        claims = [claim for claim in found.spec.claims if claim.against == name]
        refs = dict.fromkeys(s.model for claim in claims for s in found.subjects(claim).values())
        for resolved, place in _entries(found, claims[0]):
            over = [text for ref in refs if (text := _excess(found, resolved, adversary, ref))]
            if over and resolved.named:
                found.resolver.complain("TS-BUDGET", over[0], *place)
            elif over:
                found.attacks[name].remove(resolved)
        _require_attacks(found, name)


def _disjoint(found: Resolution) -> None:
    """Rows that repeat what is measured would be learned by heart, which shows no attack."""
    measured = {f"{m.benchmark}#{m.split}" for m in found.spec.measures.values()}
    shared = {o.right: o for o in overlaps(found) if o.left in measured and o.equal}
    for name in dict.fromkeys(claim.against for claim in found.spec.claims):
        for role, source in found.spec.adversaries[name].data.items():
            if source.source in shared:
                one = shared[source.source]
                text = "rows must not be prompts that a measure reads, but "
                text += f"{one.equal} of {one.prompts} prompts of {one.left} stand among them"
                place = ("adversaries", name, "data", role.value, "from")
                found.resolver.complain("TS-R7", text, *place)


def _entries(found: Resolution, claim: Claim) -> list[tuple[Resolved, Place]]:
    place: Place = ("adversaries", claim.against)
    return [
        (resolved, (*place, "attacks", resolved.entry) if resolved.named else place)
        for resolved in found.attacks[claim.against]
    ]


def _excess(found: Resolution, resolved: Resolved, adversary: Adversary, ref: str) -> str:
    if over := _over_rank(resolved, adversary):
        return over
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


def _over_rank(resolved: Resolved, adversary: Adversary) -> str:
    """Training without an adapter changes weights by any rank, so no limit of it is kept."""
    limit = adversary.limits.rank_max
    if limit is None or not resolved.attack.uses_rows:
        return ""
    rank = getattr(resolved.config, "rank", None)
    if rank is not None and rank <= limit:
        return ""
    got = "it trains all weights" if rank is None else f"its rank is {rank}"
    return f"{resolved.name} must stay within the adversary's rank_max {limit}, but {got}"
