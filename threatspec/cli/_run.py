"""`threatspec run`: the whole way from a claims file to its verdicts."""

from __future__ import annotations

from pathlib import Path

import click

from threatspec.cli._options import (
    accept_waivers_option,
    exhaustive_option,
    exit_zero_option,
    html_option,
    json_option,
    limit_options,
    runner_option,
)

__all__ = ["command"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Results folder [default: runs/<file stem>].",
)
@click.option("--plan", "plan_id", help="Run only if FILE compiles to the plan of this id.")
@runner_option
@limit_options
@exhaustive_option
@html_option
@json_option
@accept_waivers_option
@exit_zero_option
def command(
    file: Path,
    out: Path | None,
    plan_id: str | None,
    runner: str | None,
    max_hours: float | None,
    max_usd: float | None,
    exhaustive: bool,
    html: Path | None,
    as_json: bool,
    accept_waivers: bool,
    exit_zero: bool,
) -> int:
    """Run the campaign of FILE and answer its claims.

    Every attacked cell is read until it is settled, at looks that the plan fixes; an answer is as
    sure as with all prompts. Goes on where an interrupted run of the same plan stopped. A finished
    campaign is not run again.

    \b
    threatspec run claims/quickstart.yaml
    threatspec run claims/quickstart.yaml --out runs/today --html report.html
    """
    from threatspec.api import load, run
    from threatspec.cli._formats import require_one_output
    from threatspec.cli._outcome import announce, finish
    from threatspec.cli._progress import observer
    from threatspec.cli._settings import settings
    from threatspec.records import Execution
    from threatspec.runners import SpendLimit

    require_one_output({"html": html} if html else {}, as_json)
    chosen = settings(file, out=out, runner=runner)
    spec = load(file)
    how = Execution(exhaustive=exhaustive)
    announce(spec, as_json, out=chosen.out, runner=chosen.runner, execution=how)
    outcome = run(
        spec,
        out=chosen.out,
        runner=chosen.runner,
        observer=observer(),
        execution=how,
        limit=SpendLimit(hours=max_hours, usd=max_usd),
        plan_id=plan_id,
    )
    return finish(
        outcome, html=html, as_json=as_json, exit_zero=exit_zero, accept_waivers=accept_waivers
    )
