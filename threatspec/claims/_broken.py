"""Whether a subject is of no use because of its safeguard: it falls behind the undefended model."""

from __future__ import annotations

from threatspec.claims._models import GateReading, Truth
from threatspec.schema import Comparison, Operand, Term, operands, parse_predicate

__all__ = ["broke_the_model"]


def broke_the_model(gate: GateReading) -> bool:
    """Whether `provided` is false and asks for no more than a share of what it was without.

    The undefended model is the same one without its safeguard, so that nothing else can have cost
    it what it lacks. A bound that is a number leaves open who broke it.
    """
    if gate.name != "provided" or gate.truth is not Truth.FALSE:
        return False
    return all(_kept(one) for one in parse_predicate(gate.predicate).comparisons)


def _kept(found: Comparison) -> bool:
    """`utility >= 0.9 * undefended.utility`, from either side."""
    more, less = (found.left, found.right) if found.op in {">=", ">"} else (found.right, found.left)
    if not isinstance(more, Operand) or more.arm:
        return False
    asked = list(operands(less))
    return bool(asked) and all(_bare(one, more) for one in asked)


def _bare(asked: Operand, own: Term) -> bool:
    return asked.arm == "undefended" and isinstance(own, Operand) and asked.reading == own.reading
