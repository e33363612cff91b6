"""`threatspec cancel`: stop a submitted campaign."""

from __future__ import annotations

from pathlib import Path

import click

from threatspec.cli._submitted import folder_of, server_of, target_argument

__all__ = ["command"]


@click.command()
@target_argument
def command(target: Path) -> int:
    """Stop the job that was submitted for TARGET, a results folder or claims file.

    Running trials are lost, nothing measured is: `threatspec submit` goes on from the storage.

    \b
    threatspec cancel runs/quickstart
    """
    from threatspec.runners.submission import read_submission

    submission = read_submission(folder_of(target))
    server = server_of(submission)
    before = server.job(submission.job)
    if before.over:
        click.echo(f"{before.id} has ended already: {before.state}")
        return 0
    click.echo(f"{submission.job}: {server.stop(submission.job).state}")
    return 0
