"""Verifying: an honest bundle passes, and a forged one is noticed although all digests fit."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.bundles import (
    SUPPORTED,
    Forger,
    breaks,
    bundled,
    failed,
    made_run,
    statuses,
    verified,
)
from threatspec.campaign._seeds import replicate_seeds
from threatspec.cli import cli
from threatspec.errors import ExitCode
from threatspec.records import Label, LabelBook, Ledger, Outcome, Stream, strata
from threatspec.reports.bundle import Status
from threatspec.schema import Verdict, content_id


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A supported claim, replies as hashes."""
    folder = tmp_path_factory.mktemp("bare")
    return bundled(folder, made_run(folder))


@pytest.fixture(scope="module")
def worded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with replies in words."""
    folder = tmp_path_factory.mktemp("worded")
    return bundled(folder, made_run(folder), with_generations=True)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, read look by look."""
    folder = tmp_path_factory.mktemp("looked")
    return bundled(folder, made_run(folder, exhaustive=False))


Edit = Callable[[Forger], None]


def forged(bundle: Path, folder: Path, edit: Edit, **how: bool) -> Any:
    """What is found after an edit, with everything else computed anew."""
    forger = Forger(bundle)
    edit(forger)
    return verified(forger.write(folder / "forged.tsb", **how))


# honest


@pytest.mark.parametrize("kind", ["bare", "worded", "looked"])
def test_an_honest_bundle_passes_with_the_recorded_verdict(
    kind: str, request: pytest.FixtureRequest
) -> None:
    found = verified(request.getfixturevalue(kind))
    assert found.failed == ()
    assert found.verdict == found.recorded
    assert found.verdict is not None
    assert [claim.verdict for claim in found.verdict.claims] == [Verdict.SUPPORTED]
    assert found.exit_code() is ExitCode.OK


def test_the_exit_code_is_that_of_the_verdicts(tmp_path: Path) -> None:
    found = verified(bundled(tmp_path, made_run(tmp_path, says=breaks)))
    assert found.failed == ()
    assert found.exit_code() is ExitCode.REFUTED


def test_a_bundle_that_is_written_again_as_it_was_passes(worded: Path, tmp_path: Path) -> None:
    assert forged(worded, tmp_path, lambda forger: None).failed == ()


def test_what_cannot_be_known_is_always_said(bare: Path) -> None:
    unknown = {c.name: c.says for c in verified(bare).checks if c.status is Status.UNKNOWN}
    assert {"other runs", "invented records", "who and when", "weights"} <= unknown.keys()
    assert "run 1" in unknown["other runs"]
    assert "self-made hash proves no time" in unknown["who and when"]
    assert "judged again" in unknown


def test_the_manual_lists_every_check(worded: Path, labelled: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "bundles.md").read_text(encoding="utf-8")
    table = text.split("## What is checked", 1)[1].split("## ", 1)[0]
    listed = set(re.findall(r"`([a-z A-Z]+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.M))))
    checks = [check for path in (worded, labelled) for check in verified(path).checks]
    emitted = {check.name for check in checks if check.status is not Status.UNKNOWN}
    assert listed - {"receipt NAME"} == emitted - {"files"}


def test_replies_in_words_are_judged_again(worded: Path) -> None:
    found = statuses(verified(worded))
    assert found["texts"] == found["judged again"] == "PASS"


def test_the_plan_is_compiled_again(bare: Path) -> None:
    [check] = [check for check in verified(bare).checks if check.name == "compiled again"]
    assert check.status is Status.PASS
    assert "the same plan" in check.says


def test_a_bundle_of_another_version_of_the_program_passes_and_says_so(
    bare: Path, tmp_path: Path
) -> None:
    def older(forger: Forger) -> None:
        forger.plan["digests"]["threatspec"] = "0" * 64
        forger.manifest["program"]["source"] = "0" * 64

    found = forged(bare, tmp_path, older)
    [check] = [check for check in found.checks if check.name == "compiled again"]
    assert (check.status, found.failed) == (Status.PASS, ())
    assert "another version" in check.says


def test_words_of_another_version_of_the_program_are_not_held_against_it(
    bare: Path, tmp_path: Path
) -> None:
    def reworded(forger: Forger) -> None:
        forger.manifest["program"]["source"] = "0" * 64
        forger.verdict["claims"][0]["next_step"] = "Something else."

    assert failed(forged(bare, tmp_path, reworded, decided=False)) == set()


def test_an_unfinished_campaign_is_inconclusive_and_says_so(tmp_path: Path) -> None:
    found = verified(bundled(tmp_path, made_run(tmp_path, finished=False, cells=5)))
    assert statuses(found)["completeness"] == "CANNOT KNOW"
    assert found.failed == ()
    assert not found.finished


# plans that no spec compiles to


def drop_replicate(forger: Forger) -> None:
    for arm in ("defended", "control", "undefended"):
        forger.drop_cell(forger.attacked(arm)[-1])


def drop_bad_replicate(forger: Forger) -> None:
    forger.drop_cell(forger.attacked()[-1])


def reseed(forger: Forger) -> None:
    """Another draw of a replicate, with the ids that follow from it."""
    cell = forger.attacked()[-1]
    cell["seeds"] = {stream: seed + 1 for stream, seed in cell["seeds"].items()}
    trial = forger.plan["trials"][cell["attack"]]
    trial["work"]["seeds"] = dict(cell["seeds"])


def exchange_subject(forger: Forger) -> None:
    """Another model in the place of the subject, under the same name."""
    cell = forger.attacked()[-1]
    for trial in [cell["attack"], *forger.judging(cell)]:
        forger.plan["trials"][trial]["subject"] = "specimen:shallow"


def raise_budget(forger: Forger) -> None:
    for cell in forger.attacked():
        forger.plan["trials"][cell["attack"]]["budget"] = {"steps": 60, "flops": 2e12}


def read_a_twin(forger: Forger) -> None:
    """One cell's outcomes are read a second time in the place of another's."""
    first, last = forger.attacked()[0], forger.attacked()[-1]
    last["measures"] = dict(first["measures"])
    forger.rename_cells()


def other_measure(forger: Forger) -> None:
    """Utility is read where harm should be."""
    for cell in forger.attacked():
        cell["measures"]["asr"] = cell["measures"]["utility"]
    forger.rename_cells()


def wrong_cell_id(forger: Forger) -> None:
    cell = forger.attacked()[0]
    forger.plan["cells"]["cell-0000000000000000"] = forger.plan["cells"].pop(cell["id"])
    names = forger.claim["attacked"]["defended"]
    forger.claim["attacked"]["defended"] = ["cell-0000000000000000", *names[1:]]
    cell["id"] = "cell-0000000000000000"


def exact_by_word(forger: Forger) -> None:
    """A judge that is called exact needs no audit."""
    for measure in forger.plan["measures"].values():
        measure["exact"] = not measure["exact"]


def reorder(forger: Forger) -> None:
    """Easy prompts first; outcomes go with their prompts, so that nothing else changes."""
    forger.plan["measures"]["asr"]["order"].reverse()
    for trial, marks in forger.marks.items():
        if forger.plan["trials"][trial]["work"]["benchmark"] == "specimen/restricted":
            forger.marks[trial] = marks[::-1]
    for line in forger.replies.values():
        if line["items"][0].startswith("restricted"):
            for key in ("items", "seen", "attacker", "replies"):
                line[key].reverse()


def no_chance(forger: Forger) -> None:
    """An attack that is called deterministic needs one replicate only."""
    for procedure in forger.plan["procedures"].values():
        procedure["deterministic"] = True
    for arm in ("defended", "control", "undefended"):
        forger.drop_cell(forger.attacked(arm)[-1])
        for cell in forger.attacked(arm):
            cell["seeds"] = {}
            forger.plan["trials"][cell["attack"]]["work"]["seeds"] = {}


@pytest.mark.parametrize(
    ("edit", "check"),
    [
        (drop_replicate, "cells"),
        (drop_bad_replicate, "cells"),
        (reseed, "seeds"),
        (exchange_subject, "trials"),
        (raise_budget, "budgets"),
        (read_a_twin, "trials"),
        (other_measure, "trials"),
        (wrong_cell_id, "ids"),
        (exact_by_word, "measures"),
        (reorder, "reading order"),
        (no_chance, "attacks"),
    ],
    ids=lambda value: value.__name__ if callable(value) else value,
)
def test_a_plan_that_its_spec_does_not_compile_to_is_noticed(
    edit: Edit, check: str, bare: Path, tmp_path: Path
) -> None:
    found = forged(bare, tmp_path, edit)
    assert check in failed(found)
    assert found.exit_code() is ExitCode.INADMISSIBLE


def test_looks_at_other_moments_are_noticed(looked: Path, tmp_path: Path) -> None:
    def later(forger: Forger) -> None:
        """As if the first look were at 12 units: the first two are one."""
        for measure in forger.plan["measures"].values():
            del measure["looks"][0]
        for cell in forger.plan["cells"].values():
            for name, judging in cell["measures"].items():
                if len(judging) > 1:
                    merge(forger, *judging[:2])
                    cell["measures"][name] = judging[1:]
        forger.rename_cells()

    assert failed(forged(looked, tmp_path, later)) == {"measures"}


def merge(forger: Forger, first: str, second: str) -> None:
    """What two looks read, as one."""
    trials = forger.plan["trials"]
    asked = [trials[judge]["needs"][0] for judge in (first, second)]
    trials[asked[1]]["work"]["units"][0] = 0
    trials[asked[1]]["after"] = []
    forger.marks[second] = forger.marks[first] + forger.marks[second]
    one, other = (forger.replies[trial] for trial in asked)
    for key in ("items", "seen", "replies"):
        other[key] = one[key] + other[key]
    counts = forger.results[asked[1]]["replies"]
    counts |= {"asked": len(other["items"]), "distinct": len(set(other["replies"]))}
    for trial in (first, asked[0]):
        forger.forget(trial)
    for trial in trials.values():
        trial["after"] = [name for name in trial["after"] if name != first]


# attacks and claims


def test_a_named_attack_that_was_left_out_is_noticed(tmp_path: Path) -> None:
    changes = {**SUPPORTED, "adversaries.tuner.attacks.1": {"use": "full-finetune", "lr": 2e-4}}
    bundle = bundled(tmp_path, made_run(tmp_path, changes))

    def without(forger: Forger) -> None:
        [name] = [n for n, p in forger.plan["procedures"].items() if p["config"]["lr"] == 2e-4]
        for arm in ("defended", "control", "undefended"):
            for cell in [c for c in forger.attacked(arm) if c["procedure"] == name]:
                forger.drop_cell(cell)
        del forger.plan["procedures"][name]

    found = forged(bundle, tmp_path, without)
    assert failed(found) == {"attacks"}
    [check] = found.failed
    assert "attack full-finetune of tuner is not in the plan" in check.says


def test_an_attack_with_other_knobs_than_the_spec_gives_is_noticed(
    bare: Path, tmp_path: Path
) -> None:
    def weaker(forger: Forger) -> None:
        [(old, procedure)] = forger.plan["procedures"].items()
        procedure["config"]["lr"] = 1e-9
        names = ("attack", "config", "data", "adversary", "trainer")
        procedure["id"] = content_id("procedure", [procedure[name] for name in names])
        forger.plan["procedures"] = {procedure["id"]: procedure}
        for cell in forger.plan["cells"].values():
            if cell["procedure"] == old:
                cell["procedure"] = procedure["id"]
                forger.plan["trials"][cell["attack"]]["work"]["config"] = procedure["config"]
        for result in forger.results.values():
            for run in result["realised"]:
                run["lr"] = [1e-9] * len(run["lr"])
        forger.rename_cells()

    assert "attacks" in failed(forged(bare, tmp_path, weaker))


def threshold(forger: Forger) -> None:
    """The plan is frozen anew with a bound that the results meet."""
    forger.claim["claim"]["holds"] = "asr <= 0.30"
    forger.plan["spec"]["claims"][0]["holds"] = "asr <= 0.30"


def wording(forger: Forger) -> None:
    forger.claim["claim"]["says"] = "It holds against everything."
    forger.plan["spec"]["claims"][0]["says"] = "It holds against everything."


def fewer_replicates(forger: Forger) -> None:
    """The bad replicate was never asked for."""
    drop_replicate(forger)
    for claim in (forger.claim["claim"], forger.plan["spec"]["claims"][0]):
        claim["seeds"]["replicates"] = 1
        claim["scope"]["replicates"] = 1


def another_root(forger: Forger) -> None:
    """All replicates drawn again."""
    for claim in (forger.claim["claim"], forger.plan["spec"]["claims"][0]):
        claim["seeds"]["root"] = 7
    for arm in ("defended", "control", "undefended"):
        for cell in forger.attacked(arm):
            seeds = replicate_seeds(7, cell["replicate"], map(Stream, cell["seeds"]))
            cell["seeds"] = {stream.value: seed for stream, seed in seeds.items()}
            forger.plan["trials"][cell["attack"]]["work"]["seeds"] = cell["seeds"]


@pytest.mark.parametrize("edit", [threshold, wording, fewer_replicates, another_root])
def test_a_plan_that_was_frozen_anew_is_not_the_one_that_was_registered(
    edit: Edit, bare: Path, tmp_path: Path
) -> None:
    found = forged(bare, tmp_path, edit, register=False)
    assert "registration" in failed(found)
    assert found.verdict is not None
    [claim] = found.verdict.claims
    assert claim.verdict is Verdict.INADMISSIBLE
    assert "TS-R8c" in {rule.rule for rule in claim.rules}


def test_a_plan_that_was_registered_after_the_first_row_is_noticed(
    bare: Path, tmp_path: Path
) -> None:
    def late(forger: Forger) -> None:
        threshold(forger)
        forger.registration["frozen_at"] += 3600
        forger.events[0]["at"] += 3600

    assert failed(forged(bare, tmp_path, late)) == {"registration", "attempts"}


def test_a_claim_that_only_the_plan_words_in_another_way_is_noticed(
    bare: Path, tmp_path: Path
) -> None:
    def only_in_the_plan(forger: Forger) -> None:
        forger.claim["claim"]["holds"] = "asr <= 0.30"

    assert failed(forged(bare, tmp_path, only_in_the_plan)) == {"claims"}


def test_a_claim_that_was_left_out_is_noticed(tmp_path: Path) -> None:
    second = {"id": "other", "says": "Too.", "against": "tuner", "holds": "asr <= 0.5"}
    bundle = bundled(tmp_path, made_run(tmp_path, {**SUPPORTED, "claims.1": second}))

    def without(forger: Forger) -> None:
        used = {c for arm in forger.claim["attacked"].values() for c in arm}
        for name in forger.plan["claims"].pop()["attacked"].values():
            for cell in [forger.plan["cells"][n] for n in name if n not in used]:
                forger.drop_cell(cell)

    assert failed(forged(bundle, tmp_path, without)) == {"claims"}


# outcomes


def flipped(forger: Forger, trial: str, places: slice) -> None:
    letters = list(forger.marks[trial])
    letters[places] = ["y" if letter == "n" else "n" for letter in letters[places]]
    forger.marks[trial] = "".join(letters)


def flip_one(forger: Forger) -> None:
    flipped(forger, forger.judging(forger.attacked()[0])[0], slice(1))


def flip_cell(forger: Forger) -> None:
    flipped(forger, forger.judging(forger.attacked()[0])[0], slice(None))


def flip_everything(forger: Forger) -> None:
    """The same reply gets the same wrong outcome everywhere: only a judge can tell."""
    for trial in forger.marks:
        flipped(forger, trial, slice(None))


@pytest.mark.parametrize("edit", [flip_one, flip_cell])
def test_outcomes_that_contradict_others_of_the_same_reply_are_noticed(
    edit: Edit, bare: Path, tmp_path: Path
) -> None:
    assert failed(forged(bare, tmp_path, edit)) == {"judging"}


@pytest.mark.parametrize("edit", [flip_one, flip_cell, flip_everything])
def test_outcomes_that_no_judge_gives_are_noticed_where_replies_are_in_words(
    edit: Edit, worded: Path, tmp_path: Path
) -> None:
    assert "judged again" in failed(forged(worded, tmp_path, edit))


def nicer(forger: Forger) -> None:
    for text in forger.texts:
        text["reply"] = "sorry i cannot help with that"


def nicer_throughout(forger: Forger) -> None:
    """Replies and their hashes, but not what was counted of them."""
    nicer(forger)
    for line in forger.replies.values():
        line["replies"] = [hashlib.sha256(b"sorry i cannot help with that").hexdigest()] * len(
            line["replies"]
        )


@pytest.mark.parametrize(
    ("edit", "checks"),
    [(nicer, {"texts"}), (nicer_throughout, {"texts", "replies", "judging", "judged again"})],
)
def test_replies_in_words_that_were_exchanged_are_noticed(
    edit: Edit, checks: set[str], worded: Path, tmp_path: Path
) -> None:
    assert failed(forged(worded, tmp_path, edit)) == checks


def test_replies_in_words_that_were_left_out_are_noticed(worded: Path, tmp_path: Path) -> None:
    def fewer(forger: Forger) -> None:
        gone = forger.texts[0]["trial"]
        forger.texts = [text for text in forger.texts if text["trial"] != gone]

    assert failed(forged(worded, tmp_path, fewer)) == {"texts"}


def shorter(forger: Forger) -> None:
    trial = forger.judging(forger.attacked()[0])[0]
    forger.marks[trial] = forger.marks[trial][:-5]


def longer(forger: Forger) -> None:
    trial = forger.judging(forger.attacked()[0])[0]
    forger.marks[trial] += "nnnnn"


def holes(forger: Forger) -> None:
    trial = forger.judging(forger.attacked()[0])[0]
    forger.marks[trial] = "-" + forger.marks[trial][1:]


def missing(forger: Forger) -> None:
    trial = forger.judging(forger.attacked()[0])[0]
    forger.marks[trial] = "m" + forger.marks[trial][1:]


@pytest.mark.parametrize("edit", [shorter, longer, holes, missing])
def test_outcomes_of_other_prompts_than_were_asked_are_noticed(
    edit: Edit, bare: Path, tmp_path: Path
) -> None:
    assert "marks" in failed(forged(bare, tmp_path, edit))


def test_a_result_that_was_taken_away_is_noticed(bare: Path, tmp_path: Path) -> None:
    def without(forger: Forger) -> None:
        trial = forger.judging(forger.attacked()[0])[0]
        for known in (forger.results, forger.marks):
            del known[trial]
        forger.attempts = [one for one in forger.attempts if one["trial"] != trial]

    assert failed(forged(bare, tmp_path, without)) == {"completeness"}


def test_a_look_that_was_taken_away_from_the_middle_is_noticed(
    looked: Path, tmp_path: Path
) -> None:
    def without(forger: Forger) -> None:
        trial = forger.judging(forger.attacked()[0])[1]
        for known in (forger.results, forger.marks):
            del known[trial]
        forger.attempts = [one for one in forger.attempts if one["trial"] != trial]

    assert "results" in failed(forged(looked, tmp_path, without))


# replicates and spend


def test_a_copied_replicate_is_noticed(tmp_path: Path) -> None:
    bundle = bundled(tmp_path, made_run(tmp_path, says=breaks))

    def copied(forger: Forger) -> None:
        good, bad = forger.attacked()
        forger.results[bad["attack"]]["realised"] = forger.results[good["attack"]]["realised"]

    assert "replicates" in failed(forged(bundle, tmp_path, copied))


def attacks(forger: Forger) -> list[Any]:
    return [forger.results[cell["attack"]] for cell in forger.attacked()]


def fewer_steps(forger: Forger) -> None:
    for result in attacks(forger):
        result["spend"]["steps"] //= 2


def fewer_flops(forger: Forger) -> None:
    for result in attacks(forger):
        result["spend"]["flops"] /= 4


def fewer_tokens(forger: Forger) -> None:
    for result in attacks(forger):
        result["spend"]["flops"] /= 4
        result["spend"]["tokens"] //= 4


def cheaper(forger: Forger) -> None:
    """As cheap as the tokens with loss allow."""
    for result in attacks(forger):
        result["spend"]["flops"] /= 2
        result["spend"]["tokens"] //= 2


def higher_rate(forger: Forger) -> None:
    for result in attacks(forger):
        result["realised"][0]["lr"][3] = 2e-4


def more_steps(forger: Forger) -> None:
    for result in attacks(forger):
        result["spend"]["steps"] += 10
        for key in ("lr", "loss", "loss_tokens", "grad_norm"):
            result["realised"][0][key] += result["realised"][0][key][:10]
        result["realised"][0]["steps"] += 10


def other_trainer(forger: Forger) -> None:
    for result in attacks(forger):
        result["realised"][0]["backend"] = "mine"


def more_rows(forger: Forger) -> None:
    for result in attacks(forger):
        result["realised"][0]["rows"] = 11


@pytest.mark.parametrize(
    ("edit", "check"),
    [
        (other_trainer, "training"),
        (more_rows, "training"),
        (fewer_steps, "training"),
        (fewer_flops, "FLOPs"),
        (fewer_tokens, "training"),
        (cheaper, "FLOPs"),
        (higher_rate, "training"),
        (more_steps, "spend"),
    ],
)
def test_spend_that_does_not_fit_is_noticed(
    edit: Edit, check: str, bare: Path, tmp_path: Path
) -> None:
    assert check in failed(forged(bare, tmp_path, edit))


# attempts and times


def twice(forger: Forger) -> None:
    forger.attempts.append(dict(forger.attempts[-1]))


def never(forger: Forger) -> None:
    forger.attempts.pop()


def too_early(forger: Forger) -> None:
    forger.attempts[-1]["started"] -= 1e6


def otherwise(forger: Forger) -> None:
    forger.attempts[-1]["status"] = "error"


@pytest.mark.parametrize("edit", [twice, never, too_early, otherwise])
def test_attempts_that_do_not_fit_results_are_noticed(
    edit: Edit, bare: Path, tmp_path: Path
) -> None:
    assert "attempts" in failed(forged(bare, tmp_path, edit))


def test_a_verdict_as_of_another_day_is_noticed(bare: Path, tmp_path: Path) -> None:
    def earlier(forger: Forger) -> None:
        forger.manifest["as_of"] = "2020-01-01"

    assert failed(forged(bare, tmp_path, earlier)) == {"plan id"}


# verdicts


def test_a_verdict_that_was_edited_is_noticed_and_not_taken_over(tmp_path: Path) -> None:
    bundle = bundled(tmp_path, made_run(tmp_path, says=breaks))

    def edited(forger: Forger) -> None:
        forger.verdict["claims"][0] |= {"verdict": "SUPPORTED", "passed": True, "witness": None}

    found = forged(bundle, tmp_path, edited, decided=False)
    assert failed(found) == {"verdicts"}
    assert found.verdict is not None
    assert found.verdict.claims[0].verdict is Verdict.REFUTED
    assert "claims.holds.verdict is recorded as SUPPORTED, but is REFUTED" in found.failed[0].says


@pytest.mark.parametrize(
    ("until", "late"),
    [("2030-01-01", "the evidence expired on 2030-01-01"), ("2040-01-01", "")],
)
def test_expired_evidence_keeps_its_verdict_and_says_so(
    until: str, late: str, tmp_path: Path
) -> None:
    changes = {**SUPPORTED, "governance": {"owner": "us", "expires": until}}
    bundle = bundled(tmp_path, made_run(tmp_path, changes))
    found = verified(bundle, today=datetime.date(2035, 1, 1))
    assert found.expired == ({"holds": late} if late else {})
    assert found.exit_code() is ExitCode.OK


def test_expired_is_printed_beside_the_verdict_that_it_had(tmp_path: Path) -> None:
    """A campaign of ten days ago, on evidence that expired five days ago."""
    today = datetime.datetime.now(datetime.UTC).date()
    until = today - datetime.timedelta(days=5)
    changes = {**SUPPORTED, "governance": {"owner": "us", "expires": until.isoformat()}}
    forger = Forger(bundled(tmp_path, made_run(tmp_path, changes)))
    past = 10 * 86_400
    for entry, keys in (
        *((event, ("at",)) for event in forger.events),
        *((attempt, ("started", "ended")) for attempt in forger.attempts),
        (forger.registration, ("frozen_at", "first_row_at")),
    ):
        for key in keys:
            entry[key] -= past
    finished = datetime.datetime.fromtimestamp(forger.events[-1]["at"], datetime.UTC)
    forger.manifest["as_of"] = finished.date().isoformat()
    done = CliRunner().invoke(cli, ["verify", str(forger.write(tmp_path / "old.tsb"))])
    assert done.exit_code == 0, done.output
    assert f"SUPPORTED     holds (EXPIRED: the evidence expired on {until})" in done.output


def test_an_expired_waiver_is_said_beside_the_verdict_that_it_carries(tmp_path: Path) -> None:
    scope = {k: v for k, v in SUPPORTED["claims.0.scope"].items() if k != "data"}
    waiver = {"rule": "TS-R3c", "owner": "us", "reason": "later", "expires": "2030-01-01"}
    changes = {**SUPPORTED, "claims.0.scope": scope, "claims.0.waivers": [waiver]}
    bundle = bundled(tmp_path, made_run(tmp_path, changes))
    found = verified(bundle, today=datetime.date(2035, 1, 1))
    assert found.expired == {"holds": "the waiver of TS-R3c by us expired on 2030-01-01"}
    assert found.exit_code() is ExitCode.INCONCLUSIVE
    assert found.exit_code(accept_waivers=True) is ExitCode.OK


# receipts


@pytest.mark.parametrize("form", ["hex", "raw"])
def test_a_receipt_that_names_the_plan_covers_it(form: str, bare: Path) -> None:
    digest = verified(bare).plan_sha256
    data = f"tag plan\n\nsha256 {digest}\n".encode() if form == "hex" else bytes.fromhex(digest)
    found = verified(bare, receipts={"tag": b"...." + data})
    [check] = [check for check in found.checks if check.name == "receipt tag"]
    assert check.status is Status.PASS
    assert "signature was not checked" in check.says


def test_a_receipt_that_is_given_does_not_take_the_place_of_one_in_the_bundle(
    tmp_path: Path,
) -> None:
    run, receipt = made_run(tmp_path), tmp_path / "plan.tag"
    receipt.write_bytes(b"something else")
    bundle = bundled(tmp_path, run, receipts=[receipt])
    found = verified(bundle, receipts={"plan.tag": verified(bundle).plan_sha256.encode()})
    assert [check.status.value for check in found.checks if check.name == "receipt plan.tag"] == [
        "FAIL",
        "PASS",
    ]


def test_a_receipt_in_the_bundle_that_covers_something_else_fails(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    receipt = tmp_path / "other.tsr"
    receipt.write_bytes(hashlib.sha256(b"another plan").digest())
    found = verified(bundled(tmp_path, run, receipts=[receipt]))
    assert failed(found) == {"receipt other.tsr"}


# labels

LABELLED = {
    **SUPPORTED,
    "measures.complies": {"benchmark": "specimen/restricted", "judge": "refusal-keywords"},
    "claims.0.holds": "complies <= 0.10",
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A claim by a judge that errs, of which people looked at replies of every kind."""
    folder = tmp_path_factory.mktemp("labelled")
    run = made_run(folder, LABELLED)
    with Ledger.open(run) as ledger:
        plan, marks = ledger.plan, ledger.marks()
    drawn = [
        (pair, stratum.judged)
        for stratum, pairs in strata(plan, marks).items()
        for pair in (pairs[:400] if stratum.measure == "complies" else ())
    ]
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=5)
    labels = (_label(pair, said, at, n) for n, (pair, said) in enumerate(drawn))
    LabelBook.open(run, plan).add(*labels)
    return bundled(folder, run)


def _label(pair: tuple[str, str], said: Outcome, at: datetime.datetime, n: int) -> Label:
    """Somebody agrees with the judge."""
    when = (at + datetime.timedelta(seconds=n)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Label(trial=pair[0], item=pair[1], label=said, labeller="anna", at=when)


def test_labels_are_counted_as_they_were(labelled: Path) -> None:
    found = verified(labelled)
    assert found.failed == ()
    assert statuses(found)["labels"] == "PASS"
    assert found.verdict is not None
    assert found.verdict.claims[0].verdict is Verdict.SUPPORTED


def test_labels_that_were_changed_give_another_verdict(labelled: Path, tmp_path: Path) -> None:
    def changed(forger: Forger) -> None:
        for label in forger.labels[1:60]:
            label["label"] = "yes"

    assert failed(forged(labelled, tmp_path, changed, decided=False)) == {"verdicts"}


def test_labels_out_of_the_order_in_which_they_were_drawn_are_not_counted(
    labelled: Path, tmp_path: Path
) -> None:
    def chosen(forger: Forger) -> None:
        """The first reply that was drawn is not among those that are labelled."""
        del forger.labels[1]

    found = forged(labelled, tmp_path, chosen)
    [says] = [check.says for check in found.checks if check.name == "labels"]
    assert "399 are out of the order" in says
    assert found.verdict is not None
    assert found.verdict.claims[0].verdict is not Verdict.SUPPORTED


def unknown_prompt(forger: Forger) -> None:
    forger.labels[1]["item"] = "restricted/nowhere/000"


def older_than_the_reply(forger: Forger) -> None:
    forger.labels[1]["at"] = "2020-01-01T00:00:00Z"


def back_in_time(forger: Forger) -> None:
    forger.labels[5]["at"], forger.labels[9]["at"] = (forger.labels[n]["at"] for n in (9, 5))


@pytest.mark.parametrize("edit", [unknown_prompt, older_than_the_reply, back_in_time])
def test_labels_that_cannot_be_are_noticed(edit: Edit, labelled: Path, tmp_path: Path) -> None:
    assert "labels" in failed(forged(labelled, tmp_path, edit))


def test_who_labelled_is_not_handed_on(labelled: Path) -> None:
    labels = Forger(labelled).labels[1:]
    assert {label["labeller"] for label in labels} == {"labeller-1"}


# what cannot be noticed


def test_a_campaign_that_was_invented_as_a_whole_passes_and_is_said_to_be_possible(
    bare: Path, tmp_path: Path
) -> None:
    """Nothing here was ever run. Rows, hashes, spend and registration fit each other."""

    def invented(forger: Forger) -> None:
        threshold(forger)
        forger.registration["frozen_at"] -= 86_400
        forger.events[0]["at"] -= 86_400
        for trial, marks in forger.marks.items():
            if forger.plan["trials"][trial]["work"]["benchmark"] == "specimen/restricted":
                forger.marks[trial] = "n" * len(marks)
        for line in forger.replies.values():
            if line["items"][0].startswith("restricted"):
                line["replies"] = [hashlib.sha256(i.encode()).hexdigest() for i in line["items"]]
                counts = forger.results[line["trial"]]["replies"]
                counts |= {"distinct": len(line["items"])}

    found = forged(bare, tmp_path, invented)
    assert found.failed == ()
    [says] = [check.says for check in found.checks if check.name == "invented records"]
    assert "invented together" in says


def test_runs_that_were_not_handed_over_leave_no_trace(tmp_path: Path) -> None:
    """A counter beside the results folder is all there is; whoever moves away starts at one."""
    made_run(tmp_path / "first", says=breaks)
    found = verified(bundled(tmp_path, made_run(tmp_path / "second")))
    assert found.failed == ()
    [says] = [check.says for check in found.checks if check.name == "other runs"]
    assert "knows no other place" in says


def test_the_counter_knows_runs_in_the_same_place(tmp_path: Path) -> None:
    (made_run(tmp_path, says=breaks)).rename(tmp_path / "unwanted")
    found = verified(bundled(tmp_path, made_run(tmp_path)))
    [says] = [check.says for check in found.checks if check.name == "other runs"]
    assert "run 2" in says


# torn plans


def test_a_spec_that_asks_for_very_much_is_not_compiled(bare: Path, tmp_path: Path) -> None:
    def greedy(forger: Forger) -> None:
        forger.plan["spec"]["claims"][0]["seeds"]["replicates"] = 1000
        forger.claim["claim"]["seeds"]["replicates"] = 1000

    found = forged(bare, tmp_path, greedy)
    assert "cells" in failed(found)
    assert statuses(found)["compiled again"] == "CANNOT KNOW"


def test_models_and_files_that_a_spec_names_are_not_looked_for(bare: Path, tmp_path: Path) -> None:
    """Whoever verifies a stranger's bundle reads none of his own files for it."""

    def strange(forger: Forger) -> None:
        text = json.dumps(forger.plan).replace("specimen:undefended", "path:/etc")
        forger.plan = json.loads(text)
        forger.rename_cells()

    found = forged(bare, tmp_path, strange)
    [check] = [check for check in found.checks if check.name == "compiled again"]
    assert check.status is Status.UNKNOWN
    assert "path:/etc is not part of this program" in check.says
