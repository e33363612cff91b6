"""What a run looks like while it runs: the file, the bar, and verdicts so far."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.bundles import SUPPORTED, Says, breaks, holds, results_of
from tests.support.specs import plan_of
from threatspec.claims import decide, gather
from threatspec.cli._progress import Bar
from threatspec.errors import ThreatspecError
from threatspec.records import Execution, Marker, Plan, Spend, TrialResult
from threatspec.runners import (
    Observers,
    ProgressFile,
    RunState,
    TrialGraph,
    WorkerState,
    read_progress,
)
from threatspec.runners._verdicts import RunningVerdicts
from threatspec.schema import Verdict


@dataclass
class Clock:
    """Time passes when a test says so, and a little whenever somebody looks."""

    now: float = 1000.0
    step: float = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@dataclass
class Run:
    """A campaign whose results are made up."""

    plan: Plan
    says: Says = holds
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.marks: dict[str, bytes] = {}
        self.made = {
            result.trial: result
            for cell in self.plan.cells.values()
            for result in results_of(self.plan, cell, self.says)
        }
        self.state = RunState(
            TrialGraph(self.plan, {}), self.marks, verdicts=RunningVerdicts(self.clock)
        )

    def finish(self, trials: int = 1_000_000) -> None:
        """Run trials as the driver does: the graph gets no rows, the marks are beside it."""
        marker = Marker(self.plan)
        for _ in range(trials):
            trial = self.state.graph.take(None)
            if trial is None:
                return
            result = self.made[trial.id]
            self.marks.update(marker.of([result]))
            self.state.graph.finish(result.model_copy(update={"rows": (), "generations": ()}))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(plan_of(tmp_path / "spec", SUPPORTED, execution=Execution(exhaustive=True)))


# verdicts so far


@pytest.mark.parametrize(
    ("says", "verdict"), [(holds, Verdict.SUPPORTED), (breaks, Verdict.REFUTED)]
)
def test_running_verdicts_are_those_of_the_records_so_far(
    run: Run, says: Says, verdict: Verdict
) -> None:
    run = Run(run.plan, says)
    for trials in (0, 3, 10, 1_000_000):
        run.finish(trials)
        done: dict[str, TrialResult] = {trial: run.made[trial] for trial in run.state.graph.results}
        now = {claim.id: claim.verdict for claim in decide(gather(run.plan, done)).claims}
        assert run.state.verdicts.now(run.state, over=True) == now
    assert now == {"holds": verdict}


def test_verdicts_take_two_per_cent_of_the_time_and_at_most_every_two_seconds(run: Run) -> None:
    verdicts, clock = run.state.verdicts, run.clock
    assert verdicts.now(run.state) == {}
    clock.now += 2
    assert verdicts.now(run.state) == {"holds": Verdict.INCONCLUSIVE}
    run.finish()
    clock.now += 1.9
    assert verdicts.now(run.state) == {"holds": Verdict.INCONCLUSIVE}
    clock.step = 10  # working them out takes ten seconds now
    clock.now += 0.1
    assert verdicts.now(run.state) == {"holds": Verdict.SUPPORTED}
    clock.step = 0
    run.state.graph = TrialGraph(run.plan, {})
    clock.now += 499
    assert verdicts.now(run.state) == {"holds": Verdict.SUPPORTED}
    clock.now += 1
    assert verdicts.now(run.state) == {"holds": Verdict.INCONCLUSIVE}


# the file


def test_the_file_of_a_run_that_has_begun(run: Run, tmp_path: Path) -> None:
    """Golden: other programs read it."""
    run.finish(3)
    trial = run.state.graph.take(None)
    assert trial
    run.state.workers = {
        "worker-1": WorkerState("worker-1", "node-a", trial, 1700000000.5, 3, 12.25, 1),
        "worker-2": WorkerState("worker-2"),
    }
    run.state.spend = Spend(steps=30, tokens=6600, flops=1e9, seconds=12.0)
    run.state.busy_s = 13.5
    ProgressFile(tmp_path, "plan-0123456789abcdef", run.clock).update(run.state, over=False)
    found = json.loads((tmp_path / "progress.json").read_text())
    assert found.pop("at") > 1_700_000_000
    assert found == {
        "schema": "threatspec/progress/v1",
        "plan": "plan-0123456789abcdef",
        "total": len(run.plan.trials),
        "finished": 3,
        "spend": {"steps": 30, "tokens": 6600, "flops": 1e9, "queries": 0, "seconds": 12.0},
        "busy_s": 13.5,
        "running": [
            {
                "worker": "worker-1",
                "trial": trial.id,
                "kind": trial.kind.value,
                "since": 1700000000.5,
            }
        ],
        "workers": [
            {"name": "worker-1", "node": "node-a", "finished": 3, "busy_s": 12.25, "lost": 1},
            {"name": "worker-2", "node": "", "finished": 0, "busy_s": 0.0, "lost": 0},
        ],
        "verdicts": {},
    }
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["progress.json"]


def test_the_file_is_written_every_two_seconds_and_once_at_the_end(
    run: Run, tmp_path: Path
) -> None:
    observer, path = ProgressFile(tmp_path, "plan-0", run.clock), tmp_path / "progress.json"

    def seen(seconds: float, *, over: bool = False) -> int:
        run.clock.now += seconds
        observer.update(run.state, over=over)
        return read_progress(path.read_text()).finished

    assert seen(0) == 0
    run.finish(2)
    assert seen(1.9) == 0
    assert seen(0.1) == 2
    run.finish()
    assert seen(0.1) == 2
    assert seen(0.1, over=True) == len(run.plan.trials)
    last = read_progress(path.read_text())
    assert last.verdicts == {"holds": Verdict.SUPPORTED}
    assert last.eta_s == 0


def test_the_time_left_is_that_of_this_run(run: Run, tmp_path: Path) -> None:
    run.finish(4)  # by an earlier run
    observer, path = ProgressFile(tmp_path, "plan-0", run.clock), tmp_path / "progress.json"
    observer.update(run.state, over=False)
    assert read_progress(path.read_text()).eta_s is None
    run.finish(2)
    run.clock.now += 10
    observer.update(run.state, over=False)
    assert read_progress(path.read_text()).eta_s == 5 * (len(run.plan.trials) - 6)


def test_a_trial_that_runs_twice_is_one_that_runs(run: Run, tmp_path: Path) -> None:
    trial = run.state.graph.take(None)
    run.state.workers = {n: WorkerState(n, trial=trial) for n in ("worker-1", "worker-2")}
    ProgressFile(tmp_path, "plan-0").update(run.state, over=False)
    found = read_progress((tmp_path / "progress.json").read_text())
    assert found.finished == 0
    assert [one.worker for one in found.running] == ["worker-1", "worker-2"]


def test_a_campaign_does_not_fail_for_its_progress(run: Run, tmp_path: Path) -> None:
    ProgressFile(tmp_path / "missing", "plan-0").update(run.state, over=True)
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", '{"schema": "threatspec/progress/v1"', '{"schema": "threatspec/plan/v2"}',
        '{"schema": "threatspec/progress/v2", "at": 0}',
    ],
)  # fmt: skip
def test_what_is_no_progress_is_refused(text: str) -> None:
    with pytest.raises(ThreatspecError) as caught:
        read_progress(text)
    assert caught.value.code == "TS-RECORDS"
    assert "progress.json must be a threatspec/progress/v1" in caught.value.message


@pytest.mark.parametrize(
    "edit",
    [
        lambda found: found.update(extra=1),
        lambda found: found.update(finished="3"),
        lambda found: found.update(at=float("nan")),
        lambda found: found.update(verdicts={"holds": "MAYBE"}),
        lambda found: found.pop("workers"),
    ],
)
def test_a_field_that_is_not_as_it_must_be_is_refused(
    run: Run, tmp_path: Path, edit: Callable[[dict[str, object]], object]
) -> None:
    ProgressFile(tmp_path, "plan-0").update(run.state, over=False)
    found = json.loads((tmp_path / "progress.json").read_text())
    edit(found)
    with pytest.raises(ThreatspecError, match=r"progress\.json must be"):
        read_progress(json.dumps(found))


# the bar


def test_the_bar_and_the_file_show_the_same(run: Run, tmp_path: Path) -> None:
    text = io.StringIO()
    bar = Bar(Console(file=text, force_terminal=True, width=120))
    both = Observers(bar, ProgressFile(tmp_path, "plan-0", run.clock))
    both.update(run.state, over=False)
    run.finish()
    run.clock.now += 3
    both.update(run.state, over=False)
    total = len(run.plan.trials)
    both.update(run.state, over=True)
    found = read_progress((tmp_path / "progress.json").read_text())
    assert (found.finished, found.total) == (total, total)
    shown = text.getvalue()
    assert f"{total}/{total}" in shown
    assert "about 0 s left" in shown
    assert "so far: 1 SUPPORTED" in shown
