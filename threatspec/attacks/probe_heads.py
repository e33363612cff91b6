"""Attack `probe-heads`: attention heads that tell harmful from benign prompts are silenced."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from threatspec.attacks._space import Searched
from threatspec.attacks._surgery import Surgery, SurgeryConfig
from threatspec.attacks.base import ATTACKS
from threatspec.records import Stream
from threatspec.training import ScoreRequest

__all__ = ["ProbeHeads", "ProbeHeadsConfig"]


class ProbeHeadsConfig(SurgeryConfig):
    """Knobs of the ablation."""

    heads: Annotated[int, Field(ge=1), Searched(low=1, high=300, log=True)] = 10
    """How many heads of the whole model are silenced, most telling first."""

    @property
    def sparsity(self) -> float:
        """Not known before the number of heads is."""
        return 1.0

    def method(self) -> str:
        """Best heads first, by lot among equals."""
        return "ablate-heads"

    def scores(self) -> tuple[ScoreRequest, ...]:
        """Accuracy of a probe per head."""
        return (ScoreRequest(method="probe", over="both"),)


class ProbeHeads(Surgery):
    """The probing baseline of 2402.05162, with heads where linear layers have them."""

    kind = "probe-heads"
    says = "silences attention heads that tell harmful from benign prompts"
    streams = frozenset({Stream.INIT})
    Config = ProbeHeadsConfig


ATTACKS.register(ProbeHeads.kind, ProbeHeads())
