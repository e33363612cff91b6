"""Writing bundles: what is in them, what is not, and that they are whole or not there."""

from __future__ import annotations

import datetime
import errno
import getpass
import json
import socket
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import bundled, made_run, members, verified
from threatspec.api import verdict
from threatspec.errors import ExitCode, ThreatspecError
from threatspec.records import Attempt, Ledger, TrialResult, TrialStatus
from threatspec.reports.bundle import open_bundle, write_bundle
from threatspec.reports.bundle._scrub import Scrubber

NOON = datetime.datetime(2031, 5, 6, 12, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    return bundled(run.parent, run, created=NOON)


def test_the_manifest_is_as_documented(bundle: Path) -> None:
    content = members(bundle)
    manifest = json.loads(content["manifest.json"])
    assert list(manifest) == [
        "schema", "program", "created", "as_of", "finished", "plan", "files",
    ]  # fmt: skip
    assert manifest["schema"] == "threatspec/bundle/v1"
    assert manifest["created"] == "2031-05-06T12:00:00Z"
    assert manifest["finished"] is True
    assert list(manifest["program"]) == ["version", "source"]
    assert {entry["name"]: entry["schema"] for entry in manifest["files"]} == {
        "attempts.jsonl": "threatspec/attempts/v1",
        "environment.json": "threatspec/environment/v1",
        "events.jsonl": "threatspec/events/v1",
        "marks.jsonl": "threatspec/marks/v1",
        "plan.json": "threatspec/plan/v2",
        "registration.json": "threatspec/registration/v1",
        "replies.jsonl": "threatspec/replies/v1",
        "results.jsonl": "threatspec/results/v1",
        "verdict.json": "threatspec/verdict/v2",
    }
    assert list(manifest["files"][0]) == ["name", "schema", "sha256", "size"]


def test_lines_are_as_documented(bundle: Path) -> None:
    content = members(bundle)
    first = {name: json.loads(data.splitlines()[0]) for name, data in content.items()
             if name.endswith(".jsonl")}  # fmt: skip
    assert {name: list(line) for name, line in first.items()} == {
        "attempts.jsonl": [
            "trial", "worker", "started", "ended", "status", "final", "code", "message",
        ],
        "events.jsonl": ["at", "kind", "detail"],
        "marks.jsonl": ["trial", "marks"],
        "replies.jsonl": ["trial", "items", "asked", "seen", "attacker", "replies", "outcomes"],
        "results.jsonl": [
            "trial", "status", "spend", "phases", "realised", "edits", "optimised", "curves",
            "config", "proposal", "tried", "scores", "blocked", "warnings", "replies", "code",
            "message",
        ],
    }  # fmt: skip
    assert set(first["marks.jsonl"]["marks"]) <= set("yn")


def test_the_plan_is_the_very_file_of_the_results_folder(bundle: Path, run: Path) -> None:
    """Receipts are over its bytes."""
    assert members(bundle)["plan.json"] == (run / "plan.json").read_bytes()


def test_members_are_sorted_deflated_and_of_no_time(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as file:
        infos = file.infolist()
    names = [info.filename for info in infos]
    assert names == [*sorted(names[:-1]), "manifest.json"]
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {info.compress_type for info in infos} == {zipfile.ZIP_DEFLATED}


def test_equal_records_give_equal_bytes(run: Path, bundle: Path, tmp_path: Path) -> None:
    again = bundled(tmp_path, run, created=NOON)
    assert again.read_bytes() == bundle.read_bytes()


def test_the_recorded_verdict_is_that_of_the_results_folder(run: Path, bundle: Path) -> None:
    with open_bundle(bundle) as opened:
        assert opened.recorded == verdict(run)


def test_replies_are_hashes_unless_they_are_asked_for(
    run: Path, bundle: Path, tmp_path: Path
) -> None:
    assert not any(b"sorry" in data for data in members(bundle).values())
    worded = bundled(tmp_path, run, created=NOON, with_generations=True)
    first = json.loads(members(worded)["generations.jsonl"].splitlines()[0])
    said = ["trial", "item", "prompt", "attacker", "reply", "variant", "lacking"]
    assert list(first) == said
    without = {n: d for n, d in members(worded).items() if n != "generations.jsonl"}
    del without["manifest.json"]
    assert without == {n: d for n, d in members(bundle).items() if n != "manifest.json"}


def test_receipts_are_taken_as_they_are(run: Path, tmp_path: Path) -> None:
    receipt = tmp_path / "plan.tsr"
    receipt.write_bytes(b"\0\1\2")
    found = members(bundled(tmp_path, run, receipts=[receipt]))
    assert found["receipts/plan.tsr"] == b"\0\1\2"


def test_receipts_of_one_name_or_of_no_plain_name_are_refused(run: Path, tmp_path: Path) -> None:
    for name in ("a/x", "b/x", "a b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for receipts in ([tmp_path / "a/x", tmp_path / "b/x"], [tmp_path / "a b"], [tmp_path / "no"]):
        with pytest.raises(ThreatspecError) as caught:
            bundled(tmp_path, run, receipts=receipts)
        assert (caught.value.code, caught.value.exit_code) == ("TS-USAGE", ExitCode.USAGE)


# who ran it, and where


def test_nobody_and_no_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In messages of errors, in events, and in the verdict that repeats them."""
    folder = tmp_path / "home of anna"
    run = made_run(folder, finished=False, cells=3)
    user, host = "anna", "lovelace.local"
    monkeypatch.setattr(getpass, "getuser", lambda: user)
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    with Ledger.open(run, writable=True) as ledger:
        cell = list(ledger.plan.cells.values())[3]
        text = f"{folder}/spec/model.bin of {user} on {host} cannot be read: /dev/shm/x: no room"
        failed = TrialResult(trial=cell.attack or "", status=TrialStatus.ERROR, message=text,
                             code="TS-TRIAL-ERROR")  # fmt: skip
        ledger.record(failed, Attempt(f"{host}-1", time.time(), time.time()))
        ledger.event("strange", path=str(folder))
    bundle = bundled(tmp_path, run)
    whole = b"".join(members(bundle).values()).decode()
    assert "anna" not in whole
    assert str(tmp_path) not in whole
    assert "/dev/shm" not in whole
    assert "lovelace" not in whole
    assert "cannot be read: <path>: no room" in whole
    assert verified(bundle).failed == ()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a file /home/anna/x.bin is torn", "a file <path> is torn"),
        ("at C:\\Users\\anna\\x.bin, line 1", "at <path>, line 1"),
        ("'~/models/x' is not there", "'<path>' is not there"),
        ("loss and/or norm: 3/4 tokens/s", "loss and/or norm: 3/4 tokens/s"),
        ("</s> is no token", "</s> is no token"),
        ("from https://anna.example/x", "from https:<path>"),
        ("/data/my models/x.bin: no", "<path>: no"),
    ],
)
def test_paths_are_taken_out_of_sentences(text: str, clean: str) -> None:
    assert Scrubber(["/data/my models"]).text(text) == clean


def test_folders_that_the_plan_names_are_pointed_out(run: Path, tmp_path: Path) -> None:
    """They are part of its id, so they stay."""
    with Ledger.open(run) as ledger:
        text = ledger.plan.model_dump_json(by_alias=True)
    plan = type(ledger.plan).model_validate_json(text.replace("specimen:deep", "path:/home/anna"))
    with Ledger.create(tmp_path / "run", plan):
        pass
    notes = write_bundle(tmp_path / "run", tmp_path / "x.tsb").notes
    assert any("path:/home/anna" in note for note in notes)


# whole or not there


def test_an_unfinished_campaign_says_so(tmp_path: Path) -> None:
    run = made_run(tmp_path, finished=False, cells=2)
    written = write_bundle(run, tmp_path / "x.tsb", created=NOON)
    assert not written.manifest.finished
    assert written.manifest.as_of == NOON.date()
    assert any("not finished" in note for note in written.notes)


def test_a_full_disk_is_told_and_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.tsb").write_bytes(b"what was there")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile._ZipWriteFile, "write", full)
    with pytest.raises(ThreatspecError) as caught:
        bundled(tmp_path, run)
    assert (caught.value.code, caught.value.exit_code) == ("TS-DISK-FULL", ExitCode.RUN)
    assert [p.name for p in tmp_path.iterdir()] == ["x.tsb"]
    assert (tmp_path / "x.tsb").read_bytes() == b"what was there"


def test_a_place_that_cannot_be_written_is_a_matter_of_usage(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ThreatspecError) as caught:
        write_bundle(run, tmp_path / "file" / "x.tsb")
    assert (caught.value.code, caught.value.exit_code) == ("TS-USAGE", ExitCode.USAGE)


def test_a_folder_without_a_campaign_is_a_matter_of_usage(tmp_path: Path) -> None:
    with pytest.raises(ThreatspecError) as caught:
        write_bundle(tmp_path, tmp_path / "x.tsb")
    assert (caught.value.code, caught.value.exit_code) == ("TS-NO-RUN", ExitCode.USAGE)


def test_what_could_not_be_read_back_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threatspec.reports.bundle import _write

    monkeypatch.setattr(_write, "MAX_BYTES", 100_000)
    with pytest.raises(ThreatspecError) as caught:
        bundled(tmp_path, run)
    assert caught.value.code == "TS-BUNDLE"
    assert not list(tmp_path.iterdir())
