"""Attack `gcg-suffix`: words after the prompt, found by the gradient of their tokens (GCG).

Source: arXiv 2307.15043 (greedy coordinate gradient), for several prompts at once. A swap that is
worse than what there is, is not kept; suffixes that do not come back from text as the same tokens
are not tried.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from threatspec.attacks._space import Searched
from threatspec.attacks._suffix import SuffixSearch, SuffixSearchConfig
from threatspec.attacks.base import ATTACKS
from threatspec.schema import Capability, Count
from threatspec.subjects import Offer

__all__ = ["GcgSuffix", "GcgSuffixConfig"]


class GcgSuffixConfig(SuffixSearchConfig):
    """Knobs of the search."""

    top_k: Annotated[Count, Field(ge=1, le=1_000_000), Searched(choices=(32, 64, 128, 256))] = 256
    """Tokens per position, those to which the loss falls fastest, that swaps are drawn from."""


class GcgSuffix(SuffixSearch):
    """Greedy coordinate gradient over several prompts."""

    kind = "gcg-suffix"
    says = "puts words after the prompt, found by gradients, that make complying answers likely"
    needs = (frozenset({Capability.GRADIENTS}), frozenset({Capability.WEIGHTS_READ}))
    offers = frozenset({Offer.TEXT, Offer.LOGITS, Offer.GRADIENTS})
    method = "gradient"
    Config = GcgSuffixConfig


ATTACKS.register(GcgSuffix.kind, GcgSuffix())
