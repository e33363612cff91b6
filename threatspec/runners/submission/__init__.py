"""Submission: a campaign as a job of a Ray cluster, watched and fetched from another machine."""

from threatspec.runners.submission._jobs import Job, JobServer, jobs_of
from threatspec.runners.submission._libraries import differences
from threatspec.runners.submission._record import SUBMISSION, Submission, read_submission
from threatspec.runners.submission._submit import submit

__all__ = [
    "SUBMISSION",
    "Job",
    "JobServer",
    "Submission",
    "differences",
    "jobs_of",
    "read_submission",
    "submit",
]
