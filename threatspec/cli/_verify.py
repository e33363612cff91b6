"""`threatspec verify`: what a bundle shows, without running anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from threatspec.cli._options import accept_waivers_option, json_option
from threatspec.errors import ExitCode, ThreatspecError

if TYPE_CHECKING:
    from threatspec.reports.bundle import Verification

__all__ = ["command"]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--receipt",
    "receipts",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that may cover the plan, beside those in the bundle; several times for several.",
)
@json_option
@accept_waivers_option
def command(bundle: Path, receipts: tuple[Path, ...], as_json: bool, accept_waivers: bool) -> int:
    """Compute the verdicts of BUNDLE again, and check all that its records are tied together by.

    Every check is PASS, FAIL or CANNOT KNOW. Ends like `threatspec verdict`, or with 7 if a check
    fails. Nothing is run, loaded, fetched or unpacked.

    \b
    threatspec verify quickstart.tsb
    threatspec verify quickstart.tsb --receipt plan.tsr
    """
    from threatspec.cli._streams import unread_is_no_failure
    from threatspec.reports.bundle import open_bundle, verify_bundle

    more = {_name(path, receipts): _read(path) for path in receipts}
    with open_bundle(bundle) as opened:
        found = verify_bundle(opened, receipts=more)
    with unread_is_no_failure():
        if as_json:
            click.echo(json.dumps(found.model_dump(mode="json", by_alias=True), indent=1))
        else:
            _print(found)
    return int(found.exit_code(accept_waivers=accept_waivers))


def _name(path: Path, others: tuple[Path, ...]) -> str:
    """The last part of the path where that tells the files apart."""
    return path.name if sum(other.name == path.name for other in others) == 1 else str(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        text = f"a receipt must be a file, but {path}: {error.strerror or error}"
        raise ThreatspecError("TS-USAGE", text, exit_code=ExitCode.USAGE) from None


def _print(found: Verification) -> None:
    from threatspec.cli._outcome import terminal
    from threatspec.reports import print_facts

    console = terminal()
    print_facts(
        console, ((check.status.value, f"{check.name}: {check.says}") for check in found.checks)
    )
    console.print()
    print_facts(console, _verdicts(found))
    failed = len(found.failed)
    text = f"{failed} of {len(found.checks)} checks failed." if failed else "No check failed."
    console.print(text, style="bold red" if failed else "bold", highlight=False)


def _verdicts(found: Verification) -> Iterator[tuple[str, str]]:
    """As they follow from the records, beside what is recorded where that is something else."""
    recorded = {claim.id: claim.verdict.value for claim in found.recorded.claims}
    for claim in found.verdict.claims if found.verdict else ():
        late = found.expired.get(claim.id)
        tail = f" (EXPIRED: {late})" if late else ""
        told = recorded.pop(claim.id, "nothing")
        other = "" if told == claim.verdict.value else f"; recorded is {told}"
        yield claim.verdict.value, f"{claim.id}{tail}{other}; as of {found.as_of}"
