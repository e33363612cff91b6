"""Several tests at once: the chance of one false refutation among all of them stays at alpha."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["holm"]


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
