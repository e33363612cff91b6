"""Named components: a registry checks what it is given and helps when it misses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Generic, TypeVar

from threatspec.errors import ThreatspecError, did_you_mean

__all__ = ["Registry"]

T = TypeVar("T")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*")


class Registry(Generic[T]):
    """Components of one kind by name.

    Args:
        noun: what is registered, in the singular ("attack").
        code: error code of an unknown name.
        builtin: modules that register the built-in components when imported; imported at the
            first look-up, so that a light verb pays only for the rooms it visits.
    """

    def __init__(self, noun: str, code: str, builtin: tuple[str, ...] = ()) -> None:
        self.noun = noun
        self.code = code
        self._builtin = builtin
        self._items: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str, item: T) -> T:
        """Add ``item`` under ``name``. Raises ValueError for a bad or taken name."""
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{self.noun} names must be lower case words joined by '-', but got {name!r}"
            )
        if name in self._items:
            raise ValueError(f"{self.noun} names must be unique, but {name!r} is taken")
        self._items[name] = item
        return item

    def decorator(self, name: str) -> Callable[[T], T]:
        """``register`` as a decorator."""
        return lambda item: self.register(name, item)

    def get(self, name: str) -> T:
        """The component called ``name``; raises ThreatspecError with a hint otherwise."""
        self._load()
        if name not in self._items:
            hint = did_you_mean(name, list(self._items))
            raise ThreatspecError(self.code, f"unknown {self.noun} {name!r}{hint}")
        return self._items[name]

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        self._load()
        return tuple(sorted(self._items))

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._items

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter((name, self._items[name]) for name in self.names())

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            for module in self._builtin:
                import_module(module)
