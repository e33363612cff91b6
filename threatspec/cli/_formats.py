"""Reports as files: which formats there are, and where each of them goes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from threatspec.claims import CampaignVerdict, Evidence
from threatspec.cli._streams import unread_is_no_failure
from threatspec.errors import ExitCode, ThreatspecError
from threatspec.reports import (
    Details,
    one_line,
    render_csv,
    render_html,
    render_junit,
    render_latex,
    render_markdown,
    render_matrix,
    render_matrix_markdown,
    write_atomic,
)

__all__ = ["STDOUT", "append_summary", "require_one_output", "summary_file", "write_files"]

STDOUT = Path("-")
_RENDERERS = {
    "html": render_html,
    "markdown": render_markdown,
    "csv": render_csv,
    "latex": render_latex,
}


def require_one_output(files: Mapping[str, Path], as_json: bool) -> bool:
    """Whether a format takes standard output. Raises TS-USAGE if two things would share it."""
    takers = [f"--{name}" for name, path in files.items() if path == STDOUT]
    takers += ["--json"] if as_json else []
    if len(takers) > 1:
        raise _usage(
            f"standard output must hold one format, but {' and '.join(takers)} go there; "
            "name a file for all but one"
        )
    return any(path == STDOUT for path in files.values())


def write_files(
    files: Mapping[str, Path],
    evidence: Evidence,
    verdict: CampaignVerdict,
    details: Details | None,
    *,
    quiet: bool,
    accept_waivers: bool = False,
) -> None:
    """Write every format to its file, the one for standard output last; say where each is."""
    for name, path in sorted(files.items(), key=lambda item: item[1] == STDOUT):
        if name == "junit":
            text = render_junit(evidence, verdict, details, accept_waivers=accept_waivers)
        elif name == "matrix":
            render = render_matrix_markdown if path.suffix == ".md" else render_matrix
            text = render(evidence, verdict)
        else:
            text = _RENDERERS[name](evidence, verdict, details)
        if path == STDOUT:
            with unread_is_no_failure():
                click.echo(text.encode("utf-8"), nl=False)
        else:
            write_atomic(path, text)
            click.echo(f"report: {one_line(str(path))}", err=quiet)


def summary_file() -> Path:
    """The file that GitHub shows with a job. Raises TS-USAGE outside of one."""
    name = os.environ.get("GITHUB_STEP_SUMMARY", "")
    if not name:
        raise _usage(
            "`--summary` must find a file in the environment variable GITHUB_STEP_SUMMARY, but it "
            "is not set; GitHub sets it in every step of a job, elsewhere use `--markdown FILE`"
        )
    return Path(name)


def append_summary(path: Path, evidence: Evidence, verdict: CampaignVerdict) -> None:
    """Add the verdicts to what other steps of the job wrote; cells are left to the report."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{render_markdown(evidence, verdict, cells=False)}\n")
    except OSError as error:
        reason = error.strerror or error
        raise _usage(
            f"GITHUB_STEP_SUMMARY must name a file that can be written, but {path}: {reason}; "
            "use `--markdown FILE`"
        ) from error


def _usage(message: str) -> ThreatspecError:
    return ThreatspecError("TS-USAGE", message, exit_code=ExitCode.USAGE)
