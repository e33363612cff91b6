"""Cards of one kind: every file says the name that it is called by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from threatspec.errors import Problem, SpecErrors
from threatspec.loading._marks import Source
from threatspec.loading._validate import validate
from threatspec.loading._yaml import read_document
from threatspec.schema import AttackCard, DescriptionCard

__all__ = ["load_named"]

C = TypeVar("C", bound=AttackCard | DescriptionCard)
More = Callable[[C, Source], list[Problem]]
"""What else is wrong with a card."""


def load_named(
    model: type[C], paths: Iterable[Path], more: More[C] = lambda card, source: []
) -> dict[str, C]:
    """Cards by name, sorted. Raises SpecErrors for all that are wrong."""
    found: dict[str, C] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            card, wrong = _load(model, path, found, more)
        except SpecErrors as errors:
            problems += errors.problems
            continue
        problems += wrong
        if card is not None:
            found.setdefault(card.name, card)
    if problems:
        raise SpecErrors(problems)
    return dict(sorted(found.items()))


def _load(
    model: type[C], path: Path, others: dict[str, C], more: More[C]
) -> tuple[C | None, list[Problem]]:
    document = read_document(path)
    source = document.source
    card, problems = validate(model, document.data, source, broken=document.broken)
    problems = [*document.problems, *problems]
    if card is not None:
        wrong = _misnamed(card.name, path, others)
        problems += [source.problem("TS-CARD", wrong, ("name",))] if wrong else more(card, source)
    return card, problems


def _misnamed(name: str, path: Path, others: Iterable[str]) -> str:
    """What is wrong with a card's name; "" if nothing is."""
    if name in others:
        return f"card names must be unique, but {name!r} is also the name of another card"
    if name != path.stem:
        return f"a card must have the name of its file, {path.stem!r}, but got {name!r}"
    return ""
