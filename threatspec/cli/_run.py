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
from threatspec.errors import ExitCode, ThreatspecError

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
@click.option("--specimens", is_flag=True, help="Of a folder, run files on specimens only.")
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
    specimens: bool,
    html: Path | None,
    as_json: bool,
    accept_waivers: bool,
    exit_zero: bool,
) -> int:
    """Run the campaign of FILE and answer its claims.

    Every attacked cell is read until it is settled, at looks that the plan fixes; an answer is as
    sure as with all prompts. Goes on where an interrupted run of the same plan stopped. A finished
    campaign is not run again.

    A folder stands for all claims files in it, one after another: results in runs/FOLDER/NAME,
    a page for each in reports/FOLDER/ of the workspace.

    \b
    threatspec run claims/quickstart.yaml
    threatspec run claims/quickstart.yaml --out runs/today --html report.html
    threatspec run claims/papers --specimens
    """
    from threatspec.api import Outcome, load, run
    from threatspec.cli._formats import require_one_output
    from threatspec.cli._outcome import announce, finish
    from threatspec.cli._progress import observer
    from threatspec.cli._run_folder import claims_files, run_folder
    from threatspec.cli._settings import settings
    from threatspec.records import Execution
    from threatspec.runners import SpendLimit

    require_one_output({"html": html} if html else {}, as_json)
    chosen = settings(file, out=out, runner=runner)

    def measured(path: Path, folder: Path) -> Outcome:
        spec, how = load(path), Execution(exhaustive=exhaustive)
        announce(spec, as_json, out=folder, runner=chosen.runner, execution=how)
        limit = SpendLimit(hours=max_hours, usd=max_usd)
        return run(spec, out=folder, runner=chosen.runner, observer=observer(), execution=how,
                   limit=limit, plan_id=plan_id)  # fmt: skip

    if not file.is_dir():
        _require_file(specimens)
        outcome = measured(file, chosen.out)
        return finish(
            outcome, html=html, as_json=as_json, exit_zero=exit_zero, accept_waivers=accept_waivers
        )
    _require_folder(html, plan_id)
    files = claims_files(file, specimens=specimens)
    code = run_folder(
        file, files, measured, chosen.out, as_json=as_json, accept_waivers=accept_waivers
    )
    return 0 if exit_zero and code not in {ExitCode.SPEC, ExitCode.RUN} else int(code)


def _require_file(specimens: bool) -> None:
    if specimens:
        text = (
            "`--specimens` chooses among the files of a folder, but FILE is one file; leave it out"
        )
        raise ThreatspecError("TS-USAGE", text, exit_code=ExitCode.USAGE)


def _require_folder(html: Path | None, plan_id: str | None) -> None:
    for flag, value in (("--html", html), ("--plan", plan_id)):
        if value is not None:
            text = f"`{flag}` is about one campaign, but FILE is a folder; name a file"
            raise ThreatspecError("TS-USAGE", text, exit_code=ExitCode.USAGE)
