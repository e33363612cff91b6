"""Training of image classifiers: the job that attacks and safeguards ask for. No torch."""

from threatspec.training.classifiers._dormant import Pruned, PruneRequest
from threatspec.training.classifiers._job import ClassifierJob

__all__ = ["ClassifierJob", "PruneRequest", "Pruned"]
