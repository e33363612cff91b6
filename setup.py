"""Copies shipped content into wheels: in a checkout it lies at the root, in a wheel in `_data/`.

Everything else is in pyproject.toml.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONTENT = ("attacks", "claims", "reports/templates", "runners")
FILES = ("constraints.txt", "docs/errors.md")


class BuildWithContent(build_py):
    """Builds the package, then adds the content that `threatspec.resources` looks for."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for folder in CONTENT:
                target = Path(self.build_lib) / "threatspec" / "_data" / folder
                shutil.copytree(folder, target, dirs_exist_ok=True)
            for file in FILES:
                target = Path(self.build_lib) / "threatspec" / "_data" / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


setup(cmdclass={"build_py": BuildWithContent})
