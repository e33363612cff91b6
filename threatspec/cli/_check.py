"""`threatspec check`: everything that can be said without running anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from threatspec.cli._options import json_option
from threatspec.errors import ExitCode, Problem, SpecErrors

if TYPE_CHECKING:
    from threatspec.campaign import ClaimCheck
    from threatspec.loading import LoadedSpec

__all__ = ["command"]


@dataclass
class _Found:
    """What is to be said of all files."""

    problems: list[Problem] = field(default_factory=list)
    """Of the language: nothing can be said of such a file's claims."""
    notes: list[str] = field(default_factory=list)
    broken: list[Problem] = field(default_factory=list)
    """Rules that claims break without an answer."""
    limits: list[str] = field(default_factory=list)
    """How they could be limited to what is run."""
    refused: int = 0
    """Claims of which that is so."""
    claims: list[dict[str, Any]] = field(default_factory=list)

    @property
    def code(self) -> ExitCode:
        """What the verb ends with."""
        if self.problems:
            return ExitCode.SPEC
        return ExitCode.INADMISSIBLE if self.broken else ExitCode.OK


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@json_option
def command(files: tuple[Path, ...], as_json: bool) -> int:
    """Check claims files: language, names, access, data, budgets, rules.

    All problems of all FILES. A folder stands for the claims files in it; without FILES the
    workspace's own are checked. Nothing is run and no model is loaded.

    A claim that breaks a rule of admissibility, so that no evidence could give the verdict that
    it expects, ends with 7 unless its scope or a waiver answers the rule: threatspec list rules.

    \b
    threatspec check claims/quickstart.yaml
    threatspec check claims/
    """
    found = _Found()
    paths = [path for file in files or _usual() for path in _expand(file)]
    for path in paths:
        _check(path, found)
    if as_json:
        click.echo(json.dumps(_data(paths, found), indent=1))
        return int(found.code)
    _say(found)
    if found.problems:
        raise SpecErrors(found.problems)
    if not found.broken:
        click.echo(f"{len(paths)} file{'s' if len(paths) > 1 else ''} checked: no problem found")
    return int(found.code)


def _say(found: _Found) -> None:
    """Notes and broken rules, one line each; problems of the language follow."""
    lines = [*found.notes, *(f"{p.file}:{p.line}:{p.column}: {p.message} [{p.code}]"
                             for p in found.broken)]  # fmt: skip
    lines += found.limits
    if found.broken:
        claims = f"{found.refused} claim{'s' if found.refused > 1 else ''}"
        lines.append(f"{claims} could not get the verdict that passes, whatever is measured")
    for line in lines:
        click.echo(line if line.isprintable() else _visible(line), err=True)


def _visible(line: str) -> str:
    from threatspec.reports import visible  # a room that nearly every check does without

    return visible(line)


def _data(paths: list[Path], found: _Found) -> dict[str, object]:
    ordered = SpecErrors(found.problems).problems if found.problems else ()
    return {
        "schema": "threatspec/check/v2",
        "files": [str(path) for path in paths],
        "problems": [asdict(problem) for problem in ordered],
        "claims": found.claims,
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


def _check(path: Path, found: _Found) -> None:
    from threatspec.api import load
    from threatspec.campaign import check_design
    from threatspec.loading import notes

    try:
        loaded = load(path)
        checks = check_design(loaded)
    except SpecErrors as errors:
        found.problems += errors.problems
        return
    found.notes += notes(loaded)
    for one in checks:
        at = _at(loaded, one)
        found.notes += (f"{at.file}:{at.line}: note: claim {one.id} {text}" for text in _notes(one))
        found.claims.append(_claim(one, at))
        if one.refused:
            found.refused += 1
            found.broken += _broken(loaded, one)
            found.limits += _limits(one)


def _at(loaded: LoadedSpec, one: ClaimCheck) -> Problem:
    """A problem knows where its text stands, in whatever file that is."""
    return loaded.problem("TS-INTERNAL", "", one.place)


def _broken(loaded: LoadedSpec, one: ClaimCheck) -> Iterator[Problem]:
    for reading in one.open:
        remedy = reading.remedy[:1].lower() + reading.remedy[1:].rstrip(".")
        text = f"claim {one.id} breaks {reading.rule}: {reading.says}; {remedy}"
        yield loaded.problem(reading.rule, text, one.place)


def _limits(one: ClaimCheck) -> Iterator[str]:
    """What to write to claim no more than is run."""
    if one.limits:
        said = one.claim.scope.model_dump(exclude_unset=True) if one.claim.scope else {}
        whole = {**said, **one.limits}
        scope = ", ".join(f"{name}: {_yaml(value)}" for name, value in whole.items())
        yield f"to limit claim {one.id} to what is run: `scope: {{{scope}}}`"


def _yaml(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, (list, tuple)) else str(value)


def _notes(one: ClaimCheck) -> Iterator[str]:
    """What is limited, answered for or still to be done: short, since nothing is wrong."""
    scoped = [f"{r.by} ({r.rule})" for r in one.readings if r.answer == "scoped"]
    if scoped:
        yield f"is scoped: {', '.join(dict.fromkeys(scoped))}"
    for reading in one.readings:
        if reading.answer == "waived":
            yield f"waives {reading.rule}: {reading.by}"
    if one.open and not one.refused:
        rules = ", ".join(dict.fromkeys(reading.rule for reading in one.open))
        yield f"can only be {one.reachable}: it breaks {rules}"
    for reading in one.foreseen:
        yield f"will need {reading.rule}: {reading.says}"


def _claim(one: ClaimCheck, at: Problem) -> dict[str, Any]:
    return {
        "id": one.id,
        "file": at.file,
        "line": at.line,
        "column": at.column,
        "expects": one.expects.value,
        "admissible": not one.refused,
        "rules": [reading.model_dump(mode="json") for reading in one.readings],
        "foreseen": [reading.model_dump(mode="json") for reading in one.foreseen],
        "limits": dict(one.limits),
    }
