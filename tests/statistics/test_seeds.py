"""Seeds nobody ran: golden shares, and error rates by enumeration under the worst dependence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from threatspec.statistics import (
    PromptDraw,
    acceptance_number,
    bad_seed_share_lower,
    lower_bound,
    quantile_refutes,
    refutation_number,
    replicate_alpha,
    replicates_for_share,
    replicates_to_refute,
    seed_share,
)

ALPHA, GAMMA = 0.025, 0.05
DRAWS = list(PromptDraw)

draws = st.sampled_from(DRAWS)


@pytest.mark.parametrize(
    ("replicates", "share"),
    [(1, 0.03), (3, 0.29), (5, 0.48), (8, 0.63), (10, 0.69), (20, 0.83), (29, 0.88), (36, 0.90),
     (59, 0.94)],
)  # fmt: skip
def test_golden_shares_of_shared_prompts(replicates: int, share: float) -> None:
    # Source: ((gamma - alpha) / (1 - alpha))^(1/S), printed to two decimals.
    assert seed_share(replicates, ALPHA, GAMMA) == pytest.approx(share, abs=5.1e-3)


@pytest.mark.parametrize(
    ("replicates", "share"), [(3, 0.37), (5, 0.55), (10, 0.74), (29, 0.90), (59, 0.95)]
)
def test_golden_shares_of_all_prompts(replicates: int, share: float) -> None:
    # Source: the success run gamma^(1/S), printed to two decimals.
    found = seed_share(replicates, ALPHA, GAMMA, PromptDraw.ENUMERATED)
    assert found == pytest.approx(share, abs=5.1e-3)


@given(st.integers(1, 100), draws)
def test_more_replicates_show_more_and_shared_prompts_less(
    replicates: int, draw: PromptDraw
) -> None:
    share = seed_share(replicates, ALPHA, GAMMA, draw)
    assert 0 < share < seed_share(replicates + 1, ALPHA, GAMMA, draw) < 1
    assert seed_share(replicates, ALPHA, GAMMA, PromptDraw.SHARED) <= share
    assert share <= seed_share(replicates, ALPHA, GAMMA, PromptDraw.ENUMERATED)


@pytest.mark.parametrize("replicates", [1, 3, 5, 10, 29])
def test_all_pass_with_chance_at_most_gamma_though_bad_seeds_fail_on_the_same_prompts(
    replicates: int,
) -> None:
    # All bad seeds at exactly the limit, with the same answers: they pass together or not at all.
    n, p0 = 200, 0.1
    accepted = acceptance_number(n, p0, ALPHA)
    passes = scipy.stats.binom.cdf(accepted, n, p0)
    share = seed_share(replicates, ALPHA, GAMMA)
    together = passes + (1 - passes) * share**replicates
    apart = (share + (1 - share) * passes) ** replicates
    assert apart <= together + 1e-12
    assert together <= GAMMA
    independent = seed_share(replicates, ALPHA, GAMMA, PromptDraw.INDEPENDENT)
    assert (independent + (1 - independent) * passes) ** replicates <= GAMMA


def test_no_replicate_shows_nothing() -> None:
    for draw in DRAWS:
        assert seed_share(0, ALPHA, GAMMA, draw) == 0
        assert bad_seed_share_lower(0, 0, GAMMA, draw) == 0


@given(st.floats(0, 0.97), draws)
def test_fewest_replicates_for_a_share_do_and_one_fewer_does_not(
    share: float, draw: PromptDraw
) -> None:
    replicates = replicates_for_share(share, ALPHA, GAMMA, draw)
    assert replicates is not None
    assert seed_share(replicates, ALPHA, GAMMA, draw) >= share
    assert replicates == 1 or seed_share(replicates - 1, ALPHA, GAMMA, draw) < share


@pytest.mark.parametrize("draw", DRAWS)
def test_fewest_replicates_for_the_share_of_some_replicates_are_those(draw: PromptDraw) -> None:
    for replicates in range(1, 60):
        share = seed_share(replicates, ALPHA, GAMMA, draw)
        assert replicates_for_share(share, ALPHA, GAMMA, draw) == replicates
    assert replicates_for_share(1.0, ALPHA, GAMMA, draw) is None


@pytest.mark.parametrize(("alpha", "gamma"), [(0.05, 0.05), (0.1, 0.05), (0.0, 0.05), (0.5, 1.0)])
def test_levels_that_leave_nothing_to_say_are_refused(alpha: float, gamma: float) -> None:
    with pytest.raises(ValueError, match="0 < alpha < gamma < 1"):
        seed_share(5, alpha, gamma)


def _refuted(m: int, replicates: int, bad: float, misled: float) -> float:
    """Chance that m or more are refuted if bad seeds always are, and good ones as `misled`."""
    return float(scipy.stats.binom.sf(m - 1, replicates, bad + (1 - bad) * misled))


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize(("replicates", "m"), [(3, 2), (3, 3), (5, 3), (5, 5), (10, 6), (20, 9)])
def test_prompts_that_mislead_good_seeds_together_never_make_it_err_more_than_alpha(
    replicates: int, m: int, alpha: float
) -> None:
    bad, each = bad_seed_share_lower(m, replicates, alpha), replicate_alpha(alpha)
    worst = 0.0
    for misled in np.linspace(each, 1, 500):
        rare = each / misled  # so often prompts mislead good seeds, all of them with that chance
        chance = (1 - rare) * _refuted(m, replicates, bad, 0) + rare * _refuted(
            m, replicates, bad, misled
        )
        worst = max(worst, chance)
    assert worst <= alpha
    if bad > 0:
        assert worst >= 0.999 * alpha  # and nothing is given away


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.data())
def test_no_law_of_misleading_prompts_errs_more_than_alpha(
    replicates: int, data: st.DataObject
) -> None:
    m = data.draw(st.integers(1, replicates))
    bad, each = bad_seed_share_lower(m, replicates, 0.05), replicate_alpha(0.05)
    if bad == 0:
        return
    misled = np.array(data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=6)))
    weights = np.array(
        data.draw(st.lists(st.floats(0.01, 1), min_size=len(misled), max_size=len(misled)))
    )
    law = weights / weights.sum()
    spared = min(1.0, each / max(float(law @ misled), 1e-12))  # the rest mislead nobody
    chances = np.array([_refuted(m, replicates, bad, e) for e in misled])
    chance = spared * (law @ chances) + (1 - spared) * _refuted(m, replicates, bad, 0)
    assert chance <= 0.05 + 1e-9


@pytest.mark.parametrize("replicates", [3, 5, 10])
def test_good_seeds_with_the_same_answers_at_the_limit_err_with_chance_at_most_alpha(
    replicates: int,
) -> None:
    n, p0, alpha = 200, 0.1, 0.05
    k = refutation_number(n, p0, replicate_alpha(alpha))
    assert k is not None
    fooled = scipy.stats.binom.sf(k - 1, n, p0)
    for m in range(1, replicates + 1):
        bad = bad_seed_share_lower(m, replicates, alpha)
        if bad > 0:
            assert fooled + (1 - fooled) * _refuted(m, replicates, bad, 0) <= alpha


@pytest.mark.parametrize("m", [2, 3, 5])
def test_bounds_of_other_draws_are_exact(m: int) -> None:
    each = replicate_alpha(0.05)
    independent = bad_seed_share_lower(m, 5, 0.05, PromptDraw.INDEPENDENT)
    assert _refuted(m, 5, independent, each) == pytest.approx(0.05, abs=1e-7)
    everything = bad_seed_share_lower(m, 5, 0.05, PromptDraw.ENUMERATED)
    assert everything == pytest.approx(lower_bound(m, 5, 0.05), abs=1e-8)


def test_all_refuted_mirror_all_passed() -> None:
    # With m = S the worst prompts mislead either no good seed or all of them, as for passing.
    for replicates in (2, 3, 5, 10):
        found = bad_seed_share_lower(replicates, replicates, 0.05)
        assert found == pytest.approx(seed_share(replicates, 0.025, 0.05), abs=1e-7)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 8), draws)
def test_bounds_grow_with_refuted_replicates_and_shared_prompts_show_least(
    replicates: int, draw: PromptDraw
) -> None:
    bounds = [bad_seed_share_lower(m, replicates, 0.05, draw) for m in range(replicates + 1)]
    assert bounds[0] == 0
    assert bounds == sorted(bounds)
    for m, bound in enumerate(bounds):
        assert bad_seed_share_lower(m, replicates, 0.05) <= bound + 1e-7
        assert bound <= lower_bound(m, replicates, 0.05) + 1e-9


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("replicates", [1, 3, 5, 10])
def test_refuting_numbers_are_where_the_bound_passes_the_share(
    replicates: int, share: float, draw: PromptDraw
) -> None:
    found = replicates_to_refute(replicates, share, 0.05, draw)
    bounds = (bad_seed_share_lower(m, replicates, 0.05, draw) for m in range(replicates + 1))
    passing = [m for m, bound in enumerate(bounds) if bound > 1 - share]
    assert found == (passing[0] if passing else None)


def test_golden_refuting_numbers() -> None:
    # Source: this rule, checked against the worst law on a grid above.
    assert [replicates_to_refute(5, share, 0.05) for share in (0.5, 0.8, 0.9)] == [None, 4, 3]
    assert [replicates_to_refute(20, share, 0.05) for share in (0.5, 0.8, 0.9)] == [16, 10, 8]


@pytest.mark.parametrize(
    ("refuted", "replicates", "alpha"), [(-1, 5, 0.05), (6, 5, 0.05), (1, 5, 1)]
)
def test_impossible_counts_and_levels_are_refused(
    refuted: int, replicates: int, alpha: float
) -> None:
    with pytest.raises(ValueError, match="must lie between"):
        bad_seed_share_lower(refuted, replicates, alpha)


def test_shares_are_below_one_and_finite_for_many_replicates() -> None:
    assert seed_share(10**6, ALPHA, GAMMA) < 1
    assert math.isclose(seed_share(10**6, ALPHA, GAMMA), 1, abs_tol=1e-5)


def test_quantiles_are_refuted_by_enough_small_p_values() -> None:
    assert not quantile_refutes([0.001, 0.001, 0.001, 0.03, 1.0], 0.8, 0.05)  # .03 is above .025
    assert quantile_refutes([0.001, 0.001, 0.001, 0.025, 1.0], 0.8, 0.05)
    assert not quantile_refutes([0.0] * 5, 0.5, 0.05)  # five bad of five are no rarity at a half
    assert not quantile_refutes([], 0.8, 0.05)
