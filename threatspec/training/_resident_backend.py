"""Back-end `resident`: the program's own loop on the loaded subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from threatspec.errors import ThreatspecError
from threatspec.training._trainers import TRAINERS, Backend

if TYPE_CHECKING:
    from threatspec.records import ArtefactStore
    from threatspec.training._job import Trainer

__all__ = ["ResidentBackend"]


class ResidentBackend(Backend):
    """No process, no copy on disk: weights are trained where they lie and given back bit-equal."""

    kind = "resident"
    says = "the program's own loop on the loaded subject, in float32"

    def on(self, subject: Any, store: ArtefactStore) -> Trainer:
        """A `ResidentTrainer`. Raises ThreatspecError TS-ENDPOINT for a subject elsewhere."""
        from threatspec.subjects._endpoint import EndpointSubject
        from threatspec.training._resident import ResidentTrainer

        if isinstance(subject, EndpointSubject):
            text = f"{subject.card.ref} is not here to be trained; its provider's trainer is "
            raise ThreatspecError("TS-ENDPOINT", f"{text}`hosted`")
        return ResidentTrainer(subject, store)


TRAINERS.register(ResidentBackend.kind, ResidentBackend())
