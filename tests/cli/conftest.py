"""What tests of verbs share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from threatspec.cli import main


@dataclass(frozen=True)
class Said:
    """What a verb left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run a verb in this process."""

    def run(*arguments: Any) -> Said:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Said(int(ended.value.code), captured.out, captured.err)

    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THREATSPEC_OUT", raising=False)
    monkeypatch.delenv("THREATSPEC_RUNNER", raising=False)
    return tmp_path
