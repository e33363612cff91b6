"""`threatspec submit`: have a cluster run a campaign."""

from __future__ import annotations

import json
from pathlib import Path

import click

from threatspec.cli._options import exhaustive_option, json_option

__all__ = ["command"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--profile",
    "--runner",
    "profile",
    required=True,
    help="Profile of a Ray cluster, with a `storage` that this machine sees too.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Results folder on this machine [default: runs/<file stem>].",
)
@exhaustive_option
@json_option
def command(file: Path, profile: str, out: Path | None, exhaustive: bool, as_json: bool) -> int:
    """Submit the campaign of FILE to the cluster of a profile, as a job, and come back at once.

    The workspace of FILE and this program are uploaded; what .gitignore and .threatspecignore name
    stays here, and so does everything that looks like a secret. A plan that runs there already is
    not submitted again.

    \b
    threatspec submit claims/quickstart.yaml --profile cluster.yaml
    threatspec status claims/quickstart.yaml
    """
    from threatspec import api
    from threatspec.campaign import require_decidable
    from threatspec.cli._settings import settings
    from threatspec.errors import ExitCode, ThreatspecError
    from threatspec.records import Execution
    from threatspec.runners import RayProfile, load_profile
    from threatspec.runners.submission import submit

    chosen = settings(file, out=out, runner=profile)
    found = load_profile(chosen.runner)
    if not isinstance(found, RayProfile):
        text = f"a submission needs a profile of kind ray, but {profile} is of kind {found.kind}"
        raise ThreatspecError("TS-USAGE", text, exit_code=ExitCode.USAGE)
    spec = api.load(file)
    plan = api.plan(spec, execution=Execution(exhaustive=exhaustive))
    require_decidable(plan)
    made, attached = submit(spec, plan, found, chosen.runner, chosen.out)
    if as_json:
        data = {**made.model_dump(mode="json", by_alias=True), "attached": attached}
        click.echo(json.dumps(data, indent=1))
        return 0
    from threatspec.cli._outcome import terminal
    from threatspec.reports import print_facts

    state = "runs there already, nothing was submitted" if attached else "submitted"
    facts = [
        ("job", f"{made.job}: {state}"),
        ("plan", f"{made.plan}, at most {len(plan.trials)} trials"),
        ("cluster", made.dashboard),
        ("next", f"threatspec status {chosen.out}"),
        ("", f"threatspec fetch {chosen.out}"),
    ]
    print_facts(terminal(), facts)
    return 0
