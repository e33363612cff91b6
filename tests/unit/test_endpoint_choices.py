"""How probable given choices are at a server that echoes bare text with log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hosted_server import HostedServer, serving
from tests.support.specs import load, problems_of, write_benchmark
from threatspec import api
from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import Generation, Ledger, Outcome, TrialStatus
from threatspec.runners import LocalProfile
from threatspec.schema import Serving
from threatspec.subjects import Request
from threatspec.subjects._api import EndpointError
from threatspec.subjects._endpoint import EndpointSubject
from threatspec.subjects._endpoint_bare import Unscored, summed
from threatspec.subjects._resident import ResidentSubject

BARE = Serving(template="none", max_tokens=6)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedServer]:
    with serving(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(scope="module")
def there(server: HostedServer) -> EndpointSubject:
    return EndpointSubject.load(f"{server.ref}?logprobs=yes", sleep=lambda _: None)


@pytest.fixture(scope="module")
def here() -> ResidentSubject:
    return ResidentSubject.load("specimen:shallow", threads=1)


def questions(count: int, **fields: Any) -> list[Request]:
    items = benchmark("specimen/choices", Path()).items("test")[:count]
    return [Request(i.id, i.prompt, choices=i.choices, **fields) for i in items]


@pytest.mark.parametrize("system", [None, "be kind"])
@pytest.mark.parametrize("turns", [(), ("tell me", "please")])
def test_choices_are_as_probable_there_as_here(
    there: EndpointSubject, here: ResidentSubject, system: str | None, turns: tuple[str, ...]
) -> None:
    asked = questions(6, turns=turns)
    how = Serving(template="none", max_tokens=6, system=system)
    found = there.ask(asked, [how], micro_batch=3, query="logprob")
    own = here.ask(asked, [how], micro_batch=3, query="logprob")
    assert [one.reply for one in found] == [one.reply for one in own]
    assert [one.prompt for one in found] == [one.prompt for one in own]
    for one, other in zip(found, own, strict=True):
        assert len(set(one.scores)) == len(one.scores) == 4
        assert one.scores == pytest.approx(other.scores, abs=1e-4)


def test_bare_text_goes_on_there_as_here(there: EndpointSubject, here: ResidentSubject) -> None:
    asked = questions(6)
    found = there.ask(asked, [BARE], micro_batch=3)
    assert [one.reply for one in found] == [
        one.reply for one in here.ask(asked, [BARE], micro_batch=3)
    ]
    assert len({one.reply for one in found}) > 1


def test_what_does_not_fit_the_context_is_a_missing_row(there: EndpointSubject) -> None:
    [found] = there.ask(
        [Request("a", "how " * 200, choices=("to", "do"))], [BARE], micro_batch=1, query="logprob"
    )
    assert found.outcome is Outcome.MISSING
    assert "context" in found.detail


def asked(server: HostedServer, options: str, how: Serving, query: Any) -> list[Generation]:
    subject = EndpointSubject.load(server.ref + options, sleep=lambda _: None)
    return subject.ask(questions(1), [how], micro_batch=1, query=query)


@pytest.mark.parametrize(
    ("options", "how", "query", "remedy"),
    [
        ("", BARE, "logprob", "add logprobs=yes"),
        ("", BARE, "generate", "add logprobs=yes"),
        ("", Serving(), "logprob", "add logprobs=yes"),
        ("?logprobs=yes", Serving(), "logprob", "ask with `template: none`"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_remedy_and_nothing_is_sent(
    server: HostedServer, options: str, how: Serving, query: str, remedy: str
) -> None:
    before = len(server.calls)
    with pytest.raises(EndpointError, match=remedy) as caught:
        asked(server, options, how, query)
    assert caught.value.code == "TS-ENDPOINT"
    assert len(server.calls) == before


def test_a_server_that_tells_none_is_an_error_with_a_remedy(server: HostedServer) -> None:
    server.tells_logprobs = False
    try:
        with pytest.raises(EndpointError, match=r"has not.*vllm serve.*query: generate"):
            asked(server, "?logprobs=yes", BARE, "logprob")
    finally:
        server.tells_logprobs = True
    server.trouble("POST /completions", 404)
    with pytest.raises(EndpointError, match=r"404.*vllm serve.*query: generate"):
        asked(server, "?logprobs=yes", BARE, "logprob")


def test_a_query_without_choices_is_refused(there: EndpointSubject) -> None:
    with pytest.raises(ThreatspecError, match="must have choices") as caught:
        there.ask([Request("a", "how")], [BARE], micro_batch=1, query="logprob")
    assert caught.value.code == "TS-JUDGE"


# how an echo is read


def an_echo(*tokens: str, chances: list[Any] | None = None, text: str | None = None) -> Any:
    offsets = [len("".join(tokens[:n])) for n in range(len(tokens))]
    told = {
        "tokens": list(tokens),
        "token_logprobs": chances or [None, *(-float(2**n) for n in range(1, len(tokens)))],
        "text_offset": offsets,
    }
    sent = "".join(t for t in tokens if t != "<s>") if text is None else text
    return {"choices": [{"text": sent, "logprobs": told}]}


@pytest.mark.parametrize(
    ("tokens", "total"),
    [
        (("on", "e", " tw", "o"), -4.0 - 8.0),
        (("one", " two"), -2.0),
        (("one", " ", "two"), -2.0 - 4.0),
        (("<s>", "one", " two"), -4.0),
        (("<s>", "o", "ne", " t", "wo"), -8.0 - 16.0),
    ],
)
def test_tokens_of_the_words_are_summed_and_no_others(tokens: Any, total: float) -> None:
    assert summed(an_echo(*tokens), "one", " two") == total


@pytest.mark.parametrize("tokens", [("one two",), ("on", "e tw", "o")])
def test_a_token_of_both_is_no_chance_of_the_words(tokens: Any) -> None:
    with pytest.raises(Unscored, match="spans"):
        summed(an_echo(*tokens), "one", " two")


def test_words_without_tokens_have_no_chance() -> None:
    with pytest.raises(Unscored, match="no tokens"):
        summed(an_echo("one", " "), "one", " ")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"choices": []}, "must have a choice"),
        ({"choices": [{"text": "one two"}]}, "has not"),
        ({"choices": [{"text": "one two", "logprobs": {"tokens": ["one", " two"]}}]}, "has not"),
        (an_echo("one", " two", " three"), "nothing more"),
        (an_echo("one", " two", text=" three"), "nothing more"),
        (an_echo("bytes:a", "one", "bytes:b", " two", text="one two"), "offsets"),
        (an_echo("one", " two", chances=[None, None]), "must be numbers"),
        (an_echo("one", " two", chances=[None, "-1"]), "must be numbers"),
        (an_echo("one", " two", chances=[None, float("nan")]), "must be numbers"),
    ],
)
def test_an_answer_that_is_no_such_echo_is_an_error(answer: Any, why: str) -> None:
    with pytest.raises(EndpointError, match=why):
        summed(answer, "one", " two")


# in a claims file


def changes(folder: Path, server: HostedServer, options: str) -> dict[str, Any]:
    """The same weights twice: behind the server as the subject, loaded here as the control."""
    items = benchmark("specimen/choices", Path()).items("test")[:12]
    write_benchmark(folder, [item.model_dump(exclude={"slices", "label"}) for item in items])
    return {
        "subject": {"model": server.ref + options, "control": "specimen:shallow"},
        "measures": {
            "knows": {"benchmark": "file:items.jsonl", "judge": "choice", "query": "logprob"}
        },
        "serving": {"template": "none", "max_tokens": 6},
        "adversaries.tuner.attacks": [
            {"use": "serving-exploit", "templates": ["none"], "systems": [None, "be kind"]}
        ],
        "claims.0.holds": "knows <= 0.4",
    }


def test_check_says_which_endpoint_tells_none(tmp_path: Path, server: HostedServer) -> None:
    problems = problems_of(tmp_path, changes(tmp_path, server, ""), static=True)
    [told] = [problem for problem in problems if "log-probabilities" in problem.message]
    assert told.code == "TS-ACCESS"


@pytest.mark.campaign
def test_a_campaign_by_log_probability_reads_the_same_there_and_here(
    tmp_path: Path, server: HostedServer
) -> None:
    loaded = load(tmp_path, changes(tmp_path, server, "?logprobs=yes"))
    api.run(loaded.path, out=tmp_path / "run", runner=LocalProfile(workers=1))
    ledger = Ledger.open(tmp_path / "run")
    assert {one.status for one in ledger.results().values()} == {TrialStatus.DONE}
    rows: dict[str, dict[str, list[tuple[Any, ...]]]] = {}
    for cell in ledger.plan.cells.values():
        read = [row for trial in cell.measures["knows"] for row in ledger.rows(trial)]
        where = "there" if cell.subject.startswith("endpoint:") else "here"
        rows.setdefault(cell.procedure, {})[where] = [(r.item, r.outcome, r.asked) for r in read]
    assert len(rows) == 2
    for found in rows.values():
        assert found["there"] == found["here"]
        assert len(found["there"]) == 12
