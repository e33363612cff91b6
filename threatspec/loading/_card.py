"""Attack cards: every YAML file of a folder of shipped content is one; a user's says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel

from threatspec.errors import Problem, SpecErrors, ThreatspecError
from threatspec.loading._marks import Source
from threatspec.loading._named import load_named
from threatspec.loading._validate import validate
from threatspec.loading._yaml import MAX_BYTES
from threatspec.schema import AttackCard, each_value

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
    def more(card: AttackCard, source: Source) -> list[Problem]:
        changed = _changed(card, source, shipped)
        return [*changed, *(_misconfigured(card, source, config_of) if config_of else [])]

    return load_named(AttackCard, paths, more)


def _changed(card: AttackCard, source: Source, shipped: Mapping[str, AttackCard]) -> list[Problem]:
    if shipped.get(card.name, card) == card:
        return []
    text = (
        f"a card must not change what a shipped name means, but {card.name!r} differs from the "
        "shipped card; give it another name"
    )
    return [source.problem("TS-CARD", text, ("name",))]


def _misconfigured(card: AttackCard, source: Source, config_of: ConfigOf) -> list[Problem]:
    try:
        model = config_of(card.attack)
    except ThreatspecError as error:
        return [source.problem(error.code, error.message, ("attack",))]
    for config in each_value(model, card.config):
        if problems := validate(model, config, source, ("config",))[1]:
            return problems
    return []
