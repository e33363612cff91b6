"""Search for pixels: the request that visual attacks make. No torch."""

from threatspec.training.pixels._ask import PerturbationRequest, Perturbed

__all__ = ["PerturbationRequest", "Perturbed"]
