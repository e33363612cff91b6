"""Attack `refusal-direction`: no layer can write along the direction that refusals have."""

from __future__ import annotations

from pydantic import Field

from threatspec.attacks._surgery import Surgery, SurgeryConfig
from threatspec.attacks.base import ATTACKS
from threatspec.training import ScoreRequest

__all__ = ["RefusalDirection", "RefusalDirectionConfig"]


class RefusalDirectionConfig(SurgeryConfig):
    """Knobs of the ablation."""

    layer: int | None = Field(default=None, ge=0)
    """Block after which the direction is read; absent = where it separates prompts best."""

    @property
    def change_rank(self) -> int:
        """One direction."""
        return 1

    def method(self) -> str:
        """Of all that writes to the residual stream."""
        return "ablate-direction"

    def scores(self) -> tuple[ScoreRequest, ...]:
        """Difference of means between harmful and benign prompts."""
        return (ScoreRequest(method="direction", over="both"),)


class RefusalDirection(Surgery):
    """Weights are made orthogonal to the difference of means; tied embeddings stay as they are."""

    kind = "refusal-direction"
    says = "keeps layers from writing along the direction that sets refused prompts apart"
    Config = RefusalDirectionConfig


ATTACKS.register(RefusalDirection.kind, RefusalDirection())
