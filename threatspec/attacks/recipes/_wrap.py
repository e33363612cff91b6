"""A fixed format around prompts: the same for rows and, later, for requests."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from threatspec.subjects import Request, RequestTamper, ServingTamper, Tamper

__all__ = ["WrapTamper", "asking", "length"]


class WrapTamper(RequestTamper):
    """Writes fixed text before and after every prompt, exactly as it stands."""

    kind: ClassVar[str] = "wrap"

    prefix: str = ""
    suffix: str = ""

    def wrapped(self, prompt: str) -> str:
        """A prompt in the format."""
        return f"{self.prefix}{prompt}{self.suffix}"

    def encode(self, request: Request) -> Request:
        """The request in the format."""
        return replace(request, prompt=self.wrapped(request.prompt))


def asking(system: str | None = None, prefix: str = "", suffix: str = "") -> tuple[Tamper, ...]:
    """Tampers that ask with a system prompt and in a format; none for what is not given."""
    found: list[Tamper] = []
    if prefix or suffix:
        found.append(WrapTamper(prefix=prefix, suffix=suffix))
    if system is not None:
        found.append(ServingTamper(changes=({"system": system},)))
    return tuple(found)


def length(*texts: str | None) -> int:
    """Words of texts, as costs are predicted from them."""
    return sum(len((text or "").split()) for text in texts)
