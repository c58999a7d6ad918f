"""The last lines that an endpoint's containers wrote, as CloudWatch has them, and what follows.

Reads backwards from the end: the log of an endpoint may be long. Never waits.
"""

from __future__ import annotations

from typing import Any

from petbox.aws import session
from petbox.aws.logs import Line

MOST_STREAMS = 10  # an instance has one or two
OVERLAP = 60_000  # milliseconds in which a late line may still come


def last_lines(logs: Any, group: str, count: int, since: int = 0) -> list[Line]:
    """At most `count` lines of the newest streams begun after `since`; there may be none yet."""
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
            return []  # the group is made with its first line
    return sorted(lines, key=lambda line: line.time)[-count:]


def _of_stream(logs: Any, group: str, stream: str, count: int) -> list[Line]:
    """By pages, of which any but the first may be empty before the beginning is reached."""
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
        events = [Line(e["timestamp"], stream, e["message"].rstrip()) for e in page["events"]]
        lines = events + lines
        if page["nextBackwardToken"] == token:
            break
        token = page["nextBackwardToken"]
    return lines[-count:]


class NewLines:
    """What is written from a moment on, each line once."""

    def __init__(self, logs: Any, group: str, since: int) -> None:
        self._logs = logs
        self._group = group
        self._newest = since
        self._seen: dict[str, int] = {}  # ids of late enough lines, with their time

    def new(self) -> list[Line]:
        found: list[Line] = []
        start = max(self._newest - OVERLAP, 0)
        with session.calling(f"log group {self._group}"):
            pages = self._logs.get_paginator("filter_log_events")
            try:
                for page in pages.paginate(logGroupName=self._group, startTime=start):
                    fresh = (e for e in page["events"] if e["eventId"] not in self._seen)
                    found += [self._line(event) for event in fresh]
            except self._logs.exceptions.ResourceNotFoundException:
                return []
        self._seen = {key: time for key, time in self._seen.items() if time >= start}
        return sorted(found, key=lambda line: line.time)

    def _line(self, event: Any) -> Line:
        self._seen[event["eventId"]] = event["timestamp"]
        self._newest = max(self._newest, event["timestamp"])
        return Line(event["timestamp"], event["logStreamName"], event["message"].rstrip())
