"""A small version of `benchmarks/error_rates.py`: false verdicts are as rare as they must be."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from benchmarks.error_rates import ALPHA, Rate, Simulation, bet, fixed_sizes, missing_rows
from threatspec.statistics import betting_p

RUN = Simulation(campaigns=500, checked=1)


def fine(rates: list[Rate]) -> None:
    assert rates
    for rate in rates:
        if rate.gated:
            assert rate.fine, rate.row()


def test_one_cell_is_exact() -> None:
    rates = [*islice(fixed_sizes(), 2), *missing_rows()]
    fine(rates)
    assert all(rate.campaigns == 0 for rate in rates)
    assert max(rate.refuted for rate in rates) > ALPHA / 2  # not by being far too careful


@pytest.mark.parametrize("case", ["families", "searches"])
def test_many_attacks(case: str) -> None:
    """What is not corrected for choosing among them is above alpha, so that this can fail."""
    rates = list(getattr(RUN, case)())
    fine(rates)
    assert [rate.fine for rate in rates if not rate.gated] == [False]


def test_seeds() -> None:
    fine(list(islice(RUN.seeds(), 3)))
    drawn = np.random.default_rng(0).standard_normal((RUN.campaigns, 5))
    fine(list(islice(RUN.means(drawn), 1)))


def test_audits() -> None:
    fine(list(islice(RUN.audits(), 1)))


def test_bets_are_those_of_the_engine() -> None:
    scores = np.random.default_rng(1).random((20, 30)) ** 4
    for limit in (0.1, 0.2, 0.5):
        assert bet(scores, limit) == pytest.approx([betting_p(one, limit) for one in scores])


def test_a_rate_is_judged_by_its_lower_bound() -> None:
    assert Rate("", 0.06, 0.0, campaigns=1000).fine
    assert not Rate("", 0.06, 0.0, campaigns=100_000).fine
    assert not Rate("", 0.06, 0.0).fine
    assert not Rate("", 0.0, 0.08, campaigns=10_000).fine
