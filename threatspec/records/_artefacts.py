"""Artefacts: tensors under content-derived names, written to a temporary name and renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from threatspec.errors import ThreatspecError
from threatspec.records._disk import disk_full, says_full

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ArtefactStore"]


class ArtefactStore:
    """A folder of safetensors files called `art-<16 hex digits of owner's and content's sha256>`.

    The owner (a trial) is part of the name: what one trial's readers no longer need may be removed
    while another trial that made equal tensors still needs its own.
    """

    def __init__(self, folder: Path, owner: str = "") -> None:
        self.folder = folder
        self.owner = owner

    def save(self, tensors: Mapping[str, Tensor]) -> str:
        """Write tensors and return the artefact's name; equal tensors of one owner share it.

        Raises ThreatspecError TS-DISK-FULL if there is no room.
        """
        from safetensors.torch import save

        data = save({name: tensors[name].detach().contiguous() for name in sorted(tensors)})
        name = f"art-{hashlib.sha256(self.owner.encode() + data).hexdigest()[:16]}"
        if not self._path(name).exists():
            self._write(name, data)
        return name

    def load(self, name: str) -> dict[str, Tensor]:
        """The tensors of artefact `name`. Raises ThreatspecError TS-RECORDS if it is not there."""
        from safetensors.torch import load_file

        self.require(name)
        return load_file(self._path(name))

    def require(self, name: str) -> None:
        """Raises ThreatspecError TS-RECORDS if artefact `name` is not there."""
        if name not in self:
            text = f"artefact {name} must be in {self.folder}, but is not; "
            text += "put it back, or run again with another --out"
            raise ThreatspecError("TS-RECORDS", text)

    def __contains__(self, name: str) -> bool:
        return self._path(name).exists()

    def remove(self, name: str) -> None:
        """Delete artefact `name`, if it is there."""
        self._path(name).unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Delete the folder with everything in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def _write(self, name: str, data: bytes) -> None:
        temporary = ""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False) as file:
                temporary = file.name
                file.write(data)
            os.replace(temporary, self._path(name))
        except OSError as error:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
            if says_full(error):
                raise disk_full() from error
            raise
