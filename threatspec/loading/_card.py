"""Attack cards: every YAML file of a folder is one."""

from __future__ import annotations

from pathlib import Path

from threatspec.errors import Problem, SpecErrors
from threatspec.loading._marks import Source
from threatspec.loading._validate import validate
from threatspec.loading._yaml import read_document
from threatspec.schema import AttackCard

__all__ = ["load_cards"]


def load_cards(folder: str | Path) -> dict[str, AttackCard]:
    """All attack cards in ``folder`` by name, sorted. Raises SpecErrors for all that are wrong."""
    found: dict[str, AttackCard] = {}
    problems: list[Problem] = []
    folder = Path(folder)
    if not folder.is_dir():
        source = Source(str(folder))
        raise SpecErrors([source.problem("TS-FILE-MISSING", "the folder of cards is not there")])
    for path in sorted(folder.glob("*.yaml")):
        try:
            card, wrong = _load_card(path, found)
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
    path: Path, others: dict[str, AttackCard]
) -> tuple[AttackCard | None, list[Problem]]:
    document = read_document(path)
    card, problems = validate(AttackCard, document.data, document.source, broken=document.broken)
    problems = [*document.problems, *problems]
    if card is not None and card.name in others:
        text = f"card names must be unique, but {card.name!r} is also the name of another card"
        problems.append(document.source.problem("TS-CARD", text, ("name",)))
    elif card is not None and card.name != path.stem:
        text = f"a card must have the name of its file, {path.stem!r}, but got {card.name!r}"
        problems.append(document.source.problem("TS-CARD", text, ("name",)))
    return card, problems
