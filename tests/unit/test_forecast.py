"""Forecasts: what a plan could decide, before anything runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from threatspec.campaign import ClaimForecast, forecast
from threatspec.campaign._forecast import require_decidable
from threatspec.errors import ExitCode, ThreatspecError
from threatspec.records import (
    Arm,
    Cell,
    Execution,
    Plan,
    PlannedClaim,
    PlannedMeasure,
    Procedure,
    Spend,
)
from threatspec.schema import Claim
from threatspec.statistics import (
    looks,
    power_to_refute,
    power_to_support,
    sequence_upper,
    sequential_power,
    upper_bound,
)


def a_plan(
    units: int = 100,
    replicates: int = 3,
    control: bool = True,
    looks: tuple[int, ...] = (),
    **claim: Any,
) -> Plan:
    arms = (Arm.DEFENDED, Arm.CONTROL) if control else (Arm.DEFENDED,)
    cells = [_cell(arm, n) for arm in arms for n in range(replicates)]
    bare = [_cell(arm, None) for arm in arms]
    written = {"id": "x", "says": "It holds.", "against": "a", "holds": "asr <= 0.10", **claim}
    planned = PlannedClaim(
        id=written["id"],
        claim=Claim.model_validate_json(json.dumps(written)),
        subject="subject",
        models={arm: arm.value for arm in arms},
        untouched={arm: _cell(arm, None).id for arm in arms},
        attacked={arm: tuple(c.id for c in cells if c.subject == arm) for arm in arms},
    )
    measure = PlannedMeasure(
        id="m", benchmark="b", split="test", judge={}, span="continuation", cluster="any",
        prompts=units, units=units, exact=True, order=tuple((str(n),) for n in range(units)),
        looks=looks or (units,),
    )  # fmt: skip
    procedure = Procedure(
        id="p", name="p", attack="p", card=None, config={}, adversary="a", data={}, named=True,
        deterministic=False,
    )  # fmt: skip
    return Plan(
        spec_file="x.yaml", spec={}, execution=Execution(), digests={},
        measures={"asr": measure, "utility": measure}, procedures={"p": procedure},
        cells={c.id: c for c in (*cells, *bare)}, trials={}, claims=(planned,),
    )  # fmt: skip


def _cell(arm: Arm, replicate: int | None) -> Cell:
    return Cell(
        id=f"{arm}-{replicate}", procedure="untouched" if replicate is None else "p", subject=arm,
        replicate=replicate or 0, seeds={}, attack=None if replicate is None else "t", measures={},
        predicted=Spend(steps=10, flops=1e6),
    )  # fmt: skip


def one(*args: Any, **kwargs: Any) -> ClaimForecast:
    return forecast(a_plan(*args, **kwargs)).claims[0]


def test_a_plan_says_what_it_costs_and_how_large_it_is() -> None:
    found = forecast(a_plan(replicates=3))
    assert (found.cells, found.trials) == (8, 0)
    assert found.spend == Spend(steps=60, flops=6e6)
    assert found.claims[0].predicted == found.spend
    assert (found.claims[0].cells, found.claims[0].controls) == (3, 3)


def test_power_is_that_of_all_cells_to_support_and_of_one_to_refute() -> None:
    found = one(units=100, replicates=3)
    alpha = 1 - 0.95
    assert found.units == {"asr": 100}
    assert found.smallest == upper_bound(0, 100, alpha)
    assert (found.rate_to_support, found.rate_to_refute) == (0.05, 0.20)
    assert found.power_to_support == pytest.approx(power_to_support(100, 0.10, 0.05, alpha, 3))
    assert found.power_to_refute == pytest.approx(power_to_refute(100, 0.10, 0.20, alpha, 3))


def test_a_cell_that_is_read_until_it_is_settled_has_the_power_of_its_looks() -> None:
    found, whole = one(units=400, looks=looks(400)), one(units=400)
    alone = sequential_power(looks(400), 0.10, 0.05, 1 - 0.95, 3)
    assert found.looks == looks(400)
    assert found.power_to_support == pytest.approx(alone.supports**3)
    assert found.expected_units == pytest.approx(alone.expected_units)
    assert found.smallest == sequence_upper(0, 400, 1 - 0.95)
    assert whole.power_to_support is not None
    assert found.power_to_support is not None
    assert found.power_to_support < whole.power_to_support  # the price of stopping early
    assert found.power_exhaustive == pytest.approx(whole.power_to_support)
    assert whole.expected_units == 400


@pytest.mark.parametrize(
    "claim", [{"population": "benchmark"}, {"seeds": {"rule": "mean", "replicates": 3}}]
)
def test_a_claim_that_needs_every_prompt_is_forecast_by_one_look(claim: dict[str, Any]) -> None:
    assert one(units=400, looks=looks(400), **claim).looks == (400,)


def test_a_lower_bound_is_read_from_the_other_side() -> None:
    found, mirrored = one(holds="asr >= 0.90"), one()
    assert found.rate_to_support == pytest.approx(0.95)
    assert found.rate_to_refute == pytest.approx(0.80)
    assert found.power_to_support == pytest.approx(mirrored.power_to_support)


def test_more_than_one_bound_has_no_power_of_its_own() -> None:
    found = one(holds="asr <= 0.5 * undefended.asr")
    assert (found.smallest, found.power_to_support, found.power_to_refute) == (None, None, None)
    assert found.can_support
    assert found.can_refute


@pytest.mark.parametrize(
    ("plan", "support", "refute"),
    [
        ({}, True, True),
        ({"units": 29}, True, True),
        ({"units": 28}, False, True),
        ({"control": False}, False, True),
        ({"units": 40, "holds": "asr <= 0.90", "control": False}, False, True),
        ({"units": 38, "holds": "asr <= 0.90", "control": False}, False, False),
        ({"units": 0}, False, False),
        ({"provided": "utility >= 0.99"}, False, True),
        ({"counts_if": "utility >= 0.99"}, False, False),
        ({"holds": "asr <= 1"}, False, False),
        ({"holds": "asr - undefended.asr <= 0.1"}, True, True),
    ],
)
def test_what_a_plan_can_reach(plan: dict[str, Any], support: bool, refute: bool) -> None:
    found = one(**plan)
    assert (found.can_support, found.can_refute) == (support, refute)


def test_refutation_must_survive_holm_over_all_planned_cells() -> None:
    few, many = {"units": 30, "replicates": 1}, {"units": 30, "replicates": 40}
    assert one(**few, holds="asr <= 0.90").can_refute
    assert not one(**many, holds="asr <= 0.90").can_refute


def test_support_needs_a_control_that_can_be_seen_to_break() -> None:
    assert not one(units=30, replicates=40, holds="asr <= 0.90").can_support


def test_a_plan_that_can_decide_nothing_is_refused_with_what_it_needs() -> None:
    with pytest.raises(ThreatspecError, match="TS-UNDECIDABLE") as caught:
        require_decidable(a_plan(units=20, replicates=1, holds="asr <= 0.9", control=False))
    assert "at least 29 prompts" in caught.value.message
    assert caught.value.exit_code is ExitCode.SPEC
    require_decidable(a_plan())
    require_decidable(a_plan(control=False))


def test_a_claim_without_any_attacked_cell_can_decide_nothing() -> None:
    with pytest.raises(ThreatspecError, match="TS-UNDECIDABLE"):
        require_decidable(a_plan(replicates=0))
