"""Numbers of a campaign for the cluster's own dashboard and Prometheus."""

from __future__ import annotations

from threatspec.records import Trial, TrialResult

__all__ = ["Metrics"]


class Metrics:
    """Trials that ended, by kind and status, and how long they took."""

    def __init__(self, campaign: str) -> None:
        from ray.util.metrics import Counter, Histogram

        tags = ("campaign", "kind", "status")
        self._campaign = campaign
        self._ended = Counter("threatspec_trials", "Trials that ended.", tag_keys=tags)
        self._seconds = Histogram(
            "threatspec_trial_seconds",
            "Seconds from sending a trial to its result.",
            boundaries=[0.1, 1, 10, 60, 600, 3600],
            tag_keys=tags,
        )

    def add(self, trial: Trial, result: TrialResult, seconds: float) -> None:
        """A trial has ended."""
        tags = {"campaign": self._campaign, "kind": trial.kind.value, "status": result.status.value}
        self._ended.inc(tags=tags)
        self._seconds.observe(seconds, tags=tags)
