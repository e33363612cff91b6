"""What a search for pixels takes, by formula: the same for prediction and for metering."""

from __future__ import annotations

from threatspec.records import Spend
from threatspec.subjects import Offer, SubjectCard
from threatspec.training._flops import forward_flops

__all__ = ["checks", "pixel_spend", "shown_spend"]


def shown_spend(
    subject: SubjectCard, words: float, rows: int, images: int, *, backward: bool = False
) -> Spend:
    """Showing `images` to a subject with `rows` rows; `backward`: with gradients of the pixels.

    Args:
        words: of a row, prompt and answer together, on average.
        images: as many as rows, or one that all rows share.

    The backward pass has no gradients of weights: it costs as much as the forward pass. It is one
    optimiser step.
    """
    flops, tokens = images * subject.image_flops, 0
    if Offer.CLASSES in subject.offers:
        flops = rows * subject.image_flops
    else:
        length = subject.image_tokens + subject.template_tokens
        length += round(words * subject.tokens_per_word)
        tokens = rows * length
        flops += forward_flops(subject, tokens, length)
    times = 2 if backward else 1
    return Spend(steps=int(backward), tokens=tokens, flops=times * flops, queries=rows)


def checks(steps: int, every: int) -> int:
    """How often a restart is rounded to bytes and read: every so many steps, and at its end."""
    return max(1, -(-steps // every))


def pixel_spend(
    subject: SubjectCard,
    words: float,
    rows: int,
    *,
    dev: int,
    steps: int,
    batch: int,
    restarts: int,
    check_every: int,
    shared: bool,
) -> Spend:
    """A whole search by gradients.

    Args:
        rows: what is fitted to.
        dev: rows by which checkpoints are chosen; 0: by those that are fitted to.
        shared: whether all rows are shown one image.
    """
    read, used = dev or rows, min(batch, rows)
    step = shown_spend(subject, words, used, 1 if shared else used, backward=True)
    check = shown_spend(subject, words, read, 1 if shared else read)
    times = restarts * steps
    looks = 1 + restarts * checks(steps, check_every)
    return Spend(
        steps=times,
        tokens=times * step.tokens + looks * check.tokens,
        flops=times * step.flops + looks * check.flops,
        queries=times * step.queries + looks * check.queries,
    )
