"""Back-ends by name: each makes a trainer for a subject."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from threatspec.registry import Registry

if TYPE_CHECKING:
    from threatspec.records import ArtefactStore
    from threatspec.training._job import Trainer

__all__ = ["TRAINERS", "Backend"]


class Backend(ABC):
    """One way to train; light, the trainer itself is imported when it is made."""

    kind: ClassVar[str]
    says: ClassVar[str]

    @abstractmethod
    def on(self, subject: Any, store: ArtefactStore) -> Trainer:
        """A trainer for a loaded subject that writes what it makes into `store`."""


TRAINERS: Registry[Backend] = Registry(
    "trainer",
    "TS-UNKNOWN-TRAINER",
    (
        "threatspec.training._hosted_backend",
        "threatspec.training._resident_backend",
        "threatspec.training._transformers_backend",
    ),
    group="threatspec.trainers",
    base=Backend,
)
"""All training back-ends by name."""
