"""Running a folder of claims files: one campaign after another, each with its published page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from threatspec import api
from threatspec.claims import CampaignVerdict, exit_code
from threatspec.cli._formats import write_files
from threatspec.errors import ExitCode, SpecErrors, ThreatspecError
from threatspec.loading import find_workspace
from threatspec.reports import verdict_json

__all__ = ["claims_files", "run_folder"]

_SMALL = ("specimen:", "judge:")
"""Models that ship with the program."""


def claims_files(folder: Path, *, specimens: bool = False) -> tuple[Path, ...]:
    """Claims files of a folder and of those in it, in order of their names.

    Args:
        folder: where to look; files that are something else are left out.
        specimens: leave out those that name any model but specimens.

    Raises SpecErrors for a claims file that cannot be read, ThreatspecError TS-FILE-MISSING if
    there is none.
    """
    found = [path for path in sorted(folder.rglob("*.y*ml")) if _is_claims(path)]
    wanted = [path for path in found if not specimens or _on_specimens(path)]
    if not wanted:
        which = "claims files on specimens" if specimens and found else "claims files"
        text = f"{folder} must hold {which}, but holds none"
        raise ThreatspecError("TS-FILE-MISSING", text, exit_code=ExitCode.SPEC)
    return tuple(wanted)


def _is_claims(path: Path) -> bool:
    """By the key that every claims file begins with; parts to be included are not run alone."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {"threatspec:", "claims:"} <= {line.split(" ")[0] for line in lines}


def _on_specimens(path: Path) -> bool:
    spec = api.load(path).spec
    models = [
        ref
        for subject in spec.all_subjects.values()
        for ref in (subject.model, subject.undefended, subject.control)
    ]
    return all(ref.startswith(_SMALL) for ref in models if ref)


def run_folder(
    folder: Path,
    files: tuple[Path, ...],
    run: Callable[[Path, Path], api.Outcome],
    out: Path,
    *,
    as_json: bool,
    accept_waivers: bool,
) -> ExitCode:
    """Run all files, publish a page for each, and say what became of every claim.

    Args:
        folder: the folder that was named.
        files: what is run.
        run: runs a file in a results folder.
        out: results of each file are in a folder of its name in here.
        as_json: print the verdicts of all as one document.
        accept_waivers: let claims pass that are supported with waivers.

    A file that cannot be run is told and does not keep the others from being run.
    """
    verdicts: dict[str, CampaignVerdict] = {}
    codes: set[ExitCode] = set()
    for path in files:
        name = path.relative_to(folder).with_suffix("")
        try:
            outcome = run(path, out / name)
        except (SpecErrors, ThreatspecError) as error:
            if getattr(error, "code", "") == "TS-INTERRUPTED":
                raise
            click.echo(str(error), err=True)
            codes.add(ExitCode.SPEC if isinstance(error, SpecErrors) else error.exit_code)
            continue
        verdicts[str(name)] = outcome.verdict
        codes.add(exit_code(outcome.verdict, accept_waivers=accept_waivers))
        _publish(folder, name, outcome)
        if not as_json:
            _say(str(name), outcome)
    if as_json:
        click.echo(
            json.dumps({n: json.loads(verdict_json(v)) for n, v in verdicts.items()}, indent=1)
        )
    return _worst(codes)


def _publish(folder: Path, name: Path, outcome: api.Outcome) -> None:
    """A page in the workspace's `reports/`, beside those of other folders; plots stay in `runs`."""
    from threatspec.cli._outcome import details_of

    workspace = find_workspace(folder)
    details = details_of(outcome)
    files = {"html": outcome.folder / "report.html"}
    if (workspace / "reports").is_dir():
        page = workspace / "reports" / folder.resolve().name / name.with_suffix(".md")
        page.parent.mkdir(parents=True, exist_ok=True)
        files["markdown"] = page
    write_files(files, outcome.evidence, outcome.verdict, details, quiet=True)


def _say(name: str, outcome: api.Outcome) -> None:
    for line in _lines(name, outcome):
        click.echo(line)


def _lines(name: str, outcome: api.Outcome) -> Iterator[str]:
    yield name
    for claim in outcome.verdict.claims:
        expected = "" if claim.passed else "  (not as expected)"
        yield f"  {claim.verdict.value:<13} {claim.id}{expected}"


def _worst(codes: set[ExitCode]) -> ExitCode:
    """What cannot be read or run comes first, then the order of verdicts."""
    order = (
        ExitCode.SPEC, ExitCode.RUN, ExitCode.USAGE, ExitCode.REFUTED, ExitCode.INADMISSIBLE,
        ExitCode.VACUOUS, ExitCode.INCONCLUSIVE, ExitCode.OK,
    )  # fmt: skip
    return next(code for code in order if code in codes)
