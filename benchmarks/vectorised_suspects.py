"""Several suspects of one architecture, trained in one vectorised pass and one after another.

Suspects are copies of one classifier with data of their own: 28 x 28 images, batches of 64, batch
norm in training mode where there is any, sgd with momentum. Together, their weights are stacked
(`torch.func.stack_module_state`) and a step is one `vmap` of gradients over suspects. Batch norm
keeps no running statistics there, which `vmap` cannot write in place: they would have to be read
anew afterwards, which is not timed. Both sides take turns in one process; the losses of their last
step must agree. Time on a processor is printed beside seconds, for machines that are busy.

    python -m benchmarks vectorised_suspects
"""

from __future__ import annotations

import copy
import statistics
import time
from typing import Any

SUBJECTS = ("specimen:mnist-resnet", "specimen:mnist-plain")
SUSPECTS, STEPS, BATCH, TURNS, LR, MOMENTUM = (4, 8), 4, 64, 3, 0.05, 0.9


def main() -> None:
    """Print the ratio for each architecture and number of suspects."""
    import torch

    from threatspec.subjects._loaded import load_subject

    threads = torch.get_num_threads()
    for ref in SUBJECTS:
        model = load_subject(ref, threads=threads, device="cpu").model.float()
        _forgetful(model)
        for count in SUSPECTS:
            _compare(ref, model, count, threads)


def _forgetful(model: Any) -> None:
    """Batch norm by the statistics of batches alone."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None


def _compare(ref: str, model: Any, count: int, threads: int) -> None:
    import torch

    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(count, STEPS, BATCH, 1, 28, 28, generator=drawn)
    classes = torch.randint(10, (count, STEPS, BATCH), generator=drawn)
    seconds: dict[str, list[float]] = {"together": [], "alone": []}
    busy: dict[str, list[float]] = {"together": [], "alone": []}
    losses = {}
    for _ in range(TURNS):
        for name, train in (("together", together), ("alone", alone)):
            suspects = [copy.deepcopy(model).train() for _ in range(count)]
            started, used = time.perf_counter(), time.process_time()
            losses[name] = train(suspects, images, classes)
            seconds[name].append(time.perf_counter() - started)
            busy[name].append(time.process_time() - used)
    one, other = (statistics.median(seconds[name]) for name in ("together", "alone"))
    work = statistics.median(busy["alone"]) / statistics.median(busy["together"])
    apart = (losses["together"] - losses["alone"]).abs().max().item()
    print(
        f"{ref}: {count} suspects, {STEPS} steps of {BATCH} images, {threads} threads: "
        f"together {one:.2f} s, one after another {other:.2f} s: {other / one:.2f} times "
        f"(target 2; {work:.2f} by time on a processor); "
        f"last losses differ by at most {apart:.1e}",
        flush=True,
    )


def alone(suspects: Any, images: Any, classes: Any) -> Any:
    """Loss of each suspect at its last step, one trained after another."""
    import torch
    from torch.nn.functional import cross_entropy

    last = []
    for suspect, seen, wanted in zip(suspects, images, classes, strict=True):
        optimizer = torch.optim.SGD(suspect.parameters(), LR, MOMENTUM)
        for batch, right in zip(seen, wanted, strict=True):
            optimizer.zero_grad(set_to_none=True)
            loss = cross_entropy(suspect(pixel_values=batch).logits, right)
            loss.backward()
            optimizer.step()
        last.append(loss.detach())
    return torch.stack(last)


def together(suspects: Any, images: Any, classes: Any) -> Any:
    """The same in one pass over all of them."""
    import torch
    from torch.func import functional_call, grad_and_value, stack_module_state, vmap
    from torch.nn.functional import cross_entropy

    weights, buffers = stack_module_state(suspects)
    weights = {name: tensor.detach() for name, tensor in weights.items()}
    shape = suspects[0]

    def loss_of(own: Any, kept: Any, batch: Any, right: Any) -> Any:
        said = functional_call(shape, (own, kept), (), {"pixel_values": batch})
        return cross_entropy(said.logits, right)

    step = vmap(grad_and_value(loss_of), randomness="different")
    speed = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    for number in range(images.shape[1]):
        slopes, losses = step(weights, buffers, images[:, number], classes[:, number])
        with torch.no_grad():
            for name, slope in slopes.items():
                speed[name].mul_(MOMENTUM).add_(slope)
                weights[name].sub_(speed[name], alpha=LR)
    return losses.detach()


if __name__ == "__main__":
    main()
