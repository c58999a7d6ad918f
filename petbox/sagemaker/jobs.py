"""A job on SageMaker, of training or of Batch Transform: finds it, follows it to its end, stops it.

A job continues whether it is followed or not. Status, log and metrics go to stderr.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from petbox.aws import session
from petbox.aws.logs import Line, LogTail, PrintedLog
from petbox.aws.wait import until
from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint.actual import Clients, Described, describe_or_none, reason

ENDED = ("Completed", "Failed", "Stopped")


@dataclass(frozen=True)
class Kind:
    """The names that SageMaker and petbox have for jobs of one kind."""

    noun: str  # training or transform
    command: str
    log_group: str
    instance: Callable[[Line], str]  # the name of the instance that wrote a line

    @property
    def _field(self) -> str:
        return f"{self.noun.title()}Job"

    def status(self, job: Described) -> str:
        return str(job[f"{self._field}Status"])

    def find(self, clients: Clients, name: str) -> Described | None:
        describe = getattr(clients("sagemaker"), f"describe_{self.noun}_job")
        return describe_or_none(describe, f"{self.noun} job {name}", **{f"{self._field}Name": name})

    def get(self, clients: Clients, name: str) -> Described:
        if (job := self.find(clients, name)) is None:
            raise ServiceError(
                f"{self.noun} job {name}: not found in this account and region; "
                f"see: aws sagemaker list-{self.noun}-jobs"
            )
        return job

    def exists(self, name: str, status: str) -> ServiceError:
        return ServiceError(
            f"{self.noun} job {name}: exists already ({status}); "
            f"follow it: {self.command} --follow {name}, or choose another --name"
        )

    def follow(
        self, clients: Clients, name: str, seconds: float, show: Callable[[Described, bool], None]
    ) -> Described:
        """Prints the log until the job has ended; returns its final description.

        `show` is called with each description, and whether the log can be read.
        """
        log = PrintedLog(LogTail(clients("logs"), self.log_group, f"{name}/"), self.instance)

        def poll() -> Described:
            job = self.get(clients, name)
            show(job, log.readable)
            log.print_new()
            if self.status(job) in ENDED:
                time.sleep(seconds)  # the last lines arrive late
                log.print_new()
            return job

        try:
            return until(lambda job: self.status(job) in ENDED, poll, lambda: time.sleep(seconds))
        except session.CallFailed as error:
            raise ServiceError(
                f"{error}; the job itself continues: {self.command} --follow {name}"
            ) from error

    def check_completed(self, job: Described, stopped: str = "was stopped", hint: str = "") -> None:
        """Raises for a job that failed or was stopped."""
        if (status := self.status(job)) != "Completed":
            why = f"failed: {reason(job)}" if status == "Failed" else stopped
            raise ServiceError(f"{self.noun} job {job[f'{self._field}Name']}: {why}{hint}")

    def stop(self, clients: Clients, name: str) -> None:
        if (status := self.status(self.get(clients, name))) in ENDED:
            say(f"{self.noun} job {name}: has ended already ({status})")
            return
        with session.calling(f"{self.noun} job {name}"):
            getattr(clients("sagemaker"), f"stop_{self.noun}_job")(**{f"{self._field}Name": name})
        say(f"stopping {name} (up to two minutes); follow it: {self.command} --follow {name}")

    @contextmanager
    def left_running(self, name: str) -> Iterator[None]:
        """On Ctrl-C, reports that the job continues, and the commands for it."""
        try:
            yield
        except KeyboardInterrupt:
            say(
                f"interrupted here; the job continues; follow it: {self.command} --follow {name}, "
                f"stop it: {self.command} --stop {name}"
            )
            sys.exit(130)


def named_by_time() -> str:
    return f"petbox-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
