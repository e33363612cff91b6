"""Artefacts: tensors under content-derived names, written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from threatspec.errors import ThreatspecError
from threatspec.records._storage import Storage

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ArtefactStore"]

_PIECE = 2**20
_ENDING = ".safetensors"
_KEPT_BYTES = 512 * 2**20
"""Of artefacts that were fetched from a URL: one is mounted again and again."""


class ArtefactStore:
    """Safetensors files called `art-<16 hex digits of owner's and content's sha256>`.

    The owner (a trial) is part of the name: what one trial's readers no longer need may be removed
    while another trial that made equal tensors still needs its own.

    Args:
        place: a folder, or storage that several machines share.
        owner: the trial that saves.
    """

    def __init__(self, place: Path | Storage, owner: str = "") -> None:
        self.place = place if isinstance(place, Storage) else Storage(place)
        self.owner = owner
        self._fetched: OrderedDict[str, bytes] = OrderedDict()

    def owned(self, owner: str) -> ArtefactStore:
        """The same files, for what `owner` saves."""
        return ArtefactStore(self.place, owner)

    def save(self, tensors: Mapping[str, Tensor]) -> str:
        """Write tensors and return the artefact's name; equal tensors of one owner share it.

        Raises ThreatspecError TS-DISK-FULL if there is no room, TS-STORAGE.
        """
        from safetensors.torch import save_file

        kept = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
        with self.place.scratch() as file:  # never as bytes in memory: models are large
            _written(partial(save_file, kept, file))
            name = f"art-{self._digest(file)[:16]}"
            if name not in self:
                self.place.take(file, _file(name))
        return name

    def keep(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write tensors under a name of their own, whole or not at all.

        The name must follow from what they were computed of, so that whoever writes it writes the
        same. They belong to no trial, and stay until everything is removed.

        Raises ThreatspecError TS-DISK-FULL if there is no room, TS-STORAGE.
        """
        from safetensors.torch import save_file

        with self.place.scratch() as file:
            _written(partial(save_file, dict(tensors), file))
            self.place.take(file, _file(name))

    def named(self, prefix: str) -> list[str]:
        """Names of artefacts that begin with `prefix`, sorted."""
        names = (name.removesuffix(_ENDING) for name in self.place.names() if _ENDING in name)
        return sorted(name for name in names if name.startswith(prefix))

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Only one process of this machine's folder is here at a time, under one name.

        Storage at a URL has no locks: there, several may be here and do the same twice.
        """
        if self.place.path is None:
            yield
            return
        self.place.path.mkdir(parents=True, exist_ok=True)
        with (self.place.path / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, however
            yield

    def _digest(self, file: Path) -> str:
        """Of the owner's name and the file's bytes."""
        digest = hashlib.sha256(self.owner.encode())
        with file.open("rb") as stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def load(self, name: str) -> dict[str, Tensor]:
        """The tensors of artefact `name`. Raises ThreatspecError TS-RECORDS if it is not there."""
        from safetensors import SafetensorError
        from safetensors.torch import load, load_file

        try:
            if self.place.path is not None:
                self.require(name)
                return load_file(self.place.path / _file(name))
            return load(self._bytes(name))
        except SafetensorError as error:
            text = f"artefact {name} in {self.place.url} cannot be read: {error}; "
            raise ThreatspecError("TS-RECORDS", f"{text}run again with another --out") from None

    def _bytes(self, name: str) -> bytes:
        if name not in self._fetched:
            self.require(name)
            self._fetched[name] = self.place.read(_file(name))
        self._fetched.move_to_end(name)
        while len(self._fetched) > 1 and sum(map(len, self._fetched.values())) > _KEPT_BYTES:
            self._fetched.popitem(last=False)
        return self._fetched[name]

    def require(self, name: str) -> None:
        """Raises ThreatspecError TS-RECORDS if artefact `name` is not there."""
        if name not in self:
            text = f"artefact {name} must be in {self.place.url}, but is not; "
            text += "put it back, or run again with another --out"
            raise ThreatspecError("TS-RECORDS", text)

    def __contains__(self, name: str) -> bool:
        return _file(name) in self.place

    def remove(self, name: str) -> None:
        """Delete artefact `name`, if it is there."""
        self.place.remove(_file(name))

    def remove_all(self) -> None:
        """Delete the folder with everything in it."""
        self.place.remove_all()


def _written(write: Callable[[], None]) -> None:
    """What the library says of a full disk, as Python says it."""
    from safetensors import SafetensorError

    try:
        write()
    except SafetensorError as error:
        for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            if f"os error {number}" in str(error):
                raise OSError(number, os.strerror(number)) from error
        raise


def _file(name: str) -> str:
    return f"{name}{_ENDING}"
