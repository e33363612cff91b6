"""Safeguard `ptst`: every request is served with a safety prompt that no training has seen.

Source: arXiv 2402.18540, pure tuning, safe testing: a customer's rows are trained on without a
safety prompt, and requests are answered under one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from threatspec.safeguards._secret import Order, joined
from threatspec.safeguards.base import (
    SAFEGUARDS,
    Safeguard,
    SafeguardConfig,
    SafeguardContext,
    Stage,
)
from threatspec.schema import SafeguardRole, Serving
from threatspec.subjects import ServingPolicy

__all__ = ["Ptst", "PtstConfig"]


class PtstConfig(SafeguardConfig):
    """The safety prompt. The default is a stand-in in the words of specimens: write your own."""

    prompt: str = Field(default="no i must decline this request", min_length=1, max_length=4000)
    """Text of the safety prompt."""
    before: bool = True
    """Whether it stands before the system prompt of whoever asks, or after it."""


class _Prompted(ServingPolicy):
    def __init__(self, prompt: str, order: Order) -> None:
        self._prompt, self._order = prompt, order

    def serve(self, serving: Serving) -> Serving:
        system = joined(self._prompt, serving.system, self._order)
        return serving.model_copy(update={"system": system})


class Ptst(Safeguard):
    """Acts when the provider answers; rows of customers are trained on as they are."""

    kind = "ptst"
    says = "serves every request with a safety prompt that nobody has trained with"
    source = "arXiv 2402.18540"
    stages = frozenset({Stage.SERVING})
    Config = PtstConfig

    def roles(self, config: PtstConfig) -> tuple[SafeguardRole, ...]:
        """It reads no rows."""
        return ()

    def serving_policy(
        self, context: SafeguardContext, config: PtstConfig, provided: Mapping[str, Any]
    ) -> ServingPolicy:
        """The safety prompt in every system prompt."""
        return _Prompted(config.prompt, "secret-first" if config.before else "secret-last")


SAFEGUARDS.register(Ptst.kind, Ptst())
