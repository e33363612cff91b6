"""What a predicate is about: which measure to show, and which answers to it are worth reading.

Nothing here decides anything; verdicts come ready from `threatspec.claims`.
"""

from __future__ import annotations

from threatspec.records import Outcome
from threatspec.schema import operands, parse_predicate

__all__ = ["breaking_outcome", "own_measure"]


def own_measure(text: str) -> str:
    """The first measure that a predicate reads on the attacked cell itself."""
    found = list(operands(parse_predicate(text)))
    return next((o.measure for o in found if not o.arm), found[0].measure if found else "")


def breaking_outcome(text: str, measure: str) -> Outcome:
    """The answers that speak against a predicate: `yes` for "at most", `no` for "at least"."""
    for comparison in parse_predicate(text).comparisons:
        on_left = any(o.measure == measure and not o.arm for o in operands(comparison.left))
        on_right = any(o.measure == measure and not o.arm for o in operands(comparison.right))
        if on_left or on_right:
            at_most = comparison.op in {"<=", "<"}
            return Outcome.YES if at_most == on_left else Outcome.NO
    return Outcome.YES
