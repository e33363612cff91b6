"""Attack `random-suffix`: words after the prompt, found by random swaps without gradients.

The control of `gcg-suffix`: with the same knobs it asks as many prompts, and nothing else differs
but where swaps come from.
"""

from __future__ import annotations

from threatspec.attacks._suffix import SuffixSearch, SuffixSearchConfig
from threatspec.attacks.base import ATTACKS
from threatspec.schema import Capability

__all__ = ["RandomSuffix", "RandomSuffixConfig"]


class RandomSuffixConfig(SuffixSearchConfig):
    """Knobs of the search."""


class RandomSuffix(SuffixSearch):
    """Random search by the log-probability of complying answers."""

    kind = "random-suffix"
    says = "puts words after the prompt, found by random swaps, that make complying answers likely"
    needs = (frozenset({Capability.LOGPROBS}), frozenset({Capability.WEIGHTS_READ}))
    method = "random"
    Config = RandomSuffixConfig


ATTACKS.register(RandomSuffix.kind, RandomSuffix())
