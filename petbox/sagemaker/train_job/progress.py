"""What a training job reports while it runs, and its result or the reason why there is none."""

from __future__ import annotations

from typing import Any

from petbox.aws.logs import Line
from petbox.cli.program import say
from petbox.sagemaker.endpoint.actual import Described
from petbox.sagemaker.jobs import Kind


def _host(line: Line) -> str:
    """`algo-2` of the stream `NAME/algo-2-1700000000`."""
    return "-".join(line.stream.split("/")[-1].split("-")[:2])


JOBS = Kind("training", "petbox train-job", "/aws/sagemaker/TrainingJobs", _host)
STOPPED = {  # by the secondary status
    "MaxRuntimeExceeded": "stopped at its time limit (--max-hours)",
    "MaxWaitTimeExceeded": "stopped because no instances were available in time (--max-wait-hours)",
}


def result(job: Described) -> dict[str, Any]:
    """The facts of a completed job; raises for one that failed or was stopped."""
    kept = job.get("CheckpointConfig", {}).get("S3Uri")
    hint = f"; a new job resumes from its checkpoints with --checkpoints {kept}" if kept else ""
    JOBS.check_completed(job, STOPPED.get(job.get("SecondaryStatus", ""), "was stopped"), hint)
    return {
        "job": job["TrainingJobName"],
        "status": JOBS.status(job),
        "model": job["ModelArtifacts"]["S3ModelArtifacts"],
        "metrics": _metrics(job),
        "training_seconds": job.get("TrainingTimeInSeconds"),
        "billable_seconds": job.get("BillableTimeInSeconds"),
    }


def summary(job: Described) -> list[str]:
    lines = []
    if line := _metrics_line(job):
        lines.append(line)
    trained, billed = job.get("TrainingTimeInSeconds"), job.get("BillableTimeInSeconds")
    if trained is not None and billed is not None:
        saved = f", {1 - billed / trained:.0%} saved by --spot" if 0 < billed < trained else ""
        lines.append(f"trained for {trained} s, {billed} s are billed{saved}")
    return lines


def _metrics(job: Described) -> dict[str, float]:
    """The last value of each metric that SageMaker found in the log."""
    return {one["MetricName"]: one["Value"] for one in job.get("FinalMetricDataList", ())}


def _metrics_line(job: Described) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in _metrics(job).items())


class Progress:
    """Prints the job's status transitions once each, and its metrics if the log cannot be read."""

    def __init__(self) -> None:
        self._transitions: dict[int, str] = {}
        self._metrics = ""

    def show(self, job: Described, log_readable: bool) -> None:
        for at, step in enumerate(job.get("SecondaryStatusTransitions", ())):
            text = f"[{step['Status']}] {step.get('StatusMessage', '')}".rstrip()
            if self._transitions.get(at) != text:  # a status's message may change
                self._transitions[at] = text
                say(text)
        if not log_readable and (line := _metrics_line(job)) != self._metrics:
            self._metrics = line
            say(line)
