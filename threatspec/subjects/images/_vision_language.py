"""A vision-language model that stays loaded: what it says of words, with an image or without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from threatspec.errors import ThreatspecError
from threatspec.records import Generation
from threatspec.schema import Serving
from threatspec.subjects._card import SubjectCard
from threatspec.subjects._dialogue import Query, converse, lacking, talks_of
from threatspec.subjects._locate import describe
from threatspec.subjects._render import ids_of, text_of
from threatspec.subjects._request import Request
from threatspec.subjects._resident import Rendered, ResidentSubject
from threatspec.subjects._shown import Shown
from threatspec.subjects.images._answer_losses import AnswerLosses
from threatspec.subjects.images._load_vision_language import load_vision_language
from threatspec.subjects.images._read import image_of
from threatspec.subjects.images._speaker import Speaker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from threatspec.subjects._dialogue import Talk
    from threatspec.training import TrainingRow

__all__ = ["VisionLanguageSubject"]

_OF_TOKENS = ("mm_token_type_ids", "token_type_ids", "attention_mask", "input_ids", "labels")
"""What a processor says of tokens, and not of the image."""


class VisionLanguageSubject(ResidentSubject):
    """An image-text-to-text model in float32 with its processor, in evaluation mode.

    The image of a request is shown at the beginning of the last turn of the user.
    """

    def __init__(
        self, card: SubjectCard, model: Any, processor: Any, folder: Path = Path()
    ) -> None:
        super().__init__(card, model, processor.tokenizer)
        self.processor = processor
        self.folder = folder
        """Where images of `file:` are looked for."""
        self.image = str(processor.image_token)
        """The words that stand for an image in a prompt."""
        self._token = int(self.tokenizer.convert_tokens_to_ids(self.image))
        self._speaker = Speaker(processor, self.image)
        self._losses = AnswerLosses(self)

    @classmethod
    def load(
        cls,
        ref: str,
        folder: Path = Path(),
        *,
        threads: int = 1,
        device: str = "auto",
        device_map: str | None = None,
    ) -> VisionLanguageSubject:
        """As `ResidentSubject.load`; raises ThreatspecError TS-MISSING-EXTRA without Pillow."""
        torch.set_num_threads(threads)
        card = describe(ref, folder)
        model, processor = load_vision_language(ref, folder, device=device, device_map=device_map)
        return cls(card, model.eval(), processor, folder)

    def read(
        self, asked: Sequence[tuple[tuple[str, ...], Shown | None]], serving: Serving
    ) -> list[tuple[str, list[int]]]:
        """As `ResidentSubject.read`; an image is one word of the text, and as many ids as it
        takes."""
        texts = [
            text_of(self._speaker, self.card.ref, self._pictured(said, shown), serving)
            for said, shown in asked
        ]
        ids = ids_of(self.tokenizer, texts, serving)
        pairs = zip(ids, asked, strict=True)
        return list(zip(texts, [self._placed(one, a[1]) for one, a in pairs], strict=True))

    def _pictured(self, said: Sequence[str], shown: Shown | None) -> list[str]:
        return list(said) if shown is None else [*said[:-1], f"{self.image}\n{said[-1]}"]

    def _placed(self, ids: list[int], shown: Shown | None) -> list[int]:
        if shown is None or self._token not in ids:
            return ids
        place = ids.index(self._token)
        return [*ids[:place], *shown.places, *ids[place + 1 :]]

    def render(self, request: Request, serving: Serving) -> Rendered:
        """As `ResidentSubject.render`. Raises ThreatspecError TS-IMAGE for an image that cannot be
        used."""
        shown = self.show(image_of(request, self.folder)) if request.image else None
        [(text, ids)] = self.read([((request.prompt,), shown)], serving)
        written, words = self.written(request)
        return [*ids, *written], text, words

    def ask(
        self,
        requests: Sequence[Request],
        servings: Sequence[Serving],
        *,
        micro_batch: int,
        seed: int = 0,
        query: Query = "generate",
    ) -> list[Generation]:
        """As `ResidentSubject.ask`; a request whose image cannot be used, or whose words contain
        those that stand for an image, is a row without a reply."""
        talks = talks_of(requests, servings)
        self._show_all(talks)
        converse(self, talks, at_once=micro_batch, seed=seed, query=query)
        return [*lacking(requests), *(talk.generation() for talk in talks)]

    def _show_all(self, talks: Sequence[Talk]) -> None:
        """Each talk's image; equal images are one."""
        known: dict[int, Shown | ThreatspecError | None] = {}
        alike: dict[tuple[Any, ...], Shown] = {}
        for talk in talks:
            request = talk.request
            if id(request) not in known:
                known[id(request)] = self._image(request, talk.serving, alike)
            found = known[id(request)]
            if isinstance(found, ThreatspecError):
                talk.fault = f"{found.message} [{found.code}]"
            else:
                talk.shown = found

    def _image(
        self, request: Request, serving: Serving, alike: dict[tuple[Any, ...], Shown]
    ) -> Shown | ThreatspecError | None:
        if any(self.image in words for words in (*request.turns, request.prompt)):
            text = f"words must not contain {self.image}, which stands for an image, but those of"
            return ThreatspecError("TS-IMAGE", f"{text} {request.item} do")
        if not request.image:
            return None
        try:
            image = image_of(request, self.folder)
            key = (image.shape, image.tobytes())
            if key not in alike:
                alike[key] = self.show(image)
        except ThreatspecError as error:
            if error.code != "TS-IMAGE":
                raise
            return error
        return alike[key]

    def show(self, image: NDArray[np.uint8]) -> Shown:
        """What the processor makes of an image (height, width, 1 or 3), and of its place.

        Raises ThreatspecError TS-IMAGE for one that the processor refuses.
        """
        from PIL import Image

        colours = np.repeat(image, 3 // image.shape[2], axis=2)
        try:
            made = self.processor(
                images=[Image.fromarray(colours)], text=[self.image], return_tensors="pt",
                add_special_tokens=False,
            )  # fmt: skip
        except Exception as error:  # processors are written for images as they expect them
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            text = f"an image of {image.shape[0]} x {image.shape[1]} pixels must suit the processor"
            raise ThreatspecError("TS-IMAGE", f"{text} of {self.card.ref}: {reason}") from None
        return Shown(
            inputs={name: value for name, value in made.items() if name not in _OF_TOKENS},
            places=tuple(made["input_ids"][0].tolist()),
            token=self._token,
            marked="mm_token_type_ids" if "mm_token_type_ids" in made else "",
        )

    def losses(self, images: torch.Tensor, rows: Sequence[TrainingRow]) -> torch.Tensor:
        """Mean over a row's answer tokens of -log p(token | prompt with image, tokens before).

        Args:
            images: float (n or 1, channels, height, width) in [0, 1], before the processor; one is
                shown to all rows, and encoded once.
            rows: prompts, perhaps empty, in the subject's chat template, and answers.

        Returns: (n,), in nats, differentiable in `images`.

        Raises ThreatspecError TS-IMAGE for a processor whose gradient is not known, or a model that
        reads answers before it says them; TS-DATA for a row that does not fit the context or has no
        answer.
        """
        return self._losses.of(images, rows)
