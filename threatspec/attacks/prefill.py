"""Attack `prefill`: the reply is started with words of the attacker's: the first tokens of a
complying answer or of a refusal, or words that are fixed.

Source: arXiv 2406.05946, inference-time attacks (prefilling). There k tokens are decoded and
tokenised again, so that k is nominal; here the token ids themselves are written. The openings of
refusals are its shortcut: a subject that only learned to begin like this is safe by them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from threatspec.attacks.base import ATTACKS, AttackConfig, PromptAttack
from threatspec.schema import Capability
from threatspec.subjects import Request, RequestTamper

__all__ = ["Prefill", "PrefillConfig", "PrefillTamper"]


class PrefillConfig(AttackConfig):
    """How much of the reply the attacker writes."""

    k: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Tokens of the item's text at the start of the reply; or `words`."""
    of: Literal["answer", "refusal"] = "answer"
    """With `k`, which text: the item's complying answer, or its refusal."""
    words: Annotated[str, Field(min_length=1, max_length=4000)] | None = None
    """Words at the start of every reply, in the place of `k`."""

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.k is None) == (self.words is None):
            raise ValueError("k or words must be given, and not both")
        if self.words is not None and self.of != "answer":
            raise ValueError("`of` is for tokens of an item's text, but words are given")
        return self

    @property
    def item_texts(self) -> frozenset[str]:
        """The text that tokens are taken of; none for words."""
        return frozenset({self.of}) if self.k is not None else frozenset()


class PrefillTamper(RequestTamper):
    """Writes the first `k` token ids of a text of the item's, or words."""

    kind: ClassVar[str] = "prefill"

    k: int | None = None
    of: Literal["answer", "refusal"] = "answer"
    words: str = ""

    def encode(self, request: Request) -> Request:
        """The request with the start of its reply, or with a `lacking` if the text is not known."""
        if self.k is None:
            return replace(request, prefix=self.words, prefix_tokens=None)
        text = request.answer if self.of == "answer" else request.refusal
        if not text:
            return replace(request, lacking=f"no {self.of} of {request.item} is known")
        return replace(request, prefix=text, prefix_tokens=self.k)


class Prefill(PromptAttack):
    """Deterministic: no seed streams, one replicate."""

    kind = "prefill"
    says = "starts the reply with words of the attacker's, such as the first k tokens of an answer"
    needs = (frozenset({Capability.PREFILL}), frozenset({Capability.WEIGHTS_READ}))
    Config = PrefillConfig

    def tamper(self, config: PrefillConfig, reads: Mapping[str, str]) -> PrefillTamper:
        """Requests with the start of their replies."""
        return PrefillTamper(k=config.k, of=config.of, words=config.words or "")


ATTACKS.register(Prefill.kind, Prefill())
