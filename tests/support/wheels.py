"""Wheels built from copies of sources, and installed into folders of their own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import copytree

__all__ = ["ROOT", "build_program", "build_wheel", "install"]

ROOT = Path(__file__).parents[2]
_SETUPTOOLS = 77
"""The least that pyproject.toml asks for."""


def build_program(folder: Path) -> Path:
    """The wheel of the program, built in `folder` from a copy of what git knows or would add."""
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    return _pip_wheel(source, folder)


def build_wheel(package: Path, folder: Path) -> Path:
    """The wheel of another distribution, built from a copy of its sources."""
    return _pip_wheel(Path(copytree(package, folder / "source")), folder)


def install(wheel: Path, site: Path) -> None:
    """Unpack a wheel into `site`, beside the dependencies of this environment."""
    _pip("install", "--no-deps", "--upgrade", "--target", str(site), str(wheel))


def _pip_wheel(source: Path, folder: Path) -> Path:
    _pip("wheel", "--no-deps", *_isolation(), "--wheel-dir", str(folder / "dist"), str(source))
    [wheel] = (folder / "dist").glob("*.whl")
    return wheel


def _isolation() -> list[str]:
    """Without a build environment of its own where this one can build: no network needed then."""
    try:
        return (
            ["--no-build-isolation"]
            if int(version("setuptools").split(".")[0]) >= _SETUPTOOLS
            else []
        )
    except PackageNotFoundError:
        return []


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
