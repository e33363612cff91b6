"""`threatspec init`: a folder for claims, with a first one that runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from threatspec.errors import ExitCode, ThreatspecError

__all__ = ["command"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path(), metavar="[DIR]")
@click.option("--paper", is_flag=True, help="For a paper's artifact: reports/ and a checklist.")
def command(folder: Path, paper: bool) -> int:
    """Make a workspace in DIR [default: the current folder].

    It has a first claim about models that ship with the program, so that it can be run at once.
    Nothing that is there already is overwritten.

    \b
    threatspec init
    threatspec init my-paper --paper
    """
    from threatspec.cli._scaffold import scaffold

    files = {folder / name: text for name, text in scaffold(paper=paper).items()}
    _require_free(folder, list(files))
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        reason = error.strerror or str(error)
        text = f"{folder} must be a folder that can be written, but {error.filename}: {reason}"
        raise ThreatspecError("TS-USAGE", text, exit_code=ExitCode.USAGE) from error
    click.echo("\n".join(_said(folder, list(files))))
    return 0


def _require_free(folder: Path, paths: list[Path]) -> None:
    taken = [str(path.relative_to(folder)) for path in paths if os.path.lexists(path)]
    if taken:
        text = f"{folder} must not have files that are to be written, but has {', '.join(taken)}; "
        text += "name another folder, or move them away"
        raise ThreatspecError("TS-USAGE", text, exit_code=ExitCode.USAGE)


def _said(folder: Path, paths: list[Path]) -> list[str]:
    steps = [] if folder == Path() else [f"  cd {folder}"]
    return [
        *(f"wrote {path}" for path in paths),
        "",
        "Next:",
        *steps,
        "  threatspec check",
        "  threatspec run claims/first.yaml",
        "  threatspec report runs/first --html report.html",
    ]
