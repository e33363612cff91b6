"""The program as a wheel: built once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.wheels import build_program, install


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    return build_program(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the unpacked wheel alone."""
    site = tmp_path_factory.mktemp("site")
    install(wheel, site)
    return site
