"""`threatspec logs`: what a submitted campaign prints."""

from __future__ import annotations

import time
from pathlib import Path

import click

from threatspec.cli._submitted import folder_of, server_of, target_argument

__all__ = ["command"]

_PAUSE_S = 1.0


@click.command()
@target_argument
@click.option("--follow", is_flag=True, help="Go on until the job has ended.")
def command(target: Path, follow: bool) -> int:
    """Print the log of the job that was submitted for TARGET, a results folder or claims file.

    \b
    threatspec logs runs/quickstart
    threatspec logs runs/quickstart --follow
    """
    from threatspec.cli._streams import unread_is_no_failure
    from threatspec.runners.submission import read_submission

    submission = read_submission(folder_of(target))
    server = server_of(submission)
    shown = 0
    with unread_is_no_failure():
        while True:
            over = not follow or server.job(submission.job).over
            text = server.logs(submission.job)
            click.echo(text[shown:], nl=False)
            shown = len(text)
            if over:
                return 0
            time.sleep(_PAUSE_S)
