"""`make bench`: print every figure, or those of the benchmarks named on the command line."""

from __future__ import annotations

import sys
from importlib import import_module

BENCHMARKS = (
    "startup",
    "check_many",
    "quickstart",
    "resident",
    "report",
    "sequential",
    "million_rows",
    "runners",
    "fault_storm",
    "driver_overhead",
    "campaign_bytes",
    "simulate_cluster",
    "error_rates",
    "lora_trial",
    "checkpoints",
    "finetune_memory",
    "surgery",
    "gcg",
    "visual_pgd",
    "rejudge",
    "generation",
    "reference_passes",
    "backdoors",
    "vectorised_suspects",
)


def main() -> None:
    names = sys.argv[1:] or BENCHMARKS
    for name in names:
        if name not in BENCHMARKS:
            sys.exit(f"benchmarks are {', '.join(BENCHMARKS)}, but got {name!r}")
        print(f"\n== {name}", flush=True)
        import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
