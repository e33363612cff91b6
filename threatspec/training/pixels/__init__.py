"""Search for pixels: the request that visual attacks make. No torch."""

from threatspec.training.pixels._ask import PerturbationRequest, Perturbed
from threatspec.training.pixels._spend import pixel_spend

__all__ = ["PerturbationRequest", "Perturbed", "pixel_spend"]
