"""A transform job on SageMaker, followed to its end: its status, its log, what became of it.

Looks only; the job goes on whether it is followed or not. Told on stderr.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from petbox.aws import session
from petbox.aws.logs import LogTail
from petbox.aws.wait import until
from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint.found import Clients, Described, unless_absent

LOG_GROUP = "/aws/sagemaker/TransformJobs"
ENDED = ("Completed", "Failed", "Stopped")


def find(sagemaker: Any, name: str) -> Described | None:
    found: Described
    with unless_absent(), session.calling(f"transform job {name}"):
        found = sagemaker.describe_transform_job(TransformJobName=name)
        return found
    return None


def must_find(sagemaker: Any, name: str) -> Described:
    if (job := find(sagemaker, name)) is None:
        raise ServiceError(
            f"transform job {name}: there is none in this account and region; "
            "see: aws sagemaker list-transform-jobs"
        )
    return job


def watch(clients: Clients, name: str, wait: Callable[[], object]) -> Described:
    """Tells what happens until the job has ended, and gives it as it is then."""
    teller = _Teller(LogTail(clients("logs"), LOG_GROUP, f"{name}/"))

    def look() -> Described:
        job = must_find(clients("sagemaker"), name)
        teller.tell(job)
        return job

    job = until(lambda seen: seen["TransformJobStatus"] in ENDED, look, wait)
    wait()  # the last lines take a moment
    teller.tell(job)
    return job


def result(job: Described) -> str:
    """Where the answers of a job that ended well lie; or why it did not."""
    name, status = job["TransformJobName"], job["TransformJobStatus"]
    if status == "Completed":
        return str(job["TransformOutput"]["S3OutputPath"])
    if status == "Failed":
        reason = " ".join((job.get("FailureReason") or "for no reason given").split()).rstrip(".")
        raise ServiceError(f"transform job {name}: failed: {reason}")
    raise ServiceError(f"transform job {name}: was stopped")


class _Teller:
    """Says what is new about a job, each thing once."""

    def __init__(self, tail: LogTail) -> None:
        self._tail: LogTail | None = tail
        self._status = ""

    def tell(self, job: Described) -> None:
        if job["TransformJobStatus"] != self._status:
            self._status = job["TransformJobStatus"]
            say(f"[{self._status}] {job['TransformJobName']}")
        if self._tail is None:
            return
        try:
            lines = self._tail.new()
        except session.Refused as error:  # who may start jobs may not always read the log
            say(f"{error}; going on without the log")
            self._tail = None
            return
        several = len(self._tail.streams) > 1
        for line in lines:
            say(f"{line.stream.split('/')[-1]} | {line.text}" if several else line.text)
