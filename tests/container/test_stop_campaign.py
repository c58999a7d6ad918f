"""SIGTERM at random moments: whoever was told that the container is ready gets every answer."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from support import soak
from support.serve_script import Serve, serving
from support.serving import LONG, empty_model, post

SEED = 20_261_130
STOPS = soak.count(2, 100)
AT_ONCE = 4  # containers
CLIENTS = 6  # of each
LATEST = 0.8  # seconds after its start, which takes about as long, or after the first answer
UNNOTICED = 0.3  # seconds after the signal in which new requests are still sent


@pytest.mark.soak
def test_stopped_at_any_moment_no_request_is_lost(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    moments = [rng.uniform(0.1, LATEST) for _ in range(STOPS)]
    working = [number % 4 > 0 for number in range(1, STOPS + 1)]
    folders = [tmp_path / str(number) for number in range(STOPS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answered = list(pool.map(answered_when_stopped, folders, moments, working))
    print(f"{STOPS} stops, {sum(answered)} requests answered, none lost")


def answered_when_stopped(folder: Path, moment: float, working: bool) -> int:
    """The number of requests; all of them have been answered."""
    empty_model(folder / "models/model/1")
    begun, over = threading.Event(), threading.Event()
    with serving(folder) as serve, ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, serve, begun, over) for _ in range(CLIENTS)]
        if working:
            assert begun.wait(LONG), serve.errors.read_text()
        over.wait(moment)
        serve.stop()
        over.wait(UNNOTICED)
        over.set()
        answered = sum(one.result() for one in clients)
        code, errors = serve.ended()
    assert (code, "dropped" in errors) == (0, False), f"stopped at {moment:.3f} s: {errors}"
    return answered


def client(serve: Serve, begun: threading.Event, over: threading.Event) -> int:
    """Sends requests from the first good ping on, as SageMaker does; one that is lost raises."""
    while not is_ready(serve):
        if over.wait(0.01):
            return 0
    answered = 0
    while not over.is_set():
        response = post(serve.port, b'{"slow": 1}', "application/json")
        assert response.status_code == 200, response.text
        answered += 1
        begun.set()
    return answered


def is_ready(serve: Serve) -> bool:
    try:
        return serve.ping().ok
    except requests.ConnectionError:
        return False
