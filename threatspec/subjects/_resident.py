"""A subject that stays loaded: what it sees, and what it says. The base never changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from threatspec.records import Generation
from threatspec.schema import Serving
from threatspec.subjects._card import SubjectCard
from threatspec.subjects._dialogue import Query, converse, lacking, talks_of
from threatspec.subjects._load import load_model
from threatspec.subjects._locate import describe
from threatspec.subjects._render import ids_of, text_of
from threatspec.subjects._request import Request

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from threatspec.subjects._shown import Shown

__all__ = ["Rendered", "ResidentSubject", "input_device"]

Rendered = tuple[list[int], str, str]
"""Token ids, the prompt as text, and what the attacker wrote of the reply."""


class ResidentSubject:
    """A causal language model in float32 with its tokenizer, in evaluation mode.

    Whoever changes its weights (mounting, training) gives them back bit-equal.
    """

    def __init__(
        self, card: SubjectCard, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.card = card
        self.model = model
        self.tokenizer = tokenizer

    @classmethod
    def load(
        cls,
        ref: str,
        folder: Path = Path(),
        *,
        threads: int = 1,
        device: str = "auto",
        device_map: str | None = None,
    ) -> ResidentSubject:
        """Load model `ref`; `path:` is relative to `folder`.

        `device` `auto` is a GPU if there is one; `device_map` lays a model over all of them.

        Raises ThreatspecError TS-MODEL-MISSING, TS-MODEL-DIGEST or TS-RUNNER-RESOURCES.
        """
        torch.set_num_threads(threads)
        card = describe(ref, folder)
        model, tokenizer = load_model(ref, folder, device=device, device_map=device_map)
        return cls(card, model.eval(), tokenizer)

    @property
    def device(self) -> torch.device:
        """Where token ids are wanted."""
        return input_device(self.model)

    @property
    def end(self) -> int:
        """Id of the token that ends a turn."""
        return int(self.tokenizer.eos_token_id)

    @property
    def pad(self) -> int:
        """Id of a token that stands where nothing is."""
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.end)

    def render(self, request: Request, serving: Serving) -> Rendered:
        """What the model sees of the last turn of a request under a serving.

        Raises ThreatspecError TS-TEMPLATE if it asks for a chat template and there is none, or
        the template refuses; TS-SERVING for a first token that there is not.
        """
        [(text, ids)] = self.read([((request.prompt,), None)], serving)
        written, words = self.written(request)
        return [*ids, *written], text, words

    def read(
        self, asked: Sequence[tuple[tuple[str, ...], Shown | None]], serving: Serving
    ) -> list[tuple[str, list[int]]]:
        """Text and token ids of conversations, up to where the subject speaks.

        Args:
            asked: turns of the user and of the subject, in turn, the last the user's, and the
                image that is shown with it.

        Raises as `render`.
        """
        texts = [text_of(self.tokenizer, self.card.ref, said, serving) for said, _ in asked]
        return list(zip(texts, ids_of(self.tokenizer, texts, serving), strict=True))

    def written(self, request: Request) -> tuple[list[int], str]:
        """Token ids that the attacker writes at the start of the reply, and their words."""
        ids = self.tokens(request.prefix)
        if request.prefix_tokens is not None:
            ids = ids[: request.prefix_tokens]
        return ids, self.text(ids) if ids else ""

    def tokens(self, text: str) -> list[int]:
        """Ids of bare text, nothing added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def text(self, ids: Sequence[int]) -> str:
        """Words of token ids."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def ask(
        self,
        requests: Sequence[Request],
        servings: Sequence[Serving],
        *,
        micro_batch: int,
        seed: int = 0,
        query: Query = "generate",
    ) -> list[Generation]:
        """What the subject says to every request under every serving, sample by sample.

        Rows without a reply come first where there is nothing to ask, else they stand in their
        place: a conversation that does not fit into the context, or logits that are not finite.

        Args:
            requests: what is asked; one that has a `lacking` is a row without a reply.
            servings: `Generation.variant` says which one, where there are several.
            micro_batch: how many sequences go through the model at once at most.
            seed: of what is drawn at random.
            query: `logprob` chooses among `Request.choices` by their log-probability.

        Returns: by serving, then request, then sample.

        Raises ThreatspecError TS-TEMPLATE, TS-SERVING, or TS-JUDGE for a request without choices.
        """
        talks = talks_of(requests, servings)
        converse(self, talks, at_once=micro_batch, seed=seed, query=query)
        return [*lacking(requests), *(talk.generation() for talk in talks)]

    def generate(
        self, requests: Sequence[Request], serving: Serving, *, micro_batch: int
    ) -> list[Generation]:
        """As `ask` under one serving."""
        return self.ask(requests, [serving], micro_batch=micro_batch)


def input_device(model: Any) -> torch.device:
    """Where a model wants token ids: one that is laid over devices, where its embeddings are."""
    device: torch.device = model.get_input_embeddings().weight.device
    return device
