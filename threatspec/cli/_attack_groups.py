"""Attacks as `list` shows them: by the paper whose runs they are, and by the access they need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threatspec.attacks import Attack
    from threatspec.schema import AttackCard

__all__ = ["ListedAttack", "grouped_attacks", "listed_attacks", "ways_of"]


@dataclass(frozen=True, slots=True)
class ListedAttack:
    """A card, or a kind without a card of its name."""

    name: str
    says: str
    card: bool
    paper: str | None
    """arXiv number."""
    needs: tuple[tuple[str, ...], ...]
    """Sets of capabilities, any one of which is enough; none: needs nothing."""

    @property
    def group(self) -> str:
        """Heading that it stands under."""
        if not self.card:
            return "kinds without a card of their name"
        return f"arXiv {self.paper}" if self.paper else "of no paper"

    @property
    def access(self) -> str:
        """What it needs, in words."""
        return "needs " + (" or ".join(" + ".join(need) for need in self.needs) or "nothing")

    def data(self) -> dict[str, Any]:
        """Plain data for machines."""
        needs = [list(need) for need in self.needs]
        return {"name": self.name, "says": self.says, "paper": self.paper, "needs": needs}


def listed_attacks() -> list[ListedAttack]:
    """All cards by name, those of the workspace too, then kinds without a card of their name."""
    from threatspec.attacks import ATTACKS
    from threatspec.campaign import attack_cards
    from threatspec.loading import find_workspace

    kinds = ATTACKS.survey()[0]
    cards = attack_cards(find_workspace(Path.cwd()))
    found = [_of_card(card, kinds.get(card.attack)) for _, card in sorted(cards.items())]
    bare = ((kind, attack) for kind, attack in kinds.items() if kind not in cards)
    return [
        *found,
        *(ListedAttack(k, a.says, card=False, paper=None, needs=ways_of(a)) for k, a in bare),
    ]


def _of_card(card: AttackCard, attack: Attack | None) -> ListedAttack:
    needs = ways_of(attack, card.config) if attack else ()
    return ListedAttack(card.name, card.says, card=True, paper=card.paper, needs=needs)


def ways_of(attack: Attack, preset: dict[str, Any] | None = None) -> tuple[tuple[str, ...], ...]:
    """What an attack needs; with a preset, whatever its values need."""
    from threatspec.attacks.recipes import ways
    from threatspec.schema import each_value

    if preset is None:
        return tuple(tuple(sorted(need)) for need in attack.needs)
    found: dict[tuple[str, ...], None] = {}
    for knobs in each_value(attack.Config, preset):
        config = attack.Config.model_validate_json(json.dumps(knobs))
        found |= dict.fromkeys(tuple(sorted(need)) for need in ways(attack, config))
    return tuple(found)


def grouped_attacks() -> Iterator[str]:
    """Lines of text: a heading per paper, below it one per set of needs, then names."""
    attacks = listed_attacks()
    width = max((len(attack.name) for attack in attacks), default=0)
    ordered = sorted(attacks, key=lambda a: (not a.card, a.paper or "", a.access, a.name))
    for group, inner in groupby(ordered, key=lambda attack: attack.group):
        yield group
        for access, same in groupby(inner, key=lambda attack: attack.access):
            yield f"  {access}"
            yield from (f"    {attack.name:<{width}}  {attack.says}" for attack in same)
