"""Safeguards of subjects: looked up, put in order, held against what adversaries may do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from threatspec.attacks import SAFEGUARD_SPLITS, training_rows
from threatspec.campaign._seeds import replicate_seeds
from threatspec.errors import ThreatspecError
from threatspec.loading import model_problems
from threatspec.measures import benchmark
from threatspec.records import Stream
from threatspec.safeguards import SAFEGUARDS, Safeguard, SafeguardConfig, Stage
from threatspec.schema import Capability, SafeguardUse, Subject

if TYPE_CHECKING:
    from threatspec.campaign._resolution import Resolution
    from threatspec.campaign._resolve import Resolver
    from threatspec.subjects import SubjectCard

__all__ = ["Applied", "applied", "check_costs", "check_offers", "check_provider", "in_place"]

Place = tuple[str | int, ...]
_ORDER = tuple(Stage)


@dataclass(frozen=True, slots=True)
class Applied:
    """One safeguard of a subject, with everything settled."""

    use: SafeguardUse
    safeguard: Safeguard
    config: SafeguardConfig
    index: int
    """Place in the file."""
    seeds: dict[Stream, int]
    reads: dict[str, str]
    """Digests of files that knobs name."""

    @property
    def data(self) -> dict[str, dict[str, Any]]:
        """Source and number of rows of each role that it reads."""
        roles = self.safeguard.roles(self.config)
        given = self.use.data
        return {role: {"source": given[role].source, "n": given[role].n} for role in roles}

    @property
    def repairs(self) -> bool:
        """Whether it is fitted after attacks."""
        return Stage.REPAIR in self.safeguard.stages

    @property
    def plain(self) -> dict[str, Any]:
        """As a trial has it."""
        return {
            "kind": self.safeguard.kind,
            "config": self.config.model_dump(mode="json"),
            "data": self.data,
            "seeds": {stream.value: seed for stream, seed in self.seeds.items()},
            "reads": self.reads,
            "budget": self.use.budget.model_dump(mode="json"),
        }


def applied(resolver: Resolver, subject: Subject, place: Place) -> tuple[Applied, ...]:
    """Safeguards that are applied to a subject, by stage; complains of what is wrong with any."""
    root = subject.build_seed
    each = [
        _applied(resolver, use, index, root, (*place, "safeguards", index))
        for index, use in enumerate(subject.safeguards)
    ]
    found = [one for one in each if one]
    return tuple(sorted(found, key=lambda one: min(map(_ORDER.index, one.safeguard.stages))))


def _applied(
    resolver: Resolver, use: SafeguardUse, index: int, root: int, place: Place
) -> Applied | None:
    try:
        safeguard = SAFEGUARDS.get(use.kind)
    except ThreatspecError as error:
        resolver.complain(error.code, error.message, *place)
        return None
    config, problems = model_problems(safeguard.Config, use.knobs, resolver.loaded, place)
    resolver.problems += problems
    if use.fitted or config is None or not _has_rows(resolver, use, safeguard, config, place):
        return None
    try:
        reads = safeguard.reads(config, resolver.loaded.folder)
    except ThreatspecError as error:
        resolver.complain(error.code, error.message, *place)
        return None
    seeds = replicate_seeds(root, f"safeguard/{index}", Stream)
    return Applied(use, safeguard, config, index, seeds, reads)


def _has_rows(
    resolver: Resolver, use: SafeguardUse, safeguard: Safeguard, config: Any, place: Place
) -> bool:
    """Whether every role that it reads is given and can be had; others would have no effect."""
    roles = safeguard.roles(config)
    for role in roles:
        if role not in use.data:
            text = f"{use.kind} reads {role} rows, but its `data` has none; write "
            text += f"`data: {{{role}: {{n: ..., from: BENCHMARK#safeguard_train}}}}`"
            resolver.complain("TS-SAFEGUARD", text, *place)
            return False
    for role in use.data:
        if role not in roles:
            text = f"{use.kind} reads no {role} rows, but its `data` has some; leave them out"
            resolver.complain("TS-SAFEGUARD", text, *place, "data", role)
            return False
    return all(_source(resolver, use, role, (*place, "data", role)) for role in roles)


def _source(resolver: Resolver, use: SafeguardUse, role: Any, place: Place) -> bool:
    given = use.data[role]
    name = given.source.partition("#")[0]
    if not resolver.known_benchmark(name) and resolver.describes("benchmark", name, *place, "from"):
        return False
    try:
        rows = training_rows(given.source, resolver.loaded.folder, SAFEGUARD_SPLITS)
    except ThreatspecError as error:
        resolver.complain(error.code, error.message, *place, "from")
        return False
    if len(rows) < given.n:
        text = f"{given.source} must hold at least {given.n} rows, but has {len(rows)}"
        resolver.complain("TS-DATA", text, *place, "n")
        return False
    found = benchmark(name, resolver.loaded.folder)
    for key, wanted, got in (("hash", given.hash, found.digest),
                             ("licence", given.licence, found.licence)):  # fmt: skip
        if wanted is not None and wanted != got:
            text = f"the {key} of {name} must be {wanted!r} as the spec says, but is {got!r}"
            resolver.complain("TS-DATA", text, *place, key)
            return False
    return True


def check_offers(
    resolver: Resolver, found: tuple[Applied, ...], card: SubjectCard, place: Place
) -> None:
    """A safeguard of classifiers is none of language models, and the other way round."""
    for one in found:
        if lacking := sorted(one.safeguard.offers - card.offers):
            text = f"{one.use.kind} needs a subject that offers {', '.join(lacking)}, "
            text += f"but {card.ref} does not"
            resolver.complain("TS-SAFEGUARD", text, *place, "safeguards", one.index)


def check_costs(
    resolver: Resolver, found: tuple[Applied, ...], card: SubjectCard, place: Place
) -> None:
    """No safeguard may take more than its budget, by prediction."""
    folder = resolver.loaded.folder
    for one in found:
        sources = [entry["source"] for entry in one.data.values()]
        rows = [row for each in sources for row in training_rows(each, folder, SAFEGUARD_SPLITS)]
        words = max((len(f"{row.prompt} {row.answer}".split()) for row in rows), default=0)
        try:
            spend = one.safeguard.cost(card, one.config, len(rows), words)
        except ThreatspecError as error:
            resolver.complain(error.code, error.message, *place, "safeguards", one.index)
            continue
        budget = one.use.budget
        for what, need, limit in (
            ("steps", spend.steps, budget.steps),
            ("flops", spend.flops, budget.flops),
        ):
            if limit is not None and need > limit:
                text = f"{what} of {one.use.kind} must stay within its budget of {limit:g}, but "
                text += f"{need:.3g} are predicted"
                at = (*place, "safeguards", one.index, "budget", what)
                resolver.complain("TS-BUDGET", text, *at)


def check_provider(found: Resolution) -> None:
    """What a provider does is nothing to an adversary who holds the weights; who repairs weights
    serves them himself, whoever wrote them before."""
    for index, claim in enumerate(found.spec.claims):
        adversary = found.spec.adversaries[claim.against]
        if Capability.WEIGHTS_WRITE not in adversary.capabilities:
            continue
        for name, subject in found.subjects(claim).items():
            kinds = sorted(_at_provider(subject))
            if kinds:
                text = f"{', '.join(kinds)} of {name} is imposed by the provider, and "
                text += f"{claim.against} holds the weights (`weights_write`), where nobody "
                text += "imposes it; claim it against `access: finetuning-api` or one without "
                text += "`weights_write`"
                found.resolver.complain("TS-SAFEGUARD", text, "claims", index, "against")


def _at_provider(subject: Subject) -> Iterator[str]:
    for use in subject.safeguards:
        if use.kind in SAFEGUARDS.names():
            stages = SAFEGUARDS.get(use.kind).stages
            if stages & {Stage.TRAINING, Stage.SERVING} and Stage.REPAIR not in stages:
                yield use.kind


def in_place(subject: Subject, against: str | None) -> bool:
    """Whether an attack that is made for a safeguard meets it on this subject."""
    return against is None or against in subject.guarded_by
