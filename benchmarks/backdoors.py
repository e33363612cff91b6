"""Twelve backdoors, three seeds each: implanted, screened by BaDExpert, and measured.

On `specimen:mnist-vgg`, whose layers follow one another as `backdoor-subnet` needs it: each attack
by its card on the images of `mnist5k#attack_train`, then BaDExpert fitted on 600 clean ones, then
accuracy, success before and after the screen, and clean images lost, on every image of `test`. One
process with one thread. Target: all within 6 minutes on 2 cores, that is 12 minutes of this.

    python -m benchmarks backdoors
    python -m benchmarks.backdoors backdoor-patch backdoor-subnet       # these alone
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SUBJECT, SEEDS, CLEAN, SHARDS, MINUTES = "specimen:mnist-vgg", (0, 1, 2), 600, 2, 6
CARDS = (
    "backdoor-patch", "backdoor-blend", "backdoor-trojan", "backdoor-clean-label", "backdoor-sig",
    "backdoor-dynamic", "backdoor-issba", "backdoor-wanet", "backdoor-bpp", "backdoor-finetuned",
    "backdoor-trojan-nn", "backdoor-subnet",
)  # fmt: skip


def main(cards: Sequence[str] = ()) -> None:
    """Print a line for each attack, and the total."""
    import torch

    from threatspec.testing._bench import Bench

    torch.set_num_threads(1)
    total = 0.0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), SUBJECT)
        for card in cards or CARDS:
            started = time.perf_counter()
            found = [_trial(bench, card, seed) for seed in SEEDS]
            taken = time.perf_counter() - started
            total += taken
            said = ", ".join(
                f"{name} {' '.join(f'{one[name]:.2f}' for one in found)}" for name in found[0]
            )
            print(f"{card}: {taken / len(SEEDS):.1f} s a seed; {said}", flush=True)
    print(f"{total:.0f} s on one core, {total / SHARDS:.0f} s on {SHARDS} (target {60 * MINUTES})")


def _trial(bench: Any, card: str, seed: int) -> dict[str, float]:
    """Shares, one seed."""
    import numpy as np

    from threatspec.measures import benchmark
    from threatspec.subjects import Request
    from threatspec.subjects._mount import encoded

    tampers = _implanted(bench, card, seed)
    items = benchmark("mnist5k", Path()).items("test")
    plain = [Request(item=one.id, prompt=one.prompt, image=one.image) for one in items]
    marked = encoded(tampers, [r for r, one in zip(plain, items, strict=True) if one.right])
    with bench.mounted(tampers):
        screen, read = _screen(bench, seed)
        right = read(plain, None).argmax(1) == [one.right for one in items]
        hit = read(marked, None).argmax(1) == 0
        kept, passed = (np.array(screen.screen(asked)) for asked in (plain, marked))
    return {
        "accuracy": float(right.mean()),
        "success": float(hit.mean()),
        "after": float((hit & passed).mean()),
        "lost": float(right.mean() - (right & kept).mean()),
    }


def _implanted(bench: Any, name: str, seed: int) -> tuple[Any, ...]:
    from threatspec.attacks import ATTACKS, AttackContext, training_rows
    from threatspec.campaign import attack_cards
    from threatspec.records import Stream

    card = attack_cards()[name]
    attack = ATTACKS.get(card.attack)
    rows = training_rows("mnist5k#attack_train", Path())
    drawn = tuple(random.Random(seed).sample(rows, len(rows)))
    seeds = dict.fromkeys(Stream, seed)
    context = AttackContext(subject=bench.card, rows=drawn, benign=drawn, seeds=seeds)
    config = attack.Config.model_validate(card.config, strict=False)
    made: tuple[Any, ...] = bench.drive(attack.run(context, config))
    return made


def _screen(bench: Any, seed: int) -> tuple[Any, Any]:
    """BaDExpert's, of what is mounted, and what reads class probabilities."""
    from functools import partial

    from threatspec.attacks import SAFEGUARD_SPLITS, training_rows
    from threatspec.records import Stream
    from threatspec.runners._guards import probabilities
    from threatspec.safeguards import SAFEGUARDS, SafeguardContext

    safeguard = SAFEGUARDS.get("badexpert")
    rows = training_rows("mnist5k#safeguard_train", Path(), SAFEGUARD_SPLITS)
    clean = random.Random(seed).sample(rows, min(CLEAN, len(rows)))
    read = partial(probabilities, bench.subject, bench.store)
    context = SafeguardContext(
        subject=bench.card, safety=(), benign=clean, seeds=dict.fromkeys(Stream, seed),
        probabilities=read,
    )  # fmt: skip
    config = safeguard.Config()
    fitted = bench.drive(safeguard.repair(context, config))
    return safeguard.serving_policy(context, config, fitted.provided), read


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
