"""Fine-pruning: which channels fall silent, that they stay so, and what is left of a backdoor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.backdoors import BLEND, Suspect
from threatspec.errors import ThreatspecError
from threatspec.safeguards import SAFEGUARDS
from threatspec.testing._bench import Bench
from threatspec.training.classifiers._prune import _last


@pytest.fixture(scope="module")
def suspect(tmp_path_factory: pytest.TempPathFactory) -> Suspect:
    """With a blended pattern."""
    folder: Path = tmp_path_factory.mktemp("pruning")
    return Suspect(Bench(folder, "specimen:mnist-resnet"), BLEND, images=200)


def tensors(suspect: Suspect, tamper: Any) -> dict[str, torch.Tensor]:
    return suspect.bench.store.load(tamper.artefact)


def silent(weights: dict[str, torch.Tensor], like: dict[str, torch.Tensor]) -> set[int]:
    """Channels that are 0 in all tensors of the silenced layer."""
    flat = [weights[name].flatten(1) if weights[name].ndim > 1 else weights[name][:, None]
            for name in like]  # fmt: skip
    return set(torch.nonzero((torch.cat(flat, 1) == 0).all(1)).flatten().tolist())


def test_nothing_silenced_and_nothing_trained_is_the_subject_itself(suspect: Suspect) -> None:
    with suspect.mounted():
        before = suspect.read(suspect.clean, None)
        fitted = suspect.fitted("fine-pruning", {"most": 0, "steps": 0})
        with suspect.bench.mounted(fitted.tampers):
            after = suspect.read(suspect.clean, None)
    assert fitted.provided["silenced"] == 0
    assert np.array_equal(before, after)


def test_as_many_fall_silent_as_accuracy_bears(suspect: Suspect) -> None:
    with suspect.mounted():
        careless = suspect.fitted("fine-pruning", {"most": 0.5, "drop": 0.99, "steps": 0}).provided
        careful = suspect.fitted("fine-pruning", {"drop": 0.0, "steps": 0}).provided
    assert careless["silenced"] == careless["channels"] // 2
    assert careful["pruned"] >= careful["before"]
    assert careful["repaired"] == careful["pruned"]


def test_what_is_silent_stays_so_bit_for_bit_while_the_rest_is_trained(suspect: Suspect) -> None:
    with suspect.mounted():
        fitted = suspect.fitted("fine-pruning", {"most": 0.5, "drop": 0.99, "steps": 5})
        own = dict(suspect.bench.subject.model.named_parameters())
        before = {name: own[name].detach().clone() for name in own}
    pruned, trained = (tensors(suspect, tamper) for tamper in fitted.tampers)
    assert len(silent(pruned, pruned)) == fitted.provided["silenced"]
    assert silent(trained, pruned) == silent(pruned, pruned)
    assert all(torch.equal(trained[name], pruned[name]) for name in pruned)  # the layer is held
    others = [name for name in before if name not in pruned]
    assert sum(not torch.equal(trained[name], before[name]) for name in others) > len(others) / 2


def test_the_layer_is_on_the_main_path_and_no_shortcut(suspect: Suspect) -> None:
    with suspect.mounted():
        fitted = suspect.fitted("fine-pruning", {"steps": 0})
    assert {name.rsplit(".", 1)[0] for name in tensors(suspect, fitted.tampers[0])} == {
        "resnet.encoder.stages.1.layers.0.layer.1.convolution",
        "resnet.encoder.stages.1.layers.0.layer.1.normalization",
    }


def test_nothing_silenced_says_why(suspect: Suspect) -> None:
    with suspect.mounted():
        suspect.fitted("fine-pruning", {"most": 0.01, "steps": 0})
    assert suspect.warned[-1].endswith("0.01 of 32 is less than one")


def test_it_repairs_the_weights_and_rejects_nothing(suspect: Suspect) -> None:
    safeguard = SAFEGUARDS.get("fine-pruning")
    assert safeguard.serving_policy(suspect.context(), safeguard.Config(), {}) is None
    with suspect.mounted():
        assert suspect.share_hit() > 0.9
        fitted = suspect.fitted("fine-pruning", {"steps": 30})
        with suspect.bench.mounted(fitted.tampers):
            assert suspect.share_right() > 0.85
        assert suspect.share_hit() > 0.9  # what was mounted meanwhile is gone again


def test_a_model_without_convolutions_is_refused() -> None:
    with pytest.raises(ThreatspecError) as caught:
        _last([], "specimen:mnist-vit")
    assert caught.value.code == "TS-TARGETS"
