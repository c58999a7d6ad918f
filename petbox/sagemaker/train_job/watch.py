"""A training job on SageMaker, followed to its end: what it does, what it says, what became of it.

Looks only; the job goes on whether it is followed or not. Told on stderr.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from petbox.aws import session
from petbox.aws.logs import Line, LogTail
from petbox.aws.wait import until
from petbox.cli.program import say
from petbox.errors import ServiceError

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
ENDED = ("Completed", "Failed", "Stopped")

Job = Mapping[str, Any]  # what DescribeTrainingJob answers


def find(jobs: Any, name: str) -> Job | None:
    """The job of that name, if there ever was one."""
    try:
        with session.calling(f"training job {name}"):
            found: Job = jobs.describe_training_job(TrainingJobName=name)
            return found
    except session.Refused as error:
        # SageMaker says so of a job it has not, and the name's form was checked before.
        if error.code in ("ValidationException", "ValidationError", "ResourceNotFound"):
            return None
        raise


def must_find(jobs: Any, name: str) -> Job:
    if (job := find(jobs, name)) is None:
        raise ServiceError(
            f"training job {name}: there is none in this account and region; "
            "see: aws sagemaker list-training-jobs"
        )
    return job


def watch(jobs: Any, logs: Any, name: str, wait: Callable[[], object]) -> Job:
    """Tells what happens until the job has ended, and gives it as it is then."""
    teller = _Teller(LogTail(logs, LOG_GROUP, f"{name}/"))

    def look() -> Job:
        job = must_find(jobs, name)
        teller.tell(job)
        if job["TrainingJobStatus"] in ENDED:
            wait()  # the last lines take a moment
            teller.tell(job)
        return job

    return until(lambda job: job["TrainingJobStatus"] in ENDED, look, wait)


def result(job: Job) -> str:
    """Where the model of a job that ended well lies; or why it did not."""
    name, status = job["TrainingJobName"], job["TrainingJobStatus"]
    if status == "Completed":
        return str(job["ModelArtifacts"]["S3ModelArtifacts"])
    if status == "Failed":
        why = "failed: " + " ".join(job.get("FailureReason", "for no reason given").split())
    elif job.get("SecondaryStatus") == "MaxRuntimeExceeded":
        why = "stopped, for its time was over (--max-hours)"
    elif job.get("SecondaryStatus") == "MaxWaitTimeExceeded":
        why = "stopped, for its instances did not come in time (--max-wait-hours)"
    else:
        why = "was stopped"
    kept = job.get("CheckpointConfig", {}).get("S3Uri")
    on = f"; a new job goes on from its checkpoints with --checkpoints {kept}" if kept else ""
    raise ServiceError(f"training job {name}: {why.rstrip('.')}{on}")


def summary(job: Job) -> list[str]:
    """Lines on what the job came to, as far as SageMaker knows."""
    lines = []
    if line := metrics(job):
        lines.append(line)
    trained, billed = job.get("TrainingTimeInSeconds"), job.get("BillableTimeInSeconds")
    if trained is not None and billed is not None:
        saved = f", {1 - billed / trained:.0%} saved by --spot" if 0 < billed < trained else ""
        lines.append(f"trained for {trained} s, {billed} s are billed{saved}")
    return lines


def metrics(job: Job) -> str:
    """The last value of each metric that SageMaker has found in the log."""
    found = job.get("FinalMetricDataList", ())
    return ", ".join(f"{one['MetricName']} {one['Value']:.4g}" for one in found)


class _Teller:
    """Says what is new about a job, each thing once."""

    def __init__(self, tail: LogTail) -> None:
        self._tail: LogTail | None = tail
        self._steps: dict[int, str] = {}
        self._metrics = ""

    def tell(self, job: Job) -> None:
        self._tell_steps(job)
        self._tell_log()
        if self._tail is None and (line := metrics(job)) != self._metrics:
            self._metrics = line
            say(line)

    def _tell_steps(self, job: Job) -> None:
        """What SageMaker does with the job; the words for the same step may change."""
        for at, step in enumerate(job.get("SecondaryStatusTransitions", ())):
            text = f"[{step['Status']}] {step.get('StatusMessage', '')}".rstrip()
            if self._steps.get(at) != text:
                self._steps[at] = text
                say(text)

    def _tell_log(self) -> None:
        if self._tail is None:
            return
        try:
            lines = self._tail.new()
        except session.Refused as error:  # who may train may not always read the log
            say(f"{error}; going on without the log")
            self._tail = None
            return
        several = len(self._tail.streams) > 1
        for line in lines:
            say(f"{_host(line)} | {line.text}" if several else line.text)


def _host(line: Line) -> str:
    """`algo-2` of the stream `NAME/algo-2-1700000000`."""
    return "-".join(line.stream.split("/")[-1].split("-")[:2])
