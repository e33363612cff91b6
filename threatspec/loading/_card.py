"""Attack cards: every YAML file of a folder of shipped content is one; a user's says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel

from threatspec.errors import Problem, SpecErrors, ThreatspecError
from threatspec.loading._marks import Source
from threatspec.loading._validate import validate
from threatspec.loading._yaml import MAX_BYTES, read_document
from threatspec.schema import AttackCard

__all__ = ["load_cards", "load_user_cards"]

ConfigOf = Callable[[str], type[BaseModel]]
"""The knobs of a kind of attack; raises ThreatspecError for an unknown kind."""
_SAYS_SO = re.compile(rb"""schema["']?[ \t]*:[ \t]*["']?threatspec/attack-card/""")


def load_cards(folder: str | Path) -> dict[str, AttackCard]:
    """All attack cards in ``folder`` by name, sorted. Raises SpecErrors for all that are wrong."""
    folder = Path(folder)
    if not folder.is_dir():
        source = Source(str(folder))
        raise SpecErrors([source.problem("TS-FILE-MISSING", "the folder of cards is not there")])
    return _load(sorted(folder.glob("*.yaml")), {}, None)


def load_user_cards(
    folder: Path, shipped: Mapping[str, AttackCard], config_of: ConfigOf
) -> dict[str, AttackCard]:
    """Cards of a workspace's ``folder`` by name; none if there is no such folder.

    Attack research often has an `attacks/` of its own, so YAML files that do not call themselves
    cards are left alone. A shipped name is only for a copy of the shipped card: everybody who reads
    a claim must mean the same by it. Raises SpecErrors for all that are wrong.
    """
    paths = [path for path in sorted(folder.glob("*.yaml")) if _is_card(path)]
    return _load(paths, shipped, config_of)


def _is_card(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _SAYS_SO.search(file.read(MAX_BYTES)) is not None
    except OSError:
        return False


def _load(
    paths: list[Path], shipped: Mapping[str, AttackCard], config_of: ConfigOf | None
) -> dict[str, AttackCard]:
    found: dict[str, AttackCard] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            card, wrong = _load_card(path, found, shipped, config_of)
        except SpecErrors as errors:
            problems += errors.problems
            continue
        problems += wrong
        if card is not None:
            found.setdefault(card.name, card)
    if problems:
        raise SpecErrors(problems)
    return dict(sorted(found.items()))


def _load_card(
    path: Path,
    others: Mapping[str, AttackCard],
    shipped: Mapping[str, AttackCard],
    config_of: ConfigOf | None,
) -> tuple[AttackCard | None, list[Problem]]:
    document = read_document(path)
    source = document.source
    card, problems = validate(AttackCard, document.data, source, broken=document.broken)
    problems = [*document.problems, *problems]
    if card is not None:
        wrong = _misnamed(card, path, others, shipped)
        problems += [source.problem("TS-CARD", wrong, ("name",))] if wrong else []
        problems += _misconfigured(card, source, config_of) if config_of else []
    return card, problems


def _misnamed(
    card: AttackCard,
    path: Path,
    others: Mapping[str, AttackCard],
    shipped: Mapping[str, AttackCard],
) -> str:
    """What is wrong with the card's name; "" if nothing is."""
    if card.name in others:
        return f"card names must be unique, but {card.name!r} is also the name of another card"
    if card.name != path.stem:
        return f"a card must have the name of its file, {path.stem!r}, but got {card.name!r}"
    if shipped.get(card.name, card) != card:
        return (
            f"a card must not change what a shipped name means, but {card.name!r} differs from the "
            "shipped card; give it another name"
        )
    return ""


def _misconfigured(card: AttackCard, source: Source, config_of: ConfigOf) -> list[Problem]:
    try:
        model = config_of(card.attack)
    except ThreatspecError as error:
        return [source.problem(error.code, error.message, ("attack",))]
    return validate(model, card.config, source, ("config",))[1]
