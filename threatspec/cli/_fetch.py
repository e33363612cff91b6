"""`threatspec fetch`: bring the records of a submitted campaign here."""

from __future__ import annotations

from pathlib import Path

import click

from threatspec.cli._options import accept_waivers_option, html_option, json_option
from threatspec.cli._submitted import folder_of, storage_of, target_argument

__all__ = ["command"]


@click.command()
@target_argument
@html_option
@json_option
@accept_waivers_option
def command(target: Path, html: Path | None, as_json: bool, accept_waivers: bool) -> int:
    """Fetch what was recorded of the campaign submitted for TARGET (results folder or claims file).

    Only what is new is fetched, also while the job runs. The records are bundled and verified, and
    the claims answered from them. Ends like `threatspec verdict`, or with 7 if a check fails.

    \b
    threatspec fetch runs/quickstart --html report.html
    """
    from threatspec import api
    from threatspec.claims import decide
    from threatspec.cli._formats import require_one_output
    from threatspec.cli._outcome import finish
    from threatspec.errors import ExitCode, ThreatspecError
    from threatspec.records import restore
    from threatspec.reports.bundle import open_bundle, verify_bundle, write_bundle
    from threatspec.runners.submission import read_submission

    require_one_output({"html": html} if html else {}, as_json)
    folder = folder_of(target)
    submission = read_submission(folder)
    segments = restore(storage_of(submission), folder)
    if not segments:
        text = f"{submission.storage} holds no records of {submission.plan} yet; "
        raise ThreatspecError(
            "TS-NO-RUN", f"{text}`threatspec logs {folder}` shows what the job does"
        )
    bundle = folder / f"{folder.resolve().name}.tsb"
    written = write_bundle(folder, bundle)
    with open_bundle(bundle) as opened:
        failed = verify_bundle(opened).failed
    notes = [f"{segments} segments", f"bundle {bundle}, sha256 {written.sha256}", *written.notes]
    notes += [f"FAIL {check.name}: {check.says}" for check in failed]
    for note in notes:
        click.echo(note, err=True)
    found = api.evidence(folder)
    outcome = api.Outcome(folder, found, decide(found))
    code = finish(
        outcome, html=html, as_json=as_json, exit_zero=False, accept_waivers=accept_waivers
    )
    return int(ExitCode.INADMISSIBLE) if failed else code
