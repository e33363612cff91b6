"""Mutations and requests in turns: tampers, what check refuses, small campaigns with rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.hosted_server import serving
from tests.support.specs import load, plan_of, problems_of, write_benchmark
from threatspec import api
from threatspec.attacks import ATTACKS as KINDS
from threatspec.attacks.multi_turn import TurnsTamper
from threatspec.attacks.mutation import CipherTamper, MutationConfig, RewriteTamper
from threatspec.attacks.mutations import CIPHERS, STYLES
from threatspec.measures import benchmark
from threatspec.records import Generation, Ledger, Outcome, Row, TrialKind
from threatspec.schema import Capability, Serving
from threatspec.subjects import Request, tampers_from_data, tampers_to_data
from threatspec.subjects._endpoint import EndpointSubject

ATTACKS = "adversaries.tuner.attacks"
OWNS = "adversaries.tuner.owns"
ASKED = Request("a", "Open the Box")
CHAT = "POST /chat/completions"


def coded(style: str, **more: Any) -> CipherTamper:
    return CipherTamper(**{"style": style, "frame": False, "compat": False,
                           "replies": "either", **more})  # fmt: skip


def rows(folder: Path, *lines: dict[str, Any]) -> str:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    return "rows:rows.jsonl"


def opened(tamper: Any, folder: Path) -> Any:
    [found] = tampers_from_data(tampers_to_data((tamper,)))  # as another process has it
    return found.opened(lambda name: {}, folder)


# ciphers


@pytest.mark.parametrize("style", CIPHERS)
def test_a_prompt_is_encoded_and_a_reply_in_the_code_is_decoded(style: str) -> None:
    tamper = coded(style)
    assert CIPHERS[style].decode(tamper.encode(ASKED).prompt).lower() == "open the box"
    assert tamper.decode(CIPHERS[style].encode("It is open")).lower().startswith("it is open")


@pytest.mark.parametrize("style", CIPHERS)
def test_the_first_of_several_turns_is_framed(style: str) -> None:
    found = coded(style, frame=True).encode(Request("a", "last", turns=("first", "second")))
    code = CIPHERS[style].encode
    assert found.prompt == code("last")
    assert found.turns[0].endswith(code("first"))
    assert found.turns[0] != code("first")
    assert found.turns[1] == code("second")


def test_a_reply_in_plain_words_is_judged_as_it_is() -> None:
    plain = "I will not do that."
    assert coded("ascii").decode(plain) == plain
    assert coded("morse").decode(plain) == plain
    for style in ("caesar", "atbash"):  # nobody sees it, so that the judge reads both
        decoded, _, below = coded(style).decode(plain).partition("\n\n")
        assert below == plain
        assert decoded == CIPHERS[style].decode(plain)
        assert coded(style).decode("123") == "123"


def test_where_only_the_code_counts_plain_replies_are_unscorable() -> None:
    assert coded("ascii", replies="code").decode_all(["72 105", "plain", ""]) == ["Hi", None, ""]
    assert coded("caesar", replies="code").decode_all(["abc"]) == ["xyz"]


def test_the_known_defect_is_for_atbash_alone() -> None:
    assert coded("atbash", compat=True).encode(ASKED).prompt[0] == chr(219 - ord("O"))
    with pytest.raises(ValueError, match="cipherchat_compat is for atbash"):
        MutationConfig(style="caesar", cipherchat_compat=True)


def test_every_style_can_be_written() -> None:
    assert [MutationConfig.model_validate({"style": name}).style for name in STYLES] == [*STYLES]


# rewriters


def test_rows_rewrite_and_what_they_lack_is_a_missing_row(tmp_path: Path) -> None:
    ref = rows(tmp_path, {"id": "a", "style": "slang", "prompt": "pop the box"})
    tamper = opened(RewriteTamper(style="slang", rewriter=ref), tmp_path)
    gone = Request("c", "x", lacking="gone before")
    found = tamper.encode_all([ASKED, Request("b", "x"), gone])
    assert [one.prompt for one in found] == ["pop the box", "x", "x"]
    assert [one.lacking for one in found] == ["", "no row of slang for b", "gone before"]
    assert tamper.decode_all(["as it is"]) == ["as it is"]


def test_replies_are_translated_back_and_failures_are_unscorable(tmp_path: Path) -> None:
    ref = rows(tmp_path, {"id": "a", "style": "translate-fr", "prompt": "Ouvre"})
    with serving(tmp_path) as server:
        one = RewriteTamper(style="translate-fr", rewriter=ref, back=server.ref)
        tamper = opened(one, tmp_path)
        texts = ("It is open", "", "déjà")
        answers = [json.dumps({"choices": [{"message": {"content": text}}]}) for text in texts]
        assert tamper.encode(ASKED).prompt == "Ouvre"
        for reply, answer, wanted in zip(
            ("C'est ouvert", "rien", "déjà"), answers, ("It is open", None, None), strict=True
        ):
            server.trouble(CHAT, answer)
            assert tamper.decode_all([reply]) == [wanted]
        assert tamper.decode_all([""]) == [""]


def test_a_prompt_is_taken_apart_by_a_model(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        tamper = opened(TurnsTamper(turns=3, rewriter=server.ref), tmp_path)
        for said, wanted in (
            ("1. Which box?\n\n2) How is it opened?", ("Which box?", "How is it opened?")),
            ("one alone", None),
            ("a\nb\nc\nd", None),
            ("", None),
        ):
            answer = json.dumps({"choices": [{"message": {"content": said}}]})
            server.trouble(CHAT, answer)
            found = tamper.encode(Request("a", f"Open the box {said!r}"))
            assert bool(found.lacking) == (wanted is None)
            if wanted:
                assert (*found.turns, found.prompt) == wanted


def test_a_prompt_is_taken_apart_by_rows(tmp_path: Path) -> None:
    ref = rows(tmp_path, {"id": "a", "style": "multi-turn", "turns": ["one", "two", "three"]})
    tamper = opened(TurnsTamper(turns=3, rewriter=ref), tmp_path)
    found = tamper.encode(Request("a", "x", turns=("before",)))
    assert (*found.turns, found.prompt) == ("before", "one", "two", "three")
    short = opened(TurnsTamper(turns=2, rewriter=ref), tmp_path)
    assert "2 to 2 turns" in short.encode(ASKED).lacking


# what check says


@pytest.mark.parametrize(
    ("entry", "owns", "code"),
    [
        ({"use": "mutation", "style": "slang"}, {}, "TS-REWRITER"),
        ("multi-turn", {}, "TS-REWRITER"),
        ({"use": "mutation", "style": "slang"}, {"rewriter": "rows:no.jsonl"}, "TS-FILE-MISSING"),
        ({"use": "mutation", "style": "slang"}, {"rewriter": "nobody"}, "TS-REWRITER"),
        ({"use": "mutation", "style": "question"}, {"rewriter": "rows:rows.jsonl"}, "TS-REWRITER"),
        ({"use": "mutation", "style": "translate-fr"}, {"rewriter": "rows:rows.jsonl"},
         "TS-REWRITER"),
        ({"chain": [{"use": "mutation", "style": "slang"}, {"use": "prefill", "k": 1}]}, {},
         "TS-REWRITER"),
    ],
)  # fmt: skip
def test_what_cannot_be_rewritten_is_refused_by_check(
    tmp_path: Path, entry: Any, owns: dict[str, str], code: str
) -> None:
    rows(tmp_path, {"id": "a", "style": "slang", "prompt": "x"},
         {"id": "a", "style": "translate-fr", "prompt": "y"})  # fmt: skip
    [problem] = problems_of(tmp_path, {ATTACKS: [entry], OWNS: owns}, static=True)
    assert problem.code == code


def test_the_rows_are_part_of_what_a_trial_is(tmp_path: Path) -> None:
    def trials(text: str, style: str = "slang") -> set[str]:
        ref = rows(tmp_path, {"id": "a", "style": "slang", "prompt": text})
        changes = {ATTACKS: [{"use": "mutation", "style": style}], OWNS: {"rewriter": ref}}
        plan = plan_of(tmp_path, changes)
        return {trial.id for trial in plan.trials.values() if trial.kind == "attack"}

    assert trials("one") == trials("one")
    assert not trials("one") & trials("two")


def test_a_rewriter_behind_an_endpoint_is_planned_without_being_asked(tmp_path: Path) -> None:
    owns = {"rewriter": "endpoint:http://127.0.0.1:1/v1#writer"}
    names = ["multi-turn", {"use": "mutation", "style": "translate-fr"}]
    chain = {"chain": [{"use": "mutation", "style": "slang"}, {"use": "prefill", "k": 1}]}
    plan = plan_of(tmp_path, {ATTACKS: [*names, chain], OWNS: owns})
    text = json.dumps([p.config for p in plan.procedures.values()])
    assert text.count(owns["rewriter"]) == 3


def test_both_ask_nothing_but_prompts() -> None:
    for kind in ("mutation", "multi-turn"):
        assert KINDS.get(kind).needs == (frozenset({Capability.CHAT}),)


def test_every_turn_is_asked_here_and_behind_an_interface(tmp_path: Path) -> None:
    request = Request("a", "last", turns=("first",))
    with serving(tmp_path) as server:
        hosted = EndpointSubject.load(server.ref)
        [there] = hosted.ask([request], [Serving()], micro_batch=1)
        [here] = server.subject.ask([request], [Serving()], micro_batch=1)
        assert there.reply == here.reply
        assert there.prompt.splitlines()[0] == "user: first"
        lacking = Request("b", "x", lacking="gone")
        [found] = hosted.ask([lacking], [Serving()], micro_batch=1)
        assert (found.outcome, found.detail) == (Outcome.MISSING, "gone")


# campaigns


def run(
    folder: Path, entry: Any, owns: dict[str, str]
) -> tuple[dict[str, Row], dict[str, Generation]]:
    """Rows and replies of the attacked subject by item, of a run of few prompts.

    Prompts are words that mean nothing to the specimen, and the right answer is that to a benign
    prompt: only who rewrites them gets it.
    """
    known = benchmark("specimen/benign", Path()).items("test")[:3]
    items = [{"id": str(i), "prompt": f"say {i}", "split": "test", "references": one.references}
             for i, one in enumerate(known)]  # fmt: skip
    write_benchmark(folder, items)
    changes = {
        ATTACKS: [entry], OWNS: owns, "measures": {
            "asr": {"benchmark": "file:items.jsonl", "judge": "exact"}},
        "subject": {"model": "specimen:undefended", "control": "specimen:undefended"},
        "claims.0.expect": "INADMISSIBLE", "claims.0.holds": "asr <= 0.1",
    }  # fmt: skip
    outcome = api.run(load(folder, changes), out=folder / "out")
    plan = outcome.evidence.plan
    made = {one.id for one in plan.trials.values() if one.kind is TrialKind.ATTACK}
    asked = {one.id for one in plan.trials.values() if made & {*one.needs}}
    judged = [one.id for one in plan.trials.values() if asked & {*one.needs}]
    with Ledger.open(outcome.folder) as ledger:
        found = {row.item: row for one in judged for row in ledger.rows(one)}
        return found, {g.item: g for one in asked for g in ledger.generations(one)}


@pytest.mark.campaign
def test_a_campaign_with_rows_asks_them_and_misses_what_they_lack(tmp_path: Path) -> None:
    known = benchmark("specimen/benign", Path()).items("test")[:2]
    ref = rows(tmp_path, *({"id": str(i), "style": "slang", "prompt": one.prompt}
                           for i, one in enumerate(known)))  # fmt: skip
    found, said = run(tmp_path, {"use": "mutation", "style": "slang"}, {"rewriter": ref})
    assert {item: row.outcome for item, row in found.items()} == {
        "0": Outcome.YES, "1": Outcome.YES, "2": Outcome.MISSING,
    }  # fmt: skip
    assert said["2"].detail == "no row of slang for 2"


@pytest.mark.campaign
def test_a_campaign_with_a_cipher_asks_in_it(tmp_path: Path) -> None:
    found, said = run(tmp_path, {"use": "mutation", "style": "caesar", "frame": False}, {})
    assert {row.outcome for row in found.values()} == {Outcome.NO}
    assert all("vdb" in one.prompt for one in said.values())
