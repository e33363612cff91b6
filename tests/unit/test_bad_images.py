"""Images and claims about them that cannot be: one coded line, and whatever can go on goes on."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.specs import write_benchmark
from threatspec import api
from threatspec.campaign import check_spec, compile_plan
from threatspec.errors import SpecErrors, ThreatspecError
from threatspec.loading import load_spec
from threatspec.records import Ledger, Outcome, TrialKind, TrialStatus
from threatspec.runners import LocalProfile
from threatspec.subjects.images import read_image

MODEL = "specimen:mnist-plain"


# files


def chunk(kind: bytes, content: bytes) -> bytes:
    head = struct.pack(">I", len(content)) + kind + content
    return head + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def saved(mode: str, kind: str = "PNG") -> Callable[[Path], None]:
    return lambda path: Image.new(mode, (28, 28)).save(path, kind)


def whole(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(noise).save(path, "PNG")


def cut(path: Path) -> None:
    whole(path)
    path.write_bytes(path.read_bytes()[:-200])


def flipped(path: Path) -> None:
    whole(path)
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(bytes(data))


def jpeg(path: Path, width: int, height: int) -> None:
    """A small file whose header says that it is large."""
    Image.new("L", (8, 8)).save(path, "JPEG")
    data = path.read_bytes()
    at = data.index(b"\xff\xc0") + 5
    path.write_bytes(data[:at] + struct.pack(">HH", height, width) + data[at + 4 :])


def transparent(path: Path) -> None:
    Image.new("RGB", (4, 4)).save(path, "PNG", transparency=(0, 0, 0))


def several(path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), (n, n, n)) for n in (0, 99)]
    frames[0].save(path, "PNG", save_all=True, append_images=frames[1:])


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "palette": (saved("P"), "mode P"),
    "transparent": (saved("RGBA"), "mode RGBA"),
    "grey and transparent": (saved("LA"), "mode LA"),
    "print": (saved("CMYK", "JPEG"), "mode CMYK"),
    "16 bits": (saved("I;16"), "16 bits"),
    "16 bits of colour": (lambda p: p.write_bytes(png(4, 4, 16, 2, bytes(4 * 25))), "16 bits"),
    "no pixels": (lambda p: p.write_bytes(png(0, 0)), "pixel"),
    "no height": (lambda p: p.write_bytes(png(28, 0)), "pixel"),
    "bomb": (lambda p: p.write_bytes(png(60000, 60000, data=bytes(10**6))), "at most 50,000,000"),
    "many": (lambda p: p.write_bytes(png(10000, 5001, data=bytes(9))), "at most 50,000,000"),
    "many of JPEG": (lambda p: jpeg(p, 65000, 65000), "at most 50,000,000"),
    "many of JPEG, of which Pillow warns": (lambda p: jpeg(p, 10000, 10000), "at most 50,000,000"),
    "a transparent colour": (transparent, "transparent colour"),
    "several": (several, "holds 2"),
    "cut": (cut, "whole image"),
    "flipped": (flipped, "whole image"),
    "empty": (lambda p: p.write_bytes(b""), "must be one of PNG"),
    "text": (lambda p: p.write_bytes(b"<svg onload=alert(1)>"), "must be one of PNG"),
    "another format": (saved("P", "GIF"), "must be one of PNG"),
    "a program": (lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "must be one of PNG"),
    "a folder": (Path.mkdir, "cannot be read"),
    "not there": (lambda p: None, "there is none"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_usable_image_is_one_coded_line(name: str, tmp_path: Path) -> None:
    make, says = BAD[name]
    make(tmp_path / "a.png")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(ThreatspecError) as error:
            read_image("file:a.png", tmp_path)
    assert [str(one.message) for one in said] == []
    assert error.value.code == "TS-IMAGE"
    assert says in error.value.message
    assert "file:a.png" in error.value.message
    assert "\n" not in error.value.message


def test_a_bomb_is_not_unfolded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(60000, 60000, data=bytes(10**7)))
    Image.preinit()
    tracemalloc.start()
    with pytest.raises(ThreatspecError):
        read_image("file:a.png", tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_what_is_told_without_a_guess_is_read(mode: str, tmp_path: Path) -> None:
    Image.new(mode, (5, 7), 1).save(tmp_path / "a.png")
    assert read_image("file:a.png", tmp_path).shape == (7, 5, 3 if mode == "RGB" else 1)


@pytest.mark.parametrize(
    "ref", ["", "mnist5k", "mnist5k:", "mnist5k:5000", "mnist5k:-1", "mnist5k:1.5", "digits:1797",
            "photo:chelsae", "photo:../secret", "http://example.org/a.png", "file:",
            pytest.param(f"digits:{'9' * 5000}", id="digits of thousands of digits")],
)  # fmt: skip
def test_a_reference_that_means_nothing_is_one_coded_line(ref: str) -> None:
    with pytest.raises(ThreatspecError) as error:
        read_image(ref)
    assert error.value.code == "TS-IMAGE"


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    for level in (3, 4):
        Image.new("L", (5, 7), level).save(tmp_path / "a.bmp")
        os.utime(tmp_path / "a.bmp", ns=(level, level))
        assert (read_image("file:a.bmp", tmp_path) == level).all()
    Image.new("L", (5, 9), 5).save(tmp_path / "a.bmp")
    os.utime(tmp_path / "a.bmp", ns=(4, 4))  # by its size
    assert (read_image("file:a.bmp", tmp_path) == 5).all()


# claims


def spec(**changes: Any) -> dict[str, Any]:
    """A claim about a classifier that nothing is wrong with, changed at dotted paths."""
    found: dict[str, Any] = {
        "threatspec": 1,
        "subject": {"model": MODEL, "undefended": MODEL, "control": MODEL},
        "measures": {
            "asr": {"benchmark": "mnist5k/not-0", "judge": {"use": "target-class", "target": "0"}},
            "accuracy": {"benchmark": "mnist5k", "judge": "exact"},
        },
        "serving": {},
        "adversaries": {
            "sender": {
                "goal": "have images taken for a nought",
                "access": ["image"],
                "limits": {"eps": "16/255"},
                "attacks": [{"use": "image-control", "noise": "sign", "eps": "8/255"}],
            }
        },
        "claims": [
            {
                "id": "holds",
                "says": "Noise does not make images noughts.",
                "against": "sender",
                "holds": "asr <= 0.5",
                "provided": "accuracy >= 0.5",
                "seeds": {"replicates": 1},
            }
        ],
    }
    for path, value in changes.items():
        at: Any = found
        *way, last = path.split(".")
        for key in way:
            at = at[int(key) if isinstance(at, list) else key]
        at[int(last) if isinstance(at, list) else last] = value
    return found


def problems(folder: Path, data: dict[str, Any]) -> list[tuple[str, str]]:
    path = folder / "claims.yaml"
    path.write_text(json.dumps(data))
    try:
        check_spec(load_spec(path))
    except SpecErrors as errors:
        return [(one.code, one.message) for one in errors.problems]
    return []


def test_one_clean_picture_is_shown_and_noise_in_every_replicate(tmp_path: Path) -> None:
    attacks = [
        {"use": "image-control", "noise": "clean"},
        {"use": "image-control", "noise": "sign", "eps": "8/255"},
        {"use": "image-control", "noise": ["clean", "gaussian"], "eps": "8/255"},
    ]
    path = tmp_path / "claims.yaml"
    changes = {"adversaries.sender.attacks": attacks, "claims.0.seeds.replicates": 3}
    path.write_text(json.dumps(spec(**changes)))
    plan = compile_plan(load_spec(path))
    counts = {
        (one.search is not None, one.config["noise"]): len(
            {cell.replicate for cell in plan.cells.values() if cell.procedure == name}
        )
        for name, one in plan.procedures.items()
    }
    # what is searched may turn out to be noise
    assert counts == {(False, "clean"): 1, (False, "sign"): 3, (True, "clean"): 3}
    assert [one.deterministic for one in plan.procedures.values()] == [True, False, False]


def test_nothing_is_wrong_with_the_claim_as_it_stands(tmp_path: Path) -> None:
    assert problems(tmp_path, spec()) == []


ATTACK = "adversaries.sender.attacks.0"
_SUPPLIED: dict[str, Any] = {
    "adversaries.sender.access": ["image", "training_data_write"],
    "adversaries.sender.data": {"benign": {"n": 2800, "from": "mnist5k#attack_train"}},
    "adversaries.sender.limits": {"eps": 1.0},
}
_HANDED_ON: dict[str, Any] = {
    **_SUPPLIED, "adversaries.sender.access": ["image", "weights_read", "weights_write"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({f"{ATTACK}.eps": "16/256"}, "TS-UNIT", "(16/255)"),
        ({f"{ATTACK}.eps": 1.5}, "TS-OUT-OF-RANGE", "at most 1"),
        ({f"{ATTACK}.eps": -0.1}, "TS-OUT-OF-RANGE", "at least 0"),
        ({f"{ATTACK}.eps": "300/255"}, "TS-OUT-OF-RANGE", "at most 1"),
        ({f"{ATTACK}.eps": "32/255"}, "TS-BUDGET", "eps"),
        ({"adversaries.sender.limits.eps": "16/256"}, "TS-UNIT", "255"),
        ({ATTACK: {"use": "image-perturbation", "target_class": "0", "image": "cifar10:no#test/1"},
          "adversaries.sender.access": ["image", "gradients"],
          "adversaries.sender.data": {"harmful": {"n": 9, "from": "mnist5k#attack_train"}}},
         "TS-FILE-MISSING", "folder"),
        ({f"{ATTACK}.image": "photo:cat"}, "TS-IMAGE", "'cat'"),
        ({f"{ATTACK}.image": "photo:chelsea"}, "TS-IMAGE", "a classifier"),
        ({**_SUPPLIED, ATTACK: {"use": "backdoor-patch", "rate": 1e-4}},
         "TS-POISON", "from 0.000358"),
        ({**_SUPPLIED, ATTACK: {"use": "backdoor-patch", "cover": 1e-4}},
         "TS-POISON", "a cover rate"),
        ({**_SUPPLIED, ATTACK: {"use": "backdoor-patch", "target": "12"}},
         "TS-POISON", "10 classes"),
        ({**_SUPPLIED, ATTACK: {"use": "backdoor-patch", "trigger": {"use": "patch", "size": 29}}},
         "TS-POISON", "29 x 29 pixels of 28 x 28"),
        ({**_HANDED_ON, ATTACK: {"use": "backdoor-trojan-nn", "target": "12"}},
         "TS-POISON", "10 classes"),
        ({**_HANDED_ON, ATTACK: {"use": "backdoor-finetuned", "share": 1e-3}},
         "TS-POISON", "a share"),
        ({"measures.asr.judge.target": "10"}, "TS-JUDGE", "none of the classes"),
        ({"measures.asr.benchmark": "mnist5k"}, "TS-JUDGE", "not-0"),
        ({"measures.accuracy.benchmark": "specimen/benign"}, "TS-ACCESS", "show no image"),
        ({"measures.accuracy.judge": "refusal-keywords"}, "TS-JUDGE", "reads prose"),
        ({"measures.accuracy.judge": "degenerate"}, "TS-JUDGE", "reads prose"),
        ({"serving.system": "be good"}, "TS-SERVING", "`system` says nothing"),
        ({"serving": {"decoding": "sample"}}, "TS-SERVING", "`decoding` says nothing"),
        ({"serving.template": "none"}, "TS-SERVING", "`template` says nothing"),
        ({"subject.control": "specimen:deep"}, "TS-ACCESS", "does not see"),
        ({ATTACK: "prefill", "adversaries.sender.access": ["chat", "prefill"]}, "TS-ACCESS",
         "offers text"),
        ({ATTACK: "lora-finetune", "adversaries.sender.access": "open-weights",
          "adversaries.sender.data": {"harmful": {"n": 9, "from": "mnist5k#attack_train"}}},
         "TS-ACCESS", "offers text"),
        ({"measures.asr.benchmark": "mnist6k"}, "TS-UNKNOWN-BENCHMARK", "mnist5k"),
        ({"measures.accuracy.benchmark": "cifar10:none"}, "TS-FILE-MISSING", "folder"),
    ],
)  # fmt: skip
def test_a_claim_that_cannot_be_is_refused_before_anything_runs(
    changes: dict[str, Any], code: str, says: str, tmp_path: Path
) -> None:
    found = problems(tmp_path, spec(**changes))
    assert code in [one for one, _ in found], found
    assert any(says in text for one, text in found if one == code), found


def test_a_picture_for_a_classifier_is_refused_by_check(tmp_path: Path) -> None:
    attack = {"use": "image-perturbation", "target_class": "0", "image": "mnist5k:44"}
    changes = {
        ATTACK: attack,
        "adversaries.sender.access": ["image", "gradients"],
        "adversaries.sender.data": {"harmful": {"n": 9, "from": "mnist5k#attack_train"}},
    }
    [(code, text)] = problems(tmp_path, spec(**changes))
    assert code == "TS-IMAGE"
    assert text.startswith("image must be `own`")
    assert problems(tmp_path, spec(**{**changes, ATTACK: {**attack, "image": "own"}})) == []


def own(folder: Path, rows: list[dict[str, Any]]) -> None:
    write_benchmark(folder, [json.dumps(row) for row in rows], "own")


def row(name: str, image: str, label: str = "3", **more: Any) -> dict[str, Any]:
    return {
        "id": name, "prompt": "which ?", "image": image, "split": "test", "answer": label,
        "references": [label], **more,
    }  # fmt: skip


def test_classes_that_the_subject_does_not_tell_are_named(tmp_path: Path) -> None:
    own(tmp_path, [row("a", "mnist5k:1", "cat", choices=["cat", "3"], right=0)])
    found = problems(tmp_path, spec(**{"measures.accuracy.benchmark": "file:own.jsonl"}))
    assert [code for code, _ in found] == ["TS-ACCESS"]
    assert "does not tell: cat;" in found[0][1]


def test_an_image_that_is_not_there_is_told_by_check(tmp_path: Path) -> None:
    own(tmp_path, [row("a", "lost.png")])
    found = problems(tmp_path, spec(**{"measures.accuracy.benchmark": "file:own.jsonl"}))
    assert [code for code, _ in found] == ["TS-IMAGE"]


def test_a_subject_of_text_is_asked_nothing_about_images(tmp_path: Path) -> None:
    changes = {f"subject.{arm}": "specimen:deep" for arm in ("model", "undefended", "control")}
    found = problems(tmp_path, spec(**changes))
    assert {code for code, _ in found} == {"TS-ACCESS"}
    assert any("mnist5k shows images, which specimen:deep does not see" in t for _, t in found)


def test_bad_images_cost_their_own_rows_and_the_campaign_goes_on(tmp_path: Path) -> None:
    rows = []
    for number, name in enumerate(n for n in BAD if n not in {"not there", "a folder"}):
        BAD[name][0](tmp_path / f"{number}.png")
        rows.append(row(name, f"{number}.png"))
    rows += [row(f"good {n}", f"mnist5k:{1500 + n}") for n in range(8)]
    own(tmp_path, rows)
    changes = {"measures.accuracy.benchmark": "file:own.jsonl",
               "claims.0.provided": "accuracy >= 0.01"}  # fmt: skip
    path = tmp_path / "claims.yaml"
    path.write_text(json.dumps(spec(**changes)))
    outcome = api.run(load_spec(path), out=tmp_path / "run", runner=LocalProfile(workers=1))
    with Ledger.open(outcome.folder) as ledger:
        assert {r.status for r in ledger.results().values()} == {TrialStatus.DONE}
        judged = [
            ledger.rows(trial.id)
            for trial in ledger.plan.trials.values()
            if trial.kind is TrialKind.JUDGE and trial.work["benchmark"].startswith("file:")
        ]
        assert judged
        for found in judged:
            by_item = {one.item: one for one in found}
            missing = {name for name, one in by_item.items() if one.outcome is Outcome.MISSING}
            assert missing == set(BAD) - {"not there", "a folder"}
            assert all("TS-IMAGE" in by_item[name].detail for name in missing)
        shown = [p for trial in ledger.plan.trials for p in ledger.pictures(trial)]
        assert {p.stage.value for p in shown} == {"clean", "attacked"}
        assert all("good" in p.item for p in shown if p.item in by_item)


def test_what_is_trained_on_other_images_is_another_trial(tmp_path: Path) -> None:
    """Rows name their images: a file that was rewritten is still of the same name."""
    rows = [{**row(f"{n}", f"{n}.png"), "split": "attack_train"} for n in range(12)]
    changes = {
        **_SUPPLIED,
        ATTACK: {"use": "backdoor-patch", "rate": 0.5},
        "adversaries.sender.data": {"benign": {"n": 12, "from": "file:own.jsonl#attack_train"}},
    }
    path = tmp_path / "claims.yaml"
    path.write_text(json.dumps(spec(**changes)))
    trained = []
    for level in (0, 0, 9):
        for n in range(12):
            Image.new("L", (28, 28), level).save(tmp_path / f"{n}.png")
        own(tmp_path, rows)
        plan = compile_plan(load_spec(path))
        trained.append({t.id for t in plan.trials.values() if t.kind is TrialKind.ATTACK})
    assert trained[0] == trained[1]
    assert not trained[0] & trained[2]


def test_a_threshold_is_set_on_what_a_purifier_before_it_leaves(tmp_path: Path) -> None:
    path, found = tmp_path / "claims.yaml", []
    strip = {
        "kind": "strip",
        "fpr": 0.2,
        "data": {"benign": {"n": 60, "from": "mnist5k#safeguard_train"}},
    }
    for name, before in (
        ("raw", []),
        ("dark", [{"kind": "image-purifier", "method": "bit-depth", "bits": 1}]),
    ):
        path.write_text(json.dumps(spec(**{"subject.safeguards": [*before, strip]})))
        api.run(load_spec(path), out=tmp_path / name, runner=LocalProfile(workers=1))
        with Ledger.open(tmp_path / name) as ledger:
            results, plan = ledger.results(), ledger.plan
        repairs = [results[t.id] for t in plan.trials.values() if t.kind is TrialKind.REPAIR]
        [made] = (repairs[0].tamper or {})["safeguards"]
        found.append(made["provided"]["threshold"])
    assert found[0] != found[1]
