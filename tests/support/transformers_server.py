"""`transformers serve` as a user starts it, and folders of specimens for it to serve."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["save_judge", "save_specimen", "transformers_serve"]

_ADDRESS = re.compile(r"running on (http://127\.0\.0\.1:\d+)")
_PATIENCE = 120.0
"""Seconds after which a server that says nothing will not."""


@contextmanager
def transformers_serve(place: Path, *options: str) -> Iterator[str]:
    """The base address of a server, on a free port, for as long as the context lasts.

    It loads whatever folder a request names as its model. What it says is in `place`/serve.log.
    """
    command = [Path(sys.executable).with_name("transformers"), "serve", "--host", "127.0.0.1"]
    own = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(place / "hub"), "OMP_NUM_THREADS": "1"}
    log = place / "serve.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [*command, "--port", "0", "--device", "cpu", "--dtype", "float32", *options],
            stdout=written, stderr=subprocess.STDOUT, env={**os.environ, **own},
        )  # fmt: skip
    try:
        yield f"{_address(process, log)}/v1"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        found = _ADDRESS.search(log.read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"no server came up, but it said: {log.read_text(errors='replace')}")


def save_specimen(name: str, folder: Path) -> Path:
    """Specimen `name` in the layout of transformers. Its `generation_config.json` has `do_sample`:
    without it, that server takes no notice of a temperature."""
    from threatspec.subjects._load import load_model

    model, tokenizer = load_model(f"specimen:{name}", device="cpu")
    model.generation_config.do_sample = True
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_judge(folder: Path, told: Sequence[tuple[str, str]], *, steps: int = 30) -> Path:
    """A specimen that was taught to answer questions with one word.

    Args:
        told: questions, and the word that is the answer to each.
    """
    import torch

    from threatspec.subjects._load import load_model

    torch.manual_seed(0)
    model, tokenizer = load_model("specimen:shallow", device="cpu")
    known = tokenizer.get_vocab()
    tokenizer.add_tokens(sorted({word for _, word in told if word not in known}))
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}, {"role": "assistant", "content": word}],
            tokenize=False,
        )
        for text, word in told
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    labels = batch["input_ids"].clone()
    labels[:, :-2] = -100  # the word and the end of the turn stand at the end of every row
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
