"""Attack `transfer-suffix`: words after the prompt, found on another model that the adversary owns.

Source: arXiv 2307.15043, which finds words on models whose weights are open and sends them to
models behind interfaces. The search is that of `gcg-suffix` or `random-suffix` on the surrogate;
the subject is asked nothing until it is measured, so that no query is charged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from threatspec.attacks._space import Searched
from threatspec.attacks._suffix import SuffixSearch, SuffixSearchConfig, predicted
from threatspec.attacks._surrogate import surrogate_card
from threatspec.attacks.base import ATTACKS, DataCard
from threatspec.errors import ThreatspecError
from threatspec.records import Spend
from threatspec.schema import Capability, Count, Owns
from threatspec.subjects import Offer, SubjectCard

__all__ = ["TransferSuffix", "TransferSuffixConfig"]

_SEARCHED = frozenset({Offer.TEXT, Offer.LOGITS, Offer.GRADIENTS})


class TransferSuffixConfig(SuffixSearchConfig):
    """Knobs of the search on the surrogate."""

    method: Literal["gradient", "random"] = "gradient"
    """`gradient` searches as `gcg-suffix` does, `random` as `random-suffix`."""
    top_k: Annotated[Count, Field(ge=1, le=1_000_000), Searched(choices=(32, 64, 128, 256))] = 256
    """Of `gradient`: tokens per position, those to which the loss falls fastest, that swaps are
    drawn from."""
    surrogate: str | None = None
    """Filled from what the adversary `owns`."""

    def owning(self, owns: Owns) -> TransferSuffixConfig:
        """The same with the adversary's surrogate."""
        return self.model_copy(update={"surrogate": owns.surrogate})


class TransferSuffix(SuffixSearch):
    """One suffix for all prompts, searched on the surrogate with the adversary's harmful rows."""

    kind = "transfer-suffix"
    says = "puts words after the prompt that make complying answers of another model likely"
    needs = (frozenset({Capability.CHAT}),)
    offers = frozenset({Offer.TEXT})
    method: ClassVar[Literal["gradient", "random"]] = "gradient"
    Config = TransferSuffixConfig

    def reads(self, config: TransferSuffixConfig, folder: Path) -> dict[str, str]:
        """Digest of the surrogate.

        Raises ThreatspecError TS-ACCESS if there is none or it cannot be searched on,
        TS-MODEL-MISSING or TS-MODEL-DIGEST if it is not there.
        """
        return {"surrogate": _surrogate(config, folder).digest}

    def cost(
        self, subject: SubjectCard, config: TransferSuffixConfig, data: DataCard | None
    ) -> Spend:
        """That of the search on the surrogate; a check, which needs no weights, may know none."""
        try:
            searched = _surrogate(config, Path())
        except ThreatspecError:
            searched = subject
        spend = predicted(searched, config, data, gradient=config.method == "gradient")
        return spend.model_copy(update={"queries": 0})


def _surrogate(config: TransferSuffixConfig, folder: Path) -> SubjectCard:
    own = "a model whose weights are here"
    return surrogate_card(TransferSuffix.kind, config.surrogate, folder, _SEARCHED, own)


ATTACKS.register(TransferSuffix.kind, TransferSuffix())
