"""What verbs print before a campaign runs and after it was answered."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console

from threatspec import api
from threatspec.campaign import Forecast, forecast
from threatspec.claims import exit_code
from threatspec.cli._formats import append_summary, require_one_output, write_files
from threatspec.cli._streams import unread_is_no_failure
from threatspec.loading import LoadedSpec
from threatspec.records import Execution, Ledger, Plan
from threatspec.reports import (
    Details,
    collect,
    print_facts,
    render_terminal,
    report_json,
    spend_words,
    time_words,
    verdict_json,
)

__all__ = ["announce", "details_of", "finish", "terminal"]

_REAL = ("gguf:", "hf:", "path:")
"""Subjects whose campaigns take long enough to be worth a warning."""


class _Terminal(Console):
    """Standard output; whoever stops reading it (`| head`) is no failure of ours."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def terminal(*, stderr: bool = False) -> Console:
    """A console that can print any text, whatever the encoding of the stream."""
    stream = sys.stderr if stderr else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return _Terminal(stderr=stderr)


def announce(
    spec: LoadedSpec,
    as_json: bool,
    *,
    out: Path | None = None,
    runner: str = "local",
    execution: Execution | None = None,
) -> None:
    """Say on standard error what is about to run; nothing with `--json`. Raises SpecErrors."""
    if as_json:
        return
    plan = api.plan(spec, execution=execution)
    found = forecast(plan)
    claims = ", ".join(planned.id for planned in plan.claims)
    size = f"{found.cells} cells, at most {found.trials} trials"
    facts = [
        ("claims", claims),
        ("plan", f"{size}, {spend_words(found.spend)} predicted for the attacks"),
        *_weak(found),
        *_time(plan, found.spend.flops, runner),
        ("results", str(out or api.default_out(spec.path))),
    ]
    print_facts(terminal(stderr=True), facts)


def finish(
    outcome: api.Outcome,
    *,
    html: Path | None,
    as_json: bool,
    exit_zero: bool,
    accept_waivers: bool = False,
    full: bool = False,
    files: Mapping[str, Path] | None = None,
    summary: Path | None = None,
) -> int:
    """Print the answers, write the files that are wanted, and say what the process ends with."""
    evidence, verdict = outcome.evidence, outcome.verdict
    wanted = {**({"html": html} if html else {}), **(files or {})}
    piped = require_one_output(wanted, as_json)
    details = details_of(outcome) if full or html else None
    with unread_is_no_failure():
        if as_json:
            click.echo(report_json(evidence, verdict, details) if full else verdict_json(verdict))
        elif not piped:
            render_terminal(terminal(), evidence, verdict, details, full=full)
    quiet = as_json or piped
    write_files(wanted, evidence, verdict, details, quiet=quiet, accept_waivers=accept_waivers)
    if summary:
        append_summary(summary, evidence, verdict)
    return 0 if exit_zero else int(exit_code(verdict, accept_waivers=accept_waivers))


def details_of(outcome: api.Outcome) -> Details:
    """What a full report shows beside the verdicts."""
    with Ledger.open(outcome.folder) as ledger:
        return collect(ledger, outcome.verdict)


def _weak(found: Forecast) -> list[tuple[str, str]]:
    weak = [claim.id for claim in found.claims if not claim.can_support]
    return [("note", f"can only refute: {', '.join(weak)}")] if weak else []


def _time(plan: Plan, flops: float, runner: str) -> list[tuple[str, str]]:
    """A rough time where a real model is attacked."""
    if not flops or not any(cell.subject.startswith(_REAL) for cell in plan.cells.values()):
        return []
    from threatspec.runners import load_profile

    profile = load_profile(runner)
    seconds = profile.hours(flops) * 3600 / profile.workers
    rate = f"{profile.flops_per_second / 1e9:g} GFLOP/s on each of {profile.workers} workers"
    return [("time", f"roughly {time_words(seconds)} of training at {rate}, and reading on top")]
