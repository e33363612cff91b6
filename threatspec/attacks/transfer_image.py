"""Attack `transfer-image`: pixels found on another model that the adversary owns.

Source: arXiv 2306.13213, section 5 (transfer between models). The search is that of
`image-perturbation` on the surrogate; the subject is shown nothing until it is measured, so that no
query is charged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from threatspec.attacks._pixels import PixelSearch, PixelSearchConfig, predicted
from threatspec.attacks._surrogate import surrogate_card
from threatspec.attacks.base import ATTACKS, DataCard
from threatspec.errors import ThreatspecError
from threatspec.records import Spend
from threatspec.schema import Capability, Owns
from threatspec.subjects import Offer, SubjectCard

__all__ = ["TransferImage", "TransferImageConfig"]

_SEARCHED = frozenset({Offer.IMAGE, Offer.GRADIENTS})


class TransferImageConfig(PixelSearchConfig):
    """Knobs of the search on the surrogate."""

    surrogate: str | None = None
    """Filled from what the adversary `owns`."""

    def owning(self, owns: Owns) -> TransferImageConfig:
        """The same with the adversary's surrogate."""
        return self.model_copy(update={"surrogate": owns.surrogate})


class TransferImage(PixelSearch):
    """One picture, or one change of all images, searched on the surrogate."""

    kind = "transfer-image"
    says = "shows a picture whose pixels make complying answers of another model likely"
    needs = (frozenset({Capability.IMAGE}),)
    offers = frozenset({Offer.IMAGE})
    Config = TransferImageConfig

    def reads(self, config: Any, folder: Path) -> dict[str, str]:
        """Digest of the surrogate, and of a picture that is a file.

        Raises ThreatspecError TS-ACCESS if there is no surrogate or it cannot be searched on,
        TS-MODEL-MISSING, TS-MODEL-DIGEST or TS-FILE-MISSING for what is not there.
        """
        found = super().reads(config, folder)
        return {**found, "surrogate": _surrogate(config, folder).digest}

    def cost(
        self, subject: SubjectCard, config: TransferImageConfig, data: DataCard | None
    ) -> Spend:
        """That of the search on the surrogate; a check, which needs no weights, may know none."""
        try:
            searched = _surrogate(config, Path())
        except ThreatspecError:
            searched = subject
        return predicted(searched, config, data).model_copy(update={"queries": 0})


def _surrogate(config: TransferImageConfig, folder: Path) -> SubjectCard:
    own = "a model that is shown images"
    return surrogate_card(TransferImage.kind, config.surrogate, folder, _SEARCHED, own)


ATTACKS.register(TransferImage.kind, TransferImage())
