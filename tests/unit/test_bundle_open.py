"""Opening a bundle is reading hostile input: what is not as it must be is refused by one code."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Forger, bundled, made_run, members, packed, repacked
from threatspec.errors import ExitCode, ThreatspecError
from threatspec.reports.bundle import _archive, _format, _json, open_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    return bundled(folder, made_run(folder))


def refusal(path: Path) -> str:
    """What is said of a bundle that is refused."""
    with pytest.raises(ThreatspecError) as caught:
        open_bundle(path).close()
    assert caught.value.code == "TS-BUNDLE"
    assert caught.value.exit_code is ExitCode.RUN
    assert "; get the file again" in caught.value.message
    return caught.value.message


# the zip file


def test_a_file_that_is_not_there_is_a_matter_of_usage(tmp_path: Path) -> None:
    with pytest.raises(ThreatspecError) as caught:
        open_bundle(tmp_path / "no.tsb")
    assert (caught.value.code, caught.value.exit_code) == ("TS-FILE-MISSING", ExitCode.USAGE)


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip file at all, but long enough to be one"])
def test_a_file_that_is_no_zip_file_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.tsb"
    path.write_bytes(data)
    assert "a whole zip file" in refusal(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_bundle_is_refused(kept: float, bundle: Path, tmp_path: Path) -> None:
    data, path = bundle.read_bytes(), tmp_path / "x.tsb"
    path.write_bytes(data[: int(len(data) * kept)])
    assert "a whole zip file" in refusal(path)


@pytest.mark.parametrize("extra", [b"x", b"\n" * 100])
def test_something_before_or_behind_a_bundle_is_refused(
    extra: bytes, bundle: Path, tmp_path: Path
) -> None:
    before, behind = tmp_path / "before.tsb", tmp_path / "behind.tsb"
    before.write_bytes(extra + bundle.read_bytes())
    behind.write_bytes(bundle.read_bytes() + extra)
    refusal(before)
    refusal(behind)


def test_a_second_index_for_large_files_is_refused(bundle: Path, tmp_path: Path) -> None:
    """It would be read instead of the one that was looked at."""
    data, path = bytearray(bundle.read_bytes()), tmp_path / "x.tsb"
    data[-42:-38] = b"PK\x06\x07"
    path.write_bytes(data)
    refusal(path)


def test_every_flipped_byte_is_noticed(bundle: Path, tmp_path: Path) -> None:
    """Or changes nothing that is read: times, versions and rights of members."""
    good, path = bundle.read_bytes(), tmp_path / "x.tsb"
    with open_bundle(bundle) as opened:
        wanted = (opened.manifest, opened.plan_sha256, opened.marks, opened.recorded)
    noticed = 0
    places = range(0, len(good), max(1, len(good) // 60))
    for place in places:
        data = bytearray(good)
        data[place] ^= 0xFF
        path.write_bytes(data)
        try:
            with open_bundle(path) as opened:
                got = (opened.manifest, opened.plan_sha256, opened.marks, opened.recorded)
                assert got == wanted
        except ThreatspecError as error:
            assert error.code == "TS-BUNDLE"  # noqa: PT017 - either is right
            noticed += 1
    assert noticed > 0.9 * len(places)


def rebuilt(bundle: Path, path: Path, change: Callable[[zipfile.ZipFile], None]) -> Path:
    """The members of a bundle, and whatever `change` adds."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members(bundle).items():
            file.writestr(name, data)
        change(file)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../plan.json", "receipts/../../x", "receipts/..", "a\\b", "C:x", "C:/x",
        "receipts/deep/er", "receipts/", ".hidden", "-x", "a b", "ümlaut", "x" * 200, "",
    ],
)  # fmt: skip
def test_members_with_names_that_are_not_plain_are_refused(
    name: str, bundle: Path, tmp_path: Path
) -> None:
    path = rebuilt(bundle, tmp_path / "x.tsb", lambda file: file.writestr(_named(name), b"x"))
    assert "plain names" in refusal(path)
    assert sorted(tmp_path.iterdir()) == [path]  # nothing was unpacked


def _named(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name
    return info


def test_a_name_that_ends_at_a_nul_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = rebuilt(bundle, tmp_path / "x.tsb", lambda file: file.writestr("plan.jsonX", b"x"))
    path.write_bytes(path.read_bytes().replace(b"plan.jsonX", b"plan.json\0"))
    assert "plain names" in refusal(path)


@pytest.mark.parametrize("mode", [0o120777, 0o040755, 0o020644, 0o010644, 0o060644, 0o140644])
def test_members_that_are_no_plain_files_are_refused(
    mode: int, bundle: Path, tmp_path: Path
) -> None:
    def special(file: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("receipts/x")
        info.external_attr = mode << 16
        file.writestr(info, b"/etc/passwd")

    path = rebuilt(bundle, tmp_path / "x.tsb", special)
    assert "must be plain files" in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(bundle: Path, tmp_path: Path) -> None:
    path = rebuilt(bundle, tmp_path / "x.tsb", lambda file: file.writestr("plan.json", b"{}"))
    assert "plan.json is there twice" in refusal(path)


def test_encrypted_members_are_refused(bundle: Path, tmp_path: Path) -> None:
    data, path = bytearray(bundle.read_bytes()), tmp_path / "x.tsb"
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "must not be encrypted" in refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_are_packed_in_another_way_are_refused(
    method: int, bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.tsb"
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members(bundle).items():
            file.writestr(name, data)
    assert "stored or deflated" in refusal(path)


def test_too_many_members_are_refused(bundle: Path, tmp_path: Path) -> None:
    def many(file: zipfile.ZipFile) -> None:
        for number in range(_format.MAX_MEMBERS):
            file.writestr(f"receipts/{number}", b"")

    path = rebuilt(bundle, tmp_path / "x.tsb", many)
    assert f"at most {_format.MAX_MEMBERS} members" in refusal(path)


# sizes


def test_a_receipt_that_is_too_large_is_refused(bundle: Path, tmp_path: Path) -> None:
    data = {**members(bundle), "receipts/x": b"0" * (_format.MAX_RECEIPT + 1)}
    assert "receipts/x must have at most" in refusal(repacked(tmp_path / "x.tsb", data))


def test_a_bundle_that_is_too_large_is_refused(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_archive, "MAX_BYTES", bundle.stat().st_size - 1)
    assert "a bundle must have at most" in refusal(bundle)


def test_members_that_are_too_large_together_are_refused_before_any_is_read(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_archive, "MAX_BYTES", bundle.stat().st_size + 10)
    monkeypatch.setattr(_archive.Archive, "chunks", None)
    assert "members must have at most" in refusal(bundle)


def patched(path: Path, name: bytes, size: int, crc: int | None = None) -> None:
    """Let the index say another size of a member than there is, and another checksum."""
    data = bytearray(path.read_bytes())
    at = data.rindex(name) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    data[at + 24 : at + 28] = struct.pack("<L", size)
    data[at + 16 : at + 20] = data[at + 16 : at + 20] if crc is None else struct.pack("<L", crc)
    path.write_bytes(data)


def test_a_bomb_goes_off_nowhere(tmp_path: Path, bundle: Path) -> None:
    """Behind what the manifest and the index speak of lies a thousand times as much."""
    content = members(bundle)
    honest = content["marks.jsonl"]
    path = packed(tmp_path / "x.tsb", {**content, "marks.jsonl": honest + b"0" * 60_000_000})
    assert path.stat().st_size < 2_000_000
    patched(path, b"marks.jsonl", len(honest), zlib.crc32(honest))
    tracemalloc.start()
    refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30_000_000


@pytest.mark.parametrize("by", [-1, 1, 1000])
def test_an_index_that_lies_about_a_size_is_refused(by: int, bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.tsb"
    path.write_bytes(bundle.read_bytes())
    patched(path, b"results.jsonl", len(members(bundle)["results.jsonl"]) + by)
    refusal(path)


@pytest.mark.parametrize("by", [-1, 1, 1000])
def test_a_manifest_that_lies_about_a_size_is_refused(
    by: int, bundle: Path, tmp_path: Path
) -> None:
    def lie(manifest: Any) -> None:
        manifest["files"][0]["size"] += by

    assert "the size that the manifest says" in refusal(with_manifest(bundle, tmp_path, lie))


def test_a_line_that_is_too_long_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_archive, "_CHUNK", 64)
    monkeypatch.setattr(_archive, "MAX_LINE", 128)
    assert "a line of" in refusal(bundle)


# the manifest


def with_manifest(bundle: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """A bundle whose manifest alone was changed."""
    content = members(bundle)
    manifest = json.loads(content["manifest.json"])
    change(manifest)
    content["manifest.json"] = json.dumps(manifest).encode()
    return packed(folder / "x.tsb", content)


def wrong_digest(manifest: Any) -> None:
    manifest["files"][0]["sha256"] = "0" * 64


def future(manifest: Any) -> None:
    manifest["schema"] = "threatspec/bundle/v2"


def no_version(manifest: Any) -> None:
    del manifest["schema"]


def future_plan(manifest: Any) -> None:
    next(e for e in manifest["files"] if e["name"] == "plan.json")["schema"] = "threatspec/plan/v9"


def unnamed(manifest: Any) -> None:
    manifest["files"] = [e for e in manifest["files"] if e["name"] != "marks.jsonl"]


def named_twice(manifest: Any) -> None:
    manifest["files"].append(manifest["files"][0])


def named_and_not_there(manifest: Any) -> None:
    manifest["files"].append({**manifest["files"][0], "name": "labels.jsonl"})


def strange_field(manifest: Any) -> None:
    manifest["more"] = 1


def no_day(manifest: Any) -> None:
    manifest["created"] = "yesterday"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (wrong_digest, "the sha256 that the manifest says"),
        (future, "which is what this program reads, but it is 'threatspec/bundle/v2'"),
        (no_version, "manifest.json must be 'threatspec/bundle/v1'"),
        (future_plan, "plan.json must be 'threatspec/plan/v2'"),
        (unnamed, "the manifest must name every member, but 'marks.jsonl' is not so"),
        (named_twice, "name every member once"),
        (named_and_not_there, "every member that the manifest names must be there"),
        (strange_field, "as this program writes it"),
        (no_day, "as this program writes it"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    change: Callable[[Any], None], says: str, bundle: Path, tmp_path: Path
) -> None:
    assert says in refusal(with_manifest(bundle, tmp_path, change))


@pytest.mark.parametrize("name", ["marks.jsonl", "manifest.json", "plan.json", "verdict.json"])
def test_a_bundle_without_a_member_is_refused(name: str, bundle: Path, tmp_path: Path) -> None:
    content = {n: data for n, data in members(bundle).items() if n != name}
    write = packed if name == "manifest.json" else repacked
    assert name in refusal(write(tmp_path / "x.tsb", content))


def test_a_member_that_this_program_does_not_know_is_refused(bundle: Path, tmp_path: Path) -> None:
    content = {**members(bundle), "extra.json": b"{}"}
    assert "that this program knows" in refusal(repacked(tmp_path / "x.tsb", content))


# what is in the members


DEEP = b'{"a":' * 5000 + b"1" + b"}" * 5000


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff\xfe{}", "must be UTF-8 text"),
        (b"", "must be JSON"),
        (b"{", "must be JSON"),
        (b"[]", "as this program writes it"),
        (b'{"schema": "threatspec/environment/v1", "python": NaN}', "NaN is no number"),
        (b'{"schema": "threatspec/environment/v1", "python": Infinity}', "Infinity is no number"),
        (b'{"python": "3", "python": "4"}', "a key stands twice"),
        (DEEP, "must nest at most"),
        (b'{"a":' * 80 + b"1" + b"}" * 80, "must nest at most"),
        (b'{"python": ' + b"9" * 10_000 + b"}", "must be JSON"),
        (b'{"python": "\\ud800"}', "as this program writes it"),
    ],
    ids=["utf8", "empty", "cut", "list", "nan", "infinity", "twice", "deep", "nested", "digits",
         "surrogate"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["environment.json", "results.jsonl", "plan.json"])
def test_what_is_not_plain_json_is_refused(
    data: bytes, says: str, name: str, bundle: Path, tmp_path: Path
) -> None:
    end = b"\n" if name.endswith("l") else b""
    content = {**members(bundle), name: data + end}
    assert says in refusal(repacked(tmp_path / "x.tsb", content))


def test_too_many_values_are_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_json, "MAX_VALUES", 1000)
    assert "must hold at most 1,000 values" in refusal(bundle)


def test_too_many_values_on_all_lines_are_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_json, "MAX_LINE_VALUES", 100)
    assert "must hold at most 100 values" in refusal(bundle)


def test_a_last_line_that_is_cut_off_is_refused(bundle: Path, tmp_path: Path) -> None:
    content = members(bundle)
    content["marks.jsonl"] = content["marks.jsonl"][:-1]
    assert "cut off" in refusal(repacked(tmp_path / "x.tsb", content))


def other_trial(forger: Forger) -> None:
    first = next(iter(forger.marks))
    forger.marks["judge-0000"] = forger.marks.pop(first)


def other_letters(forger: Forger) -> None:
    first = next(iter(forger.marks))
    forger.marks[first] = "Y" + forger.marks[first][1:]


def rows_beside_marks(forger: Forger) -> None:
    first = next(iter(forger.marks))
    row = {"item": "a", "cluster": "a", "outcome": "yes"}
    forger.results[first]["rows"] = [row]


def fewer_hashes(forger: Forger) -> None:
    next(iter(forger.replies.values()))["replies"].pop()


def no_hash(forger: Forger) -> None:
    next(iter(forger.replies.values()))["replies"][0] = "zz"


def torn_cell(forger: Forger) -> None:
    name = forger.claim["attacked"]["defended"][0]
    del forger.plan["cells"][name]


def torn_measure(forger: Forger) -> None:
    del forger.plan["measures"]["asr"]


def torn_trial(forger: Forger) -> None:
    del forger.plan["trials"][next(iter(forger.marks))]


def prompt_twice(forger: Forger) -> None:
    order = forger.plan["measures"]["asr"]["order"]
    order[1] = order[0]


def looks_backwards(forger: Forger) -> None:
    forger.plan["measures"]["asr"]["looks"] = [256, 8]


def no_such_slice(forger: Forger) -> None:
    forger.claim["claim"]["holds"] = "asr[category=nowhere] <= 0.1"


def bad_predicate(forger: Forger) -> None:
    forger.claim["claim"]["holds"] = "(" * 5000 + "asr <= 0.1"


def no_spec(forger: Forger) -> None:
    forger.plan["spec"] = {"threatspec": 1}


def torn_spec(forger: Forger) -> None:
    forger.plan["spec"]["claims"][0]["against"] = "nobody"


def no_judge(forger: Forger) -> None:
    del forger.plan["measures"]["asr"]["judge"]["use"]


def infinite_spend(forger: Forger) -> None:
    next(iter(forger.results.values()))["spend"]["flops"] = float("inf")


@pytest.mark.parametrize(
    "edit",
    [
        other_trial, other_letters, rows_beside_marks, fewer_hashes, no_hash, torn_cell,
        torn_measure, torn_trial, prompt_twice, looks_backwards, no_such_slice, bad_predicate,
        no_spec, torn_spec, no_judge, infinite_spend,
    ],
)  # fmt: skip
def test_records_that_cannot_be_of_the_plan_are_refused(
    edit: Callable[[Forger], None], bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forger = Forger(bundle)
    edit(forger)
    monkeypatch.setattr(Forger, "frozen", lambda self: _Named())  # such a plan has no id
    refusal(forger.write(tmp_path / "x.tsb", register=False, decided=False))


class _Named:
    id = "plan-0000000000000000"


def test_two_results_of_one_trial_are_refused(bundle: Path, tmp_path: Path) -> None:
    content = members(bundle)
    first = content["results.jsonl"].splitlines(keepends=True)[0]
    content["results.jsonl"] += first
    assert "one line for each trial" in refusal(repacked(tmp_path / "x.tsb", content))


def test_damage_inside_a_member_is_refused(bundle: Path, tmp_path: Path) -> None:
    """The index fits, and what it points at does not."""
    data, path = bytearray(bundle.read_bytes()), tmp_path / "x.tsb"
    with zipfile.ZipFile(bundle) as file:
        info = file.getinfo("replies.jsonl")
    middle = info.header_offset + 30 + len("replies.jsonl") + info.compress_size // 2
    data[middle : middle + 20] = zlib.compress(b"something else")[:20].ljust(20, b"\0")
    path.write_bytes(data)
    refusal(path)


def test_a_refused_file_is_not_kept_open(bundle: Path, tmp_path: Path) -> None:
    path = with_manifest(bundle, tmp_path, wrong_digest)
    refusal(path)
    path.unlink()
    assert not list(tmp_path.iterdir())
