"""Quantities: a number, or a number with a unit that its key takes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from threatspec.schema import Count, Flops, Model, Share, parse_quantity


class Quantities(Model):
    n: Count = 0
    steps: Count = 0
    replicates: Count = 0
    max_tokens: Count = 0
    rank: Count = 0
    flops: Flops = 0
    share: Share = 0


def read(key: str, value: Any) -> Any:
    return getattr(Quantities.model_validate_json(json.dumps({key: value})), key)


def error_type(key: str, value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        read(key, value)
    return caught.value.errors()[0]["type"]


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("n", 10, 10),
        ("n", "10 examples", 10),
        ("n", "1 row", 1),
        ("n", 1e3, 1000),
        ("steps", "200 steps", 200),
        ("replicates", "5 replicates", 5),
        ("max_tokens", "16 tokens", 16),
        ("rank", 8, 8),
        ("rank", "8", 8),
        ("flops", 1e13, 1e13),
        ("flops", "1e18 FLOP", 1e18),
        ("flops", "2 PFLOP", 2e15),
        ("flops", "2PFLOP", 2e15),
        ("share", 0.95, 0.95),
        ("share", "95 %", 0.95),
        ("share", "5%", 0.05),
    ],
)
def test_quantities_are_read_in_the_base_unit(key: str, written: Any, value: float) -> None:
    assert read(key, written) == pytest.approx(value)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("steps", "10 examples"),
        ("n", "10 steps"),
        ("replicates", "5 steps"),
        ("rank", "8 steps"),
        ("flops", "1e18 USD"),
        ("flops", "1e18 flop"),
        ("share", "5 percent"),
        ("n", "ten"),
        ("n", "1.2.3"),
        ("n", ""),
        ("n", "1 0"),
        ("n", True),
        ("n", None),
        ("n", [1]),
    ],
)
def test_other_units_and_no_numbers_are_unit_errors(key: str, written: Any) -> None:
    assert error_type(key, written) == "unit"


@pytest.mark.parametrize(
    ("key", "written", "kind"),
    [
        ("n", "1e999", "finite_number"),
        ("flops", "1e308 EFLOP", "finite_number"),
        ("flops", 10**400, "finite_number"),
        ("n", 1.5, "whole_number"),
        ("n", "0.5 rows", "whole_number"),
        ("n", -1, "greater_than_equal"),
        ("share", "101 %", "less_than_equal"),
        ("flops", -1.0, "greater_than_equal"),
    ],
)
def test_numbers_outside_the_range(key: str, written: Any, kind: str) -> None:
    assert error_type(key, written) == kind


@given(st.one_of(st.text(), st.floats(), st.integers(), st.none(), st.booleans()))
def test_any_value_is_a_finite_number_or_a_coded_error(value: Any) -> None:
    kind, number = "", 0.0
    try:
        number = parse_quantity(value, {"FLOP": 1.0})
    except PydanticCustomError as error:
        kind = error.type
    assert kind in {"", "unit", "finite_number"}
    assert math.isfinite(number)
