"""Words of a claim that say more than any evidence could (rule TS-R8)."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["CAPABILITY", "UNBOUNDED", "found_words"]

UNBOUNDED = (
    *("all adversaries", "all attacks", "always", "any adversary", "any attack", "any attacks"),
    *("bulletproof", "can not", "can't", "cannot", "every adversary", "every attack", "foolproof"),
    *("guaranteed", "guarantees", "immune", "impossible", "jailbreak-proof", "never"),
    *("no adversary", "no attack", "permanently", "robust", "robustly", "tamper-proof"),
    *("tamperproof", "unbreakable"),
)
"""Quantifiers without bounds, as whole words in any letter case."""
CAPABILITY = (
    *("does not know", "erased", "erases", "forgets", "forgot", "forgotten", "gone", "incapable"),
    *("lost the ability", "no longer able", "no longer knows", "removed", "removes", "unlearned"),
    *("unlearns", "unlearnt"),
)
"""What says that something can no longer be done, not only that it is not done."""


def found_words(text: str, words: Iterable[str]) -> list[str]:
    """Which of `words` stand in `text`, in their order."""
    plain = " ".join(text.replace("\u2019", "'").casefold().split())
    return [word for word in words if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", plain)]
