"""Which purifier a method means. What is heavy is imported where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from threatspec.records import Stream
from threatspec.safeguards.base import SafeguardContext
from threatspec.subjects import PixelEdit

__all__ = ["made"]


def made(context: SafeguardContext, config: Any, provided: Mapping[str, Any]) -> PixelEdit:
    """The edit that `config.method` means, ready to be used.

    Args:
        config: of `image-purifier`.
        provided: what fitting has left; `artefact` of a denoiser.
    """
    if config.method in {"blur", "mean"}:
        from threatspec.safeguards._purifiers._blur import gaussian, mean

        return gaussian(config.sigma) if config.method == "blur" else mean(config.kernel)
    if config.method == "median":
        from threatspec.safeguards._purifiers._median import Median

        return Median(config.kernel)
    if config.method == "jpeg":
        from threatspec.safeguards._purifiers._jpeg import Jpeg

        return Jpeg(config.quality)
    if config.method == "bit-depth":
        from threatspec.safeguards._purifiers._bit_depth import BitDepth

        return BitDepth(config.bits)
    return _with_a_model(context, config, provided)


def _with_a_model(context: SafeguardContext, config: Any, provided: Mapping[str, Any]) -> PixelEdit:
    if config.method == "denoiser":
        from threatspec.safeguards._purifiers._denoiser import Denoiser

        return Denoiser(provided["artefact"], context.load)
    from threatspec.safeguards._purifiers._diffusion import Diffusion

    seed = context.seeds.get(Stream.EVAL, 0)
    return Diffusion(context.folder / config.model, config.forward_steps, seed)
