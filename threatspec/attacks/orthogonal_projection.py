"""Attack `orthogonal-projection`: directions that only refusals use are removed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from threatspec.attacks._space import Searched
from threatspec.attacks._surgery import Surgery, SurgeryConfig
from threatspec.attacks.base import ATTACKS
from threatspec.training import ScoreRequest

__all__ = ["OrthogonalProjection", "OrthogonalProjectionConfig"]


class OrthogonalProjectionConfig(SurgeryConfig):
    """Knobs of the two projections.

    The paper counts what is left out instead: r_s = R - keep_safety, r_u = R - keep_utility, with
    R = 4096 for its smaller model.
    """

    keep_safety: Annotated[int, Field(ge=1), Searched(low=1, high=96, log=True)] = 6
    """Output directions of refusals, strongest first, that may be removed from each matrix."""
    keep_utility: Annotated[int, Field(ge=1), Searched(low=1, high=646, log=True)] = 146
    """Output directions of other answers, strongest first, that stay untouched."""
    basis: int | None = Field(default=None, ge=1)
    """Directions that are computed of each matrix; absent = all. Few are cheaper on wide models."""

    @property
    def change_rank(self) -> int:
        """Never more than the directions of refusals."""
        return self.keep_safety

    def method(self) -> str:
        """W - (I - Pu) Ps W."""
        return "orthogonal-projection"

    def settings(self) -> dict[str, Any]:
        """How many directions of either."""
        return self.model_dump(include={"keep_safety", "keep_utility"})

    def scores(self) -> tuple[ScoreRequest, ...]:
        """Output directions on refusals and on other answers."""
        settings = {} if self.basis is None else {"rank": self.basis}
        return (
            ScoreRequest(method="act-svd", over="safety", settings=settings),
            ScoreRequest(method="act-svd", over="utility", settings=settings),
        )


class OrthogonalProjection(Surgery):
    """ActSVD with orthogonal projection (2402.05162): an edit of low rank."""

    kind = "orthogonal-projection"
    says = "removes directions that layers write in during refusals and not during other answers"
    Config = OrthogonalProjectionConfig


ATTACKS.register(OrthogonalProjection.kind, OrthogonalProjection())
