"""Data sets of a hub, from a real server on this machine, by a program of its own each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_server import COMMIT, DataSet, HubServer, hub

ROOT = Path(__file__).parents[2]
ROWS = [
    {"question_id": n, "turns": [f"what is thing {n} ?"], "prompt_style": "base"}
    for n in range(1, 441)
]
NAME = f"hf:lab/things@{COMMIT}"
SORRY = f"hf:sorry-bench/sorry-bench-202503@{COMMIT}"
SHOW = """
import json, sys
from pathlib import Path
from threatspec.errors import ThreatspecError
from threatspec.measures import benchmark
try:
    found = benchmark(sys.argv[1], Path(sys.argv[2]), fetch=sys.argv[3] == "fetch")
    items = [item.model_dump(mode="json") for item in found.items()]
    print(json.dumps({"items": items, "digest": found.digest}))
except ThreatspecError as error:
    print(json.dumps({"code": error.code, "message": error.message}))
"""


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write_card(folder: Path, **changes: Any) -> None:
    card = {
        "schema": "threatspec/benchmark-card/v1",
        "name": "things",
        "says": "Questions about things.",
        "licence": "MIT",
        "source": "made by a test",
        "data_set": NAME,
        "file": "question.jsonl",
        "columns": {"id": "question_id", "turns": "turns", "slices": {"style": "prompt_style"}},
        "split": "test",
    }
    text = json.dumps({k: v for k, v in {**card, **changes}.items() if v is not None})
    (folder / "things.card.yaml").write_text(text, encoding="utf-8")


def look(
    place: Path, server: HubServer | None, name: str = NAME, *, fetch: bool = True, **env: str
) -> dict[str, Any]:
    """What a new program reads, with a cache below `place` and no tokens but the given."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    own |= {
        "HF_HOME": str(place / "cache"),
        "HF_ENDPOINT": server.url if server else "http://127.0.0.1:9",
    }
    own |= {"PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_TELEMETRY": "1"} | env
    arguments = [sys.executable, "-c", SHOW, name, str(place), "fetch" if fetch else "check"]
    done = subprocess.run(arguments, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_data_set_is_fetched_once_by_its_commit_and_then_needs_no_network(tmp_path: Path) -> None:
    write_card(tmp_path)
    with hub(lab__things=DataSet({COMMIT: {"question.jsonl": lines(ROWS)}})) as server:
        first = look(tmp_path, server)
        assert [item["prompt"] for item in first["items"][:2]] == [
            "what is thing 1 ?",
            "what is thing 2 ?",
        ]
        assert first["items"][4] | {"id": "5", "slices": {"style": "base"}} == first["items"][4]
        asked = len(server.calls)
        assert asked
        assert look(tmp_path, server) == first
        assert len(server.calls) == asked
    assert look(tmp_path, None) == first
    assert look(tmp_path, None, HF_HUB_OFFLINE="1") == first


def test_a_check_and_an_offline_machine_ask_nobody(tmp_path: Path) -> None:
    write_card(tmp_path)
    with hub(lab__things=DataSet({COMMIT: {"question.jsonl": lines(ROWS)}})) as server:
        found = look(tmp_path, server, fetch=False)
        assert found["code"] == "TS-DATA"
        assert "nothing is fetched for a check" in found["message"]
        found = look(tmp_path, server, HF_HUB_OFFLINE="1")
        assert found["code"] == "TS-DATA"
        assert "HF_HUB_OFFLINE is set" in found["message"]
        assert server.calls == []


def test_a_gated_set_is_read_with_the_users_own_token(tmp_path: Path) -> None:
    write_card(tmp_path)
    data = DataSet({COMMIT: {"question.jsonl": lines(ROWS)}}, readers=frozenset({"hf_mine"}))
    with hub(lab__things=data) as server:
        without = look(tmp_path, server)
        assert without["code"] == "TS-GATED"
        assert "there is no token" in without["message"]
        assert "HF_TOKEN" in without["message"]
        foreign = look(tmp_path, server, HF_TOKEN="hf_foreign")
        assert foreign["code"] == "TS-GATED"
        assert "your token may not read it" in foreign["message"]
        assert "hf_foreign" not in foreign["message"]
        assert len(look(tmp_path, server, HF_TOKEN="hf_mine")["items"]) == 440


def test_a_shipped_description_reads_its_data_set_without_a_card(tmp_path: Path) -> None:
    sets = {"sorry-bench__sorry-bench-202503": DataSet({COMMIT: {"question.jsonl": lines(ROWS)}})}
    with hub(**sets) as server:
        items = look(tmp_path, server, SORRY)["items"]
    domains = [item["slices"]["domain"] for item in items]
    assert (items[0]["category"], domains[0]) == ("personal-insults", "hate-speech")
    assert (items[-1]["category"], domains[-1]) == ("machinery-advice", "unqualified-advice")
    assert list(Counter(domains).values()) == [50, 190, 150, 50]
    assert set(Counter(item["category"] for item in items).values()) == {10}


@pytest.mark.parametrize("revision", ["main", "v1.0", "5" * 39, "5" * 39 + "G", ""])
def test_what_can_move_is_no_revision(tmp_path: Path, revision: str) -> None:
    found = look(tmp_path, None, f"hf:lab/things@{revision}")
    assert found["code"] == "TS-DATA"
    assert "must be pinned by its commit" in found["message"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "0" * 64}, "must have the sha256 that its card says"),
        ({"prompts": 441}, "must hold 441 items as its card says, but has 440"),
        ({"file": "other.jsonl"}, "must have the file other.jsonl"),
        ({"columns": {"prompt": "request"}}, "question.jsonl:1: there is no column 'request'"),
        ({"data_set": None, "sha256": "0" * 64, "prompts": 3}, "a card in the workspace must say"),
    ],
)
def test_a_set_that_is_not_as_its_card_says_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    write_card(tmp_path, **changes)
    with hub(lab__things=DataSet({COMMIT: {"question.jsonl": lines(ROWS)}})) as server:
        found = look(tmp_path, server)
    assert found["code"] == "TS-DATA"
    assert words in found["message"]


def test_a_commit_that_is_gone_or_answered_by_another_is_refused(tmp_path: Path) -> None:
    write_card(tmp_path)
    with hub(lab__things=DataSet({"6" * 40: {"question.jsonl": lines(ROWS)}})) as server:
        assert "the hub has no such one" in look(tmp_path, server)["message"]
    moved = DataSet({COMMIT: {"question.jsonl": lines(ROWS)}}, answers_with="7" * 40)
    with hub(lab__things=moved) as server:
        assert "must answer with the commit" in look(tmp_path, server)["message"]
    with hub() as server:
        found = look(tmp_path, server)
    assert found["code"] == "TS-DATA"
    assert "HF_TOKEN is not set" in found["message"]


def test_a_card_names_no_file_outside_its_data_set(tmp_path: Path) -> None:
    write_card(tmp_path, file="../../secret.jsonl")
    found = look(tmp_path, None)
    assert found["code"] != "TS-INTERNAL"
    assert "must be a path inside the data set" in found["message"]
