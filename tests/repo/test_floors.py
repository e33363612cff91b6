"""Data flows one way: rooms import only from floors below, and light rooms never import torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import threatspec

ROOT = Path(threatspec.__file__).parent
FLOORS = {
    "_lazy": 0, "errors": 0, "schema": 1, "registry": 1, "resources": 1,
    "loading": 2, "statistics": 2, "records": 2,
    "subjects": 3,
    "training": 4, "measures": 4,
    "attacks": 5, "safeguards": 5, "instruments": 5,
    "claims": 6,
    "campaign": 7,
    "runners": 8, "reports": 8,
    "cli": 9, "api": 9, "__init__": 9, "__main__": 9,
    "_campaigns": 9, "_expect": 9, "pytest_plugin": 9, "testing": 9,
}  # fmt: skip
HEAVY = {"torch", "transformers", "peft", "ray", "numpy", "safetensors", "tokenizers", "scipy"}


def _modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def _room(path: Path) -> str:
    part = path.relative_to(ROOT).parts[0]
    return part.removesuffix(".py")


def _imports(tree: ast.AST, *, top_only: bool) -> list[str]:
    """Names of imported modules; those under TYPE_CHECKING do not count."""
    found: list[str] = []
    body = getattr(tree, "body", [])
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
            if node.module == "threatspec":
                found += [f"threatspec.{alias.name}" for alias in node.names]
        elif not top_only or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found += _imports(node, top_only=top_only)
            found += _imports(ast.Module(body=getattr(node, "orelse", []), type_ignores=[]),
                              top_only=top_only)  # fmt: skip
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_room_imports_only_from_its_own_or_lower_floors(path: Path) -> None:
    room = _room(path)
    own = FLOORS[room]
    for name in _imports(ast.parse(path.read_text()), top_only=False):
        parts = name.split(".")
        if parts[0] != "threatspec" or len(parts) == 1:
            continue
        other = parts[1]
        if other in {"__version__", room} or other not in FLOORS:
            continue
        assert FLOORS[other] < own or (own == 9 and FLOORS[other] == 9), (
            f"{path.name} (floor {own}) imports {name} (floor {FLOORS[other]})"
        )


def test_every_room_has_a_floor() -> None:
    assert {_room(path) for path in _modules()} <= set(FLOORS)


def test_no_module_is_longer_than_500_lines() -> None:
    long = {p.name: n for p in _modules() if (n := len(p.read_text().splitlines())) > 500}
    assert not long


@pytest.mark.parametrize(
    "code",
    [
        "import threatspec; threatspec.load, threatspec.check",
        "import threatspec.attacks, threatspec.safeguards, threatspec.measures\n"
        "from threatspec.instruments import INSTRUMENTS; INSTRUMENTS.names()",
        "import threatspec.claims, threatspec.campaign, threatspec.reports, threatspec.runners",
        "from threatspec.cli import main; import contextlib\n"
        "with contextlib.suppress(SystemExit): main(['check', 'claims/quickstart.yaml'])",
        "from threatspec.cli import main; import contextlib\n"
        "with contextlib.suppress(SystemExit): main(['list', 'attacks'])",
        "from threatspec.cli import main; import contextlib\n"
        "with contextlib.suppress(SystemExit): main(['explain', 'lora-finetune'])",
        "from threatspec.cli import main; import contextlib\n"
        "with contextlib.suppress(SystemExit): main(['schema'])",
    ],
    ids=["package", "methods", "upper floors", "check", "list", "explain", "schema"],
)
def test_light_uses_do_not_import_heavy_libraries(code: str) -> None:
    probe = f"{code}\nimport sys; print(sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
