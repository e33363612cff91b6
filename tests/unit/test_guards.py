"""Each single guard of the verdict engine removed in turn: something goes wrong, and is noticed."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.guarded import SCENARIOS, Outcome, outcome
from tests.support.guards import GUARDS, NOTHING, SCOPED_OTHERWISE, Guard, called_by, removed
from threatspec.claims import (
    FLAGS,
    RULES,
    FlagEffect,
    _answers,
    _design_attacks,
    _design_measuring,
    _design_rules,
    _findings,
    _flags,
    _liveness,
    _obstacles,
    _rules,
    _run_rules,
    _vacuity,
)
from threatspec.schema import ClaimScope

PLACES = {place for guard in GUARDS for place in guard.places}
WHOLE = {place for guard in GUARDS if guard.by == NOTHING for place in guard.places}


@functools.cache
def guarded(name: str) -> Outcome:
    """A scenario as the whole engine answers it."""
    return outcome(SCENARIOS[name].build())


@pytest.mark.parametrize("name", SCENARIOS)
def test_with_every_guard_a_scenario_is_answered_as_it_must_be(name: str) -> None:
    verdict, rules, _ = guarded(name)
    assert (verdict, rules) == (SCENARIOS[name].verdict, SCENARIOS[name].open)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_without_a_guard_its_scenarios_are_answered_otherwise(guard: Guard) -> None:
    assert guard.caught
    for name in guard.caught:
        before = guarded(name)
        with removed(guard):
            after = outcome(SCENARIOS[name].build())
        assert (after == before) is bool(guard.shadowed), name


def test_a_removed_guard_is_there_again() -> None:
    guard = next(one for one in GUARDS if one.places == ("_obstacles._straddling",))
    before = guarded("straddling")
    with removed(guard):
        assert outcome(SCENARIOS["straddling"].build()) != before
    assert outcome(SCENARIOS["straddling"].build()) == before


# nobody adds a guard that is not tried


def names(module: Any, function: Callable[..., Any]) -> set[str]:
    own = module.__name__.rpartition(".")[2]
    return {f"{own}.{name}" for name in called_by(function) if name.startswith("_")}


def test_every_obstacle_is_tried() -> None:
    assert names(_obstacles, _obstacles.obstacles) <= WHOLE
    assert "_findings.Findings.raised" in WHOLE


def test_every_vacuity_is_tried() -> None:
    worded = {"_vacuity._unspent"}  # only says what its flag found
    assert names(_vacuity, _vacuity.vacuities) - worded <= WHOLE
    assert "_vacuity.vacuities" in PLACES


def test_every_rule_of_a_run_is_tried() -> None:
    assert names(_run_rules, _run_rules.run_breaches) <= WHOLE


def test_every_rule_of_a_design_is_tried() -> None:
    tables = {"_design_attacks": _design_attacks.OF_ATTACKS,
              "_design_measuring": _design_measuring.OF_MEASURING}  # fmt: skip
    broken = {f"{module}.{f.__name__}" for module, table in tables.items() for f in table.values()}
    assert broken <= WHOLE
    assert {"_design_rules._expired"} <= names(_design_rules, _design_rules.design_readings) & WHOLE


def test_every_rule_of_the_rulebook_is_opened_by_a_scenario_or_read_elsewhere() -> None:
    elsewhere = {
        "TS-R0": "controls and liveness: VACUOUS",
        "TS-R0b": "departures: INCONCLUSIVE",
        "TS-R8b": "the state of a cell",
        "TS-R8d": "looked at before anything runs (TS-MODEL-DIGEST, TS-DATA)",
    }
    opened = {rule for scenario in SCENARIOS.values() for rule in scenario.open}
    assert opened | set(elsewhere) == set(RULES)
    assert not opened & set(elsewhere)


def test_every_answer_of_a_scope_is_tried() -> None:
    assert set(SCOPED_OTHERWISE) == set(_answers._RUN) == set(ClaimScope.model_fields) - {"text"}


def test_every_flag_that_does_something_is_tried() -> None:
    source = inspect.getsource(_flags.flags)
    for flag, effect in FLAGS.items():
        if effect is FlagEffect.NOTE:
            continue
        function = source.partition(f'("{flag}", says) for says in ')[2].partition("(")[0]
        places = {f"_flags.{function}", f"_ordering.{function}"}
        assert places & WHOLE, flag


def test_every_step_of_a_verdict_is_tried() -> None:
    ends = {"_rules._inconclusive"}
    assert names(_rules, _rules.rule) - ends <= PLACES
    assert {f"_findings.Findings.{name}" for name in ("unusable", "insufficient")} <= WHOLE
    told = {code for one in GUARDS if one.places == ("_findings._ALL",)
            for code in _findings._ALL - one.by}  # fmt: skip
    assert told == _findings._ALL - {"TS-R8d"}  # which no verdict reads


def test_every_fault_of_an_attack_is_tried() -> None:
    for function in (
        _liveness._dead,
        _liveness._in_vain,
        _liveness._fault,
        _liveness.departure,
    ):
        place = f"_liveness.{function.__name__}"
        tried = [one for one in GUARDS if one.places == (place,)]
        assert len(tried) == len(sentences(function)), place


def sentences(function: Callable[..., Any]) -> list[ast.Return]:
    """Returns of a function that say something."""
    nodes = ast.walk(ast.parse(inspect.getsource(function)))
    found = (node for node in nodes if isinstance(node, ast.Return))
    return [one for one in found if any(isinstance(part, ast.Constant) and part.value and
            isinstance(part.value, str) for part in ast.walk(one))]  # fmt: skip
