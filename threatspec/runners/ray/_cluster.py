"""What a cluster has, and whether a worker fits."""

from __future__ import annotations

from threatspec.errors import ThreatspecError
from threatspec.runners._profile import RayProfile

__all__ = ["fits", "lacking"]


def fits(profile: RayProfile) -> bool:
    """Whether some node could hold a worker if it were empty."""
    needs = profile.resources.named
    return any(
        all(node.get(name, 0) >= amount for name, amount in needs.items()) for node in _nodes()
    )


def lacking(profile: RayProfile) -> ThreatspecError:
    """That no worker could be had, with what there is."""
    there = "; ".join(_amounts(node) for node in _nodes()) or "no node"
    return ThreatspecError(
        "TS-RUNNER-RESOURCES",
        f"no node has room for a worker of {_amounts(profile.resources.named)} (waited "
        f"{profile.wait_s:g} s); there are: {there}; change `resources` in the profile, or add "
        "nodes",
    )


def _nodes() -> list[dict[str, float]]:
    import ray

    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


def _amounts(resources: dict[str, float]) -> str:
    """Such as `4 CPU, 1 GPU, 16 GiB`."""
    found = {
        name: amount
        for name, amount in resources.items()
        if not name.startswith(("node:", "object_store", "accelerator_type:"))
    }
    memory = found.pop("memory", None)
    words = [f"{amount:g} {name}" for name, amount in sorted(found.items())]
    return ", ".join([*words, *([f"{memory / 2**30:.1f} GiB"] if memory else [])]) or "nothing"
