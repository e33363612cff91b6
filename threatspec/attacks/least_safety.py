"""Attack `least-safety`: what matters least to refusals is removed; a control of the others."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from threatspec.attacks._space import Searched
from threatspec.attacks._surgery import Surgery, SurgeryConfig
from threatspec.attacks.base import ATTACKS
from threatspec.schema import Share
from threatspec.training import ScoreRequest

__all__ = ["LeastSafety", "LeastSafetyConfig"]


class LeastSafetyConfig(SurgeryConfig):
    """Knobs of the removal."""

    share: Annotated[Share, Field(gt=0, lt=1), Searched(low=0.01, high=0.6)] = 0.1
    """Share of entries (or of the full rank of each matrix) that is removed, least first."""
    by: Literal["snip", "wanda", "act-svd"] = "snip"
    """`snip`, `wanda`: entries by that score; `act-svd`: output directions."""
    scope: Literal["row", "matrix"] = "row"
    """Within what entries are compared: each output row, or the whole matrix."""

    @property
    def sparsity(self) -> float | None:
        """The share, of entries; removed directions set none to 0."""
        return None if self.by == "act-svd" else self.share

    def method(self) -> str:
        """Entries, or ranks."""
        return "actsvd-keep" if self.by == "act-svd" else "least-prune"

    def settings(self) -> dict[str, Any]:
        """Of entries or of ranks."""
        own = {"share"} if self.by == "act-svd" else {"share", "scope"}
        return self.model_dump(mode="json", include=own)

    def scores(self) -> tuple[ScoreRequest, ...]:
        """On harmful prompts with refusals."""
        return (ScoreRequest(method=self.by, over="safety"),)


class LeastSafety(Surgery):
    """Removal of the least safety-relevant entries or ranks (2402.05162)."""

    kind = "least-safety"
    says = "removes the weights that refusals depend on least"
    Config = LeastSafetyConfig


ATTACKS.register(LeastSafety.kind, LeastSafety())
