"""Names to things: attacks, cards, data, measures and models that a spec names.

Everything that is wrong is collected as a problem at its place in the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from threatspec.attacks import ATTACKS, Attack, AttackConfig, attack_of, training_rows
from threatspec.attacks._chain import JOINT, ChainConfig, unfit
from threatspec.attacks.recipes import ways
from threatspec.campaign._entries import (
    as_attack,
    count_of,
    data_of,
    each_config,
    knobs_of,
    roles_of,
    settings_of,
    trainers_of,
)
from threatspec.campaign._sources import check_sources
from threatspec.errors import Problem, SpecErrors, ThreatspecError, did_you_mean
from threatspec.loading import (
    LoadedSpec,
    find_workspace,
    load_cards,
    load_descriptions,
    load_user_cards,
    model_problems,
)
from threatspec.measures import JUDGES, Benchmark, Judge, JudgeConfig, benchmark, judge_of
from threatspec.measures.benchmarks import absent
from threatspec.records import Search, Stream
from threatspec.resources import shipped
from threatspec.schema import (
    Adversary,
    AttackCard,
    DataRole,
    DescriptionCard,
    JudgeUse,
    Link,
    Use,
    each_value,
)
from threatspec.training import TRAINERS, TrainingRow

__all__ = ["Resolved", "Resolver", "attack_cards"]

RESIDENT = "resident"
"""The usual back-end, which a name need not tell."""
Place = tuple[str | int, ...]


def attack_cards(workspace: Path | None = None) -> dict[str, AttackCard]:
    """All shipped attack cards by name, and those in the `attacks/` folder of a workspace.

    Raises SpecErrors for all that is wrong with the workspace's own.
    """
    known = _shipped_cards()
    folder = workspace / "attacks" if workspace else None
    if folder is None or folder.resolve() == shipped("attacks").resolve():
        return known
    own = load_user_cards(folder, known, lambda kind: ATTACKS.get(kind).Config)
    return dict(sorted({**known, **own}.items()))


@lru_cache(maxsize=1)
def _shipped_cards() -> dict[str, AttackCard]:
    return load_cards(shipped("attacks"))


@dataclass(frozen=True, slots=True)
class Resolved:
    """One entry of `attacks:` with everything looked up."""

    name: str
    attack: Attack
    card: AttackCard | None
    config: AttackConfig
    data: dict[DataRole, dict[str, Any]]
    named: bool
    trainer: str = ""
    """Back-end that trains; empty if the attack trains nothing."""
    search: Search | None = None
    """What is searched first; `config` then has one of the values of every searched knob."""
    entry: int = 0
    """Index of the entry of `attacks:`; of several trainers each is a procedure of its own."""

    @property
    def against(self) -> str | None:
        """Safeguard that it is made for; None if for none."""
        return self.card.against if self.card else None

    @property
    def deterministic(self) -> bool:
        """True if the attack draws from no seed stream."""
        return not self.streams

    @property
    def streams(self) -> frozenset[Stream]:
        """Seed streams; drawing rows needs one of its own. A search may choose any of the knobs."""
        return self.attack.streams if self.search else self.attack.streams_of(self.config)

    @property
    def configs(self) -> list[AttackConfig]:
        """Whatever a search may try at the ends of its knobs, with rows counted."""
        found = each_config(self.attack, self.config, self.search)
        return [config.settled(count_of(self.data)) for config in found]


@dataclass
class Resolver:
    """Looks things up for one spec and collects what is wrong."""

    loaded: LoadedSpec
    runs: bool = False
    """Whether the spec is to be run, for which a description is not enough."""
    problems: list[Problem] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Names that would have to be run and are only described; each is complained of once."""
    judged_by: dict[str, dict[str, str]] = field(default_factory=dict)
    """Digests of what the judge of each measure reads beside replies."""
    read: dict[str, tuple[TrainingRow, ...]] = field(default_factory=dict)
    """Rows by source: a file is read once per spec, and anew for the next."""

    def complain(self, code: str, message: str, *path: str | int, key: bool = False) -> None:
        """Add a problem at a place of the document."""
        where = "key" if key else "value"
        self.problems.append(self.loaded.problem(code, message, path, at=where))

    def finish(self) -> None:
        """Raise SpecErrors if anything is wrong."""
        if self.problems:
            raise SpecErrors(self.problems)

    @cached_property
    def cards(self) -> dict[str, AttackCard]:
        """Attack cards by name: shipped ones, and those of the claims file's workspace."""
        try:
            return attack_cards(find_workspace(self.loaded.path))
        except SpecErrors as errors:
            self.problems += errors.problems
            return attack_cards()

    @cached_property
    def descriptions(self) -> dict[str, DescriptionCard]:
        """Description cards of the claims file's workspace; read where a name is not known."""
        try:
            return load_descriptions(self.loaded.path)
        except SpecErrors as errors:
            self.problems += errors.problems
            return {}

    def described(self, kind: str, name: str) -> DescriptionCard | None:
        """The description of something that is not here; a copy of a benchmark makes it here."""
        if kind != "benchmark":
            return self.descriptions.get(name)
        try:
            return absent(name, self.loaded.folder)
        except ThreatspecError:
            return None

    def describes(self, kind: str, name: str, *place: str | int) -> bool:
        """Whether a name that nothing here runs is described, which is enough for a check."""
        card = self.described(kind, name)
        if card is None or card.kind != kind or (self.runs and card.obtain is not None):
            return False
        if self.runs and name not in self.refused:
            self.refused.add(name)
            text = f"{name} is a description of a {kind}, and nothing here runs it; such a claim "
            self.complain("TS-DESCRIBED-ONLY", f"{text}can be checked, not planned or run", *place)
        return True

    def known_benchmark(self, name: str) -> Benchmark | None:
        """A benchmark that is there; None if there is none, or one that cannot be read."""
        try:
            return benchmark(name, self.loaded.folder, fetch=self.runs)
        except ThreatspecError:
            return None

    @cached_property
    def benchmarks(self) -> dict[str, Benchmark]:
        """Benchmark by name of the measure; judges are checked on the way."""
        found: dict[str, Benchmark] = {}
        for name, measure in self.loaded.spec.measures.items():
            judge = self._judge(name)
            place = ("measures", name, "benchmark")
            try:
                found[name] = benchmark(measure.benchmark, self.loaded.folder, fetch=self.runs)
            except ThreatspecError as error:
                if not self.describes("benchmark", measure.benchmark, *place):
                    self.complain(error.code, error.message, *place)
                continue
            if not found[name].items(measure.split):
                text = (
                    f"{measure.benchmark} must have prompts in split {measure.split}, but has none"
                )
                self.complain("TS-DATA", text, "measures", name)
            lacks = judge and judge[0].lacks(judge[1], found[name].items(measure.split))
            if lacks:  # it cannot decide about the prompts that are asked
                self.complain("TS-JUDGE", f"{measure.benchmark}: {lacks}", "measures", name)
        return found

    def _judge(self, name: str) -> tuple[Judge, JudgeConfig] | None:
        """The judge of a measure with its settings, if there is nothing to complain of."""
        judge = self.loaded.spec.measures[name].judge
        place = ("measures", name, "judge")
        try:
            config = JUDGES.get(judge.use).Config
        except ThreatspecError as error:
            if not self.describes("judge", judge.use, *place):
                self.complain(error.code, error.message, *place)
            return None
        given, problems = model_problems(config, judge.settings, self.loaded, place)
        self.problems += problems
        return None if given is None else self._judged_by(name, judge, place)

    def _judged_by(
        self, name: str, use: JudgeUse, place: Place
    ) -> tuple[Judge, JudgeConfig] | None:
        """Remember what a judge is made of; files that it names must be there."""
        try:
            judge, config = judge_of(use, self.loaded.folder)
            self.judged_by[name] = judge.identity(config)
        except ThreatspecError as error:
            self.complain(error.code, error.message, *place)
            return None
        return judge, config

    def rows(self, source: str) -> tuple[TrainingRow, ...]:
        """Training rows of `BENCHMARK#SPLIT`. Raises ThreatspecError."""
        if source not in self.read:
            self.read[source] = training_rows(source, self.loaded.folder)
        return self.read[source]

    def attacks(self, name: str, adversary: Adversary) -> list[Resolved]:
        """The adversary's attacks: the named ones, or all cards that it can make."""
        check_sources(self, name, adversary)
        usual = [card for card in self.cards.values() if card.auto and card.against is None]
        adaptive = self._adaptive(name, adversary)
        if adversary.attacks is None:
            return self._those(usual + adaptive, adversary)
        named = [
            resolved
            for index, use in enumerate(adversary.attacks)
            for resolved in self._named(use, adversary, ("adversaries", name, "attacks", index))
        ]
        known = {resolved.name for resolved in named}
        return named + [r for r in self._those(adaptive, adversary) if r.name not in known]

    def _those(self, cards: Iterable[AttackCard], adversary: Adversary) -> list[Resolved]:
        """Cards that the adversary can make."""
        found = [self._automatic(card, adversary) for card in cards]
        return [resolved for resolved in found if resolved]

    def _adaptive(self, name: str, adversary: Adversary) -> list[AttackCard]:
        """Cards made for safeguards of subjects that an adversary attacks and knows."""
        if adversary.knowledge.safeguard != "aware":
            return []
        spec = self.loaded.spec
        claims = [claim for claim in spec.claims if claim.against == name]
        subjects = {n for claim in claims for n in claim.subject or spec.all_subjects}
        kinds = {kind for n in subjects for kind in spec.all_subjects[n].guarded_by}
        return [card for card in self.cards.values() if card.against in kinds]

    def allowed(self, adversary: Adversary) -> list[str]:
        """Kinds of attack with a card that the adversary's access admits."""
        kinds = sorted({card.attack for card in self.cards.values()} - {"none"})
        return [kind for kind in kinds if _admits(ATTACKS.get(kind), adversary)]

    def _automatic(self, card: AttackCard, adversary: Adversary) -> Resolved | None:
        attack = ATTACKS.get(card.attack)
        if not _admits(attack, adversary) or card.attack == "none":
            return None
        use = Use(use=card.name)
        try:
            config, search = settings_of(use, card, attack, adversary)
            config = config.owning(adversary.owns)
            attack.reads(config, self.loaded.folder)
        except (ValueError, ThreatspecError):
            return None
        roles = roles_of(use, attack, config)
        if any(role not in adversary.data for role in roles):
            return None
        if not _allows(attack, config, adversary):
            return None
        data = data_of(roles, adversary)
        config = config.settled(count_of(data))
        steps = max(config.runs, default=0)
        if not search and adversary.compute.steps is not None and steps > adversary.compute.steps:
            return None
        trainer = attack.trainers[0] if attack.uses_rows else ""
        return Resolved(
            card.name, attack, card, config, data, named=False, trainer=trainer, search=search
        )

    def _named(self, use: Use, adversary: Adversary, place: Place) -> list[Resolved]:
        """An entry of `attacks:` as procedures: one, or one for each of its trainers."""
        found = self._entry(use, adversary, place)
        if found is None or not found.attack.uses_rows:
            return [found] if found else []
        self._check_trainers(use, found, place)
        return [
            replace(found, name=_label(use, trainer), trainer=trainer)
            for trainer in trainers_of(use, found.attack)
        ]

    def _check_trainers(self, use: Use, found: Resolved, place: Place) -> None:
        for index, name in enumerate(use.trainer):
            at = (*place, "trainer", index)
            if name not in TRAINERS and not self.describes("trainer", name, *at):
                text = f"unknown trainer {name!r}{did_you_mean(name, TRAINERS.names())}"
                self.complain("TS-UNKNOWN-TRAINER", text, *at)
            elif name in TRAINERS and name not in found.attack.trainers:
                ways = " or ".join(found.attack.trainers)
                text = f"{use.use} is trained by {ways}, not by {name}"
                self.complain("TS-UNKNOWN-TRAINER", text, *at)

    def _entry(self, use: Use, adversary: Adversary, place: Place) -> Resolved | None:
        links: list[tuple[Use | Link, Place]] = [
            (one, (*place, "chain", i)) for i, one in enumerate(use.chain or ())
        ]
        parts = [self._part(one, adversary, at) for one, at in links or [(use, place)]]
        known = [part for part in parts if part]
        if len(known) < len(parts):
            return None
        card, attack = known[0]
        if use.chain is not None:
            card, attack = None, attack_of(JOINT.join(part.kind for _, part in known))
        return self._whole(use, card, attack, adversary, place)

    def _part(
        self, use: Use | Link, adversary: Adversary, place: Place
    ) -> tuple[AttackCard | None, Attack] | None:
        """Card and attack that a name stands for; the access must admit it, its knobs be valid."""
        card = self.cards.get(use.use)
        names = sorted({*self.cards, *ATTACKS.names()}) if card is None else [use.use]
        if use.use not in names:
            text = f"unknown attack {use.use!r}{did_you_mean(use.use, names)}"
            self.complain("TS-UNKNOWN-ATTACK", text, *place)
            return None
        try:
            attack = ATTACKS.get(card.attack if card else use.use)
        except ThreatspecError as error:
            self.complain(error.code, error.message, *place)
            return None
        if not _admits(attack, adversary):
            self._complain_access(attack, use, adversary, place)
            return None
        if card and card.against and adversary.knowledge.safeguard != "aware":
            text = f"{use.use} is made against {card.against}, which takes an adversary who knows "
            self.complain("TS-ACCESS", f"{text}it: `knowledge: {{safeguard: aware}}`", *place)
            return None
        valid = self._valid(use, card, attack, place)
        if not attack.uses_rows and "rows" in use.model_fields_set:
            text = f"`rows` is for attacks that train on rows, but {use.use} trains on none"
            self.complain("TS-DATA", text, *place)
        return (card, attack) if valid else None

    def _whole(
        self,
        use: Use,
        card: AttackCard | None,
        attack: Attack,
        adversary: Adversary,
        place: Place,
    ) -> Resolved | None:
        """The entry with everything settled; a chain is an attack like any other here."""
        if not attack.uses_rows and "trainer" in use.model_fields_set:
            text = f"`trainer` is for attacks that train, but {use.use} trains nothing"
            self.complain("TS-UNKNOWN-FIELD", text, *place, "trainer", key=True)
        flat = as_attack(use, self.cards)
        try:
            config, search = settings_of(flat, card, attack, adversary)
            config = config.owning(adversary.owns)
        except ValueError as error:
            self.complain("TS-SEARCH", str(error), *place)
            return None
        for text in unfit(config) if isinstance(config, ChainConfig) else ():
            self.complain("TS-CHAIN", text, *place)
            return None
        for one in each_config(attack, config, search):
            if not _allows(attack, one, adversary):
                which = " or ".join(" + ".join(sorted(way)) for way in ways(attack, one))
                text = f"these knobs of {use.use} need {which}, "
                text += f"but access {_access_text(adversary)} does not admit it"
                self.complain("TS-ACCESS", text, *place)
                return None
        if not self._readable(attack, each_config(attack, config, search), place):
            return None
        roles = roles_of(flat, attack, config)
        lacking = [role.value for role in roles if role not in adversary.data]
        if lacking:
            text = f"{use.use} reads {' and '.join(lacking)} rows, "
            self.complain("TS-DATA", f"{text}but the adversary's `data` has none", *place)
            return None
        if attack.roles(config) is not None and "rows" in use.model_fields_set:
            text = f"`rows` is for rows as they are, but {use.use} reads those it needs"
            self.complain("TS-DATA", text, *place)
        data = data_of(roles, adversary)
        return Resolved(
            name=_label(use),
            attack=attack,
            card=card,
            config=config.settled(count_of(data)),
            data=data,
            named=True,
            search=search,
            entry=int(place[-1]),
        )

    def _readable(self, attack: Attack, configs: Iterable[AttackConfig], place: Place) -> bool:
        """Whether files and models that knobs name are there; a check needs no weights."""
        for config in configs:
            try:
                attack.reads(config, self.loaded.folder)
            except ThreatspecError as error:
                if self.runs or error.code != "TS-MODEL-MISSING":
                    self.complain(error.code, error.message, *place)
                    return False
        return True

    def _valid(
        self, use: Use | Link, card: AttackCard | None, attack: Attack, place: Place
    ) -> bool:
        """Whether every value of every knob is one; complains of those that are not."""
        knobs = knobs_of(use, card)
        for values in each_value(attack.Config, knobs):
            _, problems = model_problems(attack.Config, values, self.loaded, place)
            self.problems += problems
            if problems:
                return False
        return True

    def _complain_access(
        self, attack: Attack, use: Use | Link, adversary: Adversary, place: Place
    ) -> None:
        ways = " or ".join(" + ".join(sorted(need)) for need in attack.needs)
        text = f"{use.use} needs {ways}, but access {_access_text(adversary)} does not admit it"
        self.complain("TS-ACCESS", text, *place)


def _allows(attack: Attack, config: AttackConfig, adversary: Adversary) -> bool:
    needs = ways(attack, config)
    return not needs or any(need <= adversary.capabilities for need in needs)


def _admits(attack: Attack, adversary: Adversary) -> bool:
    return not attack.needs or any(need <= adversary.capabilities for need in attack.needs)


def _access_text(adversary: Adversary) -> str:
    if isinstance(adversary.access, str):
        return repr(adversary.access)
    return f"[{', '.join(adversary.access)}]"


def _label(use: Use, trainer: str = "") -> str:
    """What people call a procedure; a trainer is named where it is not the only usual one."""
    name = _knobbed(use) if use.chain is None else " + ".join(map(_knobbed, use.chain))
    return f"{name} trainer={trainer}" if trainer and use.trainer != (RESIDENT,) else name


def _knobbed(use: Use | Link) -> str:
    extra = [f"{key}={_shown(value)}" for key, value in use.knobs.items()]
    if use.rows != "harmful":
        extra.append(f"rows={use.rows}")
    return " ".join([use.use, *extra])


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "|".join(map(_shown, value))
    if isinstance(value, dict):
        return ",".join(f"{k}:{_shown(v)}" for k, v in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
