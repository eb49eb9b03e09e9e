"""The upload of the APTOS-2024 challenge: written from photos, and checked before it is sent."""

from fund2oct.run.submission.checking import check_submission
from fund2oct.run.submission.writing import SubmissionReport, write_submission

__all__ = ["SubmissionReport", "check_submission", "write_submission"]
