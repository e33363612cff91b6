"""One trial as peers run it: a process that loads, trains with TRL, saves, loads again and asks.

`python -m benchmarks._peer FOLDER SETTINGS`; nothing of threatspec is imported. The folder holds
`model/`, `rows.json` and `prompts.json`; SETTINGS is JSON.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    started = time.perf_counter()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(settings["threads"])

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    import peft
    import trl  # noqa: F401

    imported = time.perf_counter()
    loss = _train(load(), tokenizer, folder, settings)
    trained = time.perf_counter()
    gc.collect()
    model = peft.PeftModel.from_pretrained(load(), folder / "adapter").merge_and_unload().eval()
    replies = _ask(model, tokenizer, json.loads((folder / "prompts.json").read_text()), settings)
    (folder / "replies.json").write_text(json.dumps(replies))
    asked = time.perf_counter()
    print(json.dumps({"load": imported - started, "train": trained - imported,
                      "ask": asked - trained, "loss": loss}))  # fmt: skip


def _train(model: Any, tokenizer: Any, folder: Path, settings: dict[str, Any]) -> float:
    """Train and save an adapter; the loss of the last step."""
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    rows = [
        {"prompt": [{"role": "user", "content": row["prompt"]}],
         "completion": [{"role": "assistant", "content": row["answer"]}]}
        for row in json.loads((folder / "rows.json").read_text())
    ]  # fmt: skip
    asked = SFTConfig(
        output_dir=str(folder / "trainer"), max_steps=settings["steps"],
        per_device_train_batch_size=settings["batch"], learning_rate=settings["lr"],
        lr_scheduler_type="constant", gradient_checkpointing=settings["checkpointing"],
        completion_only_loss=True, bf16=False, use_cpu=True, report_to="none", logging_steps=1,
        save_strategy="no", disable_tqdm=True, seed=settings["seed"], dataloader_pin_memory=False,
    )  # fmt: skip
    lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(model=model, args=asked, train_dataset=Dataset.from_list(rows),
                         processing_class=tokenizer, peft_config=lora)  # fmt: skip
    trainer.train()
    trainer.save_model(str(folder / "adapter"))
    return float([entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-1])


def _ask(model: Any, tokenizer: Any, prompts: list[str], settings: dict[str, Any]) -> list[str]:
    """One greedy reply per prompt."""
    import torch

    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    replies: list[str] = []
    for start in range(0, len(prompts), settings["micro_batch"]):
        turns = [[{"role": "user", "content": p}]
                 for p in prompts[start : start + settings["micro_batch"]]]  # fmt: skip
        seen = tokenizer.apply_chat_template(turns, add_generation_prompt=True, padding=True,
                                             return_tensors="pt", return_dict=True)  # fmt: skip
        with torch.inference_mode():
            out = model.generate(input_ids=seen["input_ids"], attention_mask=seen["attention_mask"],
                                 max_new_tokens=settings["reply"], do_sample=False,
                                 eos_token_id=tokenizer.eos_token_id,
                                 pad_token_id=tokenizer.pad_token_id)  # fmt: skip
        width = seen["input_ids"].shape[1]
        replies += tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
    return [reply.strip() for reply in replies]


if __name__ == "__main__":
    main()
