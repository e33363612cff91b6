"""`threatspec status`: how far a campaign is, here or on a cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from threatspec.cli._options import json_option
from threatspec.cli._submitted import folder_of, server_of, storage_of, target_argument

if TYPE_CHECKING:
    from threatspec.runners import Progress
    from threatspec.runners.submission import Job, Submission

__all__ = ["command"]

_PAUSE_S = 3.0
"""How long the job server is waited for; whoever asks again waits again."""


@click.command()
@target_argument
@json_option
def command(target: Path, as_json: bool) -> int:
    """Show how far the campaign of TARGET is, a results folder or claims file.

    Trials, time left, spend, verdicts so far and workers; of a submission also the state of its
    job, if the cluster answers.

    \b
    threatspec status runs/quickstart
    threatspec status claims/quickstart.yaml --json
    """
    from threatspec.runners.submission import SUBMISSION, read_submission

    folder = folder_of(target)
    submission = read_submission(folder) if (folder / SUBMISSION).exists() else None
    job, trouble = _job(submission) if submission else (None, "")
    progress = _progress(folder, submission)
    if as_json:
        click.echo(json.dumps(_data(job, trouble, progress), indent=1))
    else:
        facts = [("job", trouble)] if trouble else []
        _print(facts, job, progress, _price(submission))
    return 0


def _job(submission: Submission) -> tuple[Job | None, str]:
    """Its job, or why it is not known: what is recorded can be shown without a cluster."""
    from threatspec.errors import ThreatspecError

    try:
        return server_of(submission, _PAUSE_S).job(submission.job), ""
    except ThreatspecError as error:
        if error.code not in {"TS-RUNNER-ADDRESS", "TS-SUBMISSION"}:
            raise
        return None, f"{submission.job}: {error}"


def _progress(folder: Path, submission: Submission | None) -> Progress | None:
    """As the driver wrote it last; a submission's lies in its storage."""
    from threatspec.errors import ExitCode, ThreatspecError
    from threatspec.records import Storage
    from threatspec.runners import read_progress

    place = storage_of(submission) if submission else Storage(folder)
    if "progress.json" in place:
        return read_progress(place.read("progress.json").decode("utf-8", "replace"))
    if submission is None and (folder / "plan.json").exists():
        return _recorded(folder)
    if submission is None:
        text = f"{folder} must be a results folder, but holds neither a campaign nor a submission"
        raise ThreatspecError("TS-NO-RUN", text, exit_code=ExitCode.USAGE)
    return None


def _recorded(folder: Path) -> Progress:
    """What the ledger of a folder without `progress.json` says."""
    from threatspec import api
    from threatspec.records import Ledger, Spend
    from threatspec.runners import Progress

    with Ledger.open(folder) as ledger:
        plan, spends = ledger.plan, [result.spend for result in ledger.results().values()]
    verdict = api.verdict(folder)
    return Progress(
        at=max(path.stat().st_mtime for path in folder.iterdir()),
        plan=plan.id,
        total=len(plan.trials),
        finished=len(spends),
        spend=sum(spends, Spend()),
        busy_s=sum(spend.seconds for spend in spends),
        running=(),
        workers=(),
        verdicts={claim.id: claim.verdict for claim in verdict.claims},
    )


def _price(submission: Submission | None) -> float | None:
    from threatspec.cli._submitted import profile_of

    return profile_of(submission).price_per_hour if submission else None


def _data(job: Job | None, trouble: str, progress: Progress | None) -> dict[str, Any]:
    state = {"id": job.id, "state": job.state, "message": job.message} if job else None
    return {
        "schema": "threatspec/status/v1",
        **({"job": state} if state else {}),
        **({"job_unknown": trouble} if trouble else {}),
        **({"progress": progress.model_dump(mode="json", by_alias=True, exclude_none=True)}
           if progress else {}),
    }  # fmt: skip


def _print(
    facts: list[tuple[str, str]], job: Job | None, progress: Progress | None, price: float | None
) -> None:
    from threatspec.cli._outcome import terminal
    from threatspec.reports import print_facts

    console = terminal()
    if job:
        facts.append(("job", f"{job.id}: {job.state}"))
        if job.state == "FAILED" and job.message:
            facts.append(("", job.message.partition(", last available logs")[0]))
            facts.append(("", "`threatspec logs` prints what it printed"))
    if progress is None:
        facts.append(("progress", "nothing is recorded yet"))
        print_facts(console, facts)
        return
    print_facts(console, [*facts, *_facts(progress, price)])
    if progress.workers:
        console.print(_table(progress))


def _facts(progress: Progress, price: float | None) -> Iterator[tuple[str, str]]:
    from threatspec.reports import spend_words, time_words

    left = "" if progress.eta_s is None else f", about {time_words(progress.eta_s)} left"
    age = time_words(max(0.0, time.time() - progress.at))
    yield "trials", f"{progress.finished} of {progress.total} done{left} (as of {age} ago)"
    hours = progress.busy_s / 3600
    usd = "" if price is None else f", {hours * price:.2f} USD"
    yield "spend", f"{spend_words(progress.spend)}; {hours:.3g} worker-hours{usd}"
    for claim, verdict in progress.verdicts.items():
        yield "so far", f"{verdict.value} {claim}"


def _table(progress: Progress) -> Any:
    from rich.table import Table

    doing = {entry.worker: entry for entry in progress.running}
    table = Table(box=None, pad_edge=False)
    for name in ("worker", "node", "done", "busy", "lost", "doing"):
        table.add_column(name)
    for worker in progress.workers:
        now = doing.get(worker.name)
        task = f"{now.kind.value} {now.trial}" if now else ""
        table.add_row(
            worker.name, worker.node[:12], str(worker.finished), f"{worker.busy_s:.0f} s",
            str(worker.lost), task,
        )  # fmt: skip
    return table
