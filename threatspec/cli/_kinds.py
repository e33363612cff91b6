"""Every name that YAML, a verb or a report can use, by kind, with one line on what it means."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threatspec.errors import ThreatspecError
    from threatspec.registry import Registry

__all__ = ["KINDS", "Entry", "broken_plugins", "profiles"]

Entry = tuple[str, str]
"""A name and what it means."""


def _presets() -> Iterable[Entry]:
    from threatspec.schema import PRESETS

    return ((name, " + ".join(sorted(access))) for name, access in PRESETS.items())


def _attacks() -> Iterable[Entry]:
    from threatspec.cli._attack_groups import listed_attacks

    return ((attack.name, attack.says) for attack in listed_attacks())


def _benchmarks() -> Iterable[Entry]:
    from threatspec.measures import BENCHMARKS
    from threatspec.measures.benchmarks import absent, shipped
    from threatspec.subjects.images.folders import FOLDERS

    yield from ((name, found.says) for name, found in BENCHMARKS.survey()[0].items())
    for name, folder in FOLDERS.items():
        yield name, f"(your copy: {name}:PATH) {folder.says}"
    for name, about in shipped().items():
        missing = absent(name, Path.cwd()) is not None
        state = "not here, gated" if about.gated else "not here"
        yield name, f"{f'({state})' if missing else '(your copy)'} {about.says}"


def _capabilities() -> Iterable[Entry]:
    from threatspec.reports import capability_words
    from threatspec.schema import Capability

    return ((name.value, capability_words(name)) for name in Capability)


def _descriptions() -> Iterable[Entry]:
    from threatspec.loading import load_descriptions

    return ((name, card.says) for name, card in load_descriptions(Path.cwd()).items())


def _errors() -> Iterable[Entry]:
    from threatspec.errors import CODES

    return CODES.items()


def _exit_codes() -> Iterable[Entry]:
    from threatspec.cli._exit_codes import EXIT_CODES

    return ((f"exit-{int(code)}", says) for code, says in EXIT_CODES.items())


def _fields() -> Iterable[Entry]:
    from threatspec.cli._fields import language_fields

    return ((field.path, field.says) for field in language_fields().values())


def _instruments() -> Iterable[Entry]:
    from threatspec.instruments import INSTRUMENTS

    return ((name, found.says) for name, found in INSTRUMENTS.survey()[0].items())


def _judges() -> Iterable[Entry]:
    from threatspec.measures import JUDGES

    return ((name, judge.says) for name, judge in JUDGES.survey()[0].items())


def _models() -> Iterable[Entry]:
    from threatspec.subjects import FETCHABLE

    return ((f"gguf:{name}", package.says) for name, package in sorted(FETCHABLE.items()))


def _recipes() -> Iterable[Entry]:
    from threatspec.attacks.recipes import RECIPES

    return ((name, recipe.says) for name, recipe in RECIPES.survey()[0].items())


def _rules() -> Iterable[Entry]:
    from threatspec.claims import RULES

    return ((code, rule.says) for code, rule in RULES.items())


def _trainers() -> Iterable[Entry]:
    from threatspec.training import TRAINERS

    return ((name, trainer.says) for name, trainer in TRAINERS.survey()[0].items())


def _runners() -> Iterable[Entry]:
    return ((name, f"runner profile in {path}") for name, path in profiles(Path.cwd()).items())


def _safeguards() -> Iterable[Entry]:
    from threatspec.safeguards import SAFEGUARDS

    return ((name, safeguard.says) for name, safeguard in SAFEGUARDS.survey()[0].items())


def _specimens() -> Iterable[Entry]:
    from threatspec.subjects.specimens import SEEING, SPECIMENS

    return ((f"specimen:{name}", says) for name, says in sorted({**SPECIMENS, **SEEING}.items()))


def _verdicts() -> Iterable[Entry]:
    from threatspec.reports import MEANINGS

    return ((verdict.value, says) for verdict, says in MEANINGS.items())


def broken_plugins(kind: str) -> list[ThreatspecError]:
    """What is wrong with plug-ins of a kind that therefore are not among its names."""
    if kind not in {"attacks", "benchmarks", "instruments", "judges", "recipes", "safeguards"}:
        return []
    from threatspec import attacks, instruments, measures, safeguards
    from threatspec.attacks import recipes

    registries: dict[str, Registry[Any]] = {
        "attacks": attacks.ATTACKS,
        "benchmarks": measures.BENCHMARKS,
        "instruments": instruments.INSTRUMENTS,
        "judges": measures.JUDGES,
        "recipes": recipes.RECIPES,
        "safeguards": safeguards.SAFEGUARDS,
    }
    return registries[kind].survey()[1]


def profiles(place: Path) -> dict[str, Path]:
    """Runner profiles by name: those of the workspace around `place`, then those that ship."""
    from threatspec.loading import find_workspace
    from threatspec.resources import shipped

    folders = (shipped("runners"), find_workspace(place) / "runners")
    found = {path.stem: path for folder in folders for path in folder.glob("*.yaml")}
    return dict(sorted(found.items()))


KINDS: dict[str, Callable[[], Iterable[Entry]]] = {
    "access": _presets,
    "attacks": _attacks,
    "benchmarks": _benchmarks,
    "capabilities": _capabilities,
    "descriptions": _descriptions,
    "errors": _errors,
    "exit-codes": _exit_codes,
    "fields": _fields,
    "instruments": _instruments,
    "judges": _judges,
    "models": _models,
    "recipes": _recipes,
    "rules": _rules,
    "runners": _runners,
    "safeguards": _safeguards,
    "specimens": _specimens,
    "trainers": _trainers,
    "verdicts": _verdicts,
}
"""Names by kind; calling one imports the rooms that know them, and none of the others."""
