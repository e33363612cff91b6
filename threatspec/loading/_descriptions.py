"""Description cards: things that published claims name and that nothing here runs."""

from __future__ import annotations

from pathlib import Path

from threatspec.errors import Problem, SpecErrors
from threatspec.loading._validate import validate
from threatspec.loading._workspace import find_workspace, load_workspace
from threatspec.loading._yaml import read_document
from threatspec.schema import DescriptionCard

__all__ = ["load_descriptions"]

FOLDER = "descriptions"


def load_descriptions(place: Path) -> dict[str, DescriptionCard]:
    """All description cards of the workspace around a claims file or folder, by name, sorted.

    They lie in a folder `descriptions/` of the workspace's folders of claims. Raises SpecErrors for
    all that are wrong.
    """
    found: dict[str, DescriptionCard] = {}
    problems: list[Problem] = []
    for path in _files(find_workspace(place)):
        try:
            card, wrong = _load(path, found)
        except SpecErrors as errors:
            problems += errors.problems
            continue
        problems += wrong
        if card is not None:
            found.setdefault(card.name, card)
    if problems:
        raise SpecErrors(problems)
    return dict(sorted(found.items()))


def _files(workspace: Path) -> list[Path]:
    """Nothing outside the workspace is read, by whatever path or link."""
    usual = load_workspace(workspace)
    names = usual.claims if usual else ["claims"] if (workspace / "claims").is_dir() else [""]
    root = workspace.resolve()
    found = [path for n in names for path in sorted((workspace / n / FOLDER).glob("*.yaml"))]
    own = {path.resolve(): path for path in found}
    return [path for real, path in own.items() if real.is_relative_to(root)]


def _load(
    path: Path, others: dict[str, DescriptionCard]
) -> tuple[DescriptionCard | None, list[Problem]]:
    document = read_document(path)
    source = document.source
    card, problems = validate(DescriptionCard, document.data, source, broken=document.broken)
    problems = [*document.problems, *problems]
    if card is not None and card.name != path.stem:
        text = f"a card must have the name of its file, {path.stem!r}, but got {card.name!r}"
        problems.append(source.problem("TS-CARD", text, ("name",)))
    elif card is not None and card.name in others:
        text = f"card names must be unique, but {card.name!r} is also the name of another card"
        problems.append(source.problem("TS-CARD", text, ("name",)))
    return card, problems
