"""Named components: a registry checks what it is given and helps when it misses.

Built-in components come from modules of the program, others from plug-ins: installed distributions
that name them as entry points. A plug-in is imported when its name is asked for, never before, so
that a broken one harms nobody who does not use it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from threatspec.errors import ThreatspecError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["Origin", "Registry"]

T = TypeVar("T")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a plug-in comes from."""

    module: str
    distribution: str
    version: str


class Registry(Generic[T]):
    """Components of one kind by name.

    Args:
        noun: what is registered, in the singular ("attack").
        code: error code of an unknown name.
        builtin: modules that register the built-in components when imported; imported at the
            first look-up, so that a light verb pays only for the rooms it visits.
        group: entry points of plug-ins; none if empty.
        base: class that components of plug-ins must be derived from.
    """

    def __init__(
        self,
        noun: str,
        code: str,
        builtin: tuple[str, ...] = (),
        group: str = "",
        base: type = object,
    ) -> None:
        self.noun = noun
        self.code = code
        self._builtin = builtin
        self._group = group
        self._base = base
        self._items: dict[str, T] = {}
        self._loaded = False
        self._found: dict[str, list[EntryPoint]] | None = None
        self._plugged: set[str] = set()

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
        """The component called ``name``.

        Raises ThreatspecError: the registry's code with a hint if nothing is called so, TS-PLUGIN
        if it is a plug-in that cannot be used.
        """
        if name not in self:
            hint = did_you_mean(name, self.names())
            raise ThreatspecError(self.code, f"unknown {self.noun} {name!r}{hint}")
        return self._items[name]

    def names(self) -> tuple[str, ...]:
        """All names, sorted; no plug-in is loaded for that."""
        self._load()
        plugins = (name for name in self._entries() if NAME.fullmatch(name))
        return tuple(sorted({*self._items, *plugins}))

    def survey(self) -> tuple[dict[str, T], list[ThreatspecError]]:
        """All components that can be used, by name, and what is wrong with the other plug-ins."""
        found, wrong = {}, []
        for name in sorted({*self.names(), *self._entries()}):
            try:
                found[name] = self.get(name)
            except ThreatspecError as error:
                wrong.append(error)
            if name in self._entries() and name in self._items and name not in self._plugged:
                wrong.append(self._refusal(name, f"names must be unique, but {name!r} is taken"))
        return found, wrong

    def origin(self, name: str) -> Origin | None:
        """The plug-in that ``name`` comes from; None if it is built in."""
        if name not in self or name not in self._plugged:
            return None
        [entry] = self._entries()[name]
        return Origin(entry.module, *_distribution(entry))

    def __contains__(self, name: object) -> bool:
        self._load()
        if name not in self._items and name in self._entries():
            self._plug(name)
        return name in self._items

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter((name, self.get(name)) for name in self.names())

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            for module in self._builtin:
                import_module(module)

    def _entries(self) -> dict[str, list[EntryPoint]]:
        """Entry points of plug-ins by name; looked for once, without importing any."""
        if self._found is None:
            from importlib.metadata import entry_points

            self._found = {}
            for entry in entry_points(group=self._group) if self._group else ():
                self._found.setdefault(entry.name, []).append(entry)
        return self._found

    def _plug(self, name: str) -> None:
        """Load the plug-in called ``name``. Raises ThreatspecError TS-PLUGIN if that fails."""
        before = dict(self._items)
        try:
            item = self._component(name)
            extra = sorted(set(self._items) - {*before, name})
            if extra:
                raise ValueError(f"it must register nothing else, but registers {extra[0]!r}")
        except (Exception, SystemExit) as error:
            self._items = before  # nothing of a plug-in that failed half-way
            raise self._refusal(name, _reason(error)) from error
        self._items[name] = item
        self._plugged.add(name)

    def _component(self, name: str) -> T:
        if not NAME.fullmatch(name):
            raise ValueError("names must be lower case words joined by '-'")
        if len(self._entries()[name]) > 1:
            raise ValueError(f"names must be unique, but {name!r} is taken by the other")
        found: Any = self._entries()[name][0].load()
        # A plug-in may also register itself as built-in components do; that one is then meant.
        item = self._items[name] if name in self._items else _instance(found)
        if not isinstance(item, self._base):
            raise TypeError(f"it must be derived from {self._base.__name__}, but is {_type(item)}")
        own = getattr(item, "kind", getattr(item, "name", name))
        if own != name:
            raise ValueError(f"it must be called as its entry point, but calls itself {own!r}")
        return cast(T, item)

    def _refusal(self, name: str, reason: str) -> ThreatspecError:
        whose = " and ".join(" ".join(_distribution(entry)) for entry in self._entries()[name])
        text = f"{self.noun} {name!r} of {whose} cannot be used: {reason}"
        return ThreatspecError("TS-PLUGIN", f"{text}; repair or uninstall that distribution")


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    if entry.dist is None:
        return "an unknown distribution", ""
    return entry.dist.name, entry.dist.version


def _instance(found: Any) -> Any:
    """An entry point names a class, or an object that is ready."""
    return found() if isinstance(found, type) else found


def _type(item: object) -> str:
    return f"of type {type(item).__name__}"


def _reason(error: BaseException) -> str:
    text = (str(error).splitlines() or [""])[0][:300]
    plain = type(error) in {TypeError, ValueError} and text
    return text if plain else f"{type(error).__name__}: {text}".removesuffix(": ")
