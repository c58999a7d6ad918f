"""Campaigns through the gateway: thousands of damaged images and bodies, and load for minutes.

Whatever comes, the answer is predictions or a sentence as JSON, no process crashes or grows, and a
valid request works afterwards. docs/reliability.md has the counts of `make soak`.
"""

from __future__ import annotations

import base64
import io
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests
from support import soak
from support.hostile_images import memory, mutated, originals
from support.saved_models import decoder, weighted
from support.serving import LONG, Engine, Front, embedded_engine, whole_front

SEED = 20_261_130
IMAGES = soak.count(150, 10_000)
BODIES = soak.count(60, 1_000)  # of each content type
CLIENTS, PAUSE = 4, 0.02
LOADED = soak.count(25, 0)  # requests of each client; 0: as many as come in SECONDS
SECONDS = soak.count(0, 600)
MB = 2**20
JSON, LINES, CSV, NPY = (
    "application/json",
    "application/jsonlines",
    "text/csv",
    "application/x-npy",
)


class Served(NamedTuple):
    """The gateway before an engine, and what they are made of."""

    front: Front
    engine: Engine
    session: requests.Session

    def post(self, body: bytes, kind: str, session: requests.Session | None = None) -> Any:
        url = f"http://127.0.0.1:{self.front.port}/invocations"
        headers = {"Content-Type": kind}
        return (session or self.session).post(url, data=body, headers=headers, timeout=LONG)

    def ping(self) -> int:
        return self.session.get(
            f"http://127.0.0.1:{self.front.port}/ping", timeout=LONG
        ).status_code

    def processes(self) -> list[int]:
        return [self.engine.pid, *self.front.workers()]

    def resident(self) -> list[int]:
        return [memory("VmRSS", pid) for pid in self.processes()]


@contextmanager
def served(folder: Path, model: Callable[[Path], Path]) -> Iterator[Served]:
    model(folder / "model" / "1")
    with (
        embedded_engine(folder / "engine", model=folder / "model") as engine,
        whole_front(folder / "front", engine.port) as front,
        requests.Session() as session,
    ):
        yield Served(front, engine, session)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("images"), decoder) as running:
        yield running


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("rows"), weighted) as running:
        yield running


@contextmanager
def unharmed(running: Served, valid: bytes, kind: str) -> Iterator[list[int]]:
    """The same processes go on, and do not grow beyond the sizes that it is given when warm."""
    before, settled = running.processes(), list[int]()
    yield settled
    assert running.processes() == before, "one of them crashed"
    assert running.post(valid, kind).status_code == running.ping() == 200
    for pid, then, now in zip(before, settled, running.resident(), strict=True):
        assert now < then + 64 * MB, f"process {pid} grew"


def sentence(response: requests.Response) -> str:
    """That of an error, which must be one that a client can read."""
    assert response.headers["Content-Type"] == JSON, response.content[:200]
    document = response.json()
    assert document.keys() <= {"error", "hint"} and document["error"], document
    return str(document["error"])


# Images


REJECTION = re.compile(r"image (\d) of the request (is|has|contains) [^\[\]]+")


def as_itself(running: Served, valid: bytes, image: bytes) -> str:
    response = running.post(image, "image/jpeg")
    if not image:
        assert "no body" in sentence(response)
    return outcome_of(response, index="0") if image else "rejected"


def among_others(running: Served, valid: bytes, image: bytes) -> str:
    """The sentence names the one that is invalid."""
    return outcome_of(running.post(instances(valid, image), JSON), index="1")


def on_its_line(running: Served, valid: bytes, image: bytes) -> str:
    """The lines around it are answered, whatever it is."""
    records = [json.dumps({"b64": b64(one)}) for one in (valid, image, valid)]
    response = running.post("\n".join(records).encode(), LINES)
    assert response.status_code == 200, response.text
    first, found, last = map(json.loads, response.text.splitlines())
    assert first == last == {"predictions": [[64, 96]]}
    if "error" in found:
        assert REJECTION.search(found["error"]), found
        return "rejected"
    assert len(found["predictions"][0]) == 2
    return "read"


def outcome_of(response: requests.Response, index: str) -> str:
    if response.status_code == 200:
        assert all(min(size) > 0 for size in response.json()["predictions"])
        return "read"
    assert response.status_code == 400, response.text
    found = REJECTION.search(sentence(response))
    assert found and found[1] == index, response.text
    return "rejected"


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def instances(*files: bytes) -> bytes:
    return json.dumps({"instances": [{"b64": b64(file)} for file in files]}).encode()


@pytest.mark.soak
def test_mutated_images_are_read_or_rejected_by_a_sentence(images: Served) -> None:
    rng, files = random.Random(SEED), originals()
    assert images.post(instances(*files), JSON).json() == {"predictions": [[64, 96]] * len(files)}
    outcome: Counter[str] = Counter()
    with unharmed(images, files[0], "image/jpeg") as settled:
        for number in range(IMAGES):
            way = rng.choice((as_itself, among_others, on_its_line))
            image = mutated(files, rng)
            try:
                outcome[way(images, files[0], image)] += 1
            except Exception as error:
                raise AssertionError(f"image {number} {way.__name__}, {image[:60]!r}") from error
            if number == IMAGES // 4:
                settled[:] = images.resident()
    print(f"{IMAGES} mutated images: {dict(outcome)}")
    assert min(outcome["read"], outcome["rejected"]) > IMAGES / 10


# Other bodies


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


VALID: dict[str, list[bytes]] = {
    JSON: [
        b'{"instances": [[1.5, -2e3], [0, 7]]}',
        b'{"signature_name": "serving_default", "inputs": {"x": [[1, 2], [3, 4]]}}',
        b"[[1, 2], [3, 4]]",
    ],
    CSV: [b"1.5,-2e3\n0,7\n", b'"1","2"\r\n3,4\r\n', b"1,2"],
    NPY: [
        npy(np.array([[1.5, -2e3], [0, 7]], np.float32)),
        npy(np.array([[1, 2], [3, 4]], ">i8")),
        npy(np.asfortranarray(np.ones((3, 2)))),
    ],
    LINES: [
        b"[1, 2]\n[3, 4]\n",
        b'{"instances": [[1, 2]]}\n{"inputs": [[3, 4]]}\n',
        b"[1.5, -2e3]\r\n\r\n[0, 7]",
    ],
}


@pytest.mark.soak
@pytest.mark.parametrize("kind", VALID)
def test_mutated_bodies_are_answered_or_rejected_by_a_sentence(rows: Served, kind: str) -> None:
    rng, valid = random.Random(SEED), VALID[kind]
    assert [rows.post(body, kind).status_code for body in valid] == [200] * len(valid)
    statuses: Counter[int] = Counter()
    with unharmed(rows, valid[0], kind) as settled:
        for number in range(BODIES):
            body = mutated(valid, rng)
            response = rows.post(body, kind)
            statuses[response.status_code] += 1
            try:
                check(response, kind)
            except Exception as error:
                raise AssertionError(f"body {number}, {body!r}: {response.text}") from error
            if number == BODIES // 4:
                settled[:] = rows.resident()
    print(f"{BODIES} mutated bodies of {kind}: {dict(statuses)}")
    assert statuses[200] and statuses[400]


def check(response: requests.Response, kind: str) -> None:
    if response.status_code != 200:
        assert response.status_code in (400, 404), "whatever a body says, it is the client's error"
        sentence(response)
    elif kind == LINES:
        for line in map(json.loads, response.text.splitlines()):
            assert len(line) == 1 and line.keys() <= {"predictions", "outputs", "error"}
    else:
        response.json()


# Load


@pytest.mark.soak
def test_under_load_nothing_fails_and_nothing_grows(images: Served) -> None:
    """Valid and invalid requests in turns, and pings among them."""
    files = originals()
    broken, began, done = files[0][:300], time.monotonic(), Counter[int]()
    requested = [
        *((file, "image/jpeg", 200) for file in files),
        (instances(*files), JSON, 200),
        (b"\n".join(json.dumps({"b64": b64(file)}).encode() for file in files), LINES, 200),
        (broken, "image/jpeg", 400),
        (instances(files[0], broken), JSON, 400),
        (b'{"instances": [', JSON, 400),
        (b"", JSON, 400),
        (b"words", "text/html", 415),
    ]
    ended = threading.Event()

    def client(number: int) -> None:
        rng = random.Random(SEED + number)
        with requests.Session() as session:
            for turn in count():
                if turn >= LOADED and time.monotonic() - began >= SECONDS:
                    return
                body, kind, status = rng.choice(requested)
                response = images.post(body, kind, session)
                assert response.status_code == status, response.text
                done[status] += 1
                ended.wait(PAUSE)

    with unharmed(images, files[0], "image/jpeg") as settled, ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, number) for number in range(CLIENTS)]
        quarter = CLIENTS * LOADED / 4
        while not all(one.done() for one in clients):
            passed = time.monotonic() - began
            if done.total() >= quarter and passed >= SECONDS / 4:
                settled[:] = images.resident()
                quarter = float("inf")
            assert images.ping() == 200
            ended.wait(0.1)
        for one in clients:
            one.result()
    print(f"{SECONDS} s of load: {dict(done)}")
