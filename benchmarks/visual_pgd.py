"""Searches for pixels: how long, and what they hit.

On the vision-language specimen one picture for all rows, 500 steps of PGD with 8 rows each at
16/255, in one process with two threads. Target: under 60 seconds.

On specimens that tell handwritten digits, one change that is to make a 0 of every digit: fitted to
32 digits in 500 steps, and read on digits of the test split that are no 0. Beside it a random sign
of the same size. Hits in percent by eps, and seconds of a search (one thread).

    python -m benchmarks visual_pgd
    python -m benchmarks.visual_pgd mnist-plain         # digits only, on other specimens
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threatspec.training import TrainingRow
    from threatspec.training.pixels import Perturbed

STEPS, BATCH, ROWS, READ, TARGET = 500, 8, 32, 400, "0"
LEVELS = (16, 32, 64, 128)


def search(
    subject: Any, folder: Path, rows: tuple[TrainingRow, ...], **how: Any
) -> tuple[float, Perturbed, Any]:
    """Seconds, what was found, and its artefact."""
    from threatspec.records import ArtefactStore
    from threatspec.training import Meter
    from threatspec.training.pixels import PerturbationRequest
    from threatspec.training.pixels._search import find_pixels

    store = ArtefactStore(folder)
    asked = PerturbationRequest(
        rows=rows, seed=0, alpha=1 / 255, steps=STEPS, batch=BATCH, check_every=100, **how
    )
    started = time.perf_counter()
    found = find_pixels(subject, asked, store, Meter())
    seconds = time.perf_counter() - started
    [kept] = store.load(found.artefact).values()
    return seconds, found, kept.numpy()


def picture(folder: Path) -> None:
    """One picture for all rows of the vision-language specimen."""
    import torch

    from threatspec.attacks import training_rows
    from threatspec.subjects._loaded import load_subject

    subject = load_subject("specimen:seeing", threads=2)
    torch.set_num_threads(2)
    rows = training_rows("specimen/restricted#attack_train", Path())[:64]
    before = time.process_time()
    seconds, found, _ = search(subject, folder, rows, image="photo:chelsea", eps=16 / 255)
    worked = time.process_time() - before
    loss = found.optimised.loss
    print(
        f"specimen:seeing: {STEPS} steps of {BATCH} rows at 16/255 in {seconds:.1f} s "
        f"(target 60; {worked:.1f} s of processors), loss {loss[0]:.3f} -> {loss[-1]:.3f}; "
        "1 process, 2 threads",
        flush=True,
    )


def digits(name: str, folder: Path) -> None:
    """One change for all digits, and a random one of its size."""
    import torch

    from threatspec.attacks import training_rows
    from threatspec.measures import benchmark
    from threatspec.subjects._loaded import load_subject
    from threatspec.training.pixels._bytes import control

    subject = load_subject(f"specimen:{name}", threads=1)
    torch.set_num_threads(1)
    items = benchmark("mnist5k/not-0", Path()).items("test")[:READ]
    rows = training_rows("mnist5k/not-0#attack_dev", Path())[:ROWS]
    rows = tuple(row.model_copy(update={"answer": TARGET}) for row in rows)
    said = classes(subject, items, None)
    right = sum(one == item.answer for one, item in zip(said, items, strict=True))
    print(f"specimen:{name}: {100 * right / len(items):.1f} % right, {len(items)} digits")
    cells, beside = [], []
    for level in LEVELS:
        seconds, _, delta = search(subject, folder, rows, eps=level / 255)
        hit = classes(subject, items, delta).count(TARGET) / len(items)
        cells.append(f"{level}: {100 * hit:5.1f} % ({seconds:.1f} s)")
        sign = control(delta.shape, "sign", "linf", level / 255, seed=0)
        hit = classes(subject, items, sign).count(TARGET) / len(items)
        beside.append(f"{level}: {100 * hit:5.1f} %")
    print(f"  pgd  {'   '.join(cells)}\n  sign {'   '.join(beside)}", flush=True)


def classes(subject: Any, items: Any, delta: Any) -> list[str]:
    """What each digit is taken for, with a change or without."""
    import torch

    from threatspec.subjects.images import read_image
    from threatspec.subjects.images._processing import exact
    from threatspec.training.pixels._bytes import applied

    images = [read_image(item.image) for item in items]
    images = images if delta is None else [applied(image, delta) for image in images]
    with torch.inference_mode():
        logits = subject.model(pixel_values=exact(subject.processor, images)).logits
    return [subject.card.classes[number] for number in logits.argmax(1).tolist()]


def main(names: tuple[str, ...] = ()) -> None:
    """Print both."""
    with tempfile.TemporaryDirectory() as place:
        if not names:
            picture(Path(place))
        for name in names or ("mnist-resnet", "mnist-plain"):
            digits(name, Path(place))


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
