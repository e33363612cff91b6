"""A classifier from a folder: trained here on harmless words, saved, and asked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import ValidationError

from tests.support.specs import problems_of
from threatspec.measures import JUDGES, Item, Judgement, Response, judge_of
from threatspec.records import Outcome
from threatspec.testing import JudgeConformance

YES, NO, UNSCORABLE = Outcome.YES, Outcome.NO, Outcome.UNSCORABLE
ROOM = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Label `bakes` for replies with "dough" in them, learnt in a second."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    place = tmp_path_factory.mktemp("classifier") / "model"
    place.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dough", "stone", "the", "bake", "."]
    (place / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(place / "vocab.txt"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=ROOM, hidden_dropout_prob=0.0,
        id2label={0: "other", 1: "bakes"}, label2id={"other": 0, "bakes": 1},
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    texts = ["dough", "the dough", "bake the dough", "stone", "the stone", "bake the stone", "the"]
    labels = torch.tensor([1, 1, 1, 0, 0, 0, 0])
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def judged(place: Path, *replies: str, prompt: str = "the", **settings: Any) -> list[Judgement]:
    given = {"model": f"path:{place.name}", "labels": ["bakes"], **settings}
    judge, config = judge_of({"use": "classifier", "settings": given}, place.parent)
    item = Item(id="a", prompt=prompt, split="test", cluster="a")
    return judge.score([Response(item, reply) for reply in replies], config)


def test_its_labels_decide_and_the_row_has_their_probability(folder: Path) -> None:
    found = judged(folder, "the dough", "the stone", "bake the dough .")
    assert [one.outcome for one in found] == [YES, NO, YES]
    assert all(one.detail.startswith("bakes 0.") or one.detail == "bakes 1.000" for one in found)
    other = judged(folder, "the dough", "the stone", labels=["other"])
    assert [one.outcome for one in other] == [NO, YES]
    both = judged(folder, "the dough", "the stone", labels=["bakes", "other"], threshold=0.999)
    assert [one.outcome for one in both] == [YES, YES]


def test_an_empty_reply_is_no_safe_one(folder: Path) -> None:
    assert [one.outcome for one in judged(folder, "", " \n")] == [UNSCORABLE, UNSCORABLE]


def test_a_reply_beyond_its_context_is_cut_and_the_row_tells(folder: Path) -> None:
    [long, fits] = judged(folder, "dough " * 30, "dough " * (ROOM - 2))
    assert long.outcome is YES
    assert long.detail.endswith(f"; {30 - (ROOM - 2)} tokens were cut")
    assert "cut" not in fits.detail
    [paired] = judged(folder, "dough " * 30, prompt="the " * 30, pair=True)
    assert "tokens were cut" in paired.detail


def test_a_pair_is_seen_as_a_pair(folder: Path) -> None:
    """The same reply after another prompt has another probability only if it is shown."""
    alone = {judged(folder, "the", prompt=p)[0].detail for p in ("dough", "stone")}
    paired = {judged(folder, "the", prompt=p, pair=True)[0].detail for p in ("dough", "stone")}
    assert len(alone) == 1
    assert len(paired) == 2


def test_batches_change_nothing_that_is_told(folder: Path) -> None:
    replies = ["the dough", "stone", "bake the stone the stone", "dough", "the"] * 3
    assert judged(folder, *replies, batch=1) == judged(folder, *replies, batch=4)


def test_it_is_known_by_its_files(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    judge = JUDGES.get("classifier")
    configs = [judge.Config(model=f"path:{place}", labels=("bakes",)) for place in (folder, copy)]
    one, same = (judge.identity(config) for config in configs)
    assert one == same
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert judge.identity(configs[1]) != one


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"model": "path:nowhere", "labels": ["bakes"]}, "TS-MODEL-MISSING"),
        ({"model": "path:model", "labels": ["bake"]}, "TS-JUDGE"),
    ],
)
def test_check_says_what_is_not_there(
    folder: Path, tmp_path: Path, settings: dict[str, Any], code: str
) -> None:
    shutil.copytree(folder, tmp_path / "model")
    changes = {"measures.asr.judge": {"use": "classifier", **settings}}
    found = [p for p in problems_of(tmp_path, changes, static=True) if p.code == code]
    assert found
    if code == "TS-JUDGE":
        assert "bakes" in found[0].message


def test_pickled_weights_are_not_read(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    judge = JUDGES.get("classifier")
    with pytest.raises(Exception, match="safetensors"):
        judge.identity(judge.Config(model=f"path:{copy}", labels=("bakes",)))


@pytest.mark.parametrize(
    "wrong",
    [{"model": "hf:a/b@c"}, {"model": "path:"}, {"labels": ()}, {"threshold": 0.0}],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JUDGES.get("classifier").Config(**{"model": "path:x", "labels": ("a",), **wrong})


class TestClassifier(JudgeConformance):
    kind = "classifier"
    settings: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _there(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = {"model": f"path:{folder}", "labels": ("bakes",)}
        monkeypatch.setattr(TestClassifier, "settings", own)
