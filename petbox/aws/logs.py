"""What containers on SageMaker write, as CloudWatch has it: each line once, in order of time.

Reads only what is new since it last looked, and never waits: when to look again is the caller's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from petbox.aws import session


class Line(NamedTuple):
    time: int  # milliseconds since 1970
    stream: str
    text: str


class LogTail:
    """The streams of a log group whose names begin with `prefix`; there may be none yet."""

    def __init__(self, logs: Any, group: str, prefix: str = "") -> None:
        self._logs = logs
        self._group = group
        self._prefix = prefix
        self._read_to: dict[str, str] = {}  # by stream, where its next page begins
        self._unsaid: list[Line] = []  # read before something went wrong

    @property
    def streams(self) -> list[str]:
        """Those seen so far."""
        return sorted(self._read_to)

    def new(self) -> list[Line]:
        """The lines that have come since the last call."""
        with session.calling(f"log group {self._group}"):
            try:
                self._find_streams()
                for stream in self._read_to:
                    self._read(stream)
            except self._logs.exceptions.ResourceNotFoundException:
                pass  # the group is made with its first line
        lines, self._unsaid = self._unsaid, []
        return sorted(lines, key=lambda line: line.time)  # and as read, where times are the same

    def _find_streams(self) -> None:
        named = {"logStreamNamePrefix": self._prefix} if self._prefix else {}
        pages = self._logs.get_paginator("describe_log_streams")
        for page in pages.paginate(logGroupName=self._group, **named):
            for stream in page["logStreams"]:
                self._read_to.setdefault(stream["logStreamName"], "")

    def _read(self, stream: str) -> None:
        while True:
            here = self._read_to[stream]
            page = self._logs.get_log_events(
                logGroupName=self._group,
                logStreamName=stream,
                startFromHead=True,
                **({"nextToken": here} if here else {}),
            )
            for event in page["events"]:
                line = Line(event["timestamp"], stream, event["message"].rstrip())
                self._unsaid.append(line)
            self._read_to[stream] = page["nextForwardToken"]
            if page["nextForwardToken"] == here:  # an empty page alone does not mean the end
                return
