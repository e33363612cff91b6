"""Removing tampered weights once they were measured, and not before that is known for good."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from threatspec.records import ArtefactStore, Shipper

__all__ = ["Artefacts"]


class Artefacts:
    """Takes weights away that no trial reads any more.

    Where records are shipped, this waits until they are: a machine that goes on from the storage
    must find the weights that are unread as far as the storage knows.
    """

    def __init__(self, store: ArtefactStore, shipper: Shipper | None) -> None:
        self._store = store
        self._shipper = shipper

    def remove(self, names: Iterable[str]) -> None:
        """These are not read any more, as the ledger says."""
        for name in names:
            if self._shipper:
                self._shipper.when_shipped(partial(self._store.remove, name))
            else:
                self._store.remove(name)

    def remove_all(self) -> None:
        """All trials have ended; this also takes what a killed run has left behind."""
        if self._shipper:
            self._shipper.ship()
        self._store.remove_all()
