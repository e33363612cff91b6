"""Benchmarks that ship described: what they are, where they are had, and no text of theirs."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from threatspec.errors import ThreatspecError, did_you_mean
from threatspec.loading import load_descriptions, shipped_descriptions
from threatspec.schema import DescriptionCard

__all__ = ["described", "description_of", "not_here", "shipped", "shipped_for"]


def description_of(name: str, place: Path) -> DescriptionCard | None:
    """The description of a benchmark: one that ships, or one of the workspace around `place`.

    Raises SpecErrors if the workspace has one that is wrong.
    """
    found = shipped().get(name) or load_descriptions(place).get(name)
    return found if found is not None and found.kind == "benchmark" else None


@lru_cache(maxsize=1)
def shipped() -> dict[str, DescriptionCard]:
    """Descriptions that come with the program, by name."""
    return shipped_descriptions()


def shipped_for(repo: str) -> DescriptionCard | None:
    """The shipped description of a data set of a hub, by OWNER/NAME."""
    return next((c for c in shipped().values() if c.hub is not None and c.hub.repo == repo), None)


def described(name: str, place: Path) -> DescriptionCard:
    """The description called `name`. Raises ThreatspecError TS-DATA if there is none."""
    found = description_of(name, place)
    if found is None:
        known = sorted({*shipped(), *load_descriptions(place)})
        text = f"a card must be a copy of something described, but {name!r} is not"
        raise ThreatspecError("TS-DATA", text + did_you_mean(name, known))
    return found


def not_here(card: DescriptionCard) -> ThreatspecError:
    """What to say of a benchmark of which no copy is there, and how to get one."""
    code = "TS-GATED" if card.gated else "TS-DATA"
    why = "its owners grant access one by one" if card.gated else "it does not ship"
    how = (card.obtain or "").rstrip(".")
    text = f"{card.name} is not here, since {why}. {how}"
    return ThreatspecError(code, f"{text}; then: threatspec benchmarks add FILE --as {card.name}")
