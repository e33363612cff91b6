"""Chains: attacks made one after another, each on what the ones before it have left.

A chain is an attack itself. Its kind is that of its links joined by `+`, for example
`lora-finetune+prefill`; its knob `links` holds theirs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SerializeAsAny, model_validator

from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    Attack,
    AttackConfig,
    AttackContext,
    DataCard,
    Mounted,
    Surface,
)
from threatspec.records import Spend, Stream
from threatspec.schema import Access, DataRole, Model, Owns
from threatspec.subjects import SubjectCard, Tamper
from threatspec.training import ScoreRequest

__all__ = ["Chain", "ChainConfig", "Link", "attack_of", "parts_of"]

_ORDER = tuple(Surface)
_KNOB = re.compile(r"(\d+)\.(\w+)")
EITHER = {"steps": "epochs", "epochs": "steps", "k": "words", "words": "k"}
"""Knobs of which one stands in place of the other."""
JOINT = "+"


class Link(Model):
    """One attack of a chain."""

    attack: str
    """Its kind."""
    roles: tuple[DataRole, ...] = ()
    """Which of the adversary's rows it reads, if it trains on rows as they are."""
    config: SerializeAsAny[AttackConfig]

    @model_validator(mode="before")
    @classmethod
    def _typed(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("config"), dict):
            config = ATTACKS.get(value["attack"]).Config
            roles = tuple(map(DataRole, value.get("roles", ())))
            own = config.model_validate_json(json.dumps(value["config"]))
            return {**value, "roles": roles, "config": own}
        return value

    @property
    def made(self) -> Attack:
        """The attack."""
        return ATTACKS.get(self.attack)

    @property
    def reads(self) -> tuple[DataRole, ...]:
        """Which of the adversary's rows it reads."""
        own = self.made.roles(self.config)
        return self.roles if own is None else own


class ChainConfig(AttackConfig):
    """Knobs of all links; `N.KNOB` stands for a knob of the link at place N, from 0."""

    links: tuple[Link, ...] = Field(min_length=2)
    """The attacks, in the order in which they are made."""

    @model_validator(mode="before")
    @classmethod
    def _placed(cls, value: Any) -> Any:
        """Put knobs that are written `N.KNOB` where they belong."""
        if not isinstance(value, dict):
            return value
        found = {name: m for name in value if (m := _KNOB.fullmatch(name))}
        links = [_plain(link) for link in value.get("links", ())]
        for name, match in found.items():
            own, knob = links[int(match[1])]["config"], match[2]
            own.pop(EITHER.get(knob, ""), None)
            own[knob] = value[name]
        rest = {name: own for name, own in value.items() if name not in {*found, "links"}}
        return {"links": tuple(links), **rest}

    def settled(self, rows: int) -> Self:
        """Every link reads the same rows, so that each has as many."""
        links = [link.model_copy(update={"config": link.config.settled(rows)})
                 for link in self.links]  # fmt: skip
        return self.model_copy(update={"links": tuple(links)})

    def owning(self, owns: Owns) -> Self:
        """Every link is made by the same adversary."""
        links = [link.model_copy(update={"config": link.config.owning(owns)})
                 for link in self.links]  # fmt: skip
        return self.model_copy(update={"links": tuple(links)})

    @property
    def item_texts(self) -> frozenset[str]:
        """What any link needs."""
        return frozenset().union(*(link.config.item_texts for link in self.links))

    @property
    def leaked(self) -> bool:
        """Whether any link is told a secret."""
        return any(link.config.leaked for link in self.links)

    @property
    def needs(self) -> Access:
        """What the knobs of any link take."""
        return frozenset().union(*(link.config.needs for link in self.links))

    @property
    def runs(self) -> tuple[int, ...]:
        """Training runs of all links."""
        return tuple(run for link in self.links for run in link.config.runs)

    @property
    def sparsity(self) -> float | None:
        """What all links together may set to 0."""
        found = [share for link in self.links if (share := link.config.sparsity) is not None]
        return min(1.0, sum(found)) if found else None

    @property
    def change_rank(self) -> int | None:
        """Ranks of changes of weights add up."""
        ranks = [x.config.change_rank for x in self.links if x.made.surface is Surface.WEIGHTS]
        return None if None in ranks else sum(rank for rank in ranks if rank is not None)


def _plain(link: Any) -> dict[str, Any]:
    plain: dict[str, Any] = link.model_dump(mode="json") if isinstance(link, Link) else dict(link)
    config = plain["config"]
    return {**plain, "config": dict(config) if isinstance(config, dict) else config.model_dump()}


class Chain(Attack):
    """Attacks made one after another."""

    Config = ChainConfig

    def __init__(self, parts: Sequence[Attack]) -> None:
        self.parts = tuple(parts)
        self.kind = JOINT.join(part.kind for part in parts)  # type: ignore[misc]
        self.says = "makes, one after another: " + "; ".join(p.says for p in parts)  # type: ignore[misc]
        ways = product(*(part.needs or (frozenset(),) for part in parts))
        self.needs = tuple(dict.fromkeys(frozenset().union(*way) for way in ways))  # type: ignore[misc]
        self.offers = frozenset().union(*(part.offers for part in parts))  # type: ignore[misc]
        self.surface = min((p.surface for p in parts), key=_ORDER.index)  # type: ignore[misc]
        self.streams = frozenset().union(*(part.streams for part in parts))  # type: ignore[misc]
        self.uses_rows = any(part.uses_rows for part in parts)  # type: ignore[misc]
        training = [part.trainers for part in parts if part.uses_rows]
        shared = training[0] if training else ()
        self.trainers = tuple(t for t in shared if all(t in own for own in training))  # type: ignore[misc]

    def streams_of(self, config: ChainConfig) -> frozenset[Stream]:
        """Those of all links."""
        return frozenset().union(*(link.made.streams_of(link.config) for link in config.links))

    def listed(self, knobs: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        """Those of all links: a search tries the product."""
        return {
            f"{place}.{name}": values
            for place, (part, link) in enumerate(zip(self.parts, knobs["links"], strict=True))
            for name, values in part.listed(_plain(link)["config"]).items()
        }

    def reads(self, config: ChainConfig, folder: Path) -> dict[str, str]:
        """What all links read; what they own is the same."""
        found: dict[str, str] = {}
        for link in config.links:
            found |= link.made.reads(link.config, folder)
        return found

    def scores(self, config: ChainConfig) -> tuple[ScoreRequest, ...]:
        """Scores of the first link; they are made of the subject as it is."""
        return tuple(s for link in config.links for s in link.made.scores(link.config))

    def roles(self, config: ChainConfig) -> tuple[DataRole, ...] | None:
        """Every role that a link reads."""
        return tuple(dict.fromkeys(role for link in config.links for role in link.reads))

    def cost(self, subject: SubjectCard, config: ChainConfig, data: DataCard | None) -> Spend:
        """The sum over the links."""
        costs = (link.made.cost(subject, link.config, data) for link in config.links)
        return sum(costs, Spend())

    def run(
        self, context: AttackContext, config: ChainConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Make every link on what the ones before it have left."""
        left: tuple[Tamper, ...] = ()
        scores = iter(context.scores)
        for link in config.links:
            own = tuple(next(scores) for _ in link.made.scores(link.config))
            made = yield from link.made.run(replace(context, scores=own), link.config)
            left = (*left, *made)
            if link is not config.links[-1]:
                yield Mounted(made)
        return left


@lru_cache(maxsize=256)
def attack_of(kind: str) -> Attack:
    """The attack of a kind; `A+B` is a chain. Raises ThreatspecError TS-UNKNOWN-ATTACK."""
    parts = [ATTACKS.get(part) for part in parts_of(kind)]
    return parts[0] if len(parts) == 1 else Chain(parts)


def parts_of(kind: str) -> list[str]:
    """Kinds of the attacks that one kind is made of."""
    return kind.split(JOINT)


def unfit(config: ChainConfig) -> Iterator[str]:
    """Why attacks cannot follow one another in this way."""
    order = [_ORDER.index(link.made.surface) for link in config.links]
    for before, after, link in zip(order, order[1:], config.links[1:], strict=False):
        if after < before:
            known = ", ".join(surface.value for surface in _ORDER)
            yield f"attacks of a chain must follow the surfaces {known}, but {link.attack} is late"
    if "none" in {link.attack for link in config.links}:
        yield "attacks of a chain must do something, but none does nothing"
    reads = {link.reads for link in config.links if link.made.uses_rows}
    if len(reads) > 1:
        yield "attacks of a chain must train on rows of the same roles, but they do not"
    scored = [link.attack for link in config.links[1:] if link.made.scores(link.config)]
    if scored:
        yield f"scores are of the subject as it is, so {scored[0]} must come first in a chain"
