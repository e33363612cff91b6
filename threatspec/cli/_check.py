"""`threatspec check`: everything that can be said without running anything."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from threatspec.cli._options import json_option
from threatspec.errors import ExitCode, Problem, SpecErrors

__all__ = ["command"]


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@json_option
def command(files: tuple[Path, ...], as_json: bool) -> int:
    """Check claims files: language, names, access, data, budgets. All problems of all FILES.

    A folder stands for the claims files in it; without FILES the workspace's own are checked.
    Nothing is run and no model is loaded.

    \b
    threatspec check claims/quickstart.yaml
    threatspec check claims/
    """
    problems: list[Problem] = []
    paths = [path for file in files or _usual() for path in _expand(file)]
    for path in paths:
        problems += _problems(path)
    if as_json:
        click.echo(json.dumps(_data(paths, problems), indent=1))
        return int(ExitCode.SPEC if problems else ExitCode.OK)
    if problems:
        raise SpecErrors(problems)
    click.echo(f"{len(paths)} file{'s' if len(paths) > 1 else ''} checked: no problem found")
    return 0


def _data(paths: list[Path], problems: list[Problem]) -> dict[str, object]:
    ordered = SpecErrors(problems).problems if problems else ()
    return {
        "schema": "threatspec/check/v1",
        "files": [str(path) for path in paths],
        "problems": [asdict(problem) for problem in ordered],
    }


def _usual() -> tuple[Path, ...]:
    from threatspec.cli._settings import settings

    folders = settings(Path.cwd()).claims
    if not folders:
        text = "name claims files or folders; without them a threatspec.yaml must say which are "
        raise click.UsageError(f"{text}checked, but there is none here or above")
    return folders


def _expand(file: Path) -> list[Path]:
    from threatspec.loading import WORKSPACE_FILE

    if not file.is_dir():
        return [file]
    found = [
        path
        for path in sorted(file.glob("*.y*ml"))
        if not path.name.endswith(".card.yaml") and path.name != WORKSPACE_FILE
    ]
    if not found:
        raise click.UsageError(f"{file} must hold claims files (*.yaml), but has none")
    return found


def _problems(path: Path) -> tuple[Problem, ...]:
    from threatspec.api import check
    from threatspec.loading import notes

    try:
        loaded = check(path)
    except SpecErrors as errors:
        return errors.problems
    for line in notes(loaded, datetime.now(UTC).date()):
        click.echo(line, err=True)
    return ()
