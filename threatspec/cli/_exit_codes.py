"""What a process ends with, in words (`docs/cli.md` has the same table; a test compares them)."""

from __future__ import annotations

from threatspec.errors import ExitCode

__all__ = ["EXIT_CODES"]

EXIT_CODES: dict[ExitCode, str] = {
    ExitCode.OK: "every claim is as its `expect` says, or SUPPORTED where it has none",
    ExitCode.REFUTED: "a claim is REFUTED, or SUPPORTED where something else was expected",
    ExitCode.SPEC: "a file is not valid, or a claim can reach neither SUPPORTED nor REFUTED",
    ExitCode.RUN: "the run could not go on, or an error inside the program",
    ExitCode.USAGE: (
        "the command line is wrong: a verb, an option, a folder without a campaign, a folder of "
        "another plan, an unknown name or cell"
    ),
    ExitCode.VACUOUS: "a claim is VACUOUS",
    ExitCode.INCONCLUSIVE: "a claim is INCONCLUSIVE",
    ExitCode.INADMISSIBLE: "a claim is INADMISSIBLE",
    ExitCode.INTERRUPTED: "interrupted; what was measured is kept",
}
"""Meaning of every exit code."""
