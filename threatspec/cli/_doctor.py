"""`threatspec doctor`: what is installed, and what would keep a campaign from running."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from threatspec.cli._options import json_option
from threatspec.errors import ExitCode

__all__ = ["command"]


@click.command()
@json_option
def command(as_json: bool) -> int:
    """Say what is installed, what this machine has, and what is wrong with either.

    Ends with 3 if something that every verb needs is broken. A missing extra is only a note:
    `check`, `verdict` and `report` do without.

    \b
    threatspec doctor
    """
    from threatspec.cli._diagnosis import State, diagnose

    found = diagnose()
    usable = all(finding.state is not State.BROKEN for finding in found)
    if as_json:
        findings = [asdict(finding) for finding in found]
        data = {"schema": "threatspec/doctor/v1", "usable": usable, "findings": findings}
        click.echo(json.dumps(data, indent=1))
    else:
        for finding in found:
            mark = "" if finding.state is State.OK else f"{finding.state.value.upper()}: "
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            click.echo(f"{finding.about:<14}  {mark}{finding.says}{remedy}")
        click.echo("usable" if usable else "not usable")
    return int(ExitCode.OK if usable else ExitCode.RUN)
