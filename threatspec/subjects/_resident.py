"""A subject that stays loaded: rendering, greedy generation in batches. The base never changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from threatspec.errors import ThreatspecError
from threatspec.records import Generation
from threatspec.schema import Serving
from threatspec.subjects._card import SubjectCard
from threatspec.subjects._load import load_model
from threatspec.subjects._locate import describe
from threatspec.subjects._request import Request, lacking_rows, one_turn_only

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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

    def render(self, request: Request, serving: Serving) -> Rendered:
        """What the model sees of a request under a serving.

        Raises ThreatspecError TS-TEMPLATE if it asks for a chat template and there is none.
        """
        text = self._templated(request.prompt, serving)
        native = serving.template == "native"
        ids = self.tokenizer(text, add_special_tokens=not native)["input_ids"]
        written = self.tokens(request.prefix)
        if request.prefix_tokens is not None:
            written = written[: request.prefix_tokens]
        return [*ids, *written], text, self._text(written)

    def tokens(self, text: str) -> list[int]:
        """Ids of bare text, nothing added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def _templated(self, prompt: str, serving: Serving) -> str:
        if serving.template == "none":
            return prompt
        if not self.tokenizer.chat_template:
            raise ThreatspecError(
                "TS-TEMPLATE",
                f"{self.card.ref} must have a chat template, but its tokenizer has none; "
                "ask with `template: none`, or use a tokenizer with a template",
            )
        turns = [{"role": "user", "content": prompt}]
        if serving.system is not None:
            turns.insert(0, {"role": "system", "content": serving.system})
        return str(
            self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        )

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def ask(
        self,
        requests: Sequence[Request],
        servings: Sequence[Serving],
        *,
        micro_batch: int,
        seed: int = 0,
        query: Literal["generate", "logprob"] = "generate",
    ) -> list[Generation]:
        """What the subject says to every request under every serving, sample by sample.

        Args:
            requests: what is asked; one that has a `lacking` is a row without a reply.
            servings: `Generation.variant` says which one, where there are several.
            micro_batch: how many sequences go through the model at once at most.
            seed: of what is drawn at random.
            query: `logprob` chooses among `Request.choices` by their log-probability.
        """
        requests = one_turn_only(requests)
        found = lacking_rows(requests)
        there = [r for r in requests if not r.lacking]
        for serving in servings:
            replies = self.generate(there, serving, micro_batch=micro_batch)
            label = serving.label if len(servings) > 1 else ""
            found += [reply.model_copy(update={"variant": label}) for reply in replies]
        return found

    def generate(
        self, requests: Sequence[Request], serving: Serving, *, micro_batch: int
    ) -> list[Generation]:
        """One greedy reply per request, in order; batches are consecutive and of fixed size.

        Raises ThreatspecError TS-TRIAL-ERROR for a request that leaves no room for a reply.
        """
        rendered = [self.render(request, serving) for request in requests]
        self._check_room(rendered, requests, serving.max_tokens)
        replies: list[str] = []
        for start in range(0, len(rendered), micro_batch):
            batch = [ids for ids, _, _ in rendered[start : start + micro_batch]]
            replies += [self._text(ids) for ids in self._continue(batch, serving.max_tokens)]
        return [
            Generation(item=request.item, prompt=text, attacker=attacker, reply=reply)
            for request, (_, text, attacker), reply in zip(requests, rendered, replies, strict=True)
        ]

    def _check_room(
        self, rendered: Sequence[Rendered], requests: Sequence[Request], reply: int
    ) -> None:
        for (ids, _, _), request in zip(rendered, requests, strict=True):
            if len(ids) + reply > self.card.context:
                raise ThreatspecError(
                    "TS-TRIAL-ERROR",
                    f"prompt {request.item} and a reply of {reply} tokens must fit into the "
                    f"context of {self.card.context} tokens, but the prompt alone has {len(ids)}",
                )

    @torch.inference_mode()
    def _continue(self, batch: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        """Greedy continuations; padded on the left."""
        width = max(map(len, batch))
        ids = torch.full((len(batch), width), self._pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(batch):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        settings: dict[str, Any] = {
            "max_new_tokens": most, "do_sample": False, "num_beams": 1, "use_cache": True,
            "temperature": None, "top_p": None, "top_k": None,
            "eos_token_id": self.end, "pad_token_id": self._pad,
        }  # fmt: skip
        ids, mask = ids.to(self.device), mask.to(self.device)
        out = self.model.generate(input_ids=ids, attention_mask=mask, **settings)
        return [row[width:].tolist() for row in out]

    @property
    def _pad(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.end)


def input_device(model: Any) -> torch.device:
    """Where a model wants token ids: one that is laid over devices, where its embeddings are."""
    device: torch.device = model.get_input_embeddings().weight.device
    return device
