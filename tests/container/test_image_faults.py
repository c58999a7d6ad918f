"""The serving image in trouble: one dies, one hangs, the disk is full, a stop comes amid work."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from support.serving_image import Container, many_in_flight, until

ENGINE = "python3 -m petbox.serving.model_server"
NGINX = "nginx: master"
ASKED = b'{"instances": [1]}'
NEVER = json.dumps({"signature_name": "slow", "inputs": {"n": [10**9]}}).encode()


def turning(milliseconds: int, container: Container) -> bytes:
    """A request that keeps this machine busy about so long."""
    n = 200
    begin = time.monotonic()
    assert container.post(_turns(n)).ok
    seconds = time.monotonic() - begin
    return _turns(max(1, int(n * milliseconds / 1000 / seconds)))


def _turns(n: int) -> bytes:
    return json.dumps({"signature_name": "slow", "inputs": {"n": [n]}}).encode()


def last_line(container: Container) -> str:
    return [line for line in container.said().splitlines() if line.startswith("serve: ")][-1]


def test_with_a_full_disk_it_answers_and_at_a_stop_loses_none_of_two_hundred(
    start: Callable[..., Any],
) -> None:
    flags = ("--read-only", "--tmpfs=/tmp:size=1m", "--env=PETBOX_WAIT_SECONDS=25")
    with start(*flags) as container:
        body = turning(30, container.ready())
        container.inside("head -c 2m /dev/zero >/tmp/full || true")
        assert container.inside("df --output=avail /tmp | tail -n 1").strip() == "0"
        large = json.dumps({"instances": [1.5] * 1_200_000}).encode()  # 6 MB there, and back
        answer = container.post(large)
        assert answer.status_code == 200
        assert len(answer.content) > 4_000_000
        with many_in_flight(container.port, 200, body) as statuses:
            container.engine("kill", "--signal=TERM", container.name)
            until(lambda: container.status() == 503, container.said)
            assert "stopping" in container.ping().json()["error"]
            assert statuses() == [200] * 200
        assert container.ended() == 0


def test_asked_to_stop_while_loading_it_goes_at_once(start: Callable[..., Any]) -> None:
    with start() as container:
        until(lambda: container.status() == 503)
        assert "still loading" in container.ping().json()["error"]
        begin = time.monotonic()
        container.engine("stop", "--time=30", container.name)
        assert container.ended() == 0
        assert time.monotonic() - begin < 5


def test_asked_twice_it_goes_at_once(start: Callable[..., Any]) -> None:
    with start() as container, many_in_flight(container.ready().port, 4, NEVER):
        container.engine("kill", "--signal=TERM", container.name)
        until(lambda: container.status() == 503)
        begin = time.monotonic()
        container.engine("kill", "--signal=TERM", container.name)
        assert container.ended() == 143
        assert time.monotonic() - begin < 2


def test_a_hanging_engine_turns_ping_off_in_time_and_a_dead_one_ends_it(
    start: Callable[..., Any],
) -> None:
    with start() as container:
        (engine,) = container.ready().pids(ENGINE)
        container.kill("STOP", engine)
        begin = time.monotonic()
        answer = container.ping()
        assert time.monotonic() - begin < 2
        assert answer.status_code == 503
        assert "does not respond" in answer.json()["error"]
        container.kill("CONT", engine)
        until(lambda: container.status() == 200, container.said)
        begin = time.monotonic()
        container.kill("KILL", engine)
        assert container.ended() == 137
        assert time.monotonic() - begin < 2
        assert last_line(container).startswith("serve: model server 1 of 1 died: ")

        # Started again, it is not misled by what it left in /tmp.
        container.engine("start", container.name)
        again = Container(container.engine, container.name, 8080).ready()
        assert again.post(ASKED).ok
        (nginx,) = again.pids(NGINX)
        begin = time.monotonic()
        again.kill("KILL", nginx)
        assert again.ended() == 137
        assert time.monotonic() - begin < 2
        assert last_line(again).startswith("serve: nginx died: ")
