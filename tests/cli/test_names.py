"""`list`, `explain` and completion know every name; what they say is what the program means."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Said
from threatspec.cli._exit_codes import EXIT_CODES
from threatspec.cli._explanations import explanations
from threatspec.cli._fields import language_fields
from threatspec.cli._kinds import KINDS
from threatspec.errors import CODES, ExitCode
from threatspec.schema import Verdict

Verb = Callable[..., Said]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", KINDS)
def test_every_listed_name_says_something_and_is_explained(kind: str) -> None:
    entries = list(KINDS[kind]())
    assert entries
    for name, says in entries:
        assert says.strip(), name
        found = list(explanations(name))
        assert any(one.name == name and one.says for one in found), name


def test_kinds_are_listed_in_the_help(verb: Verb) -> None:
    text = " ".join(verb("list", "--help").out.split()).replace("exit- codes", "exit-codes")
    assert ", ".join(KINDS) in text


def test_what_a_name_is_explained_by(verb: Verb) -> None:
    for name, words in {
        "lora-finetune": ["weights_write", "lr = 0.001", "source:", "seed streams:"],
        "keywords": ["any_of = required", "judge error:"],
        "specimen/benign": ["256 test", "licence: Apache-2.0", "digest: benchmark-"],
        "refusal-training": ["alpha = 0.5", "Weight of the safety rows"],
        "specimen:deep": ["parameters: 370,848", "sha256:"],
        "gguf:smollm2": ["licence: Apache-2.0", "sha256:"],
        "local": ["workers = 2", "runners/local.yaml"],
        "open-weights": ["weights_write", "admits:"],
        "gradients": ["may read gradients", "in presets: open-weights"],
        "REFUTED": ["exit code: 1"],
        "TS-BUDGET": ["may be spent", "```text", "Raise the adversary's"],
        "7": ["exit-7", "INADMISSIBLE"],
        "claim.holds": ["required: yes", "asr <= 0.10"],
        "claims.holds": ["claim.holds (field)"],
        "adversary.compute": ["adversary.compute.flops"],
        "claim.seeds.replicates": ["default: 5"],
    }.items():
        said = verb("explain", name)
        assert said.code == 0, name
        for word in words:
            assert word in said.out, (name, word)


def test_a_name_with_two_meanings_is_explained_twice(verb: Verb) -> None:
    found = json.loads(verb("explain", "prefill", "--json").out)
    assert found["schema"] == "threatspec/explanation/v1"
    assert [one["kind"] for one in found["meanings"]] == ["attack card", "capability"]


def test_an_unknown_name_is_helped_on(verb: Verb) -> None:
    said = verb("explain", "claim.hold")
    assert said.code == 4
    assert "did you mean 'claim.holds'?" in said.err


def test_exit_codes_are_those_of_the_manual() -> None:
    manual = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", manual, flags=re.MULTILINE))
    assert rows == {str(int(code)): says for code, says in EXIT_CODES.items()}
    assert set(EXIT_CODES) == set(ExitCode)


def test_every_error_code_has_its_section_of_the_manual() -> None:
    for code in CODES:
        [found] = explanations(code)
        assert found.text, code


def test_fields_of_every_depth_are_there() -> None:
    fields = language_fields()
    for path in ("subject", "subject.model", "measure.judge.use", "adversary.data.n",
                 "adversary.attacks.use", "claim.expect.because", "claim.seeds.root"):  # fmt: skip
        assert path in fields
        assert fields[path].says, path
    assert fields["claim"].required
    assert not fields["serving"].required
    assert "completion-api" in fields["adversary.access"].takes


def test_models_as_data(verb: Verb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THREATSPEC_CACHE", str(tmp_path))
    found = {m["name"]: m for m in json.loads(verb("models", "list", "--json").out)["models"]}
    assert found["specimen:deep"]["there"] is True
    assert found["gguf:smollm2"]["there"] is False
    assert "threatspec models fetch smollm2" in verb("models", "list").out


@pytest.mark.parametrize(
    ("words", "at", "expected"),
    [
        ("threatspec com", 1, {"compare"}),
        ("threatspec list att", 2, {"attacks"}),
        ("threatspec explain lora", 2, {"lora-finetune"}),
        ("threatspec explain SUPP", 2, {Verdict.SUPPORTED.value}),
        ("threatspec run x.yaml --runner lo", 4, {"local"}),
    ],
)
def test_the_shell_completes_names_without_anything_heavy(
    words: str, at: int, expected: set[str]
) -> None:
    code = (
        "import sys, atexit; from threatspec.cli import main\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        "main([])"
    )
    asked = {"_THREATSPEC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == expected
    assert done.stderr.split()[-1] == "False"


@pytest.mark.parametrize(
    ("short", "whole"), [("seeing", "'specimen:seeing'"), ("eps", "'adversary.limits.eps'")]
)
def test_the_end_of_a_name_leads_to_it(verb: Verb, short: str, whole: str) -> None:
    assert f"(did you mean {whole}?)" in verb("explain", short).err


def test_levels_of_a_byte_are_explained_as_they_are_written(verb: Verb) -> None:
    assert "    eps = 16/255 " in verb("explain", "image-control").out
