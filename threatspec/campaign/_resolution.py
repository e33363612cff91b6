"""A spec with everything it names looked up and checked: what the compiler works from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from threatspec.attacks import ATTACKS, Surface, parts_of
from threatspec.campaign._built import Recipe, built_card, built_name
from threatspec.campaign._claim_answers import check_answers
from threatspec.campaign._entries import with_knobs
from threatspec.campaign._fits import check_fits
from threatspec.campaign._instruments import ResolvedInstrument, find_instruments
from threatspec.campaign._overlap import overlaps
from threatspec.campaign._resolve import Resolved, Resolver
from threatspec.campaign._safeguards import (
    applied,
    check_costs,
    check_offers,
    check_provider,
    in_place,
)
from threatspec.campaign._search import searched_cost
from threatspec.campaign._seen import check_seen
from threatspec.campaign._sources import are_stated, check_rows, data_card
from threatspec.errors import ThreatspecError, did_you_mean
from threatspec.loading import LoadedSpec
from threatspec.measures import DEV_SPLIT, Benchmark, check_subject, describe_subject
from threatspec.records import Arm, Overlap, Spend
from threatspec.schema import (
    AdaptStep,
    Adversary,
    Claim,
    Spec,
    Subject,
    is_judge,
    operands,
    parse_predicate,
)
from threatspec.subjects import Offer, SubjectCard

__all__ = ["Resolution", "models_of", "resolve"]

Place = tuple[str | int, ...]
_KNOWN = ("specimen:", "endpoint:", "judge:")
"""References of which everything is known without a model being there."""
_SENSES = frozenset({Offer.TEXT, Offer.IMAGE, Offer.CLASSES})
"""What tells a language model, a classifier and a model that reads both from one another."""


@dataclass
class Resolution:
    """Attacks by adversary, benchmarks by measure, subject cards by reference."""

    loaded: LoadedSpec
    resolver: Resolver
    attacks: dict[str, list[Resolved]] = field(default_factory=dict)
    cards: dict[str, SubjectCard] = field(default_factory=dict)
    builds: dict[str, Recipe] = field(default_factory=dict)
    """How the built ones among the subjects are built, by reference."""
    bases: dict[str, SubjectCard] = field(default_factory=dict)
    """Of the built ones, the model that they are built from."""
    instruments: dict[str, ResolvedInstrument] = field(default_factory=dict)
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

    def met_by(self, claim: Claim) -> dict[str, list[str]]:
        """Names of the adversary's procedures that each subject of the claim meets."""
        made = self.attacks[claim.against]
        return {
            name: [one.name for one in made if in_place(subject, one.against)]
            for name, subject in self.subjects(claim).items()
        }

    def not_run(self, adversary: str, subject: Subject) -> tuple[str, ...]:
        """Kinds of attack that the adversary's access admits and that it does not make; there are
        none on a judge, and none that is shown or answered what the subject is not."""
        if is_judge(subject.model):
            return ()
        made = self.attacks[adversary]
        used = {part for resolved in made for part in parts_of(resolved.attack.kind)}
        allowed = self.resolver.allowed(self.spec.adversaries[adversary])
        return tuple(
            name for name in allowed if name not in used and self._takes(subject, name, made)
        )

    def _takes(self, subject: Subject, kind: str, made: list[Resolved]) -> bool:
        """Whether an attack is on what the subject reads and answers. Where nothing is known of the
        subject, it is taken for what the attacks that are made on it need."""
        card = self.cards.get(subject.model)
        offers = card.offers if card else frozenset().union(*(one.attack.offers for one in made))
        return ATTACKS.get(kind).offers & _SENSES <= offers

    def attacked_digest(self, ref: str) -> str:
        """Digest of what attacks meet of a subject: without what is repaired after them."""
        recipe = self.builds.get(ref)
        if recipe is None or not recipe.repairs:
            return self.cards[ref].digest
        base = self.bases[ref]
        return built_card(base, recipe.attacked).digest if recipe.attacked else base.digest

    def entries(self, claim: Claim) -> list[tuple[Resolved, Place]]:
        """Attacks of a claim's adversary, with where each is written."""
        place: Place = ("adversaries", claim.against)
        return [
            (resolved, (*place, "attacks", resolved.entry) if resolved.named else place)
            for resolved in self.attacks[claim.against]
        ]

    def predicted(self, resolved: Resolved, ref: str) -> Spend:
        """Predicted spend; steps are known even where the model is not there."""
        card = self.cards.get(ref)
        if card is None:
            return Spend(steps=sum(resolved.config.runs))
        data = data_card(self.resolver, resolved.data)
        if resolved.search is None:
            return resolved.attack.cost(card, resolved.config, data)
        knobs = partial(with_knobs, resolved.attack, resolved.config)
        return searched_cost(resolved.attack, knobs, resolved.search, card, data)


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
    models = {name: models_of(one, name) for name, one in loaded.spec.all_subjects.items()}
    found.instruments = find_instruments(found, models)
    if not found.resolver.problems:
        check_provider(found)
        _met(found)
        check_fits(found)
        check_seen(found)
        _queries(found)
        _answers(found)
        _slices(found)
        _budgets(found)
    if not found.resolver.problems:
        _searches(found)
    if not found.resolver.problems:
        check_answers(found)
        _disjoint(found)
    found.resolver.finish()
    return found


def models_of(subject: Subject, name: str) -> dict[Arm, str]:
    """Reference of the model of each arm that the subject of a name declares."""
    arms = {
        Arm.DEFENDED: built_name(subject, name),
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
    safeguards = applied(found.resolver, subject, place)
    recipe = Recipe.of(subject, safeguards)
    for arm, ref in models_of(subject, name).items():
        built = recipe if arm is Arm.DEFENDED else None
        model = subject.model if built else ref
        try:
            check_subject(model)
            _like(subject, model, built)
            if must_exist or model.startswith(_KNOWN):
                found.cards[ref] = describe_subject(model, found.loaded.folder)
            if built:
                found.builds[ref] = built
                _check_build(found, built, place)
                if ref in found.cards:
                    found.cards[model] = found.bases[ref] = found.cards[ref]
                    check_offers(found.resolver, safeguards, found.cards[ref], place)
                    check_costs(found.resolver, safeguards, found.cards[ref], place)
                    found.cards[ref] = built_card(found.cards[ref], built)
        except ThreatspecError as error:
            key = "model" if arm is Arm.DEFENDED else arm.value
            found.resolver.complain(error.code, error.message, *place, key)
    if subject.safeguards and subject.undefended:
        _same_base(found, models_of(subject, name), (*place, "undefended"))


def _same_base(found: Resolution, models: dict[Arm, str], place: Place) -> None:
    """A safeguard changes weights, not what they are the weights of."""
    guarded, bare = (found.cards.get(models[arm]) for arm in (Arm.DEFENDED, Arm.UNDEFENDED))
    for size in ("layers", "hidden", "vocabulary", "parameters"):
        if guarded and bare and getattr(guarded, size) != getattr(bare, size):
            text = "`undefended` must be the same model without the safeguard, but "
            text += f"{bare.ref} has {size} {getattr(bare, size):,} and {guarded.ref} "
            text += f"{getattr(guarded, size):,}"
            found.resolver.complain("TS-SAFEGUARD", text, *place)
            return


def _like(subject: Subject, ref: str, built: Recipe | None) -> None:
    """Judges are compared with judges, and models with models; only these are built."""
    if is_judge(ref) is not is_judge(subject.model):
        kind = "judge:NAME" if is_judge(subject.model) else "a model"
        text = f"beside {subject.model} this must be {kind} too, but got {ref!r}"
        raise ThreatspecError("TS-MODEL-MISSING", text)
    if built and is_judge(ref):
        text = f"{ref} is a judge, and nothing builds one; leave `build` and `safeguards` out"
        raise ThreatspecError("TS-ACCESS", text)


def _check_build(found: Resolution, recipe: Recipe, place: Place) -> None:
    """Rows of a recipe must be there, and none of what a measure reads."""
    for index, step in enumerate(recipe.steps):
        at = (*place, "build", index)
        if isinstance(step, AdaptStep) and not are_stated(found.resolver, step.source, at):
            check_rows(found.resolver, step.source, step.n, at)


def _met(found: Resolution) -> None:
    """Every subject must meet some attack: those against a safeguard that it lacks are none."""
    for index, claim in enumerate(found.spec.claims):
        made = found.attacks[claim.against]
        for name, met in found.met_by(claim).items():
            if made and not met:
                kinds = ", ".join(sorted({one.against for one in made if one.against}))
                text = (
                    f"all attacks of {claim.against} are made against {kinds}, which {name} lacks"
                )
                found.resolver.complain("TS-SAFEGUARD", text, "claims", index, "against")


def _queries(found: Resolution) -> None:
    """Log-probabilities of given choices must be told, and there must be choices."""
    for name, measure in found.spec.measures.items():
        if measure.query != "logprob":
            continue
        known = found.benchmarks.get(name)
        if known and not all(item.choices for item in known.items(measure.split)):
            text = f"a query by log-probability needs choices, but {measure.benchmark} has prompts "
            found.resolver.complain("TS-JUDGE", f"{text}without", "measures", name, "query")
        for ref, card in found.cards.items():
            if Offer.CHOICES not in card.offers:
                text = f"{name} asks for log-probabilities, which {ref} does not tell"
                found.resolver.complain("TS-ACCESS", text, "measures", name, "query")


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
    used = found.spec.measures[measure]
    if measure not in found.benchmarks:
        _described_slice(found, used.benchmark, wanted, place)
        return
    items = found.benchmarks[measure].items(used.split)
    known = sorted({f"{k}={v}" for item in items for k, v in item.all_slices.items()})
    if wanted not in known:
        text = f"{used.benchmark} ({used.split}) must have prompts in slice {wanted}, but has none"
        found.resolver.complain("TS-DATA", text + did_you_mean(wanted, known), *place)


def _described_slice(found: Resolution, name: str, wanted: str, place: Place) -> None:
    """Of a benchmark that is not here, domains and categories may be known."""
    card = found.resolver.described("benchmark", name)
    if card is None or not card.domains:
        return
    known = [f"domain={domain}" for domain in card.domains]
    known += [f"category={one}" for about in card.domains.values() for one in about.categories]
    key = wanted.partition("=")[0]
    if wanted not in known and key in {"domain", "category"}:
        text = f"{name} is described without a slice {wanted}{did_you_mean(wanted, known)}"
        found.resolver.complain("TS-DATA", text, *place)


_TEXTS = {"answer": "a complying answer", "refusal": "a refusal"}


def _answers(found: Resolution) -> None:
    """Attacks that write the start of an answer need benchmarks that know one; others are left."""
    for name, measure in found.spec.measures.items():
        known = found.benchmarks.get(name)
        items = known.items(measure.split) if known else ()
        absent = {text for text in _TEXTS if not all(getattr(item, text) for item in items)}
        if not absent:
            continue
        for claim in found.spec.claims:
            for resolved, place in found.entries(claim):
                needed = set().union(*(c.item_texts for c in resolved.configs)) & absent
                if needed and resolved.named:
                    what = " and ".join(_TEXTS[text] for text in sorted(needed))
                    text = f"{resolved.name} needs {what} to every prompt, but "
                    text += f"{measure.benchmark} ({measure.split}) has prompts without one"
                    found.resolver.complain("TS-DATA", text, *place)
                elif needed:
                    found.attacks[claim.against].remove(resolved)


def _budgets(found: Resolution) -> None:
    """Named attacks must be affordable; of the others, those that are not are not selected."""
    for name in dict.fromkeys(claim.against for claim in found.spec.claims):
        adversary = found.spec.adversaries[name]
        claims = [claim for claim in found.spec.claims if claim.against == name]
        refs = dict.fromkeys(
            built_name(s, key) for claim in claims for key, s in found.subjects(claim).items()
        )
        for resolved, place in found.entries(claims[0]):
            over = [text for ref in refs if (text := _excess(found, resolved, adversary, ref))]
            if over and resolved.named:
                found.resolver.complain("TS-BUDGET", over[0], *place)
            elif over:
                found.attacks[name].remove(resolved)
        _require_attacks(found, name)


def _searches(found: Resolution) -> None:
    """A search reads `attack_dev`, which must have prompts that nobody trains on."""
    for index, claim in enumerate(found.spec.claims):
        if not any(one.search for one in found.attacks[claim.against]):
            continue
        read = {o.measure for o in operands(parse_predicate(claim.holds))}
        read |= {o.measure for o in operands(parse_predicate(claim.counts_if or claim.holds))}
        for name in sorted(read):
            if found.spec.measures[name].split == DEV_SPLIT:
                text = f"a search must not read what the verdict reads, but {name} is read on "
                found.resolver.complain("TS-SEARCH", text + DEV_SPLIT, "measures", name, "split")
        here = read & found.benchmarks.keys()
        for name in sorted(here):
            if not found.benchmarks[name].items(DEV_SPLIT):
                text = f"a search needs prompts in split {DEV_SPLIT} of {name}, but there are none"
                found.resolver.complain("TS-SEARCH", text, "claims", index, "against")
        for role, source in found.spec.adversaries[claim.against].data.items():
            if source.source in {f"{found.benchmarks[n].name}#{DEV_SPLIT}" for n in here}:
                text = f"rows must not be prompts that a search reads, but {source.source} is read"
                place = ("adversaries", claim.against, "data", role.value, "from")
                found.resolver.complain("TS-SEARCH", text, *place)


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


def _excess(found: Resolution, resolved: Resolved, adversary: Adversary, ref: str) -> str:
    for over in (_over_rank, _over_sparsity, _over_shares):
        if found_over := over(resolved, adversary):
            return found_over
    if resolved.search is not None and resolved.search.rule != "free":
        return _search_excess(resolved, adversary)
    predicted = found.predicted(resolved, ref)
    for what, need, limit in (
        ("steps", max(resolved.config.runs, default=0), adversary.compute.steps),
        ("FLOPs", predicted.flops, adversary.compute.flops),
        ("queries", predicted.queries, adversary.compute.queries),
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
    if limit is None or resolved.attack.surface is not Surface.WEIGHTS:
        return ""
    ranks = [config.change_rank for config in resolved.configs]
    rank = None if None in ranks else max(rank for rank in ranks if rank is not None)
    if rank is not None and rank <= limit:
        return ""
    got = "nothing bounds that of its change" if rank is None else f"its rank is {rank}"
    return f"{resolved.name} must stay within the adversary's rank_max {limit}, but {got}"


def _over_sparsity(resolved: Resolved, adversary: Adversary) -> str:
    """Of edits that set weights to 0; an edit that sets none to 0 keeps any limit."""
    limit = adversary.limits.sparsity_max
    share = max((config.sparsity or 0.0 for config in resolved.configs), default=0.0)
    if limit is None or share <= limit:
        return ""
    text = f"{resolved.name} must stay within the adversary's sparsity_max {limit:g}, "
    return f"{text}but it may set a share of {share:g} to 0"


def _over_shares(resolved: Resolved, adversary: Adversary) -> str:
    """Of attacks on images and on training data; one that touches neither keeps any limit."""
    limits, configs = adversary.limits, resolved.configs
    for name, limit, most in (
        ("eps", limits.eps, max(config.image_change or 0.0 for config in configs)),
        ("poison_rate_max", limits.poison_rate_max, max(c.poisoned_share or 0.0 for c in configs)),
    ):
        if limit is not None and most > limit + 1e-9:
            text = f"{resolved.name} must stay within the adversary's {name} {limit:g}, "
            return f"{text}but goes up to {most:.4g}"
    return ""


def _search_excess(resolved: Resolved, adversary: Adversary) -> str:
    """A search cuts its steps to the budget; what it may not do is to try more."""
    assert resolved.search is not None
    most, tried = adversary.compute.configurations, resolved.search.configurations
    if most is not None and tried > most:
        return f"{resolved.name} must stay within {most} configurations, but tries {tried}"
    steps = adversary.compute.steps
    highest = max((run for config in resolved.configs for run in config.runs), default=0)
    if steps is not None and highest > steps:
        text = f"steps of {resolved.name} must stay within the adversary's {steps:g}, "
        return f"{text}but the search goes up to {highest:g}"
    return ""
