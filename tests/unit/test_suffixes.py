"""Suffixes: gradients and losses are right, budgets hold, and words that were found stay hidden."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.specs import load, problems_of
from tests.support.tiny_models import TINY, tiny
from threatspec.attacks import training_rows
from threatspec.attacks._suffix import SuffixTamper, file_text
from threatspec.campaign import compile_plan
from threatspec.errors import SpecErrors, ThreatspecError
from threatspec.records import (
    ArtefactStore,
    Budget,
    Ledger,
    Optimised,
    Spend,
    TrialResult,
    TrialStatus,
)
from threatspec.schema import Serving
from threatspec.subjects import Request
from threatspec.subjects._resident import ResidentSubject
from threatspec.training import BudgetExceeded, Meter, SuffixRequest, TrainingRow
from threatspec.training.suffixes import find_suffix, rows_at, search_spend, stored_text
from threatspec.training.suffixes._candidates import allowed_tokens, opening_tokens
from threatspec.training.suffixes._frames import Frame, Frames
from threatspec.training.suffixes._model import RowModel, one_hot_gradient
from threatspec.training.suffixes._search import Searching

ROWS = training_rows("specimen/restricted#attack_train", Path())[:3]
METHODS = ("gradient", "random")


@pytest.fixture(scope="module")
def shallow() -> ResidentSubject:
    return ResidentSubject.load("specimen:shallow")


def request(**changes: Any) -> SuffixRequest:
    knobs = {"method": "gradient", "rows": ROWS, "steps": 4, "candidates": 9, "top_k": 16,
             "length": 4, "target": 4, **changes}  # fmt: skip
    return SuffixRequest(**knobs)


def framed(subject: ResidentSubject, rows: tuple[TrainingRow, ...] = ROWS) -> Frames:
    words = subject.tokenizer.decode([allowed_tokens(subject, ascii_only=True)[7]])
    return Frames(subject, rows, 4, words)


def some(subject: ResidentSubject, count: int, length: int = 4) -> list[tuple[int, ...]]:
    ids = allowed_tokens(subject, ascii_only=True)
    return [tuple(ids[(7 * n + 3 * k) % len(ids)] for k in range(length)) for n in range(count)]


# the model: losses and gradients


def by_hand(subject: ResidentSubject, row: Frame, suffix: Any, extra: Any = 0.0) -> torch.Tensor:
    """The loss from the whole sequence, with `extra` added to the embeddings of the suffix."""
    ids = torch.tensor([[*row.head, *suffix, *row.tail, *row.target]])
    embedded = subject.model.get_input_embeddings()(ids).clone()
    first = len(row.head)
    embedded[:, first : first + len(suffix)] += extra
    logits = subject.model(inputs_embeds=embedded).logits[0, -len(row.target) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(row.target))


@pytest.mark.parametrize(
    ("kind", "width", "near"),
    [("gpt2", 1e-5, 1e-4), ("llama", 1e-3, 1e-2), ("gemma", 1e-3, 1e-2)],  # norms in float32
)
def test_the_gradient_of_one_hot_tokens_is_that_of_finite_differences(
    kind: str, width: float, near: float
) -> None:
    subject = tiny(kind)
    subject.model.double()
    row, suffix = framed(subject).rows[0], some(subject, 1)[0]
    model = RowModel(subject, row)
    loss, gradient = model.gradient(suffix)
    found = one_hot_gradient(subject.model, gradient)
    assert loss == pytest.approx(by_hand(subject, row, suffix).item(), rel=1e-3 * near)
    assert found.shape == (4, subject.model.get_input_embeddings().num_embeddings)
    for place, token in ((0, 11), (2, 40), (3, 77)):
        step = torch.zeros(4, gradient.shape[1], dtype=torch.float64)
        step[place] = width * subject.model.get_input_embeddings()(torch.tensor(token)).detach()
        with torch.no_grad():
            up, down = (by_hand(subject, row, suffix, sign * step) for sign in (1, -1))
        assert float(found[place, token]) == pytest.approx(
            float(up - down) / (2 * width), rel=near, abs=near
        )


@pytest.mark.parametrize("kind", ["specimen", *TINY])
def test_a_shared_prefix_changes_neither_losses_nor_gradients(
    kind: str, shallow: ResidentSubject
) -> None:
    subject = shallow if kind == "specimen" else tiny(kind)
    candidates = some(subject, 5)
    for row in framed(subject).rows:
        shared, alone = RowModel(subject, row, batch=2), RowModel(subject, row, reuse=False)
        assert (shared.reuses, alone.reuses) == (True, False)
        torch.testing.assert_close(
            shared.losses(candidates), alone.losses(candidates), rtol=1e-4, atol=1e-5
        )
        for ours, theirs in zip(
            shared.gradient(candidates[0]), alone.gradient(candidates[0]), strict=True
        ):
            assert torch.allclose(
                torch.as_tensor(ours), torch.as_tensor(theirs), rtol=1e-3, atol=1e-5
            )


def test_a_memory_that_forgets_the_start_is_not_shared() -> None:
    """A window shorter than the prefix: keys of its first tokens are gone."""
    subject = tiny("qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=0)
    row = framed(subject).rows[0]
    assert len(row.head) > 4
    model = RowModel(subject, row)
    [loss] = model.losses(some(subject, 1))
    assert not model.reuses
    whole = by_hand(subject, row, some(subject, 1)[0])
    assert loss.item() == pytest.approx(whole.item(), rel=1e-4)


def test_a_memory_that_forgets_the_start_later_is_shared() -> None:
    """A window that has room for the prefix, and not for what comes after it."""
    start = framed(tiny("qwen2")).rows[0].head
    settings = {"use_sliding_window": True, "max_window_layers": 0}
    subject = tiny("qwen2", sliding_window=len(start) + 2, **settings)
    row, candidates = framed(subject).rows[0], some(subject, 3)
    shared, alone = RowModel(subject, row), RowModel(subject, row, reuse=False)
    assert shared.reuses
    torch.testing.assert_close(
        shared.losses(candidates), alone.losses(candidates), rtol=1e-4, atol=1e-5
    )


# the search


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("progressive", [False, True])
def test_the_loss_falls_and_is_that_of_the_text_that_is_sent(
    shallow: ResidentSubject, method: str, progressive: bool
) -> None:
    searching = Searching(shallow, request(method=method, progressive=progressive), Meter())
    losses = searching.run()
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    if not progressive:
        assert losses == sorted(losses, reverse=True)
    text = searching.frames.text(searching.current)
    found = [sent_loss(shallow, row, text) for row in ROWS]
    assert losses[-1] == pytest.approx(sum(found) / len(found), rel=1e-4)
    before = [sent_loss(shallow, row, searching.frames.text(searching.first)) for row in ROWS]
    assert losses[0] == pytest.approx(sum(before) / len(before), rel=1e-4)


def sent_loss(subject: ResidentSubject, row: TrainingRow, suffix: str) -> float:
    """Loss of a row's target after a prompt that goes the way of any request."""
    seen, _, _ = subject.render(Request(item="x", prompt=f"{row.prompt} {suffix}"), Serving())
    target = subject.tokens(row.answer)[:4]
    with torch.no_grad():
        logits = subject.model(input_ids=torch.tensor([[*seen, *target]])).logits[0, -5:-1]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(target)))


@pytest.mark.parametrize("method", METHODS)
def test_equal_seeds_give_equal_words_and_others_do_not(
    shallow: ResidentSubject, tmp_path: Path, method: str
) -> None:
    store = ArtefactStore(tmp_path)
    one, same, other = (
        find_suffix(shallow, request(method=method, seed=seed), store, Meter())
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one.artefact != other.artefact
    assert one.optimised.steps == 4
    assert 0 < one.optimised.changed <= one.optimised.tokens == 4


def test_rows_that_come_in_one_by_one_are_all_there_in_the_end() -> None:
    for steps in range(1, 12):
        for rows in range(1, 6):
            used = [rows_at(step, steps, rows, progressive=True) for step in range(steps)]
            assert used == sorted(used)
            assert 1 <= used[0] <= used[-1] == rows


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("reuse", [False, True])
def test_what_is_predicted_is_what_is_charged_and_what_the_model_sees(
    shallow: ResidentSubject, method: str, progressive: bool, reuse: bool
) -> None:
    asked, meter = request(method=method, progressive=progressive), Meter()
    seen: list[torch.Size] = []
    searching = Searching(shallow, asked, meter, reuse=reuse)
    handle = shallow.model.model.layers[0].register_forward_pre_hook(
        lambda _module, given: seen.append(given[0].shape[:2])
    )
    searching.run()
    handle.remove()
    predicted = search_spend(
        shallow.card, [row.lengths(4) for row in searching.frames.rows], 4, 9,
        gradient=method == "gradient", progressive=progressive, reuse=reuse,
    )  # fmt: skip
    spent = meter.spend
    assert (spent.tokens, spent.queries) == (predicted.tokens, predicted.queries)
    assert spent.flops == pytest.approx(predicted.flops, rel=1e-12)
    prefixes = len(ROWS) if reuse else 0
    assert sum(count for count, _ in seen) - prefixes == spent.queries
    assert sum(count * length for count, length in seen) == spent.tokens


@pytest.mark.parametrize("progressive", [False, True])
def test_the_control_without_gradients_asks_as_many_prompts(
    shallow: ResidentSubject, progressive: bool
) -> None:
    spent = []
    for method in METHODS:
        meter = Meter()
        Searching(shallow, request(method=method, progressive=progressive), meter).run()
        spent.append(meter.spend)
    assert spent[0].queries == spent[1].queries
    assert spent[0].flops > spent[1].flops  # the backward passes, and nothing else
    assert spent[0].tokens == spent[1].tokens


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("queries", [0, 7, 40])
def test_a_budget_is_never_passed(shallow: ResidentSubject, method: str, queries: int) -> None:
    meter = Meter(Budget(queries=queries))
    with pytest.raises(BudgetExceeded):
        Searching(shallow, request(method=method), meter).run()
    assert meter.spend.queries <= queries


# token ids that come back from text


def pairs() -> ResidentSubject:
    """A model with byte pairs: tokens beside one another may be one token of the text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    words = "brindle brine brim rind dimple rimple dle ple ine"
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<s>", "<end>", "<user>", "<reply>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator([words] * 9, trainer)
    subject = tiny("llama", vocab_size=len(backend.get_vocab()))
    subject.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="<end>",
        additional_special_tokens=["<user>", "<reply>"],
        chat_template="{% for m in messages %}<user>{{ m.content | trim }}<end>{% endfor %}<reply>",
    )  # fmt: skip
    return subject


PAIR_ROWS = (
    TrainingRow(id="a", prompt="dimple brine", answer="brim rind dle"),
    TrainingRow(id="b", prompt="rind", answer="brim ple"),
)


def test_tokens_that_merge_in_the_text_are_not_tried() -> None:
    subject = pairs()
    frames = Frames(subject, PAIR_ROWS, 4, "brine")
    whole = tuple(subject.tokens(" brindle"))
    parts = tuple(token for letter in " brindle" for token in subject.tokens(letter))
    assert frames.kept([whole, parts]) == [True, False]
    assert frames.text(whole) == frames.text(parts)


def test_tokens_that_become_special_in_the_text_are_not_tried() -> None:
    subject = pairs()
    frames = Frames(subject, PAIR_ROWS, 4, "brine")
    spelt = tuple(subject.tokens(" brine"))
    spelt += tuple(token for letter in "<end>" for token in subject.tokens(letter))
    assert frames.kept([spelt]) == [False]


@pytest.mark.parametrize("method", METHODS)
def test_a_search_leaves_words_that_are_the_same_tokens_in_every_prompt(method: str) -> None:
    subject = pairs()
    asked = request(method=method, rows=PAIR_ROWS, steps=6, candidates=24, top_k=60, length=5)
    searching = Searching(subject, asked, Meter())
    searching.run()
    assert searching.current != searching.first
    text = searching.frames.text(searching.current)
    special = {*subject.tokenizer.all_special_ids}
    assert not special & {*searching.current}
    for row, frame in zip(PAIR_ROWS, searching.frames.rows, strict=True):
        ids, _, _ = subject.render(Request(item="x", prompt=f"{row.prompt} {text}"), Serving())
        assert ids == [*frame.head, *searching.current, *frame.tail]


def test_special_tokens_and_bytes_are_not_allowed_and_letters_outside_ascii_may_be() -> None:
    subject = pairs()
    wide, narrow = (allowed_tokens(subject, ascii_only=only) for only in (False, True))
    texts = subject.tokenizer.batch_decode([[number] for number in narrow])
    assert set(narrow) <= set(wide)
    assert all(text.strip() and text.isascii() and text.isprintable() for text in texts)
    assert not {*subject.tokenizer.all_special_ids} & {*wide}
    opening = subject.tokenizer.batch_decode([[n] for n in opening_tokens(subject, narrow)])
    assert opening
    assert all(text.startswith(" ") for text in opening)


def test_a_template_that_changes_words_and_a_row_that_is_too_long_have_codes() -> None:
    subject = tiny("llama")
    long = TrainingRow(id="long", prompt="x " * 125, answer="y z")
    with pytest.raises(ThreatspecError, match="row long with a suffix") as raised:
        Searching(subject, request(rows=(long,)), Meter())
    assert raised.value.code == "TS-DATA"
    subject.tokenizer.chat_template = "{{ messages[-1].content | upper }}"
    with pytest.raises(ThreatspecError, match="as they are") as raised:
        Searching(subject, request(), Meter())
    assert raised.value.code == "TS-TEMPLATE"


# the tamper: words that records do not show


def opened(tmp_path: Path, text: str) -> SuffixTamper:
    (tmp_path / "words.txt").write_text(f"{text}\n")
    digest = hashlib.sha256((tmp_path / "words.txt").read_bytes()).hexdigest()
    tamper = SuffixTamper(file="words.txt", sha256=digest, label=f"suffix {digest[:8]}")
    return tamper.opened(lambda name: {}, tmp_path)


def test_the_words_stand_after_the_prompt_and_nowhere_in_the_record(tmp_path: Path) -> None:
    tamper = opened(tmp_path, "zorble quum")
    made = tamper.encode(Request(item="a", prompt="how to"))
    assert made.prompt == "how to zorble quum"
    assert made.shown(f"<user> {made.prompt} <end>") == f"<user> how to [{tamper.label}] <end>"
    assert made.hidden("he said zorble quum") == f"he said [{tamper.label}]"
    assert "zorble" not in tamper.model_dump_json()
    assert "zorble" not in repr(tamper)


def test_two_suffixes_are_both_hidden(tmp_path: Path) -> None:
    made = opened(tmp_path, "zorble").encode(Request(item="a", prompt="how to"))
    made = opened(tmp_path, "quum").encode(made)
    assert made.prompt == "how to zorble quum"
    assert "zorble" not in made.shown(made.prompt)
    assert "quum" not in made.shown(made.prompt)


def test_words_that_were_rewritten_since_hide_the_whole_prompt(tmp_path: Path) -> None:
    made = opened(tmp_path, "zorble quum").encode(Request(item="a", prompt="how to"))
    assert made.shown(made.prompt[::-1]) == f"[{made.label}]"


def test_a_tamper_that_was_not_opened_is_not_used() -> None:
    with pytest.raises(ValueError, match="opened"):
        SuffixTamper(artefact="art-1", label="x").encode(Request(item="a", prompt="p"))


@pytest.mark.parametrize(
    ("content", "sha256", "code"),
    [
        (None, "", "TS-FILE-MISSING"),
        (b"words", "0" * 64, "TS-DATA"),
        (b"\xff\xfe", None, "TS-DATA"),
        (b" \n", None, "TS-DATA"),
    ],
)
def test_a_file_of_words_that_is_not_what_was_said_has_a_code(
    tmp_path: Path, content: bytes | None, sha256: str | None, code: str
) -> None:
    if content is not None:
        (tmp_path / "w.txt").write_bytes(content)
    digest = hashlib.sha256(content or b"").hexdigest() if sha256 is None else sha256
    with pytest.raises(ThreatspecError) as raised:
        file_text(tmp_path / "w.txt", digest)
    assert raised.value.code == code


@pytest.mark.parametrize("content", [None, b"other words"])
def test_a_file_that_is_not_what_was_said_is_an_error_of_check(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "w.txt").write_bytes(content)
    suffix = {"use": "suffix", "file": "w.txt", "sha256": "0" * 64}
    [problem] = problems_of(tmp_path, {"adversaries.tuner.attacks": [suffix]}, static=True)
    assert problem.code == ("TS-DATA" if content else "TS-FILE-MISSING")


# campaigns


SMALL = {"steps": 3, "candidates": 6, "length": 3, "prompts": 2, "target": 4}


def test_an_endpoint_has_no_gradients_and_check_says_so(tmp_path: Path) -> None:
    changes = {
        "subject": {"model": "endpoint:http://127.0.0.1:9/v1#m", "control": "specimen:shallow"},
        "adversaries.tuner.attacks": [{"use": "gcg-suffix", **SMALL}],
    }
    problems = problems_of(tmp_path, changes)
    assert any("gradients" in problem.message and "gcg-suffix" in problem.message
               for problem in problems)  # fmt: skip


def test_more_queries_than_the_adversary_has_are_refused(tmp_path: Path) -> None:
    needed = 2 * 3 * 7  # rows, steps, candidates and one more
    for queries, refused in ((needed - 1, True), (needed, False)):
        changes = {
            "adversaries.tuner.attacks": [{"use": "random-suffix", **SMALL}],
            "adversaries.tuner.compute": {"queries": queries},
        }
        loaded = load(tmp_path, changes)
        if not refused:
            compile_plan(loaded)
            continue
        with pytest.raises(SpecErrors) as raised:
            compile_plan(loaded)
        assert any("queries of random-suffix" in p.message for p in raised.value.problems)


def test_the_words_of_a_campaign_are_in_none_of_its_files(tmp_path: Path) -> None:
    import threatspec as ts
    from threatspec.cli import cli
    from threatspec.runners import load_profile

    (tmp_path / "mine.txt").write_text("zorbletrix quumbleton")
    digest = hashlib.sha256(b"zorbletrix quumbleton").hexdigest()
    changes = {
        "subject": {"model": "specimen:shallow", "control": "specimen:shallow"},
        "measures": {"asr": {"benchmark": "specimen/restricted", "judge": "exact"}},
        "adversaries.tuner.compute": {},
        "adversaries.tuner.attacks": [
            {"use": "gcg-suffix", **SMALL},
            {"use": "random-suffix", **SMALL},
            {"use": "suffix", "file": "mine.txt", "sha256": digest},
        ],
        "claims.0.seeds": {"replicates": 1},
    }
    spec, out = load(tmp_path, changes), tmp_path / "out"
    profile = load_profile("local").model_copy(update={"keep_artefacts": True})
    ts.run(spec, out=out, runner=profile)
    with Ledger.open(out) as ledger:
        results = list(ledger.results().values())
    artefacts = {name for result in results for name in result.artefacts}
    words = [stored_text(ArtefactStore(out / "artefacts").load(name)) for name in artefacts]
    assert len(words) == 2
    wanted = [part for kind in ("html", "markdown", "csv")
              for part in (f"--{kind}", str(tmp_path / f"r.{kind}"))]  # fmt: skip
    cli(["report", str(out), *wanted], standalone_mode=False)
    cli(
        ["bundle", str(out), "--output", str(tmp_path / "r.tsb"), "--with-generations"],
        standalone_mode=False,
    )
    with zipfile.ZipFile(tmp_path / "r.tsb") as archive:
        archive.extractall(tmp_path / "r.open")
    read = [
        path
        for path in [*out.rglob("*"), *tmp_path.rglob("r.*/**/*"), *tmp_path.glob("r.*")]
        if path.is_file()
    ]
    labels = 0
    for path in read:
        if path.suffix == ".safetensors":
            continue
        content = path.read_bytes()
        labels += content.count(b"[suffix ")
        assert b"zorbletrix" not in content, path
        assert not any(one.encode() in content for one in words), path
    assert labels > 100
    optimised = [one for result in results for one in result.optimised]
    assert {one.method for one in optimised} == set(METHODS)


def test_what_is_kept_of_a_search_for_words_is_its_own() -> None:
    from threatspec.records import Trial, TrialKind
    from threatspec.runners._results import KeptResults

    kept = KeptResults()
    for name, loss in (("a", (3.0, 2.0, 1.0)), ("b", (3.0, 3.0, 3.0))):
        trial = Trial(id=name, kind=TrialKind.ATTACK, subject="s", needs=(), work={})
        found = Optimised(method="random", steps=2, loss=loss, changed=1, tokens=3)
        done = TrialResult(trial=name, status=TrialStatus.DONE, spend=Spend(queries=4),
                           optimised=(found,), tamper={"tampers": []})  # fmt: skip
        kept.enter(trial, done)
        kept.forget_tamper(name)
    assert [kept[name].optimised[0].loss for name in "ab"] == [(3.0, 1.0), (3.0, 3.0)]
