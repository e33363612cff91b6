"""Where the time of workers went: busy by phase, idle, repeated and lost."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.bundles import Forger, bundled, failed, made_run, verified
from tests.unit.test_reports import MadeCampaign, a_campaign, five_verdicts
from threatspec.claims import CampaignVerdict
from threatspec.records import (
    ArtefactStore,
    Execution,
    Ledger,
    Phases,
    Spend,
    Trial,
    TrialKind,
    TrialResult,
    TrialStatus,
)
from threatspec.reports import Details, collect, render_html, render_terminal, report_json
from threatspec.reports._lanes import BINS, HEIGHT, paths
from threatspec.reports._timeline import BUSY, WASTED, Timeline, timeline
from threatspec.reports.bundle import open_bundle
from threatspec.runners._executor import Executor

Record = dict[str, Any]


def attempt(
    worker: str, trial: str, start: float, end: float, code: str = "", *, final: bool = True
) -> Record:
    return {
        "trial": trial, "worker": worker, "started": start, "ended": end,
        "status": "done", "final": int(final), "code": code, "message": "",
    }  # fmt: skip


def event(at: float, kind: str, **detail: Any) -> Record:
    return {"at": at, "kind": kind, "detail": detail}


def result(trial: str, seconds: float, **phases: float) -> TrialResult:
    return TrialResult(
        trial=trial, status=TrialStatus.DONE, spend=Spend(seconds=seconds), phases=Phases(**phases)
    )


def of(
    attempts: list[Record], results: list[TrialResult], history: list[Record] | None = None
) -> Timeline:
    found = timeline(attempts, {one.trial: one for one in results}, history or [])
    assert found is not None
    return found


def spent(found: Timeline, worker: str) -> Mapping[str, float]:
    """Seconds of a worker, without what there was none of."""
    [one] = [w for w in found.workers if w.name == worker]
    return {kind: pytest.approx(s, abs=1e-6) for kind, s in one.seconds.items() if s > 1e-9}


def test_before_the_first_trial_there_is_nothing_to_show() -> None:
    assert timeline([], {}, [event(0, "run-started")]) is None


def test_a_trial_is_its_phases_and_the_rest_of_it_and_waiting_for_the_driver_is_idle() -> None:
    found = of(
        [attempt("w", "a", 0, 10)], [result("a", 9, load=1, mount=2, generate=5)]
    )  # fmt: skip
    assert spent(found, "w") == {"load": 1, "mount": 2, "generate": 5, "other": 1, "idle": 1}
    assert found.total.utilisation == pytest.approx(0.9)


def test_a_worker_idles_from_its_start_to_the_end_of_the_run() -> None:
    history = [
        event(0, "run-started"),
        event(2, "worker-started", worker="w"),
        event(3, "worker-started", worker="never-asked"),
    ]
    found = of(
        [attempt("w", "a", 4, 6), attempt("v", "b", 5, 10)],
        [result("a", 2, train=2), result("b", 5, judge=5)],
        history,
    )
    assert found.span == 10
    assert spent(found, "w") == {"train": 2, "idle": 6}
    assert spent(found, "v") == {"judge": 5}
    assert spent(found, "never-asked") == {"idle": 7}


@pytest.mark.parametrize("code", ["TS-WORKER-LOST", "TS-WORKER-MEMORY", "TS-TRIAL-TIMEOUT"])
@pytest.mark.parametrize("final", [False, True])
def test_work_of_a_worker_that_was_lost_is_lost_and_it_does_not_idle_while_it_is_gone(
    code: str, final: bool
) -> None:
    history = [
        event(0, "run-started"),
        event(0, "worker-started", worker="w"),
        event(4, "worker-lost", worker="w", trial="a", code=code),
        event(7, "worker-started", worker="w"),
    ]
    attempts = [attempt("w", "a", 1, 4, code, final=final), attempt("w", "b", 7, 9)]
    found = of(attempts, [result("a", 0), result("b", 2, generate=2)], history)
    assert spent(found, "w") == {"lost": 3, "generate": 2, "idle": 1}
    assert found.total.trials == 1
    assert found.total.utilisation == pytest.approx(2 / 6)


def test_a_second_run_whose_first_result_counts_is_repeated() -> None:
    attempts = [attempt("w", "a", 0, 2), attempt("v", "a", 1, 4, final=False)]
    found = of(attempts, [result("a", 2, generate=2)])
    assert spent(found, "v") == {"repeated": 3}
    assert found.total.trials == 1


def test_a_night_between_stop_and_resume_is_nobodys_time() -> None:
    history = [
        event(0, "run-started"),
        event(0, "worker-started", worker="w"),
        event(50_000, "run-started"),
        event(50_001, "worker-started", worker="w"),
    ]
    attempts = [attempt("w", "a", 0, 10), attempt("w", "b", 50_001, 50_005)]
    found = of(attempts, [result("a", 10, train=10), result("b", 4, train=4)], history)
    assert found.span == 15
    assert spent(found, "w") == {"train": 14}


def test_a_worker_that_began_as_its_driver_was_killed_was_not_there_later() -> None:
    history = [
        event(0, "run-started"),
        event(10, "worker-started", worker="w"),
        event(500, "run-started"),
        event(500, "worker-started", worker="v"),
    ]
    attempts = [attempt("v", "a", 0, 9), attempt("v", "b", 501, 505)]
    found = of(attempts, [result("a", 9), result("b", 4)], history)
    assert spent(found, "w") == {}


def test_a_note_that_a_run_had_finished_made_the_day_after_adds_no_time() -> None:
    history = [event(0, "run-started"), event(90_000, "run-finished")]
    assert of([attempt("w", "a", 0, 10)], [result("a", 10)], history).span == 10


def test_phases_never_exceed_the_time_that_the_driver_saw() -> None:
    found = of([attempt("w", "a", 0, 2)], [result("a", 4, train=3)])
    assert spent(found, "w") == {"train": 1.5, "other": 0.5}


def test_results_of_older_ledgers_have_no_phases() -> None:
    assert spent(of([attempt("w", "a", 0, 3)], [result("a", 3)]), "w") == {"other": 3}


def test_forty_workers_are_shown_and_the_others_summed() -> None:
    attempts = [attempt(f"worker-{n}", f"t{n}", 0, 2) for n in range(1, 1001)]
    found = of(attempts, [result(f"t{n}", 2, judge=1) for n in range(1, 1001)])
    assert [w.name for w in found.drawn[8:11]] == ["worker-9", "worker-10", "worker-11"]
    assert len(found.drawn) == 40
    assert found.others is not None
    assert (found.others.name, found.others.trials) == ("960 more", 960)
    assert found.others.seconds["judge"] == pytest.approx(960)
    assert found.total.seconds["other"] == pytest.approx(1000)
    assert all(w.paths for w in found.drawn)
    assert not any(w.paths for w in found.workers[40:])


def test_a_lane_of_very_many_trials_stays_small() -> None:
    attempts = [attempt("w", f"t{n}", n, n + 0.9) for n in range(20_000)]
    phases = [("train", "judge", "generate")[n % 7 % 3] for n in range(20_000)]
    found = of(attempts, [result(f"t{n}", 0.9, **{p: 0.9}) for n, p in enumerate(phases)])
    [worker] = found.drawn
    assert sum(path.count("M") for _, path in worker.paths) <= BINS * len(worker.paths)
    assert sum(len(path) for _, path in worker.paths) < 10_000


def test_a_bin_is_filled_by_the_share_of_its_time() -> None:
    drawn = paths([("train", 0, 50), ("lost", 50, 50.5)], 100, (*BUSY, *WASTED))
    assert drawn == (("train", f"M0 {HEIGHT}H50V0H0z"), ("lost", f"M50 {HEIGHT}H51V10H50z"))
    assert paths([("train", 0, 100)], 100, BUSY) == (("train", f"M0 {HEIGHT}H{BINS}V0H0z"),)
    assert paths([("train", 0, 0)], 0, BUSY) == ()


# in reports


@pytest.fixture(scope="module")
def campaign() -> MadeCampaign:
    return a_campaign()


@pytest.fixture(scope="module")
def verdict(campaign: MadeCampaign) -> CampaignVerdict:
    return five_verdicts(campaign)


@pytest.fixture(scope="module")
def collected(
    campaign: MadeCampaign, verdict: CampaignVerdict, tmp_path_factory: pytest.TempPathFactory
) -> Details:
    with Ledger.open(campaign.write(tmp_path_factory.mktemp("run"))) as ledger:
        return collect(ledger, verdict)


def made_details(name: str = "worker-1") -> Details:
    history = [event(0, "run-started"), event(1, "worker-started", worker=name)]
    attempts = [attempt(name, "a", 1, 40), attempt(name, "b", 40, 41, "TS-WORKER-LOST")]
    results = [result("a", 39, load=3, train=30), result("b", 0)]
    return Details(timeline=of(attempts, results, history))


def with_every_kind() -> Details:
    """Two workers that did everything that a worker can do."""
    attempts = [
        attempt("worker-1", "a", 0, 4),
        attempt("worker-1", "b", 4, 7),
        attempt("worker-1", "c", 7, 8),
        attempt("worker-2", "c", 6, 8, final=False),
        attempt("worker-2", "d", 8, 10, "TS-WORKER-LOST", final=False),
    ]
    results = [
        result("a", 4, load=1, train=3),
        result("b", 3, mount=0.5, generate=2.5),
        result("c", 1, judge=0.5),
    ]
    return Details(timeline=of(attempts, results, [event(0, "run-started")]))


def test_a_ledger_has_what_is_shown(collected: Details) -> None:
    assert collected.timeline is not None
    assert collected.timeline.total.trials > 0


def test_the_page_has_a_table_and_says_in_words_what_is_drawn(
    campaign: MadeCampaign, verdict: CampaignVerdict
) -> None:
    html = render_html(campaign.evidence, verdict, made_details())
    assert "Where the time went" in html
    said = "worker-1: 97.5 % busy; load 3.0 s, train 30 s, other 6.0 s, lost 1.0 s"
    assert f'role="img" aria-label="{said}"' in html
    assert '<td class="number">97.5 %</td>' in html
    assert "judge</th>" not in html.split("Time by worker and phase", 1)[1].split("</table>")[0]


def test_without_records_the_page_has_no_such_part(
    campaign: MadeCampaign, verdict: CampaignVerdict
) -> None:
    assert "Where the time went" not in render_html(campaign.evidence, verdict, Details())


def test_names_of_workers_are_text(campaign: MadeCampaign, verdict: CampaignVerdict) -> None:
    html = render_html(campaign.evidence, verdict, made_details('"><script>alert(1)</script>'))
    assert "<script>alert" not in html


def test_json_has_every_worker_and_the_terminal_one_line(
    campaign: MadeCampaign, verdict: CampaignVerdict
) -> None:
    details = made_details()
    data = json.loads(report_json(campaign.evidence, verdict, details))["timeline"]
    [worker] = data["workers"]
    assert worker["worker"] == "worker-1"
    assert worker["seconds"]["train"] == 30
    assert data["total"]["utilisation"] == 0.975
    assert data["seconds"] == 41
    out = io.StringIO()
    console = Console(file=out, width=200)
    render_terminal(console, campaign.evidence, verdict, details, full=True)
    said = "97.5 % of the time of 1 worker in 41 s led to results; 0.0 s idle, 1.0 s lost\n"
    assert said in out.getvalue()


# in records


def test_phases_go_through_a_bundle_and_verify_compares_no_times(tmp_path: Path) -> None:
    forger = Forger(bundled(tmp_path, made_run(tmp_path)))
    [name, *_] = [trial for trial, line in forger.results.items() if line.get("realised")]
    forger.results[name]["phases"] = {"load": 0.5, "train": 7.0}
    forger.results[name]["spend"]["seconds"] = 8.0
    path = forger.write(tmp_path / "timed.tsb")
    with open_bundle(path) as opened:
        assert opened.results[name].phases == Phases(load=0.5, train=7.0)
    assert failed(verified(path)) == set()


def test_a_trial_says_where_its_time_went(tmp_path: Path) -> None:
    executor = Executor(ArtefactStore(tmp_path), tmp_path, Execution())
    work = {
        "attack": "full-finetune",
        "config": {"steps": 2, "lr": 1e-4, "batch_size": 2},
        "data": {"harmful": {"source": "specimen/restricted#attack_train", "n": 2}},
        "seeds": {},
    }
    first, second = (
        executor.run(
            Trial(id=name, kind=TrialKind.ATTACK, subject="specimen:deep", needs=(), work=work), {}
        )
        for name in ("first", "second")
    )
    assert (first.code, second.code) == ("", "")
    assert first.phases.load > 0
    assert first.phases.train > 0
    assert first.phases.total <= first.spend.seconds + 0.001
    assert second.phases.load == 0  # it was resident
    assert second.phases.train > 0
    assert second.phases.generate == second.phases.judge == 0
