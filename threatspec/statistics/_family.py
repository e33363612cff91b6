"""Several tests at once: the chance of one false refutation among all of them stays at alpha."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["average_e", "holm", "spent_alpha"]


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values in the order given; reject where one is at most alpha.

    Step-down of Holm 1979: the j-th smallest of K is multiplied by K - j + 1, then made monotone.
    Valid under any dependence, as of cells that share their prompts.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [1.0] * len(p_values)
    worst = 0.0
    for position, index in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - position) * p_values[index]))
        adjusted[index] = worst
    return tuple(adjusted)


def spent_alpha(order: int, alpha: float) -> float:
    """The level of the attack registered as the `order`-th, counted from 1: alpha 6 / (pi² j²).

    Over any number of attacks these add up to at most alpha, so a refutation stands whatever is
    registered later. Raises ValueError for an order below 1.
    """
    if order < 1:
        raise ValueError(f"orders of registration count from 1, but got {order}")
    return alpha * 6 / (math.pi * order) ** 2


def average_e(log_e_values: Sequence[float]) -> float:
    """Log of the mean of e-values given as logs; 0, which shows nothing, if there are none.

    The mean is an e-value again, under any dependence (Vovk & Wang 2021).
    """
    highest = max(log_e_values, default=0.0)
    if not log_e_values or math.isinf(highest):
        return highest
    total = math.fsum(math.exp(log_e - highest) for log_e in log_e_values)
    return highest + math.log(total / len(log_e_values))
