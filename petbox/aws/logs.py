"""Reads the logs of SageMaker's containers from CloudWatch, each line once, ordered by time.

Never waits: the caller decides when to read again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from petbox.aws import session
from petbox.cli.program import say

MOST_STREAMS = 10  # an instance has one or two
OVERLAP = 60_000  # milliseconds in which a late line may still come


class Line(NamedTuple):
    time: int  # milliseconds since 1970
    stream: str
    text: str

    @classmethod
    def of(cls, event: Any, stream: str) -> Line:
        return cls(event["timestamp"], stream, event["message"].rstrip())


class LogTail:
    """Follows the streams of a log group from their start; there may be none yet."""

    def __init__(self, logs: Any, group: str, prefix: str = "") -> None:
        self._logs = logs
        self._group = group
        self._prefix = prefix
        self._read_to: dict[str, str] = {}  # by stream, where its next page begins
        self._unread: list[Line] = []  # read before an error

    @property
    def streams(self) -> list[str]:
        return sorted(self._read_to)

    def new(self) -> list[Line]:
        with session.calling(f"log group {self._group}"):
            try:
                self._find_streams()
                for stream in self._read_to:
                    self._read(stream)
            except self._logs.exceptions.ResourceNotFoundException:
                pass  # the group is created with its first line
        lines, self._unread = self._unread, []
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
            self._unread += [Line.of(event, stream) for event in page["events"]]
            self._read_to[stream] = page["nextForwardToken"]
            if page["nextForwardToken"] == here:  # an empty page alone does not mean the end
                return


class PrintedLog:
    """Prints a job's new log lines, with the writer's name if there are several."""

    def __init__(self, tail: LogTail, writer: Callable[[Line], str]) -> None:
        self._tail, self._writer = tail, writer
        self.readable = True

    def print_new(self) -> None:
        if not self.readable:
            return
        try:
            lines = self._tail.new()
        except session.Rejected as error:  # permission to start jobs may come without logs
            say(f"{error}; continuing without the log")
            self.readable = False
            return
        several = len(self._tail.streams) > 1
        for line in lines:
            say(f"{self._writer(line)} | {line.text}" if several else line.text)


def last_lines(logs: Any, group: str, count: int, since: int = 0) -> list[Line]:
    """At most `count` lines of the newest streams started after `since`; there may be none yet."""
    lines: list[Line] = []
    with session.calling(f"log group {group}"):
        try:
            streams = logs.describe_log_streams(
                logGroupName=group, orderBy="LastEventTime", descending=True, limit=MOST_STREAMS
            )["logStreams"]
            for stream in streams:
                if stream["creationTime"] >= since:
                    lines += _of_stream(logs, group, stream["logStreamName"], count)
        except logs.exceptions.ResourceNotFoundException:
            return []  # the group is created with its first line
    return sorted(lines, key=lambda line: line.time)[-count:]


def _of_stream(logs: Any, group: str, stream: str, count: int) -> list[Line]:
    """Reads pages backwards; any but the first may be empty before the start is reached."""
    lines: list[Line] = []
    token: str | None = None
    while len(lines) < count:
        page = logs.get_log_events(
            logGroupName=group,
            logStreamName=stream,
            startFromHead=False,
            limit=min(count, 10_000),
            **({"nextToken": token} if token else {}),
        )
        lines = [Line.of(event, stream) for event in page["events"]] + lines
        if page["nextBackwardToken"] == token:
            break
        token = page["nextBackwardToken"]
    return lines[-count:]


class NewLines:
    """Follows all streams of a log group from a moment on."""

    def __init__(self, logs: Any, group: str, since: int) -> None:
        self._logs = logs
        self._group = group
        self._newest = since
        self._seen: dict[str, int] = {}  # times of recent lines, by id

    def new(self) -> list[Line]:
        lines: list[Line] = []
        start = max(self._newest - OVERLAP, 0)
        with session.calling(f"log group {self._group}"):
            pages = self._logs.get_paginator("filter_log_events")
            try:
                for page in pages.paginate(logGroupName=self._group, startTime=start):
                    fresh = (e for e in page["events"] if e["eventId"] not in self._seen)
                    lines += [self._line(event) for event in fresh]
            except self._logs.exceptions.ResourceNotFoundException:
                return []
        self._seen = {key: time for key, time in self._seen.items() if time >= start}
        return sorted(lines, key=lambda line: line.time)

    def _line(self, event: Any) -> Line:
        self._seen[event["eventId"]] = event["timestamp"]
        self._newest = max(self._newest, event["timestamp"])
        return Line.of(event, event["logStreamName"])
