"""Tampers: what an attack leaves behind, as plain data that any process can apply.

A weight tamper is mounted on a resident subject and unmounted bit-exactly; a request tamper
rewrites requests; a serving tamper changes how the subject is asked; a data poison changes rows
before somebody else trains on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from threatspec.schema import Model, Serving
from threatspec.subjects._request import Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "DataPoison",
    "PixelTamper",
    "RequestTamper",
    "ServingTamper",
    "Tamper",
    "WeightTamper",
    "tampers_from_data",
    "tampers_to_data",
]


class Tamper(Model):
    """Base of all tampers. Subclasses with a `kind` can be written to a record and read back."""

    kind: ClassVar[str] = ""
    _kinds: ClassVar[dict[str, type[Tamper]]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.kind:
            known = cls._kinds.setdefault(cls.kind, cls)
            if known.__qualname__ != cls.__qualname__ or known.__module__ != cls.__module__:
                raise ValueError(f"tamper kinds must be unique, but {cls.kind!r} is taken")


class WeightTamper(Tamper):
    """Changed weights, stored as an artefact; mounted by the resident subject."""

    kind: ClassVar[str] = "weights"

    artefact: str
    """Content-derived name in the artefact store (safetensors)."""
    form: Literal["dense", "adapter", "perturbation"]
    """`dense`: replaced tensors by parameter name; `adapter`: one of peft; `perturbation`: vectors
    that are added to hidden states, by layer."""
    adapter: dict[str, Any] | None = None
    """For `adapter`: its configuration in peft as plain data, `peft_type` included."""


class DataPoison(Tamper):
    """Base of tampers that change training rows before training."""

    def rows(self, rows: Sequence[Any]) -> tuple[Any, ...]:
        """The rows somebody will train on."""
        raise NotImplementedError


class RequestTamper(Tamper):
    """Base of tampers that rewrite what is asked."""

    def opened(self, load: Callable[[str], dict[str, Any]], folder: Path) -> RequestTamper:
        """The same, ready to be used.

        Args:
            load: tensors of an artefact by its name.
            folder: where relative files of the spec are looked for.
        """
        return self

    def encode(self, request: Request) -> Request:
        """The request that reaches the subject."""
        raise NotImplementedError

    def decode(self, reply: str) -> str:
        """The reply that reaches the judge. Raises ValueError for one that cannot be read."""
        return reply

    def encode_all(self, requests: Sequence[Request]) -> list[Request]:
        """All requests, in order; one that cannot be rewritten has a `lacking`."""
        return [self.encode(request) for request in requests]

    def decode_all(self, replies: Sequence[str]) -> list[str | None]:
        """All replies, in order; None where one cannot be read back."""
        return list(map(self._decoded, replies))

    def _decoded(self, reply: str) -> str | None:
        try:
            return self.decode(reply)
        except ValueError:
            return None


class PixelTamper(RequestTamper):
    """Base of tampers that change the image of a request, and nothing where there is none."""

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """The image afterwards; see `PixelEdit`."""
        raise NotImplementedError

    def encode(self, request: Request) -> Request:
        """The request with this edit after those that it has."""
        if not request.image:
            return request
        return replace(request, pixels=(*request.pixels, self))


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class ServingTamper(Tamper):
    """Other servings than the declared ones, within the adversary's access."""

    kind: ClassVar[str] = "serving"

    changes: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_as_tuple)]
    """Fields of `Serving` that differ, one mapping for each serving that is used."""

    def serve(self, serving: Serving) -> tuple[Serving, ...]:
        """The servings that are used in the place of one, each once. Raises ValueError for none."""
        whole = serving.model_dump()
        found = (Serving.model_validate({**whole, **change}) for change in self.changes)
        return tuple(dict.fromkeys(found))


def tampers_to_data(tampers: Sequence[Tamper]) -> dict[str, Any]:
    """Plain data of `tampers`, in the order of application."""
    return {"tampers": [{"kind": t.kind, **t.model_dump(mode="json")} for t in tampers]}


def tampers_from_data(data: dict[str, Any]) -> tuple[Tamper, ...]:
    """The tampers meant by `data`. Raises ValueError for a kind that is not known."""
    return tuple(_one(dict(entry)) for entry in data["tampers"])


def _one(entry: dict[str, Any]) -> Tamper:
    kind = entry.pop("kind")
    if kind not in Tamper._kinds:
        raise ValueError(f"tampers must be of a known kind, but got {kind!r}")
    return Tamper._kinds[kind].model_validate(entry)
