"""Prompts until a verdict with looks fixed in the plan, exactly by dynamic programme.

Targets, of the acceptance plan for .05 with power .9 (239 prompts): at true rate .3 at most .15 for
one cell and .25 for twenty. The price of looking is shown beside the fixed plan of each rate.
"""

from __future__ import annotations

from threatspec.statistics import (
    acceptance_plan,
    looks,
    refutation_plan,
    sequential_power,
)

P0, ALPHA, POWER, CAP = 0.10, 0.05, 0.9, 1000
SUPPORTABLE, REFUTABLE = (0.0, 0.02, 0.03, 0.05), (0.15, 0.2, 0.3, 0.5)
TARGETS = {1: 0.15, 20: 0.25}
HEAD = "cells  true rate  supported  refuted  prompts  of 239  fixed plan  price"


def main() -> None:
    against = acceptance_plan(P0, 0.05, POWER, ALPHA)
    assert against is not None
    print(f"claim: at most {P0:.0%}, looks {', '.join(map(str, looks(CAP)))}")
    print(HEAD)
    for cells in TARGETS:
        for rate in (*SUPPORTABLE, *REFUTABLE):
            print(_row(rate, cells, against.units))
    for cells, target in TARGETS.items():
        share = sequential_power(looks(CAP), P0, 0.3, ALPHA, cells).expected_units / against.units
        print(f"at .3 with cells = {cells}: {share:.3f} of {against.units} (target {target})")


def _row(rate: float, cells: int, against: int) -> str:
    power = sequential_power(looks(CAP), P0, rate, ALPHA, cells)
    if rate < P0:
        fixed = acceptance_plan(P0, rate, POWER, ALPHA)
    else:
        fixed = refutation_plan(P0, rate, POWER, ALPHA, cells)
    units = power.expected_units
    plan, price = (f"{fixed.units}", f"{units / fixed.units:.2f}") if fixed else ("-", "-")
    return (
        f"{cells:5}  {rate:9.2f}  {power.supports:9.4f}  {power.refutes:7.4f}  {units:7.1f}  "
        f"{units / against:6.3f}  {plan:>10}  {price:>5}"
    )
