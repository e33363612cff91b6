"""A campaign from its ledger to its last trial, on whatever runner a profile names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import add
from pathlib import Path

from threatspec.errors import ExitCode, ThreatspecError
from threatspec.records import Ledger, Shipper, Spend, campaign_storage, environment, restore
from threatspec.runners._artefacts import Artefacts
from threatspec.runners._driver import Driver, Reading
from threatspec.runners._graph import TrialGraph
from threatspec.runners._inputs import check_inputs
from threatspec.runners._local import LocalPool
from threatspec.runners._pool import Pool
from threatspec.runners._profile import Profile, RayProfile
from threatspec.runners._progress import Observers, ProgressFile
from threatspec.runners._state import Observer, RunState
from threatspec.runners._stopper import Stopper
from threatspec.runners._stopping import SpendLimit, Stopping
from threatspec.runners._work import Errand

__all__ = ["recover", "run_campaign"]


def recover(profile: Profile, plan: str, folder: Path) -> None:
    """Bring into `folder` what a lost machine had written down of a plan in the storage.

    Raises ThreatspecError TS-STORAGE.
    """
    if profile.storage:
        restore(campaign_storage(profile.storage, plan), folder)


def run_campaign(
    ledger: Ledger,
    spec_folder: Path,
    profile: Profile,
    observer: Observer | None = None,
    limit: SpendLimit | None = None,
) -> None:
    """Run every trial of the ledger's plan that has no result yet and that a claim still needs.

    Raises ThreatspecError TS-INTERRUPTED on Ctrl-C, TS-SPEND-LIMIT, TS-DISK-FULL, what
    `check_inputs` raises, and what the runner raises; what was measured is kept.
    """
    with _shipped(ledger, profile) as shipper:
        state, reading = _state(ledger)
        if state.graph.finished < state.graph.total:
            stopping = Stopping(limit or SpendLimit(), profile.price_per_hour)
            stopping.look(state)
            if stopping.reason:
                raise _stopped(ledger, state.graph, stopping.reason)
            watching = Observers(
                ProgressFile(ledger.folder, ledger.plan.id), *([observer] if observer else [])
            )
            _drive(ledger, spec_folder, profile, state, reading, stopping, watching, shipper)
        if not ledger.events("run-finished"):  # else killed at the last moment
            ledger.event("run-finished")


def _state(ledger: Ledger) -> tuple[RunState, Reading]:
    results, marks = ledger.results(), ledger.marks()
    graph = TrialGraph(ledger.plan, results)
    stopper = Stopper(ledger.plan, graph.results, marks)
    graph.drop(stopper.all_needless())
    spend = reduce(add, (result.spend for result in results.values()), Spend())
    busy = sum(attempt["ended"] - attempt["started"] for attempt in ledger.attempts())
    return RunState(graph, marks, spend=spend, busy_s=busy), Reading(stopper, marks)


def _drive(
    ledger: Ledger,
    spec_folder: Path,
    profile: Profile,
    state: RunState,
    reading: Reading,
    stopping: Stopping,
    observer: Observer,
    shipper: Shipper | None,
) -> None:
    errand = _errand(ledger, spec_folder, profile)
    store, graph = errand.artefacts, state.graph
    artefacts = Artefacts(store, shipper)
    check_inputs(ledger.plan, list(graph.open), graph.results, store, spec_folder)
    here = environment().model_dump(mode="json")
    left = graph.total - graph.finished
    ledger.event("run-started", workers=profile.workers, open=left, environment=here)
    try:
        with stopping.signals(), _pool(errand, profile, ledger) as pool:
            Driver(ledger, state, reading, pool, artefacts, profile, stopping, observer).run()
    except KeyboardInterrupt:
        stopping.reason = "interrupted"
    if stopping.reason and graph.finished < graph.total:
        raise _stopped(ledger, graph, stopping.reason)
    if not profile.keep_artefacts:
        artefacts.remove_all()


def _errand(ledger: Ledger, spec_folder: Path, profile: Profile) -> Errand:
    return Errand(
        folder=str(ledger.folder.resolve()),
        spec_folder=str(spec_folder),
        plan=ledger.plan.id,
        execution=ledger.plan.execution.model_dump_json(),
        storage=profile.storage,
        device=profile.device,
        device_map=profile.device_map if isinstance(profile, RayProfile) else None,
    )


@contextmanager
def _pool(errand: Errand, profile: Profile, ledger: Ledger) -> Iterator[Pool]:
    pool: Pool
    if isinstance(profile, RayProfile):
        from threatspec.runners.ray import RayPool

        pool = RayPool(errand, profile, ledger.plan)
    else:
        pool = LocalPool(errand, profile.workers)
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def _shipped(ledger: Ledger, profile: Profile) -> Iterator[Shipper | None]:
    """While a campaign runs, its records are shipped to the storage of the profile."""
    if not profile.storage:
        yield None
        return
    shipper = Shipper(ledger.folder, campaign_storage(profile.storage, ledger.plan.id))
    shipper.ship()  # workers look for the plan; and a storage that cannot be written is told now
    shipper.start()
    try:
        yield shipper
    finally:
        shipper.close()


def _stopped(ledger: Ledger, graph: TrialGraph, reason: str) -> ThreatspecError:
    done = f"{graph.finished} of {graph.total} trials done"
    if reason == "interrupted":
        ledger.event("interrupted")
        text = f"interrupted with {done}; `threatspec resume {ledger.folder}` goes on"
        return ThreatspecError("TS-INTERRUPTED", text, exit_code=ExitCode.INTERRUPTED)
    ledger.event("spend-limit", reason=reason)
    text = f"{reason}; stopped with {done}; `threatspec resume {ledger.folder}` with a higher limit"
    return ThreatspecError("TS-SPEND-LIMIT", f"{text} goes on")
