"""What a subject is asked, before and after attacks on requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PixelEdit", "Request"]


class PixelEdit(Protocol):
    """Something done to the image of a request on its way to the model.

    Images are arrays of bytes, (height, width, channels) with 1 or 3 channels, before and after:
    whatever is done must survive 8 bits. An edit that is differentiable may have a method
    `through(batch)` for float batches in [0, 1] of shape (n, channels, height, width).
    """

    def edit(self, image: NDArray[np.uint8], request: Request) -> NDArray[np.uint8]:
        """The image afterwards. Raises ThreatspecError TS-IMAGE for one that it cannot take."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt on its way to a subject."""

    item: str
    """Id of the benchmark item."""
    prompt: str
    """The last turn of the user."""
    answer: str = ""
    """A complying answer that the attacker knows; the subject sees no more of it than `prefix`."""
    refusal: str = ""
    """A refusal that the attacker knows, likewise."""
    prefix: str = ""
    """Words the attacker writes at the start of the reply."""
    prefix_tokens: int | None = None
    """If given, only the first so many token ids of `prefix` are written."""
    turns: tuple[str, ...] = ()
    """Turns of the user before `prompt`; the subject answers each before the next is asked."""
    image: str = ""
    """Reference of the image that is shown with it (`mnist5k:17`, `file:PATH`); empty: none."""
    pixels: tuple[PixelEdit, ...] = ()
    """What is done to the image, in this order: by attacks first, then by the provider."""
    choices: tuple[str, ...] = ()
    """For queries by log-probability: what the reply is chosen from."""
    secret: str = ""
    """Part of `prompt` that records must not show: they show `[label]` in its place."""
    label: str = ""
    lacking: str = ""
    """Why there is nothing to ask; the row is missing then, and counts against the claim."""

    def shown(self, asked: str) -> str:
        """What was asked, as records show it; all of it is hidden where a later rewriting hid the
        secret in other letters."""
        if not self.secret:
            return asked
        return self.hidden(asked) if self.secret in asked else f"[{self.label}]"

    def hidden(self, said: str) -> str:
        """What a subject said, without the secret that it may have repeated."""
        return said.replace(self.secret, f"[{self.label}]") if self.secret else said
