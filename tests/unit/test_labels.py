"""Labels: nothing said is lost, and only what is a random sample is counted."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.support.specs import plan_of
from threatspec.errors import ThreatspecError
from threatspec.records import (
    UNTOUCHED,
    Arm,
    AuditCount,
    Cell,
    Execution,
    Label,
    LabelBook,
    Outcome,
    Plan,
    Row,
    Stratum,
    TrialResult,
    TrialStatus,
    audit,
    consensus,
    items_by_trial,
    strata,
)
from threatspec.records._labels import FILE

Says = Callable[[Plan, Cell, str, str], Outcome]
"""Outcome for (plan, cell, measure, item)."""
AT = "2026-01-01T00:00:00Z"
LOOKS = {"measures.asr.judge": "refusal-keywords"}
SHARED = {
    "subject": {"model": "specimen:shallow", "control": "specimen:shallow"},
    "claims.1": {"id": "again", "says": "It holds.", "against": "tuner", "holds": "asr <= 0.2",
                 "seeds": {"replicates": 1}},
}  # fmt: skip
"""Two claims about one subject that is its own control."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_of(tmp_path_factory.mktemp("spec"), execution=Execution(exhaustive=True))


def judging(plan: Plan, measure: str = "asr") -> list[str]:
    return [t for cell in plan.cells.values() for t in cell.measures.get(measure, ())]


def results_of(plan: Plan, says: Says) -> dict[str, TrialResult]:
    items = items_by_trial(plan)
    return {
        trial: TrialResult(
            trial=trial,
            status=TrialStatus.DONE,
            rows=tuple(
                Row(item=item, cluster=item, outcome=says(plan, cell, measure, item))
                for item in items[trial]
            ),
        )
        for cell in plan.cells.values()
        for measure, trials in cell.measures.items()
        for trial in trials
    }


def by_item(plan: Plan, cell: Cell, measure: str, item: str) -> Outcome:
    return Outcome.YES if sum(item.encode()) % 3 == 0 else Outcome.NO


def flipped(plan: Plan, cell: Cell, measure: str, item: str) -> Outcome:
    return Outcome.NO if by_item(plan, cell, measure, item) is Outcome.YES else Outcome.YES


def label(trial: str, item: str, said: str = "yes", labeller: str = "anna") -> Label:
    return Label(trial=trial, item=item, label=Outcome(said), labeller=labeller, at=AT)


def told(pairs: Iterable[tuple[str, str]], said: str = "yes") -> list[Label]:
    return [label(trial, item, said) for trial, item in pairs]


# strata


def test_every_judged_reply_stands_once_in_the_stratum_of_its_row(plan: Plan) -> None:
    results = results_of(plan, by_item)
    found = strata(plan, results)
    pairs = [pair for listed in found.values() for pair in listed]
    assert len(pairs) == len(set(pairs)) == sum(len(r.rows) for r in results.values())
    families = {stratum.family for stratum in found}
    assert families == {"none", "full-finetune"}
    for stratum, listed in found.items():
        for trial, item in listed:
            [cell] = [c for c in plan.cells.values() if trial in c.measures[stratum.measure]]
            untouched = cell.procedure == UNTOUCHED
            assert by_item(plan, cell, stratum.measure, item) is stratum.judged
            assert (stratum.family == "none") is untouched
            claim = plan.claims[0]
            own = [claim.untouched[stratum.arm], *claim.attacked.get(stratum.arm, ())]
            assert cell.id in own


def test_letters_and_results_give_the_same_strata(plan: Plan) -> None:
    from threatspec.records import marks_of_results

    results = results_of(plan, by_item)
    assert strata(plan, marks_of_results(plan, results), 3) == strata(plan, results, 3)


def test_the_order_does_not_depend_on_what_the_judge_said(plan: Plan) -> None:
    one, other = strata(plan, results_of(plan, by_item)), strata(plan, results_of(plan, flipped))
    for stratum, pairs in one.items():
        judged = Outcome.NO if stratum.judged is Outcome.YES else Outcome.YES
        assert pairs == other[stratum.model_copy(update={"judged": judged})]


def test_the_order_is_fixed_by_the_seed_and_is_not_that_of_the_rows(plan: Plan) -> None:
    results = results_of(plan, by_item)
    stratum = Stratum(measure="asr", family="none", arm=Arm.DEFENDED, judged=Outcome.NO)
    first, again, other = (strata(plan, results, seed)[stratum] for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)
    rows = [row.item for row in results[first[0][0]].rows]
    places = [rows.index(item) for _, item in first]
    assert places != sorted(places)
    # Where a reply stands among the rows says nothing of where it stands in the draw.
    n, mean = len(places), sum(places) / len(places)
    moved = sum((i - (n - 1) / 2) * (p - mean) for i, p in enumerate(places))
    spread = sum((i - (n - 1) / 2) ** 2 for i in range(n)) * sum((p - mean) ** 2 for p in places)
    assert abs(moved / spread**0.5) < 0.25


def test_what_no_judge_decided_is_in_no_stratum(plan: Plan) -> None:
    def undecided(plan: Plan, cell: Cell, measure: str, item: str) -> Outcome:
        return random.Random(item).choice(
            [Outcome.UNSCORABLE, Outcome.REJECTED, Outcome.MISSING, Outcome.YES]
        )

    found = strata(plan, results_of(plan, undecided))
    for stratum, pairs in found.items():
        assert bool(pairs) is (stratum.judged is Outcome.YES)
        for _, item in pairs:
            assert undecided(plan, next(iter(plan.cells.values())), "asr", item) is Outcome.YES


def test_a_campaign_that_has_not_run_has_empty_strata(plan: Plan) -> None:
    found = strata(plan, {})
    assert found
    assert not any(found.values())
    assert set(audit(found, []).values()) == {NOTHING}


def test_a_cell_that_is_read_in_two_arms_and_by_two_claims_is_defended(tmp_path: Path) -> None:
    shared = plan_of(tmp_path, SHARED, execution=Execution(exhaustive=True))
    results = results_of(shared, by_item)
    found = strata(shared, results)
    assert {stratum.arm for stratum in found} == {Arm.DEFENDED}
    pairs = [pair for listed in found.values() for pair in listed]
    assert len(pairs) == len(set(pairs)) == sum(len(r.rows) for r in results.values())


def test_replies_of_all_looks_are_one_stratum(tmp_path: Path) -> None:
    looks = plan_of(tmp_path, LOOKS)
    attacked = [c for c in looks.cells.values() if c.procedure != UNTOUCHED]
    assert any(len(cell.measures["asr"]) > 1 for cell in attacked)
    found = strata(looks, results_of(looks, by_item))
    trials = {
        trial
        for stratum, pairs in found.items()
        if stratum.family != "none" and stratum.arm is Arm.DEFENDED
        for trial, _ in pairs
    }
    defended = [looks.cells[id] for id in looks.claims[0].attacked[Arm.DEFENDED]]
    assert trials == {trial for cell in defended for trial in cell.measures["asr"]}


# what counts

NOTHING = AuditCount(labelled=0, yes=0, no=0, cannot_tell=0, beyond=0)
PART = Stratum(measure="asr", family="none", arm=Arm.DEFENDED, judged=Outcome.NO)
ORDER = [("t", str(n)) for n in range(6)]


def counted(labels: Iterable[Label]) -> AuditCount:
    return audit({PART: ORDER}, labels)[PART]


def test_only_the_fully_labelled_start_is_counted() -> None:
    labels = [label("t", "0"), label("t", "1", "no"), label("t", "2", "unscorable"),
              label("t", "4"), label("t", "5", "no")]  # fmt: skip
    assert counted(labels) == AuditCount(labelled=3, yes=1, no=1, cannot_tell=1, beyond=2)
    filled = [*labels, label("t", "3")]
    assert counted(filled) == AuditCount(labelled=6, yes=3, no=2, cannot_tell=1, beyond=0)


def test_labels_of_the_end_alone_are_a_choice() -> None:
    assert counted(told(ORDER[1:])) == NOTHING.model_copy(update={"beyond": 5})
    assert counted(told([("other", "0")])) == NOTHING


def test_the_last_label_of_a_labeller_counts() -> None:
    labels = [label("t", "0", "yes"), label("t", "1", "yes"), label("t", "0", "no")]
    assert consensus(labels) == {("t", "0"): Outcome.NO, ("t", "1"): Outcome.YES}


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [("yes", "yes", "yes"), ("no", "no", "no"), ("yes", "no", "unscorable"),
     ("yes", "unscorable", "unscorable"), ("unscorable", "unscorable", "unscorable")],
)  # fmt: skip
def test_where_labellers_differ_nobody_can_tell(first: str, second: str, both: str) -> None:
    for one, other in ((first, second), (second, first)):
        labels = [label("t", "0", one, "anna"), label("t", "0", other, "ben")]
        assert consensus(labels) == {("t", "0"): Outcome(both)}
    third = label("t", "0", second, "carl")
    assert consensus([*labels, third])[("t", "0")] is Outcome(both)


@pytest.mark.parametrize("outcome", [Outcome.MISSING, Outcome.REJECTED])
def test_a_label_is_yes_no_or_cannot_tell(outcome: Outcome) -> None:
    with pytest.raises(ValueError, match="must be yes, no or unscorable"):
        Label(trial="t", item="i", label=outcome, labeller="anna", at=AT)


# the file


def test_labels_are_read_back_equal_and_in_order(plan: Plan, tmp_path: Path) -> None:
    trial = judging(plan)[0]
    book = LabelBook.open(tmp_path, plan, seed=5)
    assert not (tmp_path / FILE).exists()
    labels = [label(trial, "a\x00\u202eß", "no"), label(trial, "b"), label(trial, "b", "no")]
    for one in labels:
        book.add(one)
        assert LabelBook.open(tmp_path, plan).labels == book.labels  # at once, not at the end
    again = LabelBook.open(tmp_path, plan)
    assert again.labels == tuple(labels)
    assert again.seed == 5
    head, *lines = (tmp_path / FILE).read_text(encoding="utf-8").splitlines()
    assert json.loads(head) == {"schema": "threatspec/labels/v1", "plan": plan.id, "seed": 5}
    assert json.loads(lines[1]) == {"trial": trial, "item": "b", "label": "yes",
                                    "labeller": "anna", "at": AT}  # fmt: skip


@pytest.mark.parametrize("lost", [1, 2, 40])
def test_a_line_that_was_cut_off_is_dropped_and_the_rest_stays(
    plan: Plan, tmp_path: Path, lost: int
) -> None:
    trial = judging(plan)[0]
    LabelBook.open(tmp_path, plan).add(label(trial, "a"), label(trial, "b"))
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-lost])
    book = LabelBook.open(tmp_path, plan)
    assert [one.item for one in book.labels] == ["a"]
    book.add(label(trial, "c"))
    assert [one.item for one in LabelBook.open(tmp_path, plan).labels] == ["a", "c"]


@pytest.mark.parametrize("kept", [0, 1, 30])
def test_a_first_line_that_was_cut_off_is_written_again(
    plan: Plan, tmp_path: Path, kept: int
) -> None:
    trial = judging(plan)[0]
    LabelBook.open(tmp_path, plan, seed=1).add(label(trial, "a"))
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:kept])
    book = LabelBook.open(tmp_path, plan, seed=2)
    assert book.labels == ()
    book.add(label(trial, "b"))
    again = LabelBook.open(tmp_path, plan)
    assert (again.seed, [one.item for one in again.labels]) == (2, ["b"])


def test_labels_of_another_plan_are_refused(plan: Plan, tmp_path: Path) -> None:
    other = plan.model_copy(update={"execution": Execution(threads=2)})
    LabelBook.open(tmp_path, other).add(label(judging(plan)[0], "a"))
    with pytest.raises(ThreatspecError, match="must hold labels of plan-") as caught:
        LabelBook.open(tmp_path, plan)
    assert caught.value.code == "TS-RECORDS"


def test_another_seed_is_refused_and_the_file_stays(plan: Plan, tmp_path: Path) -> None:
    trial = judging(plan)[0]
    late = LabelBook.open(tmp_path, plan, seed=2)  # opened before the other has begun the file
    LabelBook.open(tmp_path, plan, seed=1).add(label(trial, "a"))
    before = (tmp_path / FILE).read_bytes()
    for attempt in (
        lambda: LabelBook.open(tmp_path, plan, seed=2),
        lambda: late.add(label(trial, "b")),
    ):
        with pytest.raises(ThreatspecError, match="begun with seed 1, not 2") as caught:
            attempt()
        assert caught.value.code == "TS-LABELS"
    assert (tmp_path / FILE).read_bytes() == before
    assert LabelBook.open(tmp_path, plan, seed=1).seed == 1


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", '{"trial": "t"}', "\x00", '{"trial": 1, "item": "i", "label": "yes"}',
     '{"trial":"TRIAL","item":"i","label":"maybe","labeller":"a","at":"2026-01-01T00:00:00Z"}',
     '{"trial":"TRIAL","item":"i","label":"yes","labeller":"","at":"2026-01-01T00:00:00Z"}',
     '{"trial":"TRIAL","item":"i","label":"yes","labeller":"a","at":"yesterday"}',
     '{"trial":"TRIAL","item":"i","label":"yes","labeller":"a","at":"2026-01-01T00:00:00Z","x":1}',
     '{"trial":"judge-0","item":"i","label":"yes","labeller":"a","at":"2026-01-01T00:00:00Z"}'],
)  # fmt: skip
def test_a_damaged_line_is_named(plan: Plan, tmp_path: Path, line: str) -> None:
    trial = judging(plan)[0]
    LabelBook.open(tmp_path, plan).add(label(trial, "a"))
    path = tmp_path / FILE
    text = path.read_text() + line.replace("TRIAL", trial) + "\n"
    path.write_text(text + text.splitlines()[1] + "\n")
    with pytest.raises(ThreatspecError, match=f"{FILE}:3 must be") as caught:
        LabelBook.open(tmp_path, plan)
    assert caught.value.code == "TS-RECORDS"


@pytest.mark.parametrize(
    "head", ["", "{}", '{"schema": "threatspec/labels/v9", "plan": "p", "seed": 0}']
)
def test_a_file_of_another_format_is_refused(plan: Plan, tmp_path: Path, head: str) -> None:
    (tmp_path / FILE).write_text(f"{head}\n")
    with pytest.raises(ThreatspecError, match="must be the head of labels") as caught:
        LabelBook.open(tmp_path, plan)
    assert caught.value.code == "TS-RECORDS"


def test_a_file_that_cannot_be_written_is_a_coded_error(plan: Plan, tmp_path: Path) -> None:
    book = LabelBook.open(tmp_path, plan)
    (tmp_path / FILE).mkdir()
    with pytest.raises(ThreatspecError, match="cannot be written") as caught:
        book.add(label(judging(plan)[0], "a"))
    assert caught.value.code == "TS-RECORDS"
    assert book.labels == ()
    with pytest.raises(ThreatspecError, match="cannot be read"):
        LabelBook.open(tmp_path, plan)


def test_a_full_disk_leaves_what_was_there(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    trial = judging(plan)[0]
    book = LabelBook.open(tmp_path, plan)
    book.add(label(trial, "a"))
    before, write = (tmp_path / FILE).read_bytes(), os.write

    def fills_up(handle: int, data: bytes) -> int:
        if len(data) < 60:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data[:50])

    monkeypatch.setattr(os, "write", fills_up)
    with pytest.raises(ThreatspecError) as caught:
        book.add(label(trial, "b"))
    assert caught.value.code == "TS-DISK-FULL"
    assert (tmp_path / FILE).read_bytes() == before
    assert [one.item for one in book.labels] == ["a"]


def _writes(folder: Path, plan: Plan, trial: str, name: str) -> None:
    book = LabelBook.open(folder, plan)
    for n in range(50):
        book.add(label(trial, f"{name}{n}", labeller=name))


def test_several_people_write_at_once(plan: Plan, tmp_path: Path) -> None:
    trial, context = judging(plan)[0], multiprocessing.get_context("fork")
    writers = [
        context.Process(target=_writes, args=(tmp_path, plan, trial, name)) for name in "abc"
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = LabelBook.open(tmp_path, plan).labels
    for name in "abc":
        own = [one.item for one in found if one.labeller == name]
        assert own == [f"{name}{n}" for n in range(50)]
