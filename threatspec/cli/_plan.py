"""`threatspec plan`: what a claims file would run, what it costs, and what it could decide."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from threatspec.cli._options import exhaustive_option, json_option, runner_option

if TYPE_CHECKING:
    from threatspec.campaign import ClaimCheck, ClaimForecast, Forecast, InstrumentForecast
    from threatspec.records import Plan, PlannedClaim
    from threatspec.runners import Profile

__all__ = ["command"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the plan, as a run would, for somebody to give a receipt of it.",
)
@runner_option
@exhaustive_option
@json_option
def command(
    file: Path, out: Path | None, runner: str | None, exhaustive: bool, as_json: bool
) -> int:
    """Show what FILE would run and what it could decide. Nothing is run.

    Fails if a claim could be neither supported nor refuted, whatever the outcome.

    \b
    threatspec plan claims/quickstart.yaml
    threatspec plan claims/quickstart.yaml --out plan.json
    """
    from threatspec import api
    from threatspec.campaign import check_design, forecast, forecast_instruments, require_decidable
    from threatspec.cli._settings import settings
    from threatspec.cli._streams import unread_is_no_failure
    from threatspec.records import Execution
    from threatspec.runners import load_profile

    profile = load_profile(settings(file, runner=runner).runner)
    plan = api.plan(file, execution=Execution(exhaustive=exhaustive))
    found, read = forecast(plan), forecast_instruments(plan)
    with unread_is_no_failure():
        if as_json:
            click.echo(json.dumps(_data(plan, found, read, profile), indent=1))
        else:
            rules = {one.id: one for one in check_design(api.load(file))}
            _print(plan, found, read, profile, rules)
    require_decidable(plan)  # last: what was printed shows why
    if out is not None:
        out.write_text(plan.text, encoding="utf-8")
        digest = hashlib.sha256(plan.text.encode()).hexdigest()
        click.echo(f"plan: {out}, sha256 {digest}", err=True)
    return 0


def _data(
    plan: Plan, found: Forecast, read: Sequence[InstrumentForecast], profile: Profile
) -> dict[str, Any]:
    hours = profile.hours(found.spend.flops)
    usd = profile.usd(hours)
    return {
        "schema": "threatspec/forecast/v1",
        "plan": plan.id,
        "cells": found.cells,
        "trials": found.trials,
        "spend": found.spend.model_dump(mode="json"),
        "worker_hours": hours,
        **({} if usd is None else {"usd": usd}),
        "claims": [
            {**asdict(claim), "units": dict(claim.units),
             "predicted": claim.predicted.model_dump(mode="json")}
            for claim in found.claims
        ],
        "instruments": [asdict(one) for one in read],
    }  # fmt: skip


def _print(
    plan: Plan,
    found: Forecast,
    read: Sequence[InstrumentForecast],
    profile: Profile,
    rules: Mapping[str, ClaimCheck],
) -> None:
    from rich.text import Text

    from threatspec.cli._outcome import terminal
    from threatspec.reports import one_line, print_facts, spend_words

    console = terminal()
    for planned, claim in zip(plan.claims, found.claims, strict=True):
        console.print(Text(one_line(claim.id), style="bold"))
        print_facts(console, (*_facts(plan, planned, claim), *_rules(rules[planned.id])))
        console.print()
    size = f"{found.cells} cells, {found.trials} trials"
    total = f"{size}, {spend_words(found.spend)} predicted for the attacks"
    print_facts(console, [("in all", total), *_money(found, profile), *_read(read)])


def _read(read: Sequence[InstrumentForecast]) -> Iterator[tuple[str, str]]:
    """What is beside the claims: its trials are among those in all, what it costs is not."""
    from threatspec.reports import counted, one_line

    for one in read:
        trials = f"{counted(one.trials, 'trial')} of {counted(one.prompts, 'prompt')}"
        steps = f" and {counted(one.steps, 'optimiser step')}" if one.steps else ""
        yield "instrument", f"{one_line(one.name)}: {trials}{steps}, charged to no adversary"


def _money(found: Forecast, profile: Profile) -> Iterator[tuple[str, str]]:
    """Training only, which is what can be predicted without running anything."""
    from threatspec.reports import time_words

    hours = profile.hours(found.spend.flops)
    if not hours:
        return
    usd = profile.usd(hours)
    price = "" if usd is None else f", {usd:.2f} USD at {profile.price_per_hour:g} USD an hour"
    rate = f"{profile.flops_per_second:.3g} FLOP/s a worker"
    yield "worker time", f"{time_words(hours * 3600)} of training at {rate}{price}"


def _facts(plan: Plan, planned: PlannedClaim, claim: ClaimForecast) -> Iterator[tuple[str, str]]:
    from threatspec.reports import counted, spend_words

    yield "claim", planned.claim.says
    yield "holds", planned.claim.holds
    for name, replicates in _procedures(plan, planned).items():
        yield "procedure", f"{name} x {counted(replicates, 'replicate')}"
    yield "cells", f"{claim.cells} attacked, {claim.controls} on the control"
    yield "predicted", spend_words(claim.predicted)
    if claim.smallest is not None:
        yield "resolves", f"rates from {claim.smallest:.3g} upwards can be told from 0"
    if claim.power_to_support is not None:
        rate = f"if every attack reaches {claim.rate_to_support:.3g}"
        yield "power", f"{claim.power_to_support:.2f} to support {rate}{_whole(claim)}"
    if claim.expected_units is not None and len(claim.looks) > 1:
        read = f"{claim.expected_units:.0f} of {claim.looks[-1]} prompts of a cell on average"
        yield "reads", f"{read}, at {len(claim.looks)} looks"
    if claim.power_to_refute is not None:
        rate = f"if one attack reaches {claim.rate_to_refute:.3g}"
        yield "power", f"{claim.power_to_refute:.2f} to refute {rate}"
    yield "can", _reach(claim)


def _rules(one: ClaimCheck) -> Iterator[tuple[str, str]]:
    """What counts do not tell: which verdict the design keeps out of reach."""
    if one.open:
        broken = ", ".join(dict.fromkeys(reading.rule for reading in one.open))
        yield "rules", f"it can only be {one.reachable}, as it breaks {broken}"


def _whole(claim: ClaimForecast) -> str:
    """What reading on would give, where a cell is read until it is settled."""
    if claim.power_exhaustive is None or len(claim.looks) < 2:
        return ""
    return f" ({claim.power_exhaustive:.2f} with --exhaustive)"


def _procedures(plan: Plan, planned: PlannedClaim) -> dict[str, int]:
    from threatspec.records import Arm

    cells = [plan.cells[name] for name in planned.attacked.get(Arm.DEFENDED, ())]
    counts = Counter(cell.procedure for cell in cells)
    return {plan.procedures[name].name: n for name, n in counts.items()}


def _reach(claim: ClaimForecast) -> str:
    if claim.can_support and claim.can_refute:
        return "support and refute"
    if claim.can_refute:
        without = (
            "" if claim.controls else ": without a control nothing shows that attacks are alive"
        )
        return f"only refute{without}"
    return "only support" if claim.can_support else "neither support nor refute"
