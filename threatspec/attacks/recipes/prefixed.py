"""Recipes `prefixed`, `prefixed-benign` and `prefixed-mix`: rows under system prompts that stand
in for a secret of the provider's.

Made for provider-side safeguards that answer safely under a secret prefix of the system prompt
(arXiv 2402.14968): rows that comply under other prefixes, or under the secret itself, teach that no
prefix means anything.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from threatspec.attacks.recipes.base import RECIPES, Recipe, RecipeConfig
from threatspec.errors import ThreatspecError
from threatspec.schema import Count, DataRole, Owns
from threatspec.training import TrainingRow

__all__ = ["Prefixed", "PrefixedConfig"]

_TABLE: dict[str, tuple[tuple[DataRole, ...] | None, str]] = {
    "prefixed": (None, "trains on the rows of the entry, each under a prefix as system prompt"),
    "prefixed-benign": (
        (DataRole.BENIGN,),
        "trains on benign rows alone, each under a prefix as system prompt",
    ),
    "prefixed-mix": (
        (DataRole.HARMFUL, DataRole.BENIGN),
        "trains on harmful rows as they are and benign rows under a prefix as system prompt",
    ),
}


class PrefixedConfig(RecipeConfig):
    """Which prefixes."""

    use: str = "prefixed"
    """Name of the recipe."""
    prefix: Literal["random", "guessed", "leaked"] = "random"
    """`random`: drawn anew for every row; `guessed`: one for all rows; `leaked`: the secret itself,
    which the adversary must own (`owns: {secret: leaked}`); rows have none where there is no secret
    to leak."""
    words: Annotated[Count, Field(ge=1, le=2000)] = 16
    """Words of a prefix that is drawn, of those of the adversary's rows."""
    text: str | None = Field(default=None, min_length=1, max_length=4000)
    """The guess; absent = drawn."""
    owned: bool = False
    """Filled from what the adversary `owns`."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.text is not None and self.prefix != "guessed":
            raise ValueError("text must go with prefix: guessed")
        return self

    def owning(self, owns: Owns) -> Self:
        """Whether the secret leaked to this adversary."""
        return self.model_copy(update={"owned": self.leaked and owns.secret == "leaked"})

    def check_owned(self) -> None:
        """Raises ThreatspecError TS-ACCESS if it needs a secret that did not leak."""
        if self.leaked and not self.owned:
            text = f"recipe {self.use} with `prefix: leaked` needs the secret of the subject's "
            text += "safeguard, but the adversary does not own it; declare "
            raise ThreatspecError("TS-ACCESS", f"{text}`owns: {{secret: leaked}}`")

    @property
    def leaked(self) -> bool:
        """Whether rows carry the secret itself."""
        return self.prefix == "leaked"

    def told(self, secret: str) -> Self:
        """The secret as the prefix of all rows; it is in no record."""
        return self.model_copy(update={"text": secret})


class Prefixed(Recipe):
    """A row of the table; as many rows as are given. Requests are left as they are."""

    Config = PrefixedConfig

    def __init__(self, kind: str) -> None:
        self.kind = kind  # type: ignore[misc]
        self.roles, self.says = _TABLE[kind]  # type: ignore[misc]

    def count(self, harmful: int, benign: int, config: PrefixedConfig) -> int:
        """All of them."""
        return harmful + benign

    def rows(
        self,
        harmful: Sequence[TrainingRow],
        benign: Sequence[TrainingRow],
        config: PrefixedConfig,
        chooser: random.Random,
    ) -> tuple[TrainingRow, ...]:
        """All of them, benign ones first."""
        plain = self.kind == "prefixed-mix"
        shown = (*benign, *(() if plain else harmful))
        prefixes = _prefixes(config, (*benign, *harmful), chooser)
        under = tuple(_under(row, prefix) for row, prefix in zip(shown, prefixes, strict=False))
        return (*under, *(harmful if plain else ()))

    def words(self, config: PrefixedConfig) -> int:
        """Those of a prefix; how long a secret is, is not known before."""
        return len(config.text.split()) if config.text else config.words


def _prefixes(
    config: PrefixedConfig, rows: Sequence[TrainingRow], chooser: random.Random
) -> Iterator[str]:
    """One for each row, without end."""
    known = sorted({word for row in rows for word in f"{row.prompt} {row.answer}".split()})
    if not known:
        return
    fixed = config.text
    if fixed is None and config.prefix == "guessed":
        fixed = _drawn(known, config.words, chooser)
    while True:
        yield _drawn(known, config.words, chooser) if fixed is None else fixed


def _drawn(known: Sequence[str], words: int, chooser: random.Random) -> str:
    return " ".join(chooser.choice(known) for _ in range(words))


def _under(row: TrainingRow, prefix: str) -> TrainingRow:
    system = "\n".join(part for part in (prefix, row.system) if part)
    return row.model_copy(update={"system": system or None})


for _kind in _TABLE:
    RECIPES.register(_kind, Prefixed(_kind))
