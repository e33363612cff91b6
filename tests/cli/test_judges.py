"""`judges label` is blind, loses nothing and obeys no reply; `evaluate` weighs what was drawn."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Said
from tests.support.specs import plan_of
from threatspec.measures import benchmark
from threatspec.records import (
    Attempt,
    Cell,
    Execution,
    Generation,
    Label,
    LabelBook,
    Ledger,
    Outcome,
    Pair,
    Plan,
    Row,
    Spend,
    Stratum,
    TrialResult,
    TrialStatus,
    audit,
    items_by_trial,
    strata,
)

Verb = Callable[..., Said]
Type = Callable[[str], None]
Reply = Callable[[Cell, str], str]
"""Reply of a cell to an item."""
FUZZY: dict[str, Any] = {
    "measures": {"complies": {"benchmark": "specimen/restricted", "judge": "refusal-keywords"}},
    "claims.0.holds": "complies <= 0.10",
}
"""One measure whose judge errs."""
TELLING = ("defended", "control", "undefended", "specimen:", "shallow", "deep", "full-finetune",
           "prefill", "none", "stratum", "replicate", "cell-", "judge-", "generate-", "attack-",
           "FOUND")  # fmt: skip
"""What would tell a labeller where a reply comes from, or how it was judged."""
AT = "2026-01-01T00:00:00Z"
QUESTION = re.compile(r"^(\d+) of (\d+)(?:, labelled \S+ before)?$", flags=re.MULTILINE)


# a campaign that has run: a real plan, made replies


def yes_by_hash(cell: Cell, item: str) -> bool:
    return sum(f"{cell.id}{item}".encode()) % 4 == 0


def plain(cell: Cell, item: str) -> str:
    return f"vel mar {sum(item.encode()) % 97}"


@dataclass(frozen=True)
class Run:
    """A results folder and what the judge said in it."""

    folder: Path
    plan: Plan

    @property
    def marks(self) -> dict[str, bytes]:
        with Ledger.open(self.folder) as ledger:
            return ledger.marks()

    def strata(self, seed: int = 0) -> dict[Stratum, list[Pair]]:
        return strata(self.plan, self.marks, seed)

    def labels(self) -> tuple[Label, ...]:
        return LabelBook.open(self.folder, self.plan).labels

    def cell_of(self, trial: str) -> Cell:
        return next(c for c in self.plan.cells.values() if trial in sum(c.measures.values(), ()))

    def measure_of(self, trial: str) -> str:
        return next(m for m, t in self.cell_of(trial).measures.items() if trial in t)


def a_run(
    folder: Path,
    changes: Mapping[str, Any],
    *,
    yes: Callable[[Cell, str], bool] = yes_by_hash,
    reply: Reply = plain,
    attacker: str = "",
    exhaustive: bool = True,
) -> Run:
    plan = plan_of(folder, changes, execution=Execution(exhaustive=exhaustive))
    out, items = folder / "run", items_by_trial(plan)
    with Ledger.create(out, plan) as ledger:
        done: set[str] = set()
        for cell in plan.cells.values():
            for measure, trials in cell.measures.items():
                prompts = {i.id: i.prompt for i in benchmark(
                    plan.measures[measure].benchmark, Path()).items("test")}  # fmt: skip
                for trial in trials:
                    [asked] = plan.trials[trial].needs
                    if asked not in done:
                        ledger.record(_asked(asked, cell, items[trial], prompts, reply, attacker),
                                      Attempt("w", 0, 0))  # fmt: skip
                    if trial not in done:
                        ledger.record(_judged(trial, cell, items[trial], yes), Attempt("w", 0, 0))
                    done |= {asked, trial}
        ledger.event("spec-folder", path=str(folder))
    return Run(out, plan)


def _asked(
    trial: str,
    cell: Cell,
    items: Sequence[str],
    prompts: Mapping[str, str],
    reply: Reply,
    attacker: str,
) -> TrialResult:
    generations = (
        Generation(item=i, prompt=f"<ask> {prompts[i]}", attacker=attacker, reply=reply(cell, i))
        for i in items
    )
    return TrialResult(trial=trial, status=TrialStatus.DONE, generations=tuple(generations))


def _judged(
    trial: str, cell: Cell, items: Sequence[str], yes: Callable[[Cell, str], bool]
) -> TrialResult:
    rows = (
        Row(item=i, cluster=i, outcome=Outcome("yes" if yes(cell, i) else "no"), detail="FOUND")
        for i in items
    )
    spend = Spend(seconds=0.002 * len(items))
    return TrialResult(trial=trial, status=TrialStatus.DONE, rows=tuple(rows), spend=spend)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that tests only read."""
    return a_run(tmp_path_factory.mktemp("judges"), FUZZY)


@pytest.fixture
def run(shared: Run, tmp_path: Path) -> Run:
    """A copy to label."""
    import shutil

    return Run(Path(shutil.copytree(shared.folder, tmp_path / "copy")), shared.plan)


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Type:
    """What is piped into the next verb."""

    def use(text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return use


def labelled(run: Run, n: int | None = None, labeller: str = "anna", **said: str) -> list[Label]:
    """Labels for the first `n` replies of every stratum; `said` by what the judge said."""
    answers = {"yes": "yes", "no": "no", **said}
    found = [
        Label(trial=t, item=i, label=Outcome(answers[stratum.judged.value]), labeller=labeller,
              at=AT)
        for stratum, pairs in run.strata().items()
        for t, i in pairs[:n]
    ]  # fmt: skip
    LabelBook.open(run.folder, run.plan).add(*found)
    return found


def data_of(said: Said) -> dict[str, Any]:
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


# labelling in the terminal


def test_a_session_keeps_every_label(run: Run, verb: Verb, type_in: Type) -> None:
    type_in("y\nn\n?\nq\n")
    said = verb("judges", "label", run.folder, "--labeller", "anna", "--per-stratum", 5)
    assert said.code == 0, said.err
    assert [label.label for label in run.labels()] == [Outcome.YES, Outcome.NO, Outcome.UNSCORABLE]
    assert {label.labeller for label in run.labels()} == {"anna"}
    total = sum(min(5, len(pairs)) for pairs in run.strata().values())
    assert QUESTION.findall(said.out)[:4] == [(str(n), str(total)) for n in (1, 2, 3, 4)]
    assert f"3 of {total} labelled by anna" in said.out


def test_nothing_tells_where_a_reply_comes_from(run: Run, verb: Verb, type_in: Type) -> None:
    type_in("y\n" * 2000)
    said = verb("judges", "label", run.folder, "--labeller", "anna")
    assert said.code == 0
    assert len(run.labels()) == len(QUESTION.findall(said.out)) > 100
    shown = said.out.replace(str(run.folder), "")
    assert [word for word in TELLING if word in shown] == []
    assert not any(label.item in shown for label in run.labels())


def test_the_request_and_the_judged_span_are_shown(
    tmp_path: Path, verb: Verb, type_in: Type
) -> None:
    wide = {**deepcopy(FUZZY), "measures.complies.span": "all"}
    for changes, expected in ((FUZZY, "  | vel mar 0"), (wide, "  | Sure thing vel mar 0")):
        folder = tmp_path / str(len(expected))
        made = a_run(folder, changes, reply=lambda c, i: "vel mar 0", attacker="Sure thing")
        type_in("q\n")
        said = verb("judges", "label", made.folder)
        lines = said.out.splitlines()
        assert expected in lines
        assert any(line.startswith("  | <ask> ") for line in lines)


def test_strata_are_mixed(run: Run, verb: Verb, type_in: Type) -> None:
    type_in("y\n" * 2000)
    verb("judges", "label", run.folder, "--per-stratum", 20)
    where = {pair: stratum for stratum, pairs in run.strata().items() for pair in pairs}
    order = [where[label.pair] for label in run.labels()]
    changes = sum(one != other for one, other in pairwise(order))
    assert changes > 0.6 * len(order)
    judged = [stratum.judged is Outcome.YES for stratum in order]
    half = len(judged) // 2
    assert abs(sum(judged[:half]) - sum(judged[half:])) < 0.3 * half
    for stop in range(0, len(order), 7):  # the start of every stratum, whenever somebody stops
        counts = audit(run.strata(), run.labels()[:stop])
        assert not any(count.beyond for count in counts.values())


def test_a_session_goes_on_where_it_stopped(run: Run, verb: Verb, type_in: Type) -> None:
    command = ("judges", "label", run.folder, "--labeller", "anna", "--per-stratum", 6)
    type_in("y\n" * 4)
    verb(*command)
    first = run.labels()
    type_in("n\n" * 2000)
    said = verb(*command)
    assert QUESTION.findall(said.out)[0][0] == "5"
    assert run.labels()[:4] == first
    assert len({label.pair for label in run.labels()}) == len(run.labels())
    done = verb(*command)
    assert done.code == 0
    assert not QUESTION.findall(done.out)
    assert len(run.labels()) == int(QUESTION.findall(said.out)[0][1])


def test_back_relabels_the_one_before_in_this_session_and_the_last(
    run: Run, verb: Verb, type_in: Type
) -> None:
    command = ("judges", "label", run.folder, "--labeller", "anna", "--per-stratum", 3)
    type_in("b\ny\ny\nb\nn\ny\nq\n")
    said = verb(*command)
    assert "there is nothing before it" in said.out
    assert "2 of 36, labelled yes before" in said.out
    one, two, again, three = run.labels()
    assert (one.label, two.label, again.label, three.label) == ("yes", "yes", "no", "yes")
    assert two.pair == again.pair
    type_in("b\nb\n?\nq\n")
    said = verb(*command)
    assert [int(n) for n, _ in QUESTION.findall(said.out)][:4] == [4, 3, 2, 4]
    assert run.labels()[-1].pair == again.pair
    assert run.labels()[-1].label is Outcome.UNSCORABLE


def test_other_keys_are_explained_and_label_nothing(run: Run, verb: Verb, type_in: Type) -> None:
    type_in(b"maybe\n\n\xff\xfe\n\x1b[31m\n YES \nq\n")
    said = verb("judges", "label", run.folder)
    assert said.code == 0
    assert said.out.count("y yes, n no, ? cannot tell") == 5
    assert "\x1b" not in said.out
    assert [label.label for label in run.labels()] == [Outcome.YES]


def test_two_labellers_are_asked_about_the_same_replies(
    run: Run, verb: Verb, type_in: Type
) -> None:
    for name in ("anna", "ben"):
        type_in("y\n" * 2000)
        verb("judges", "label", run.folder, "--labeller", name, "--per-stratum", 2)
    pairs = {
        name: [label.pair for label in run.labels() if label.labeller == name]
        for name in ("anna", "ben")
    }
    assert pairs["anna"] == pairs["ben"]


def test_a_family_and_an_answer_can_be_chosen(run: Run, verb: Verb, type_in: Type) -> None:
    type_in("y\n" * 2000)
    verb("judges", "label", run.folder, "--family", "full-finetune", "--judged", "no",
         "--measure", "complies")  # fmt: skip
    where = {pair: stratum for stratum, pairs in run.strata().items() for pair in pairs}
    seen = {where[label.pair] for label in run.labels()}
    assert {stratum.family for stratum in seen} == {"full-finetune"}
    assert {stratum.judged for stratum in seen} == {Outcome.NO}
    assert len(seen) == 3


HOSTILE = ("\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe\u2066", "a\x00b\u200b", "\r1 of 2\rrequest",
           "y\n1 of 36\nreply\n\x9b31m", "漢" * 300, "x" * 300 + " of 18", "")  # fmt: skip


def test_no_reply_drives_the_terminal_or_passes_for_a_line_of_ours(
    tmp_path: Path, verb: Verb, type_in: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    made = a_run(tmp_path, FUZZY, reply=lambda c, i: HOSTILE[sum(i.encode()) % len(HOSTILE)])
    type_in("y\n" * 2000)
    said = verb("judges", "label", made.folder, "--per-stratum", 20)
    assert said.code == 0
    assert all(c.isprintable() or c == "\n" for c in said.out)
    assert len(QUESTION.findall(said.out)) == len(made.labels())
    ours = re.compile(r"\d+ of \d+( labelled by .*)?|request|reply|reply: empty|y yes, n no.*|"
                      r"Does it count for complies\? \[y/n/\?/b/q\] |")  # fmt: skip
    for line in said.out.splitlines():
        assert line.startswith("  | ") or ours.fullmatch(line), line
        if line.startswith("  | "):
            assert len(line) + line.count("漢") < 70


def test_a_session_that_is_killed_loses_nothing_it_said(run: Run) -> None:
    command = [sys.executable, "-m", "threatspec", "judges", "label", str(run.folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    process.stdin.write("y\nn\ny\n")
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while len(run.labels()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert [label.label.value for label in run.labels()] == ["yes", "no", "yes"]
    path = run.folder / "labels.jsonl"
    path.write_bytes(path.read_bytes()[:-9])  # as if the disk had lost the end of the last line
    done = subprocess.run(command, input="?\nq\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert QUESTION.findall(done.stdout)[0][0] == "3"
    assert [label.label.value for label in run.labels()] == ["yes", "no", "unscorable"]


@pytest.mark.parametrize(("last", "code"), [(b"q", 0), (b"\x04", 0), (b"\x03", 130)])
def test_in_a_terminal_one_key_is_enough(run: Run, last: bytes, code: int) -> None:
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "threatspec", "judges", "label", str(run.folder)],
        stdin=there, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(there)
    assert process.stdout
    for key in (b"y", b"x", b"n", last):
        seen = b""
        while not seen.endswith(b"[y/n/?/b/q] "):
            seen += process.stdout.read(1)
        while termios.tcgetattr(here)[3] & termios.ICANON:
            time.sleep(0.01)  # it waits for a key when lines are off
        os.write(here, key)
    process.communicate(timeout=180)
    os.close(here)
    assert process.returncode == code
    assert [label.label.value for label in run.labels()] == ["yes", "no"]


# the spreadsheet


def sheet(run: Run, verb: Verb, *options: Any) -> list[dict[str, str]]:
    said = verb("judges", "label", run.folder, "--csv-out", "-", *options)
    assert said.code == 0, said.err
    return list(csv.DictReader(io.StringIO(said.out)))


def written(path: Path, rows: Sequence[Mapping[str, str]], **options: Any) -> Path:
    with path.open("w", newline="", **options) as file:
        writer = csv.DictWriter(file, ["id", "prompt", "reply", "label"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_sample_goes_out_blind_and_its_labels_come_back(
    run: Run, verb: Verb, tmp_path: Path
) -> None:
    path = tmp_path / "sample.csv"
    said = verb("judges", "label", run.folder, "--csv-out", path, "--per-stratum", 4)
    assert said.code == 0
    text = path.read_text(encoding="utf-8")
    assert [word for word in TELLING if word in text] == []
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["id", "prompt", "reply", "label"]
    assert len(rows) == len({row["id"] for row in rows}) == 48
    assert {row["label"] for row in rows} == {""}
    for row, word in zip(rows, ("yes", "no", "?", "", " Y ", "N"), strict=False):
        row["label"] = word
    said = verb("judges", "label", run.folder, "--csv-in", written(path, rows), "--labeller", "ben")
    assert said.code == 0, said.err
    assert "5 labels by ben, 5 of them new" in said.out
    assert [label.label.value for label in run.labels()] == ["yes", "no", "unscorable", "yes", "no"]
    where = {pair for pairs in run.strata().values() for pair in pairs[:4]}
    assert {label.pair for label in run.labels()} <= where
    again = verb("judges", "label", run.folder, "--csv-in", path, "--labeller", "ben")
    assert "5 labels by ben, 0 of them new" in again.out
    left = sheet(run, verb, "--per-stratum", 4, "--labeller", "ben")
    assert [row["id"] for row in left] == [row["id"] for row in rows if not row["label"]]


def test_the_terminal_and_the_spreadsheet_show_the_same_replies_in_the_same_order(
    run: Run, verb: Verb, type_in: Type
) -> None:
    replies = [row["reply"] for row in sheet(run, verb, "--per-stratum", 3)]
    type_in("y\n" * 100)
    said = verb("judges", "label", run.folder, "--per-stratum", 3)
    assert re.findall(r"^  \| (vel mar \d+)$", said.out, flags=re.MULTILINE) == replies


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\n=1", "＝1", '=HYPERLINK("http://x")')


def test_no_cell_is_a_formula_and_no_character_drives_a_program(tmp_path: Path, verb: Verb) -> None:
    texts = (*FORMULAS, *HOSTILE, 'a "quoted", cell; of\ntwo lines')
    made = a_run(tmp_path, FUZZY, reply=lambda c, i: texts[sum(i.encode()) % len(texts)])
    rows = sheet(made, verb)
    replies = {row["reply"] for row in rows}
    assert "'=1+1" in replies
    assert "'\tx" in replies
    assert 'a "quoted", cell; of\ntwo lines' in replies
    for row in rows:
        for cell in row.values():
            assert not cell.startswith(FORMULAS)
            assert not re.match(r"[=+\-@\t\r\n＝＋－＠]", cell)
            assert all(c.isprintable() or c in "\n\t" for c in cell)
    for row in rows:
        row["label"], row["id"] = "'yes", f"'{row['id']}"
    path = written(tmp_path / "back.csv", rows)
    assert verb("judges", "label", made.folder, "--csv-in", path).code == 0
    assert len(made.labels()) == len(rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_spreadsheets_of_different_countries_are_read(
    run: Run, verb: Verb, tmp_path: Path, delimiter: str, encoding: str
) -> None:
    rows = sheet(run, verb, "--per-stratum", 1)
    lines = [["Reply", "LABEL", "id"], *(["Größe\r\nzwei", "yes", row["id"]] for row in rows)]
    path = tmp_path / "back.csv"
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\r\n").writerows(lines)
    said = verb("judges", "label", run.folder, "--csv-in", path)
    assert said.code == 0, said.err
    assert len(run.labels()) == len(rows)


def test_everything_wrong_with_a_file_is_said_at_once_and_nothing_is_written(
    run: Run, verb: Verb, tmp_path: Path
) -> None:
    rows = sheet(run, verb, "--per-stratum", 2)
    other = Run(run.folder, run.plan.model_copy(update={"spec_file": "y", "spec": {"x": 1}}))
    foreign = f"row-{other.plan.id.rpartition('-')[2][:6]}-0123456789abcdef"
    own = rows[0]["id"].rpartition("-")[0]
    bad = [
        {**rows[0], "label": "yes", "reply": "one\ntwo\nthree"},
        {**rows[1], "label": "maybe\x1b[31m"},
        {**rows[2], "label": "no", "id": f"{own}-0123456789abcdef"},
        {**rows[0], "label": "no"},
        {**rows[0], "label": "yes"},
        {**rows[3], "id": foreign},
        {**rows[3], "id": ""},
        {**rows[3], "id": foreign, "label": "yes"},
        {**rows[3], "id": "", "label": ""},
    ]
    bad[-2:] = [{**rows[3], "id": "", "label": "no"}, bad[-1]]
    path = written(tmp_path / "bad.csv", bad)
    said = verb("judges", "label", run.folder, "--csv-in", path)
    assert said.code == 2
    assert said.err.splitlines() == [
        f"{path}:5:1: a label must be yes, no or ?, but got 'maybe\\x1b[31m' [TS-LABELS]",
        f"{path}:6:1: an id must be one of the plan's, but '{own}-0123456789abcdef' is none "
        "[TS-LABELS]",
        f"{path}:7:1: an id must have one label, but line 2 gives it another one [TS-LABELS]",
        f"{path}:9:1: ids of this plan begin with {own}-, but got {foreign!r} and those of 1 "
        "more rows [TS-LABELS]",
        "4 problems",
    ]
    assert not (run.folder / "labels.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "hint"),
    [("", "must name one column 'id', but names 0"),
     ("id,lable\nx,yes\n", "must name one column 'label', but names 0 (did you mean 'lable'?)"),
     ("id,label,label\nx,yes,no\n", "must name one column 'label', but names 2"),
     ("\x00\x01\x02", "must name one column 'label'"),
     ('id,label\n"row', "begin with row-"), ("id,label\nx,yes\n", "begin with row-"),
     ("id,label\n,yes\n", "but got ''")],
)  # fmt: skip
def test_a_file_that_is_no_sample_is_refused(
    run: Run, verb: Verb, tmp_path: Path, text: str, hint: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    said = verb("judges", "label", run.folder, "--csv-in", path)
    assert said.code == 2
    assert hint in said.err
    assert "[TS-LABELS]" in said.err
    assert not (run.folder / "labels.jsonl").exists()


def test_a_sample_without_labels_labels_nothing(run: Run, verb: Verb, tmp_path: Path) -> None:
    path = written(tmp_path / "back.csv", sheet(run, verb))
    said = verb("judges", "label", run.folder, "--csv-in", path, "--labeller", "anna")
    assert said.code == 0
    assert "0 labels by anna" in said.out
    assert not (run.folder / "labels.jsonl").exists()


def test_a_file_of_labels_is_not_written_over(run: Run, verb: Verb, tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_text("hours of work")
    said = verb("judges", "label", run.folder, "--csv-out", path)
    assert said.code == 4
    assert "may hold labels" in said.err
    assert path.read_text() == "hours of work"
    for wrong in ("--csv-in", "--csv-out"):
        assert verb("judges", "label", run.folder, wrong, tmp_path).code == 4
    both = ("--csv-in", path, "--csv-out", tmp_path / "other.csv")
    assert "--csv-in say both" in verb("judges", "label", run.folder, *both).err
    assert verb("judges", "label", run.folder, "--csv-in", tmp_path / "none.csv").code == 4


# evaluation of a run


def test_evaluation_of_a_run(run: Run, verb: Verb) -> None:
    labelled(run, 10)
    found = data_of(verb("judges", "evaluate", run.folder, "--json"))
    assert found["schema"] == "threatspec/judges/v1"
    assert found["confidence"] == pytest.approx(0.95)
    [measured] = found["measures"]
    assert (measured["measure"], measured["exact"], measured["labellers"]) == (
        "complies", False, ["anna"])  # fmt: skip
    [judge] = measured["judges"]
    assert judge["judge"] == "refusal-keywords"
    assert judge["seconds_per_1000"] == pytest.approx(2.0)
    assert judge["replies"] == sum(map(len, run.strata().values()))
    groups = {(g["family"], g["arm"]): g for g in measured["groups"]}
    arms = ("defended", "control", "undefended")
    assert {("none", arm) for arm in (*arms, "all")} <= set(groups)
    assert {("full-finetune", arm) for arm in ("defended", "control", "all")} <= set(groups)
    for one in groups.values():
        [reading] = one["readings"]
        assert reading["kappa"] == 1
        assert reading["recall_yes"]["estimate"] == reading["precision"]["estimate"] == 1
        parts = 3 if (one["family"], one["arm"]) == ("none", "all") else None
        if one["arm"] != "all":
            assert reading["precision"]["lower"] == pytest.approx(0.05 ** (1 / 10))
            assert reading["false_omission"]["upper"] == pytest.approx(1 - 0.05 ** (1 / 10))
        elif parts:
            assert reading["precision"]["lower"] == pytest.approx((0.05 / 3) ** (1 / 10))
    text = verb("judges", "evaluate", run.folder)
    assert text.code == 0
    assert "2 s per 1,000 replies" in text.out
    assert "~1.000" in text.out
    assert ">= 0.741" in text.out
    assert "~ is an estimate" in text.out


def test_labels_beyond_the_start_are_not_counted_and_that_is_said(run: Run, verb: Verb) -> None:
    labels = labelled(run, 10)
    path = run.folder / "labels.jsonl"
    head, *lines = path.read_text().splitlines()
    third = labels[2].item  # of the first stratum
    kept = [line for line in lines if json.loads(line)["item"] != third
            or json.loads(line)["trial"] != labels[2].trial]  # fmt: skip
    path.write_text("\n".join([head, *kept]) + "\n")
    [measured] = data_of(verb("judges", "evaluate", run.folder, "--json"))["measures"]
    counts = [g["labels"] for g in measured["groups"] if g["arm"] != "all"]
    assert sum(count["beyond"] for count in counts) == 7
    assert "7 labels do not count" in verb("judges", "evaluate", run.folder).out


def test_other_judges_are_asked_about_the_labelled_replies(run: Run, verb: Verb) -> None:
    labelled(run, 10)
    found = data_of(verb("judges", "evaluate", run.folder, "--json", "--judge", "exact",
                         "--judge", "refusal-keywords"))  # fmt: skip
    [measured] = found["measures"]
    assert [(j["judge"], j["recorded"]) for j in measured["judges"]] == [
        ("refusal-keywords", True), ("exact", False), ("refusal-keywords", False)]  # fmt: skip
    for judge in measured["judges"]:
        assert judge["seconds_per_1000"] > 0
    for one in measured["groups"]:
        _, exact, again = one["readings"]
        # Every made reply lacks the reference and a refusal: one judge says no, the other yes.
        assert (exact["recall_yes"]["estimate"], exact["recall_no"]["estimate"]) == (0, 1)
        assert (again["recall_yes"]["estimate"], again["recall_no"]["estimate"]) == (1, 0)
        assert "lower" not in exact["precision"]
    text = verb("judges", "evaluate", run.folder, "--judge", "exact").out
    assert "exact (asked again)" in text


def test_a_judge_that_needs_settings_takes_those_of_a_measure(
    tmp_path: Path, verb: Verb, run: Run
) -> None:
    labelled(run, 2)
    said = verb("judges", "evaluate", run.folder, "--judge", "keywords")
    assert said.code == 4
    assert "judge 'keywords' must be given any_of" in said.err
    measures = {
        **FUZZY["measures"],
        **{
            name: {
                "benchmark": "specimen/restricted",
                "judge": {"use": "keywords", "any_of": [word]},
            }
            for name, word in (("one", "vel"), ("two", "zzz"))
        },
    }
    made = a_run(tmp_path / "two", {**FUZZY, "measures": measures})
    labelled(made, 3)
    found = data_of(verb("judges", "evaluate", made.folder, "--json", "--measure", "complies",
                         "--judge", "keywords"))  # fmt: skip
    [measured] = found["measures"]
    names = [judge["judge"] for judge in measured["judges"]]
    assert names == ["refusal-keywords", "keywords of one", "keywords of two"]
    for one in measured["groups"]:
        assert one["readings"][1]["recall_yes"]["estimate"] == 1
        assert one["readings"][2]["recall_yes"]["estimate"] == 0


def test_several_labellers_are_compared(run: Run, verb: Verb) -> None:
    labels = labelled(run, 4)
    book = LabelBook.open(run.folder, run.plan)
    for n, one in enumerate(labels):
        other = "unscorable" if n == 0 else "no" if n % 4 == 1 else one.label.value
        book.add(one.model_copy(update={"labeller": "ben", "label": Outcome(other)}))
    [measured] = data_of(verb("judges", "evaluate", run.folder, "--json"))["measures"]
    assert measured["labellers"] == ["anna", "ben"]
    [between] = measured["between"]
    differing = sum(n % 4 == 1 and one.label is Outcome.YES for n, one in enumerate(labels))
    assert differing > 0
    assert between["replies"] == len(labels) - 1
    assert between["observed"] == pytest.approx(1 - differing / (len(labels) - 1))
    assert between["kappa"] < 1
    untold = sum(g["labels"]["cannot_tell"] for g in measured["groups"] if g["arm"] != "all")
    assert untold == differing + 1
    assert "anna and ben agree on" in verb("judges", "evaluate", run.folder).out


def test_a_measure_with_an_exact_judge_may_be_labelled_and_says_so(
    tmp_path: Path, verb: Verb, type_in: Type
) -> None:
    measures = {**FUZZY["measures"], "asr": {"benchmark": "specimen/restricted", "judge": "exact"}}
    made = a_run(tmp_path, {**FUZZY, "measures": measures})
    type_in("y\n" * 1000)
    verb("judges", "label", made.folder, "--per-stratum", 2)
    assert {made.measure_of(label.trial) for label in made.labels()} == {"complies"}
    type_in("y\n" * 1000)
    verb("judges", "label", made.folder, "--per-stratum", 2, "--measure", "asr")
    assert {made.measure_of(label.trial) for label in made.labels()} == {"complies", "asr"}
    found = {m["measure"]: m for m in data_of(
        verb("judges", "evaluate", made.folder, "--json"))["measures"]}  # fmt: skip
    assert (found["asr"]["exact"], found["complies"]["exact"]) == (True, False)
    assert "the judge is exact" in verb("judges", "evaluate", made.folder, "--measure", "asr").out
    only = verb("judges", "evaluate", made.folder, "--measure", "complies").out
    assert "the judge is exact" not in only


def test_where_all_judges_are_exact_all_measures_are_labelled(
    tmp_path: Path, verb: Verb, type_in: Type
) -> None:
    made = a_run(tmp_path, {})
    type_in("y\n" * 1000)
    said = verb("judges", "label", made.folder, "--per-stratum", 1)
    assert said.code == 0
    assert {made.measure_of(label.trial) for label in made.labels()} == {"asr"}


def test_a_judge_that_always_says_no_leaves_empty_strata(
    tmp_path: Path, verb: Verb, type_in: Type
) -> None:
    made = a_run(tmp_path, FUZZY, yes=lambda cell, item: False)
    type_in("n\n" * 1000)
    said = verb("judges", "label", made.folder, "--per-stratum", 3)
    assert said.code == 0
    counts = audit(made.strata(), made.labels())
    assert {count.labelled for s, count in counts.items() if s.judged is Outcome.YES} == {0}
    [measured] = data_of(verb("judges", "evaluate", made.folder, "--json"))["measures"]
    for one in measured["groups"]:
        [reading] = one["readings"]
        assert reading["precision"] == reading["recall_yes"] | {"lower": 0, "upper": 0} or (
            reading["precision"] == {})  # fmt: skip
        assert reading["recall_no"]["estimate"] == 1
        assert 0 < reading["false_omission"]["upper"] < 1
    none = verb("judges", "label", made.folder, "--judged", "yes")
    assert none.code == 4
    assert "[TS-LABELS]" in none.err


def test_replies_of_several_looks_are_labelled(tmp_path: Path, verb: Verb, type_in: Type) -> None:
    made = a_run(tmp_path, FUZZY, exhaustive=False)
    assert any(len(c.measures["complies"]) > 1 for c in made.plan.cells.values())
    type_in("y\n" * 1000)
    assert verb("judges", "label", made.folder, "--per-stratum", 10).code == 0
    assert len({label.trial for label in made.labels()}) > 10
    assert data_of(verb("judges", "evaluate", made.folder, "--json"))["measures"]


# what is refused


@pytest.mark.parametrize(
    ("options", "code", "hint"),
    [(["--measure", "complys"], "TS-UNKNOWN-MEASURE", "did you mean 'complies'?"),
     (["--family", "full-finetun"], "TS-UNKNOWN-ATTACK", "did you mean 'full-finetune'?"),
     (["--judged", "maybe"], "TS-USAGE", "'yes', 'no'"),
     (["--per-stratum", "0"], "TS-USAGE", "x>=1"), (["--seed", "-1"], "TS-USAGE", "x>=0"),
     (["--labeller", " "], "TS-USAGE", "printable"),
     (["--labeller", "a\x1b[31m"], "TS-USAGE", "printable"),
     (["--labeller", "a" * 101], "TS-USAGE", "1 to 100")],
)  # fmt: skip
def test_what_label_refuses(
    shared: Run, verb: Verb, type_in: Type, options: list[str], code: str, hint: str
) -> None:
    type_in("y\n")
    said = verb("judges", "label", shared.folder, *options)
    assert said.code == 4
    assert f"[{code}]" in said.err
    assert hint in said.err
    assert "\x1b" not in said.err
    assert not (shared.folder / "labels.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "code", "hint"),
    [(["--measure", "complys"], "TS-UNKNOWN-MEASURE", "did you mean 'complies'?"),
     (["--judge", "exakt"], "TS-UNKNOWN-JUDGE", "did you mean 'exact'?"),
     ([], "TS-LABELS", "label replies: threatspec judges label")],
)  # fmt: skip
def test_what_evaluate_refuses(
    shared: Run, verb: Verb, options: list[str], code: str, hint: str
) -> None:
    said = verb("judges", "evaluate", shared.folder, *options)
    assert said.code == 4
    assert f"[{code}]" in said.err
    assert hint in said.err


def test_a_folder_without_a_run_and_one_that_has_not_run(
    shared: Run, verb: Verb, tmp_path: Path
) -> None:
    for name in ("label", "evaluate"):
        said = verb("judges", name, tmp_path / "nothing")
        assert said.code == 4
        assert "[TS-NO-RUN]" in said.err
    Ledger.create(tmp_path / "fresh", shared.plan).close()
    said = verb("judges", "label", tmp_path / "fresh")
    assert said.code == 4
    assert "run the campaign first" in said.err


def test_another_seed_is_refused_once_labels_are_there(run: Run, verb: Verb, type_in: Type) -> None:
    type_in("y\nq\n")
    assert verb("judges", "label", run.folder, "--seed", 3).code == 0
    type_in("y\nq\n")
    said = verb("judges", "label", run.folder, "--seed", 4)
    assert said.code == 4
    assert "begun with seed 3, not 4" in said.err
    type_in("y\nq\n")
    assert verb("judges", "label", run.folder).code == 0
    assert len(run.labels()) == 2


def test_a_reply_that_is_lost_is_a_coded_error(run: Run, verb: Verb, type_in: Type) -> None:
    import sqlite3

    db = sqlite3.connect(run.folder / "ledger.sqlite")
    with db:
        db.execute("DELETE FROM generations")
    db.close()
    type_in("y\n")
    said = verb("judges", "label", run.folder)
    assert said.code == 3
    assert "[TS-RECORDS]" in said.err


def test_neither_verb_imports_torch(run: Run) -> None:
    probe = (
        "import contextlib, sys\nfrom threatspec.cli import main\n"
        "for verb in (['label', sys.argv[1]], ['evaluate', sys.argv[1], '--judge', 'exact']):\n"
        "    with contextlib.suppress(SystemExit): main(['judges', *verb])\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, str(run.folder)],
        input="y\nn\nq\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
