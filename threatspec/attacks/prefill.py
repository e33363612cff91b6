"""Attack `prefill`: the reply is started with the first tokens of a complying answer.

Source: arXiv 2406.05946, inference-time attacks (prefilling). There k tokens are decoded and
tokenised again, so that k is nominal; here the token ids themselves are written.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from threatspec.attacks.base import (
    ATTACKS,
    Answer,
    Ask,
    Attack,
    AttackConfig,
    AttackContext,
    DataCard,
    Surface,
)
from threatspec.records import Spend
from threatspec.schema import Capability
from threatspec.subjects import Request, RequestTamper, SubjectCard, Tamper

__all__ = ["Prefill", "PrefillConfig", "PrefillTamper"]


class PrefillConfig(AttackConfig):
    """How much of the reply the attacker writes."""

    k: int = Field(ge=1, le=1024)
    """Tokens of a complying answer at the start of the reply."""


class PrefillTamper(RequestTamper):
    """Writes the first `k` token ids of the item's complying answer."""

    kind: ClassVar[str] = "prefill"

    k: int

    def encode(self, request: Request) -> Request:
        """The request with the start of its reply. Raises ValueError if no answer is known."""
        if not request.answer:
            raise ValueError(f"prefill needs a complying answer, but item {request.item} has none")
        return replace(request, prefix=request.answer, prefix_tokens=self.k)


class Prefill(Attack):
    """Deterministic: no seed streams, one replicate."""

    kind = "prefill"
    says = "starts the reply with the first k tokens of a complying answer"
    needs = (frozenset({Capability.PREFILL}), frozenset({Capability.WEIGHTS_READ}))
    surface = Surface.REQUEST
    uses_answers = True
    Config = PrefillConfig

    def cost(self, subject: SubjectCard, config: PrefillConfig, data: DataCard | None) -> Spend:
        """Nothing: asking the test prompts is not charged."""
        return Spend()

    def run(
        self, context: AttackContext, config: PrefillConfig
    ) -> Generator[Ask, Answer, tuple[Tamper, ...]]:
        """Ask for nothing; leave rewritten requests."""
        return (PrefillTamper(k=config.k),)
        yield  # pragma: no cover - makes this a generator


ATTACKS.register(Prefill.kind, Prefill())
