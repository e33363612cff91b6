"""Training of a denoiser for images: the job that safeguards ask for. No torch."""

from threatspec.training.denoisers._job import Denoised, DenoiserJob, denoiser_spend

__all__ = ["Denoised", "DenoiserJob", "denoiser_spend"]
