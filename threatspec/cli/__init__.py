"""The command line: one module per verb, imported when the verb is used."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from threatspec import __version__
from threatspec.cli._streams import unread_is_no_failure
from threatspec.errors import ExitCode, ThreatspecError

__all__ = ["cli", "main"]

_VERBS = {
    "init": "Make a folder for claims, with a first one that runs.",
    "check": "Check claims files without running anything.",
    "plan": "Show what a claims file would run, and what it could decide.",
    "run": "Run a claims file's campaign and answer its claims.",
    "resume": "Go on with an interrupted campaign.",
    "submit": "Have a cluster run a claims file's campaign, and come back at once.",
    "status": "Show how far a campaign is, here or on a cluster.",
    "logs": "Print what a submitted campaign prints.",
    "fetch": "Bring the records of a submitted campaign here, verified.",
    "cancel": "Stop a submitted campaign.",
    "verdict": "Answer the claims from a results folder.",
    "report": "Write the report of a results folder, in any of its formats.",
    "show": "Show one cell, or one prompt with everything that produced its judgement.",
    "compare": "Set results folders, or the subjects of one, side by side.",
    "bundle": "Write a results folder to one file, to hand on.",
    "verify": "Check a bundle: compute its verdicts again, without running anything.",
    "diff": "Show in what two claims files, results folders or bundles differ.",
    "list": "List everything of one kind that YAML can name.",
    "explain": "Explain a name, a field, a verdict or a code.",
    "judges": "Measure how a judge errs: label replies, compare judges with labels.",
    "benchmarks": "Take in files of prompts, and look at benchmarks in numbers.",
    "models": "Fetch and list models that can be used without a hub.",
    "schema": "Print the language as JSON Schema, for editors.",
    "doctor": "Say what is installed, and what would keep a campaign from running.",
}


class _Verbs(click.Group):
    """Knows every verb by its line of help; imports a verb's module when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command: click.Command = import_module(f"threatspec.cli._{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(_VERBS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # Not what click does: that imports every verb to see whether it is hidden.
        verbs = [CompletionItem(v, help=h) for v, h in _VERBS.items() if v.startswith(incomplete)]
        return verbs or click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in _VERBS:
            from threatspec.errors import did_you_mean

            raise click.UsageError(f"unknown verb {name!r}{did_you_mean(name, list(_VERBS))}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with unread_is_no_failure():  # click itself would end with 1, which means REFUTED
            return super().invoke(ctx)
        return ExitCode.OK


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="threatspec")
def cli() -> None:
    """Check claims of the form "this safeguard holds against that adversary".

    \b
    threatspec check claims/quickstart.yaml
    threatspec run claims/quickstart.yaml
    threatspec report runs/quickstart --html report.html

    Exit codes: 0 as expected, 1 refuted, 2 spec error, 3 run error, 4 usage error, 5 vacuous,
    6 inconclusive, 7 inadmissible, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """Entry point: every expected failure is one message with a code, never a traceback."""
    code = _exit_code(arguments)
    if code == ExitCode.INTERRUPTED:  # one more Ctrl-C must not change how this process ends
        with contextlib.suppress(ValueError):  # another thread than the main one hears none
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def _exit_code(arguments: list[str] | None) -> int:
    # Not `_run`: importing the verb of that name would replace it.
    try:
        return int(cli.main(arguments, prog_name="threatspec", standalone_mode=False) or 0)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.ClickException as error:
        _say(f"threatspec: {error.format_message()} [TS-USAGE]")
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        _say("threatspec: interrupted; what was measured is kept [TS-INTERRUPTED]")
        return ExitCode.INTERRUPTED
    except ThreatspecError as error:
        _say(str(error) if hasattr(error, "problems") else f"threatspec: {error}")
        if error.code == "TS-RUNNER-LOST":
            _leave(error.exit_code)
        return error.exit_code
    except ModuleNotFoundError as error:
        _say(_missing(error))
        return ExitCode.RUN
    except Exception as error:
        return _unforeseen(error)


def _leave(code: int) -> None:
    """Without a farewell: that of Ray's library waits for its head, or crashes without it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _say(text: str) -> None:
    """Print a message; names of files and texts of others cannot drive the terminal."""
    from threatspec.reports import visible

    with contextlib.suppress(OSError):  # nobody listens; what was found out stays the same
        click.echo(visible(text), err=True)


def _missing(error: ModuleNotFoundError) -> str:
    return (
        f"threatspec: {error.name} is not installed; this verb needs the extra 'run': "
        "pip install 'threatspec-claims[run]' [TS-MISSING-EXTRA]"
    )


def _unforeseen(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        place = error.filename or "what is printed"
        _say(f"threatspec: there is no room on the disk for {place} [TS-DISK-FULL]")
        return ExitCode.RUN
    try:
        where = _traceback(error)
    except OSError as trouble:  # a full disk
        where = f"nowhere, because {trouble}"
    _say(f"threatspec: {type(error).__name__}: {error}; details in {where} [TS-INTERNAL]")
    return ExitCode.RUN


def _traceback(error: Exception) -> str:
    """Name of a file with the traceback of `error`."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="threatspec-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        traceback.print_exception(error, file=log)
    return log.name
