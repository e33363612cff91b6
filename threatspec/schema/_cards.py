"""Cards: YAML files that describe an attack's preset, or something that is named and not here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from threatspec.schema._base import Described
from threatspec.schema._benchmark_card import Domain, HubFile

__all__ = ["AttackCard", "CardSource", "DescriptionCard"]

_WORDS = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_KIND = r"^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$"
Text = Annotated[str, Field(min_length=1, max_length=2000)]


class CardSource(Described):
    """Where a configuration comes from."""

    work: Text
    """Paper, repository or "own"."""
    section: Text
    """Where in the work: a section, table, or file and line."""
    provenance: Literal["code", "paper", "secondary", "own"]
    """Read in released code, in the paper itself, in somebody else's account, or made by us."""

    def __str__(self) -> str:
        return f"{self.work}, {self.section} ({self.provenance})"


class AttackCard(Described):
    """A preset of an attack: a configuration with its source. The file is `NAME.yaml`."""

    format: Annotated[Literal["threatspec/attack-card/v1"], Field(alias="schema")]
    """Version of the card's format."""
    name: Annotated[str, Field(pattern=_WORDS, max_length=80)]
    """Name used in `attacks:`; the stem of the file."""
    attack: Annotated[str, Field(pattern=_KIND, max_length=80)]
    """Kind of attack that the configuration is for."""
    says: Text
    """What it does, in one plain sentence."""
    source: CardSource
    """Where the configuration comes from."""
    paper: Annotated[str, Field(pattern=r"^\d{4}\.\d{4,5}$")] | None = None
    """arXiv number of the paper whose runs these are; absent = of none."""
    auto: bool = False
    """Whether an adversary that names no attacks makes this one too."""
    against: Annotated[str, Field(pattern=_KIND, max_length=80)] | None = None
    """Safeguard that it is made for: adversaries that are aware of the safeguard make it as well,
    whatever they name, and others never do."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Knobs of the attack; absent ones are at their defaults, a list is a finite set to search."""


class DescriptionCard(Described):
    """Something that published claims name and that is not here. `check` reasons about it, `plan`
    and `run` refuse it, or a benchmark until a copy of it is there. The file is `NAME.yaml` in a
    folder `descriptions/` of the workspace's claims; some benchmarks ship described."""

    format: Annotated[Literal["threatspec/description/v1"], Field(alias="schema")]
    """Version of the card's format."""
    name: Annotated[str, Field(pattern=_WORDS, max_length=80)]
    """Name used in claims; the stem of the file."""
    kind: Literal["benchmark", "judge", "trainer"]
    """What it would be."""
    says: Text
    """What it is, in one plain sentence."""
    source: CardSource
    """Where it is described."""
    licence: Text
    """Under which licence it may be used, or `unknown`."""
    obtain: Text | None = None
    """Of a benchmark that runs once a copy is there: how to get one."""
    gated: bool = False
    """True if its owners let everybody in one by one."""
    prompts: Annotated[int, Field(ge=1)] | None = None
    """How many it has; absent = not known for sure."""
    domains: dict[Annotated[str, Field(pattern=_WORDS)], Domain] = Field(default_factory=dict)
    """Its categories, by domain; copies get both as slices."""
    ids_per_category: Annotated[int, Field(ge=1)] | None = None
    """So many ids in a row, counted from 1, are one category; absent = a column says it."""
    hub: HubFile | None = None
    """Where a hub has it."""
