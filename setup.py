"""Copies shipped content into wheels: in a checkout it lies at the root, in a wheel in `_data/`.

Everything else is in pyproject.toml.
"""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
CONTENT = runpy.run_path(str(ROOT / "threatspec" / "resources.py"))["CONTENT"]


class BuildWithContent(build_py):
    """Builds the package, then adds the content that `threatspec.resources` looks for."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for name in CONTENT:
                target = Path(self.build_lib) / "threatspec" / "_data" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if Path(name).is_dir():
                    shutil.copytree(name, target, dirs_exist_ok=True)
                else:
                    shutil.copyfile(name, target)


setup(cmdclass={"build_py": BuildWithContent})
