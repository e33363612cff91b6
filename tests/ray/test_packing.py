"""What a submission carries: the workspace without what is ignored, no secrets, and the program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.campaigns import ROOT
from tests.support.specs import load, write_benchmark
from threatspec.errors import ThreatspecError
from threatspec.loading import LoadedSpec
from threatspec.runners.submission._libraries import differences, libraries, pins
from threatspec.runners.submission._pack import pack_program, pack_workspace, workspace_files
from threatspec.runners.submission._secrets import refuse_secrets

MANY = 10**9


def files(folder: Path, texts: dict[str, str]) -> list[str]:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(workspace_files(folder))


def workspace(folder: Path, changes: dict[str, Any] | None = None) -> LoadedSpec:
    (folder / "claims").mkdir(parents=True, exist_ok=True)
    return load(folder / "claims", changes)


def refused(spec: LoadedSpec, target: Path, most: int = MANY) -> ThreatspecError:
    with pytest.raises(ThreatspecError) as caught:
        pack_workspace(spec, target, most)
    assert not list(target.rglob("*")), "nothing is copied before everything is known to be right"
    return caught.value


def test_the_workspace_travels_under_its_own_names(tmp_path: Path) -> None:
    root, target = tmp_path / "w", tmp_path / "t"
    spec = workspace(root)
    files(root, {"attacks/a.yaml": "x", "runs/x/ledger.sqlite": "x", ".git/config": "x"})
    assert pack_workspace(spec, target, MANY) == "claims/x.yaml"
    packed = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
    assert packed == {"claims/x.yaml", "attacks/a.yaml"}
    assert (target / "claims/x.yaml").read_bytes() == spec.path.read_bytes()


@pytest.mark.parametrize(
    ("lists", "kept"),
    [
        ({".gitignore": "*.bin\n"}, ["a.txt", "d/c.txt"]),
        ({".gitignore": "*.bin\n!b.bin\n"}, ["a.txt", "b.bin", "d/b.bin", "d/c.txt"]),
        ({".gitignore": "/b.bin\nd/c.txt\n"}, ["a.txt", "d/b.bin"]),
        ({".gitignore": "d/\n"}, ["a.txt", "b.bin"]),
        ({".gitignore": "*.bin\n", "d/.gitignore": "!b.bin\n"}, ["a.txt", "d/b.bin", "d/c.txt"]),
        ({"d/.gitignore": "*\n"}, ["a.txt", "b.bin"]),
        ({".gitignore": "*.bin\n", ".threatspecignore": "!b.bin\na.txt\n"},
         ["b.bin", "d/b.bin", "d/c.txt"]),
        ({".rayignore": "d\n"}, ["a.txt", "b.bin"]),
        ({".gitignore": "# nothing\n\n"}, ["a.txt", "b.bin", "d/b.bin", "d/c.txt"]),
        ({".threatspecignore": "!runs/\n!.venv/\n"}, ["a.txt", "b.bin", "d/b.bin", "d/c.txt"]),
    ],
)  # fmt: skip
def test_what_is_ignored_stays(tmp_path: Path, lists: dict[str, str], kept: list[str]) -> None:
    plain = {"a.txt": "", "b.bin": "", "d/b.bin": "", "d/c.txt": "", "runs/r": "", ".venv/v": ""}
    assert files(tmp_path, {**plain, **lists}) == kept


NAMES = (
    "a.log", "keep.log", "build/x", "sub/build/x", "doc/x.txt", "doc/a/b/x.txt", "q1.csv",
    "q12.csv", "a.md", "c.md", "last/y", "sub/last/y", "#odd", "sub/keep.log", "sub/deep/z.log",
    "sub/only.txt", "sub/deep/only.txt", "ü.log", "ü.txt",
)  # fmt: skip


def test_what_git_ignores_is_ignored(tmp_path: Path) -> None:
    """Git itself is the judge of a made-up tree."""
    texts = {
        ".gitignore": "*.log\n!keep.log\n/build\ndoc/**/x.txt\nq?.csv\n[ab].md\nlast/\n\\#odd\n",
        "sub/.gitignore": "keep.log\n!deep/*.log\n/only.txt\n",
        **dict.fromkeys(NAMES, ""),
    }
    found = files(tmp_path, texts)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    command = ["git", "-c", "core.excludesFile=/dev/null", "-c", "core.quotePath=false", "-C"]
    listed = subprocess.run(
        [*command, str(tmp_path), "ls-files", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert found == sorted(name for name in listed if not name.endswith(".gitignore"))


def test_links_lead_nowhere_else(tmp_path: Path) -> None:
    root = tmp_path / "w"
    files(tmp_path, {"outside/s": "x", "w/a": "a", "w/d/b": "b"})
    (root / "inside").symlink_to(root / "a")
    (root / "out").symlink_to(tmp_path / "outside" / "s")
    (root / "outfolder").symlink_to(tmp_path / "outside")
    (root / "d" / "circle").symlink_to(root)
    (root / "dangling").symlink_to(root / "nowhere")
    assert list(workspace_files(root)) == ["a", "d/b", "inside"]


@pytest.mark.parametrize(
    "name",
    [".env", ".env.local", "server.pem", "id_rsa", "id_ed25519.bak", "k.key", ".netrc",
     "credentials", "Credentials.JSON", "deep/down/.pypirc", "auth_token"],
)  # fmt: skip
def test_secrets_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ThreatspecError, match="its name") as caught:
        refuse_secrets(tmp_path, files(tmp_path, {name: "", "plain.txt": ""}))
    assert caught.value.code == "TS-UPLOAD-SECRET"
    assert name in str(caught.value)
    assert "plain.txt" not in str(caught.value)


BEGIN = "-----" + "BEGIN {}PRIVATE" + " KEY-----"
"""Written so that no scanner takes this file for one with secrets."""


@pytest.mark.parametrize(
    "text",
    [
        BEGIN.format(""), BEGIN.format("RSA "), BEGIN.format("OPENSSH "),
        "token = '" + "hf_" + "a1B2c" * 7 + "'", "x " + "ghp_" + "0aB" * 12,
        "AKIA" + "Q2" * 8, "key: " + "sk-" + "Zz09" * 10, "xoxb-" + "1234" * 6,
        "github_pat_" + "A1" * 25, "AIza" + "b" * 35,
    ],
)  # fmt: skip
def test_secrets_by_content(tmp_path: Path, text: str) -> None:
    with pytest.raises(ThreatspecError) as caught:
        refuse_secrets(tmp_path, files(tmp_path, {"notes.txt": f"first\n{text}\n", "b.txt": ""}))
    assert caught.value.code == "TS-UPLOAD-SECRET"
    assert "notes.txt (its content)" in str(caught.value)
    assert text not in str(caught.value), "a message goes into logs"


def test_every_secret_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ThreatspecError) as caught:
        refuse_secrets(tmp_path, files(tmp_path, {".env": "", "d/x.pem": "", "ok": ""}))
    assert all(name in str(caught.value) for name in (".env", "d/x.pem"))


def test_ordinary_words_are_no_secrets(tmp_path: Path) -> None:
    text = "hf_model sk-learn ghp_short AKIA task-" + "a" * 50 + " BEGIN PUBLIC KEY"
    refuse_secrets(tmp_path, files(tmp_path, {"a.md": text, "keys.py": "", "environment": ""}))


def test_this_repository_can_be_submitted(tmp_path: Path) -> None:
    refuse_secrets(ROOT, workspace_files(ROOT))


def test_an_ignored_secret_is_none(tmp_path: Path) -> None:
    root = tmp_path / "w"
    spec = workspace(root)
    files(root, {".env": "", ".gitignore": ".env\n"})
    assert pack_workspace(spec, tmp_path / "t", MANY) == "claims/x.yaml"
    assert not (tmp_path / "t" / ".env").exists()


def test_too_large(tmp_path: Path) -> None:
    root = tmp_path / "w"
    spec = workspace(root)
    (root / "large.bin").write_bytes(b"0" * 3 * 2**20)
    (root / "small.bin").write_bytes(b"0" * 2**20)
    error = refused(spec, tmp_path / "t", most=4 * 2**20)
    assert error.code == "TS-UPLOAD-LIMIT"
    assert "may have 4.0 MiB" in error.message
    assert "large.bin (3.0 MiB), small.bin (1.0 MiB)" in error.message
    (root / ".threatspecignore").write_text("small.bin\n")
    assert pack_workspace(spec, tmp_path / "t", 4 * 2**20)


@pytest.mark.parametrize(
    ("changes", "ignored", "said"),
    [
        ({"measures.asr.benchmark": "file:../data/items.jsonl"}, "data/", "data/items.jsonl"),
        ({"measures.asr.benchmark": "file:../data/items.jsonl"}, "*.card.yaml", "items.card.yaml"),
        ({"adversaries.tuner.data.harmful.from": "file:../data/items.jsonl#attack_train"},
         "*.jsonl", "data/items.jsonl"),
        ({"subject.model": "path:../model"}, "*.safetensors", "model/w.safetensors"),
        ({"subject.control": "path:../model"}, "model", "model/config.json"),
        ({}, "x.yaml", "claims/x.yaml"),
        ({"subject.undefended": "path:../../elsewhere"}, "", "is outside of the workspace"),
    ],
)  # fmt: skip
def test_local_data_must_be_packed(
    tmp_path: Path, changes: dict[str, Any], ignored: str, said: str
) -> None:
    root = tmp_path / "w"
    spec = workspace(root, changes)
    write_benchmark(root / "data", [{"id": "a", "prompt": "p"}])
    files(root, {"model/config.json": "{}", "model/w.safetensors": "", ".gitignore": ignored})
    error = refused(spec, tmp_path / "t")
    assert error.code == "TS-DATA"
    assert said in error.message
    if ignored:
        (root / ".threatspecignore").write_text(f"!{ignored}\n")
        assert pack_workspace(spec, tmp_path / "t", MANY) == "claims/x.yaml"


@pytest.mark.parametrize("ref", ["path:/models/m", "path:~/m", "gguf:smollm2", "specimen:deep"])
def test_absolute_names_are_the_clusters(tmp_path: Path, ref: str) -> None:
    spec = workspace(tmp_path / "w", {"subject.model": ref})
    assert pack_workspace(spec, tmp_path / "t", MANY) == "claims/x.yaml"


def test_the_program_travels_whole(tmp_path: Path) -> None:
    """A copy lists the same attacks, finds its shipped content, and gives plans the same ids."""
    package = pack_program(tmp_path / "program")
    spec = workspace(tmp_path / "w")
    code = (
        "import sys, threatspec as ts, threatspec.resources as r\n"
        "print(r.PACKAGE, r.shipped('attacks'), ts.plan(sys.argv[1]).id)"
    )

    def printed(path: Path) -> list[str]:
        environment = {**os.environ, "PYTHONPATH": str(path)}
        command = [sys.executable, "-P", "-c", code, str(spec.path)]
        told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return told.stdout.split()

    copied, own = printed(package.parent), printed(ROOT)
    assert copied[0] == str(package)
    assert copied[1] == str(package / "_data" / "attacks")
    assert copied[2] == own[2]
    again = pack_program(tmp_path / "again")
    assert tree(again) == tree(package), "equal content has one address on the cluster"
    assert not list(package.rglob("__pycache__"))


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_other_libraries_are_told() -> None:
    here = libraries()
    assert here["python"].count(".") == 2
    assert differences(json.dumps(here)) == []
    [line] = differences(json.dumps({**here, "torch": "1.0.0"}))
    assert f"torch is {here['torch']} here, but 1.0.0 where this was submitted" in line
    assert f"torch=={here['torch']}" in pins()
    assert not any("+" in pin or pin.startswith("python=") for pin in pins())
