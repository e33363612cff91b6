"""What a provider does with requests before its model answers them."""

from __future__ import annotations

from collections.abc import Sequence

from threatspec.schema import Serving
from threatspec.subjects._request import Request

__all__ = ["ServingPolicy"]


class ServingPolicy:
    """Hooks of safeguards at serving; the base class changes nothing.

    Applied to whatever reaches the provider, after all that an attack did to it. An adversary who
    holds the weights serves them without it.
    """

    name: str = "the provider's policy"
    """Name of the safeguard."""
    secret: str = ""
    """Text that it has subjects read and records must not show: they show `[name]` in its place."""

    def serve(self, serving: Serving) -> Serving:
        """How the subject is really asked, for example with a prefix before the system prompt."""
        return serving

    def receive(self, requests: Sequence[Request]) -> Sequence[Request]:
        """What the provider makes of requests before anything else, for example purified images:
        one request each, in order."""
        return requests

    def screen(self, requests: Sequence[Request]) -> Sequence[bool]:
        """Whether each request passes; one that does not is not answered (`rejected`)."""
        return [True] * len(requests)
