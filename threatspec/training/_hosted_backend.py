"""Back-end `hosted`: the job through somebody else's fine-tuning interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from threatspec.errors import ThreatspecError
from threatspec.training._trainers import TRAINERS, Backend

if TYPE_CHECKING:
    from threatspec.records import ArtefactStore
    from threatspec.training._job import Trainer

__all__ = ["HostedBackend"]


class HostedBackend(Backend):
    """Weights, loop and learning rate are the provider's; what comes back is a model's name."""

    kind = "hosted"
    says = "an OpenAI-compatible fine-tuning interface; the tuned model stays there"

    def on(self, subject: Any, store: ArtefactStore) -> Trainer:
        """A `HostedTrainer`. Raises ThreatspecError TS-ENDPOINT for a subject that is here."""
        from threatspec.subjects._endpoint import EndpointSubject
        from threatspec.training._hosted import HostedTrainer

        if not isinstance(subject, EndpointSubject):
            text = f"the trainer `hosted` needs a subject endpoint:..., but {subject.card.ref} is"
            raise ThreatspecError("TS-ENDPOINT", f"{text} loaded here; train it with `resident`")
        return HostedTrainer(subject)


TRAINERS.register(HostedBackend.kind, HostedBackend())
