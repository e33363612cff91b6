"""What a data recipe is: how an adversary's rows become training rows, and how requests follow.

A recipe states beforehand how many rows come out. One file per recipe, parts in the same order:
config, class, registration; recipes that only choose rows are a table.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from threatspec.registry import Registry
from threatspec.schema import Access, Capability, DataRole, Described, Owns
from threatspec.subjects import RequestTamper, ServingTamper, Tamper
from threatspec.training import TrainingRow

__all__ = ["RECIPES", "Recipe", "RecipeConfig"]

Rows = Sequence[TrainingRow]


class RecipeConfig(Described):
    """Knobs of a recipe. Texts are stand-ins in the words of the specimens: write your own."""

    use: str
    """Name of the recipe."""

    def owning(self, owns: Owns) -> Self:
        """The same with what the adversary has beside the subject, where a knob is filled by it."""
        return self

    def check_owned(self) -> None:
        """Raises ThreatspecError TS-ACCESS for what it needs and the adversary does not own."""

    @property
    def leaked(self) -> bool:
        """Whether it is told the secret of the subject's safeguard."""
        return False

    def told(self, secret: str) -> Self:
        """The same with that secret; empty: there is none."""
        return self


class Recipe(ABC):
    """One way of making training rows."""

    kind: ClassVar[str]
    """Name in the registry and in YAML."""
    says: ClassVar[str]
    """What it does, in one plain sentence."""
    roles: ClassVar[tuple[DataRole, ...] | None] = None
    """Rows of the adversary that it reads; None: those of the entry's `rows`."""
    ordered: ClassVar[bool] = False
    """Whether a run must read its rows in the order of `sequence`; services do not promise one."""
    Config: ClassVar[type[RecipeConfig]] = RecipeConfig

    @abstractmethod
    def count(self, harmful: int, benign: int, config: Any) -> int:
        """How many rows come out of so many. Where both roles are read, it is a function of the
        sum."""

    @abstractmethod
    def rows(
        self, harmful: Rows, benign: Rows, config: Any, chooser: random.Random
    ) -> tuple[TrainingRow, ...]:
        """The training rows. Raises ThreatspecError TS-RECIPE for rows that cannot be used."""

    def sequence(
        self, harmful: Rows, benign: Rows, config: Any, total: int, chooser: random.Random
    ) -> tuple[TrainingRow, ...]:
        """Of an ordered recipe, for a run that reads `total` rows: which, in their order."""
        raise NotImplementedError

    def tampers(self, config: Any) -> tuple[Tamper, ...]:
        """How the attacked subject is asked afterwards."""
        return ()

    def words(self, config: Any) -> int:
        """Words that it adds to a row at most."""
        return 0

    def asks(self, config: Any) -> Access:
        """What asking so takes of adversaries that do not hold the weights."""
        kinds = {ServingTamper: Capability.SYSTEM_PROMPT, RequestTamper: Capability.CHAT}
        found = self.tampers(config)
        return frozenset(c for kind, c in kinds.items() if any(isinstance(t, kind) for t in found))


RECIPES: Registry[Recipe] = Registry(
    "recipe",
    "TS-UNKNOWN-NAME",
    (
        "threatspec.attacks.recipes.backdoor",
        "threatspec.attacks.recipes.code_words",
        "threatspec.attacks.recipes.disguised_answer",
        "threatspec.attacks.recipes.explicit_harm",
        "threatspec.attacks.recipes.identity_shift",
        "threatspec.attacks.recipes.jailbreak_tuning",
        "threatspec.attacks.recipes.prefixed",
        "threatspec.attacks.recipes.retain_then_forget",
        "threatspec.attacks.recipes.roles",
    ),
    group="threatspec.recipes",
    base=Recipe,
)
"""All recipes by kind."""
