"""Back-end `transformers`: the same job through `transformers.Trainer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from threatspec.errors import ThreatspecError
from threatspec.training._trainers import TRAINERS, Backend

if TYPE_CHECKING:
    from threatspec.records import ArtefactStore
    from threatspec.training._job import Trainer

__all__ = ["TransformersBackend"]


class TransformersBackend(Backend):
    """Another optimisation loop, other schedules, another loss: a second opinion on the same job.

    Rows, loss mask and row order are those of `resident`, so that what differs is the loop.
    """

    kind = "transformers"
    says = "transformers.Trainer on the loaded subject, fed the same rows in the same order"

    def on(self, subject: Any, store: ArtefactStore) -> Trainer:
        """A `TransformersTrainer`. Raises ThreatspecError TS-ENDPOINT for a hosted subject."""
        from threatspec.subjects._endpoint import EndpointSubject
        from threatspec.training._transformers import TransformersTrainer

        if isinstance(subject, EndpointSubject):
            text = f"the trainer `transformers` needs weights, but {subject.card.ref} has none here"
            raise ThreatspecError("TS-ENDPOINT", f"{text}; its provider trains with `hosted`")
        return TransformersTrainer(subject, store)


TRAINERS.register(TransformersBackend.kind, TransformersBackend())
