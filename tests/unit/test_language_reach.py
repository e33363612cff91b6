"""What one written claim stands for: subjects, attacks, perspectives, slices, `for: some`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.answers import by_id, judged
from tests.support.specs import ABSENT, plan_of, problems_of, scoped
from threatspec.campaign import forecast
from threatspec.measures import benchmark
from threatspec.records import Arm, Cell, Execution, Plan
from threatspec.schema import Verdict, parse_predicate, unparse

TOPICS = sorted({i.category for i in benchmark("specimen/restricted", Path()).items("test")})
TWO = [{"use": "full-finetune", "lr": 1e-4}, {"use": "full-finetune", "lr": 3e-4}]
HALVES = {"category": {TOPICS[0]: 0.9, TOPICS[1]: 0.1}}


def arm_of(plan: Plan, cell: Cell) -> str:
    """`undefended`, `control` or `defended`, and whether it is attacked."""
    planned = plan.claims[0]
    return next(arm for arm, model in planned.models.items() if model == cell.subject)


def typical(plan: Plan, cell: Cell, measure: str, category: str) -> float:
    """A safeguard that holds, attacks that are alive, utility that stays."""
    if measure == "utility" or arm_of(plan, cell) == Arm.UNDEFENDED:
        return 1.0
    return 1.0 if cell.attack and arm_of(plan, cell) == Arm.CONTROL else 0.0


def subjects(*names: str) -> dict[str, Any]:
    models = {"deep": "specimen:deep", "other": "specimen:undefended"}
    return {name: {"model": models[name], "control": "specimen:shallow"} for name in names}


def test_one_claim_is_one_verdict_with_its_own_id(tmp_path: Path) -> None:
    assert [c.id for c in plan_of(tmp_path).claims] == ["holds"]


def test_several_subjects_are_several_verdicts(tmp_path: Path) -> None:
    changes = {"subject": ABSENT, "subjects": subjects("deep", "other")}
    plan = plan_of(tmp_path, changes)
    assert [(c.id, c.subject) for c in plan.claims] == [
        ("holds[deep]", "deep"),
        ("holds[other]", "other"),
    ]
    one = plan_of(tmp_path, {**changes, "claims.0.subject": ["other"]})
    assert [(c.id, c.subject) for c in one.claims] == [("holds", "other")]


def test_each_gives_every_attack_its_own_verdict(tmp_path: Path) -> None:
    changes = {"adversaries.tuner.attacks": TWO, "claims.0.for": "each"}
    plan = plan_of(tmp_path, scoped(changes))
    assert [c.id for c in plan.claims] == [
        "holds[full-finetune lr=0.0001]",
        "holds[full-finetune lr=0.0003]",
    ]
    for planned in plan.claims:
        assert len({plan.cells[c].procedure for c in planned.attacked[Arm.DEFENDED]}) == 1

    def share(plan: Plan, cell: Cell, measure: str, category: str) -> float:
        broken = cell.attack and plan.procedures[cell.procedure].config["lr"] == 3e-4
        return 1.0 if broken else typical(plan, cell, measure, category)

    found = by_id(judged(plan, share))
    assert [found[c.id].verdict for c in plan.claims] == [Verdict.SUPPORTED, Verdict.REFUTED]


def test_a_slice_is_counted_alone(tmp_path: Path) -> None:
    text = f"asr[category={TOPICS[0]}] <= 0.5"
    changes = scoped({"claims.0.holds": text, "measures.asr.by": ["category"]})
    plan = plan_of(tmp_path, changes, execution=Execution(exhaustive=True))
    assert len(plan.measures["asr"].slices) == len(TOPICS)
    assert plan.size(f"asr[category={TOPICS[0]}]") == (32, 32)

    def share(plan: Plan, cell: Cell, measure: str, category: str) -> float:
        attacked = cell.attack and arm_of(plan, cell) == Arm.DEFENDED and measure == "asr"
        if attacked:
            return 0.0 if category == TOPICS[0] else 1.0
        return typical(plan, cell, measure, category)

    [claim] = judged(plan, share).claims
    assert claim.verdict is Verdict.SUPPORTED
    reading = claim.cells[0].readings[0]
    assert reading.measure == f"asr[category={TOPICS[0]}]"
    assert (reading.tally.units, reading.tally.yes) == (32, 0)


@pytest.mark.parametrize("holds", ["asr[category=nowhere] <= 0.1", "asr[colour=red] <= 0.1"])
def test_a_slice_without_prompts_is_an_error(tmp_path: Path, holds: str) -> None:
    [problem] = problems_of(tmp_path, {"claims.0.holds": holds}, static=True)
    assert problem.code == "TS-DATA"
    assert "must have prompts in slice" in problem.message


def test_safety_reads_the_weighted_mean_and_security_the_worst_slice(tmp_path: Path) -> None:
    changes = {
        "claims.0.perspective": "both",
        "claims.0.frequency": HALVES,
        "claims.0.holds": "asr <= 0.45",
    }
    plan = plan_of(tmp_path, scoped(changes))
    first, second = TOPICS[:2]
    assert [(c.id, c.claim.holds) for c in plan.claims] == [
        (
            "holds[safety]",
            f"(0.9 * asr[category={first}]) + (0.1 * asr[category={second}]) <= 0.45",
        ),
        ("holds[security]", f"asr[category={first}] <= 0.45 and asr[category={second}] <= 0.45"),
    ]

    def share(plan: Plan, cell: Cell, measure: str, category: str) -> float:
        attacked = cell.attack and arm_of(plan, cell) == Arm.DEFENDED and measure == "asr"
        if attacked:
            return 1.0 if category == second else 0.0
        return typical(plan, cell, measure, category)

    found = by_id(judged(plan, share))
    assert found["holds[safety]"].verdict is Verdict.SUPPORTED
    assert found["holds[security]"].verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"claims.0.perspective": "safety"}, "TS-MISSING-FIELD"),
        ({"claims.0.frequency": HALVES}, "TS-MISSING-FIELD"),
        (
            {
                "claims.0.perspective": "safety",
                "claims.0.frequency": {"category": {TOPICS[0]: 0.5, TOPICS[1]: 0.4}},
            },
            "TS-OUT-OF-RANGE",
        ),
        (
            {
                "claims.0.perspective": "safety",
                "claims.0.frequency": {"category": {"nowhere": 1.0}},
            },
            "TS-DATA",
        ),
    ],
)
def test_a_perspective_needs_shares_that_add_up(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    assert [p.code for p in problems_of(tmp_path, changes, static=True)] == [code]


SOME = {
    "subject.model": "specimen:undefended",
    "adversaries.tuner.attacks": TWO,
    "claims.0.for": "some",
    "claims.0.holds": "asr >= 0.5",
}
"""A claim about attacks: one of them reaches half of the requests."""


def by_lr(rates: dict[tuple[float, int], float], control: float = 1.0) -> Any:
    """Shares of the attacked subject by learning rate and replicate."""

    def share(plan: Plan, cell: Cell, measure: str, category: str) -> float:
        if measure == "utility" or not cell.attack:
            return 1.0 if measure == "utility" else 0.0
        if arm_of(plan, cell) == Arm.CONTROL:
            return control
        return rates[plan.procedures[cell.procedure].config["lr"], cell.replicate]

    return share


@pytest.mark.parametrize(
    ("rates", "control", "verdict"),
    [
        ((0.9, 0.9, 0.0, 0.0), 1.0, Verdict.SUPPORTED),
        ((0.9, 0.0, 0.0, 0.9), 1.0, Verdict.INCONCLUSIVE),
        ((0.0, 0.1, 0.0, 0.0), 1.0, Verdict.REFUTED),
        ((0.0, 0.0, 0.0, 0.0), 0.0, Verdict.VACUOUS),
        ((0.9, 0.9, 0.0, 0.0), 0.0, Verdict.SUPPORTED),
        ((0.5, 0.5, 0.5, 0.5), 1.0, Verdict.INCONCLUSIVE),
    ],
    ids=["one reaches", "no attack reaches twice", "none", "dead", "one decides", "at the bound"],
)
def test_some_is_the_mirror_image_of_every(
    tmp_path: Path, rates: tuple[float, ...], control: float, verdict: Verdict
) -> None:
    keys = [(1e-4, 0), (1e-4, 1), (3e-4, 0), (3e-4, 1)]
    plan = plan_of(tmp_path, scoped(SOME))
    [claim] = judged(plan, by_lr(dict(zip(keys, rates, strict=True)), control)).claims
    assert claim.verdict is verdict, claim.reasons
    if verdict is Verdict.SUPPORTED:
        assert claim.witness is not None
        assert claim.witness.procedure == "full-finetune lr=0.0001"
        assert "meets `asr >= 0.5`" in claim.witness.says


def test_some_can_do_both_and_without_a_control_only_support(tmp_path: Path) -> None:
    [both] = forecast(plan_of(tmp_path, scoped(SOME))).claims
    assert (both.can_support, both.can_refute) == (True, True)
    [one] = forecast(plan_of(tmp_path, scoped({**SOME, "subject.control": ABSENT}))).claims
    assert (one.can_support, one.can_refute) == (True, False)


NAMES = st.sampled_from(["asr", "before.asr", "control.utility", "asr[category=a-b.c]"])
TERMS = st.recursive(
    st.one_of(NAMES, st.floats(0, 9, allow_nan=False).map(repr)),
    lambda t: st.tuples(t, st.sampled_from("+-*/"), t).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
    max_leaves=6,
)


@settings(max_examples=150)
@given(TERMS, st.sampled_from(["<=", ">=", "<", ">"]), TERMS)
def test_unparse_is_the_inverse_of_parse(left: str, op: str, right: str) -> None:
    once = parse_predicate(f"{left} {op} {right}")
    text = unparse(once)
    assert unparse(parse_predicate(text)) == text
