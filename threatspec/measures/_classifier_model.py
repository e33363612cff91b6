"""A sequence classifier, loaded and run: safetensors only, no code of the model is ever run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from threatspec.errors import ThreatspecError

__all__ = ["probabilities"]


@torch.inference_mode()
def probabilities(
    folder: Path,
    digest: str,
    replies: Sequence[str],
    prompts: Sequence[str] | None,
    labels: Sequence[str],
    room: int,
    batch: int,
) -> list[tuple[float, int]]:
    """Probability of `labels` together for each reply, and how many tokens were cut.

    Args:
        folder: where the classifier is.
        digest: of its files; one that has changed is loaded anew.
        replies: what is classified.
        prompts: shown before each reply, if the classifier was trained on pairs.
        labels: names of labels.
        room: tokens that it reads at once.
        batch: replies at once.
    """
    model, tokenizer = _loaded(folder, digest)
    own = [n for n, label in model.config.id2label.items() if label in labels]
    encoded = [_fitted(tokenizer, n, replies, prompts, room) for n in range(len(replies))]
    found: list[tuple[float, int]] = []
    for start in range(0, len(encoded), batch):
        part = encoded[start : start + batch]
        padded = tokenizer.pad([tokens for tokens, _ in part], return_tensors="pt")
        shares = model(**padded).logits.double().softmax(-1)[:, own].sum(-1)
        found += [(float(s), cut) for s, (_, cut) in zip(shares, part, strict=True)]
    return found


def _fitted(
    tokenizer: Any, n: int, replies: Sequence[str], prompts: Sequence[str] | None, room: int
) -> tuple[dict[str, list[int]], int]:
    """Token ids with what a classifier wants around them, and how many did not fit.

    Of a pair the longer part is cut.
    """
    parts = [_text(replies[n])] if prompts is None else [_text(prompts[n]), _text(replies[n])]
    whole = len(tokenizer(*parts, verbose=False)["input_ids"])
    kept = tokenizer(*parts, truncation="longest_first", max_length=room, verbose=False)
    return dict(kept), whole - len(kept["input_ids"])


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=2)
def _loaded(folder: Path, digest: str) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True,
            trust_remote_code=False,
        )  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise ThreatspecError("TS-JUDGE", f"{folder} cannot be loaded: {text}") from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer
