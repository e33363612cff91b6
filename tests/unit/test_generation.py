"""What a subject says: the same in any company, drawn by numbers of its own, turn by turn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
from threatspec.records import Generation, Outcome
from threatspec.schema import Serving
from threatspec.subjects import Request
from threatspec.subjects._resident import ResidentSubject
from threatspec.subjects._sampling import draw, uniforms

SAMPLED = Serving(decoding="sample", temperature=1.5, samples=3, max_tokens=8)
GREEDY = Serving(max_tokens=8)


@pytest.fixture(scope="module")
def subject() -> ResidentSubject:
    return ResidentSubject.load("specimen:shallow")


def requests(count: int) -> list[Request]:
    items = [*benchmark("specimen/restricted", Path()).items("test")[:count],
             *benchmark("specimen/benign", Path()).items("test")[:count]]  # fmt: skip
    return [Request(item.id, item.prompt * (1 + n % 3)) for n, item in enumerate(items)]


def by_row(found: list[Generation]) -> dict[tuple[str, str], str]:
    return {(one.item, one.variant): one.reply for one in found}


@pytest.mark.parametrize("serving", [GREEDY, SAMPLED, Serving(template="none", max_tokens=8)])
def test_a_reply_does_not_depend_on_its_company(subject: ResidentSubject, serving: Serving) -> None:
    asked = requests(9)
    together = subject.ask(asked, [serving], micro_batch=64, seed=5)
    alone = [one for r in asked for one in subject.ask([r], [serving], micro_batch=1, seed=5)]
    backwards = subject.ask(asked[::-1], [serving], micro_batch=7, seed=5)
    assert by_row(together) == by_row(alone) == by_row(backwards)
    assert len(together) == len(asked) * serving.samples


def test_greedy_replies_are_those_of_transformers(subject: ResidentSubject) -> None:
    asked = requests(4)
    ours = subject.generate(asked, GREEDY, micro_batch=8)
    for request, found in zip(asked, ours, strict=True):
        ids = torch.tensor([subject.render(request, GREEDY)[0]])
        out = subject.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False,
            eos_token_id=subject.end, pad_token_id=subject.pad,
        )  # fmt: skip
        assert found.reply == subject.text(out[0, ids.shape[1] :].tolist())


def test_a_prompt_is_read_once_for_all_its_decodings(subject: ResidentSubject) -> None:
    """Rows of token ids that go through the model before anything is written."""
    asked = requests(3)
    ways = [GREEDY, *(SAMPLED.model_copy(update={"temperature": t}) for t in (0.5, 1.0, 2.0))]
    read: list[tuple[int, int]] = []

    def note(_: Any, args: Any, given: dict[str, Any]) -> None:
        read.append(tuple(given["input_ids"].shape))

    seen = subject.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        found = subject.ask(asked, ways, micro_batch=1000)
    finally:
        seen.remove()
    assert len(found) == len(asked) * (1 + 3 * SAMPLED.samples)
    [longest] = {n for n, (_, width) in enumerate(read) if width > 1 and read[n][0] > 1}
    assert read[longest][0] == len({tuple(subject.render(r, GREEDY)[0]) for r in asked})
    assert all(rows == 1 for rows, _ in read[:longest])  # what they have in common


def test_samples_depend_on_the_seed_and_on_their_number(subject: ResidentSubject) -> None:
    asked = requests(6)
    first, again, other = (
        by_row(subject.ask(asked, [SAMPLED], micro_batch=64, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert {variant for _, variant in first} == {"#1", "#2", "#3"}
    assert len(set(first.values())) > len(asked)


def test_nearly_no_temperature_is_greedy(subject: ResidentSubject) -> None:
    asked = requests(6)
    cold = Serving(decoding="sample", temperature=1e-3, max_tokens=8)
    assert by_row(subject.ask(asked, [cold], micro_batch=64)) == by_row(
        subject.ask(asked, [GREEDY], micro_batch=64)
    )


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, {0, 1, 2, 3}),
        ({"top_k": 2}, {0, 1}),
        ({"top_p": 0.5}, {0}),
        ({"top_p": 0.75}, {0, 1}),
        ({"top_k": 3, "top_p": 0.75}, {0, 1}),
    ],
)
def test_what_may_be_drawn(settings: dict[str, Any], kept: set[int]) -> None:
    """Probabilities .5 .25 .15 .1; of three, .556 .278 .167."""
    logits = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log().expand(4000, -1)
    numbers = torch.from_numpy(uniforms(("a",), 4000))
    drawn = draw(logits, Serving(decoding="sample", **settings), numbers)
    counts = Counter(drawn.tolist())
    assert set(counts) == kept
    whole = sum((0.5, 0.25, 0.15, 0.1)[token] for token in kept)
    for token in kept:
        share = (0.5, 0.25, 0.15, 0.1)[token] / whole
        assert abs(counts[token] / 4000 - share) < 0.04


def test_a_choice_is_scored_as_the_sum_over_its_tokens(subject: ResidentSubject) -> None:
    items = benchmark("specimen/choices", Path()).items("test")[:5]
    asked = [Request(i.id, i.prompt, choices=i.choices) for i in items]
    found = subject.ask(asked, [GREEDY], micro_batch=16, query="logprob")
    for request, one in zip(asked, found, strict=True):
        ids = subject.render(request, GREEDY)[0]
        for choice, score in zip(request.choices, one.scores, strict=True):
            own = subject.tokens(choice)
            with torch.inference_mode():
                logits = subject.model(torch.tensor([[*ids, *own]])).logits[0].log_softmax(-1)
            wanted = sum(float(logits[len(ids) - 1 + n, t]) for n, t in enumerate(own))
            assert score == pytest.approx(wanted, abs=1e-4)
        assert one.reply == request.choices[max(range(4), key=one.scores.__getitem__)]


def test_a_query_without_choices_is_refused(subject: ResidentSubject) -> None:
    with pytest.raises(ThreatspecError) as caught:
        subject.ask(requests(1), [GREEDY], micro_batch=1, query="logprob")
    assert caught.value.code == "TS-JUDGE"


def test_every_turn_is_asked_and_answered(subject: ResidentSubject) -> None:
    first, last = (one.prompt for one in requests(1))
    [talk] = subject.ask([Request("a", last, turns=(first,))], [GREEDY], micro_batch=1)
    [before] = subject.generate([Request("b", first)], GREEDY, micro_batch=1)
    told, _, later = talk.reply.partition("\n")
    assert told == before.reply
    assert later
    assert talk.prompt.index(first) < talk.prompt.index(told) < talk.prompt.rindex(last)


def test_a_prompt_that_does_not_fit_is_a_row_and_others_go_on(subject: ResidentSubject) -> None:
    long = Request("long", "tell me " * 500)
    found = {g.item: g for g in subject.ask([long, *requests(2)], [GREEDY], micro_batch=8)}
    assert found["long"].outcome is Outcome.MISSING
    assert "do not fit into the context" in found["long"].detail
    assert sum(one.outcome is None for one in found.values()) == 4


def test_logits_that_are_not_finite_are_rows(subject: ResidentSubject) -> None:
    broken = ResidentSubject.load("specimen:shallow")
    with torch.no_grad():
        broken.model.get_output_embeddings().weight.fill_(torch.nan)
    for serving in (GREEDY, SAMPLED):
        found = broken.ask(requests(1), [serving], micro_batch=8)
        assert {one.outcome for one in found} == {Outcome.MISSING}
        assert "not finite" in found[0].detail


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("template", ["native", "none"])
def test_one_token_begins_a_text_or_none(
    subject: ResidentSubject, bos: bool, template: Any
) -> None:
    ids, _, _ = subject.render(requests(1)[0], Serving(template=template, bos=bos))
    assert ids.count(subject.tokenizer.bos_token_id) == int(bos)
    assert (ids[0] == subject.tokenizer.bos_token_id) == bos


def test_a_template_that_raises_is_told() -> None:
    subject = ResidentSubject.load("specimen:shallow")
    subject.tokenizer.chat_template = "{{ raise_exception('no system here') }}"
    with pytest.raises(ThreatspecError, match="no system here") as caught:
        subject.generate(requests(1), GREEDY, micro_batch=1)
    assert caught.value.code == "TS-TEMPLATE"
