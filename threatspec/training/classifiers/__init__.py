"""Training of image classifiers: the job that attacks and safeguards ask for. No torch."""

from threatspec.training.classifiers._dormant import Pruned, PruneRequest
from threatspec.training.classifiers._job import ClassifierJob
from threatspec.training.classifiers._requests import (
    Corner,
    PatchRequest,
    SubnetRequest,
    TriggerPatch,
    corner,
)
from threatspec.training.classifiers._spend import classifier_spend, patch_spend

__all__ = [
    "ClassifierJob",
    "Corner",
    "PatchRequest",
    "PruneRequest",
    "Pruned",
    "SubnetRequest",
    "TriggerPatch",
    "classifier_spend",
    "corner",
    "patch_spend",
]
