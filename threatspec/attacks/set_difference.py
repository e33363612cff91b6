"""Attack `set-difference`: entries that matter to refusals only are set to 0."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from threatspec.attacks._space import Searched
from threatspec.attacks._surgery import Surgery, SurgeryConfig
from threatspec.attacks.base import ATTACKS
from threatspec.schema import Share
from threatspec.training import ScoreRequest

__all__ = ["SetDifference", "SetDifferenceConfig"]

_Range = Searched(low=0.001, high=0.9, log=True)


class SetDifferenceConfig(SurgeryConfig):
    """Knobs of the two sets."""

    safety: Annotated[Share, Field(gt=0, lt=1), _Range] = 0.03
    """q: the share of entries with the highest safety scores, which may be set to 0."""
    utility: Annotated[Share, Field(ge=0, lt=1), _Range] = 0.07
    """p: the share of entries with the highest utility scores, which are spared."""
    score: Literal["snip", "wanda"] = "snip"
    """How entries are scored."""
    scope: Literal["row", "matrix"] = "row"
    """Within what scores are compared: each output row, or the whole matrix."""
    floor: int = Field(default=0, ge=0)
    """Least size of the safety set of each row (or matrix), before utility is taken out of it."""

    @property
    def sparsity(self) -> float:
        """At most the safety set; with a floor nothing is known before the shapes are."""
        return 1.0 if self.floor else self.safety

    def method(self) -> str:
        """S(q) without U(p)."""
        return "set-difference"

    def settings(self) -> dict[str, object]:
        """All knobs but how entries are scored."""
        return self.model_dump(mode="json", exclude={"score"})

    def scores(self) -> tuple[ScoreRequest, ...]:
        """On harmful prompts with refusals, and on benign prompts with answers."""
        return (
            ScoreRequest(method=self.score, over="safety"),
            ScoreRequest(method=self.score, over="utility"),
        )


class SetDifference(Surgery):
    """Pruning of the set difference (2402.05162)."""

    kind = "set-difference"
    says = "sets the weights to 0 that refusals depend on and other answers do not"
    Config = SetDifferenceConfig


ATTACKS.register(SetDifference.kind, SetDifference())
