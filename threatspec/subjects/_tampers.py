"""Tampers: what an attack leaves behind, as plain data that any process can apply.

A weight tamper is mounted on a resident subject and unmounted bit-exactly; a request tamper
rewrites requests; a serving tamper changes how the subject is asked; a data poison changes rows
before somebody else trains on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from threatspec.schema import Model, Serving
from threatspec.subjects._request import Request

__all__ = [
    "DataPoison",
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

    def encode(self, request: Request) -> Request:
        """The request that reaches the subject."""
        raise NotImplementedError

    def decode(self, reply: str) -> str:
        """The reply that reaches the judge."""
        return reply


class ServingTamper(Tamper):
    """Other template or system prompt than the declared serving, within the adversary's access."""

    kind: ClassVar[str] = "serving"

    template: Literal["native", "none"] | None = None
    system: str | None = None

    def serve(self, serving: Serving) -> Serving:
        """The serving that is used."""
        update = {k: v for k, v in self.model_dump().items() if v is not None}
        return serving.model_copy(update=update)


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
