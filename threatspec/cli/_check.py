"""`threatspec check`: everything that can be said without running anything."""

from __future__ import annotations

from pathlib import Path

import click

from threatspec.errors import Problem, SpecErrors

__all__ = ["command"]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(files: tuple[Path, ...]) -> int:
    """Check claims files: language, names, access, data, budgets. All problems of all FILES.

    A folder stands for the claims files in it. Nothing is run and no model is loaded.

    \b
    threatspec check claims/quickstart.yaml
    threatspec check claims/
    """
    problems: list[Problem] = []
    paths = [path for file in files for path in _expand(file)]
    for path in paths:
        problems += _problems(path)
    if problems:
        raise SpecErrors(problems)
    click.echo(f"{len(paths)} file{'s' if len(paths) > 1 else ''} checked: no problem found")
    return 0


def _expand(file: Path) -> list[Path]:
    if not file.is_dir():
        return [file]
    found = [p for p in sorted(file.glob("*.y*ml")) if not p.name.endswith(".card.yaml")]
    if not found:
        raise click.UsageError(f"{file} must hold claims files (*.yaml), but has none")
    return found


def _problems(path: Path) -> tuple[Problem, ...]:
    from threatspec.api import check

    try:
        check(path)
    except SpecErrors as errors:
        return errors.problems
    return ()
