"""Attack `actsvd`: the strongest directions that layers write in during refusals are removed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from threatspec.attacks._space import Searched
from threatspec.attacks._surgery import Surgery, SurgeryConfig
from threatspec.attacks.base import ATTACKS
from threatspec.training import ScoreRequest

__all__ = ["Actsvd", "ActsvdConfig"]


class ActsvdConfig(SurgeryConfig):
    """Knobs of the edit."""

    rank: Annotated[int, Field(ge=1), Searched(low=1, high=64, log=True)] = 1
    """How many output directions of each matrix are removed (or kept)."""
    does: Literal["remove", "keep"] = "remove"
    """`remove` takes them out; `keep` takes all others out."""
    over: Literal["safety", "utility"] = "safety"
    """Rows whose outputs decide: refusals of harmful prompts, or answers to benign ones."""
    basis: int | None = Field(default=None, ge=1)
    """Directions that are computed of each matrix; absent = all. Few are cheaper on wide models."""

    @property
    def change_rank(self) -> int | None:
        """That of what is removed."""
        return self.rank if self.does == "remove" else None

    def method(self) -> str:
        """One of the two."""
        return f"actsvd-{self.does}"

    def settings(self) -> dict[str, Any]:
        """How many directions."""
        return {"rank": self.rank}

    def scores(self) -> tuple[ScoreRequest, ...]:
        """Output directions, strongest first."""
        settings = {} if self.basis is None else {"rank": self.basis}
        return (ScoreRequest(method="act-svd", over=self.over, settings=settings),)


class Actsvd(Surgery):
    """ActSVD (2402.05162)."""

    kind = "actsvd"
    says = "removes the strongest directions that layers write in during refusals"
    Config = ActsvdConfig


ATTACKS.register(Actsvd.kind, Actsvd())
