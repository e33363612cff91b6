"""Storage on disk, and segments of a ledger in it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.test_ledger import a_plan, a_result
from threatspec.errors import ThreatspecError
from threatspec.records import ArtefactStore, Attempt, Ledger, Plan, Shipper, Storage, restore


@pytest.fixture
def plan() -> Plan:
    return a_plan(6)


@pytest.fixture
def ledger(tmp_path: Path, plan: Plan) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "run", plan) as found:
        yield found


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "kept")


def record(ledger: Ledger, number: int) -> None:
    attempt = Attempt("worker-1", 10.0 * number, 10.0 * number + 1)
    ledger.record(a_result(f"generate-{number}"), attempt)


def content(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    db = sqlite3.connect(folder / "ledger.sqlite")
    tables = ("attempts", "results", "rows", "generations", "events")
    found = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    db.close()
    return found


def segments(storage: Storage) -> Path:
    assert storage.path is not None
    return storage.path / "segments"


# storage


def test_a_file_is_read_back_replaced_and_removed(storage: Storage) -> None:
    assert storage.names() == []
    storage.write("a.json", b"one")
    storage.write("a.json", b"two")
    storage.child("sub").write("b", b"")
    assert storage.read("a.json") == b"two"
    assert "a.json" in storage
    assert "b" not in storage
    assert storage.names() == ["a.json", "sub"]
    storage.remove("a.json")
    storage.remove("a.json")
    assert "a.json" not in storage
    storage.remove_all()
    assert storage.names() == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "/etc/passwd", "x\n"])
def test_only_plain_names_are_taken(storage: Storage, name: str) -> None:
    with pytest.raises(ThreatspecError, match="plain name"):
        storage.write(name, b"")


def test_what_cannot_be_written_is_told_without_the_password(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ThreatspecError, match="cannot be written") as caught:
        Storage(tmp_path / "file").write("a", b"")
    assert caught.value.code == "TS-STORAGE"
    assert Storage("sftp://me:secret@host/x").url == "sftp://host/x"


@pytest.mark.parametrize("url", ["", "/", "file://", "s3://"])
def test_a_whole_disk_or_server_is_no_storage(url: str) -> None:
    with pytest.raises(ThreatspecError, match="a folder of its own"):
        Storage(url)


def test_a_kind_of_storage_that_nobody_knows() -> None:
    with pytest.raises(ThreatspecError, match="fsspec knows, but is gopher://") as caught:
        Storage("gopher://host/x").names()
    assert caught.value.code == "TS-STORAGE"


def test_a_torn_artefact_is_told(tmp_path: Path) -> None:
    import torch

    store = ArtefactStore(tmp_path).owned("attack-1")
    name = store.save({"a": torch.zeros(3)})
    assert torch.equal(store.load(name)["a"], torch.zeros(3))
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ThreatspecError, match="cannot be read") as caught:
        store.load(name)
    assert caught.value.code == "TS-RECORDS"


# segments


def test_a_restored_ledger_is_the_very_same(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    shipper = Shipper(ledger.folder, storage)
    for number in range(4):
        record(ledger, number)
        ledger.event("worker-lost", worker="worker-1", n=number)
        if number % 2:
            shipper.ship()
    shipper.close()
    assert restore(storage, tmp_path / "other") == len(list(segments(storage).iterdir())) == 2
    assert content(tmp_path / "other") == content(ledger.folder)
    with Ledger.open(tmp_path / "other") as found:
        assert found.registration() == ledger.registration()
    before = content(tmp_path / "other")
    assert restore(storage, tmp_path / "other") == 2
    assert content(tmp_path / "other") == before


def test_only_new_segments_are_fetched(ledger: Ledger, storage: Storage, tmp_path: Path) -> None:
    shipper = Shipper(ledger.folder, storage)
    record(ledger, 0)
    shipper.ship()
    other = tmp_path / "other"
    restore(storage, other)
    first = other / "segments" / "000001.jsonl.gz"
    before = first.stat().st_mtime_ns
    record(ledger, 1)
    shipper.close()
    assert restore(storage, other) == 2
    assert first.stat().st_mtime_ns == before
    assert content(other) == content(ledger.folder)


def test_nothing_new_makes_no_segment(ledger: Ledger, storage: Storage) -> None:
    shipper = Shipper(ledger.folder, storage)
    shipper.ship()
    shipper.ship()
    shipper.close()
    assert len(list(segments(storage).iterdir())) == 1, "the event `frozen`"


def test_a_driver_that_was_killed_goes_on_behind_what_it_shipped(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    record(ledger, 0)
    Shipper(ledger.folder, storage).ship()
    record(ledger, 1)  # and is killed before it ships this
    shipper = Shipper(ledger.folder, storage)
    record(ledger, 2)
    shipper.close()
    restore(storage, tmp_path / "other")
    assert content(tmp_path / "other") == content(ledger.folder)


def test_a_restore_that_was_killed_is_completed(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    shipper = Shipper(ledger.folder, storage)
    for number in range(3):
        record(ledger, number)
        shipper.ship()
    other = tmp_path / "other"
    last = segments(storage) / "000003.jsonl.gz"
    kept = last.read_bytes()
    last.write_bytes(b"torn")
    with pytest.raises(ThreatspecError, match="segment 3"):
        restore(storage, other)
    last.write_bytes(kept)
    (other / "segments" / last.name).unlink()
    restore(storage, other)
    assert content(other) == content(ledger.folder)


def test_a_gap_is_noticed(ledger: Ledger, storage: Storage, tmp_path: Path) -> None:
    shipper = Shipper(ledger.folder, storage)
    for number in range(3):
        record(ledger, number)
        shipper.ship()
    (segments(storage) / "000002.jsonl.gz").unlink()
    with pytest.raises(ThreatspecError, match=r"segment 2 .* is missing"):
        restore(storage, tmp_path / "other")


def test_a_changed_segment_is_noticed(ledger: Ledger, storage: Storage, tmp_path: Path) -> None:
    shipper = Shipper(ledger.folder, storage)
    for number in range(3):
        record(ledger, number)
        shipper.ship()
    path = segments(storage) / "000002.jsonl.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    assert json.loads(text.splitlines()[0])["schema"] == "threatspec/segment/v1"
    path.write_bytes(gzip.compress(text.replace('"yes"', '"no"').encode(), mtime=0))
    if '"yes"' not in text:
        path.write_bytes(gzip.compress(text.replace("worker-1", "worker-2").encode(), mtime=0))
    with pytest.raises(ThreatspecError, match=r"segment 3 .* does not follow"):
        restore(storage, tmp_path / "other")


def test_another_driver_is_noticed(ledger: Ledger, storage: Storage, tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "second", ledger.plan) as second:
        record(second, 3)
        Shipper(second.folder, storage).close()
    record(ledger, 0)
    with pytest.raises(ThreatspecError, match="another run of the plan") as caught:
        Shipper(ledger.folder, storage)
    assert caught.value.code == "TS-STORAGE"


def test_another_run_of_the_plan_is_not_mixed_with_what_is_there(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    for number in (1, 2):
        record(ledger, number)
    Shipper(ledger.folder, storage).close()
    with Ledger.create(tmp_path / "other", ledger.plan) as other:
        record(other, 0)
    before = content(tmp_path / "other")
    with pytest.raises(ThreatspecError, match="another run of the plan") as caught:
        restore(storage, tmp_path / "other")
    assert caught.value.code == "TS-STORAGE"
    assert content(tmp_path / "other") == before


def test_a_damaged_mirror_is_fetched_again(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    record(ledger, 0)
    Shipper(ledger.folder, storage).close()
    restore(storage, tmp_path / "other")
    mirrored = tmp_path / "other" / "segments" / "000001.jsonl.gz"
    kept = mirrored.read_bytes()
    mirrored.write_bytes(kept[:-5])
    assert restore(storage, tmp_path / "other") == 1
    assert mirrored.read_bytes() == kept


def test_files_can_be_read_by_whom_the_user_lets_read(storage: Storage, tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        storage.write("a", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "kept" / "a").stat().st_mode & 0o777 == 0o644


def test_a_ledger_of_a_later_format_is_refused(ledger: Ledger) -> None:
    with sqlite3.connect(ledger.folder / "ledger.sqlite") as db:
        db.execute("UPDATE meta SET value = 'threatspec/ledger/v9' WHERE key = 'schema'")
    db.close()
    with pytest.raises(ThreatspecError, match="has the format threatspec/ledger/v9"):
        Ledger.open(ledger.folder)


def test_a_folder_of_another_plan_is_not_restored_into(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    Shipper(ledger.folder, storage).close()
    Ledger.create(tmp_path / "other", a_plan(2)).close()
    with pytest.raises(ThreatspecError) as caught:
        restore(storage, tmp_path / "other")
    assert caught.value.code == "TS-RUN-OTHER-PLAN"


def test_nothing_is_restored_from_nothing(storage: Storage, tmp_path: Path) -> None:
    assert restore(storage, tmp_path / "other") == 0
    assert not (tmp_path / "other").exists()


def test_a_storage_that_fails_for_a_while_does_not_end_the_run(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    shipper = Shipper(ledger.folder, storage)
    shutil.rmtree(tmp_path / "kept", ignore_errors=True)
    (tmp_path / "kept").write_text("in the way")
    shipper.start(0.01)
    record(ledger, 0)
    (tmp_path / "kept").unlink()
    shipper.close()
    (segments(storage) / "000001.jsonl.gz").read_bytes()


def test_a_large_ledger_is_shipped_in_pieces(storage: Storage, tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "run", a_plan(1)) as ledger:
        for number in range(5_500):
            ledger.event("note", n=number)
        Shipper(ledger.folder, storage).close()
        assert len(list(segments(storage).iterdir())) == 2
        restore(storage, tmp_path / "other")
        assert content(tmp_path / "other") == content(ledger.folder)


def test_weights_are_removed_once_what_was_read_of_them_is_shipped(
    ledger: Ledger, storage: Storage
) -> None:
    import torch

    from threatspec.runners._artefacts import Artefacts

    shipper, store = Shipper(ledger.folder, storage), ArtefactStore(storage.child("artefacts"))
    name = store.save({"a": torch.zeros(1)})
    record(ledger, 0)
    Artefacts(store, shipper).remove([name])
    assert name in store, "a machine that goes on from the storage would need it"
    shipper.ship()
    assert name not in store
    record(ledger, 1)
    Artefacts(store, shipper).remove_all()
    assert len(list(segments(storage).iterdir())) == 2, "shipped before anything is removed"
