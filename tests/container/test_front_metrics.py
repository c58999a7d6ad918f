"""GET /metrics: Prometheus text that agrees with what clients saw."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from support.peer import Request, Response, golden, peer
from support.ports import free_port
from support.serving import LONG, Front, front, post, whole_front

JSON = "application/json"
AVAILABLE = b'{"model_version_status": [{"state": "AVAILABLE"}]}'
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def detector(asked: Request) -> Response:
    if asked.path.endswith("/model"):
        return Response(200, AVAILABLE)
    if asked.path.startswith("/monitoring"):
        return Response(404, b"")
    time.sleep(0.02)
    return Response(400 if b"cmVmdXNl" in asked.body else 200, golden("answer_one.json"))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Front]:
    with peer(detector) as engine, whole_front(tmp_path / "front", engine.port) as running:
        yield running


def scrape(port: int) -> Samples:
    answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=LONG)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation and family.type != "unknown", family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"petbox_{name}", frozenset(labels.items())]


def test_what_clients_saw_is_counted(running: Front) -> None:
    body = b'{"instances": [1]}'
    began = time.time()
    for _ in range(3):
        assert post(running.port, body, JSON).status_code == 200
    assert post(running.port, b"refuse", "image/png").status_code == 400
    assert post(running.port, b"x", "text/plain").status_code == 415
    assert post(running.port, b"1\n2\n", "application/jsonlines").status_code == 200
    requests.get(f"http://127.0.0.1:{running.port}/nowhere", timeout=LONG)
    samples = scrape(running.port)
    counted = {
        labels: v for (name, labels), v in samples.items() if name == "petbox_requests_total"
    }
    assert {tuple(v for _, v in sorted(labels)): n for labels, n in counted.items()} == {
        ("json", "200"): 3,
        ("picture", "400"): 1,
        ("unknown", "415"): 1,
        ("lines", "200"): 1,
    }
    assert value(samples, "request_seconds_count") == value(samples, "queue_seconds_count") == 6
    assert value(samples, "engine_seconds_count") == 5
    assert (
        5 * 0.02
        <= value(samples, "engine_seconds_sum")
        <= value(samples, "request_seconds_sum") + 1
    )
    assert value(samples, "engine_seconds_bucket", le="0.01") == 0
    assert value(samples, "engine_seconds_bucket", le="+Inf") == 5
    assert value(samples, "request_bytes_bucket", le="10000") == 6
    assert (
        value(samples, "in_flight") == value(samples, "queued") == value(samples, "stopping") == 0
    )
    assert value(samples, "body_memory_bytes") == 0
    assert value(samples, "slots") == 32
    assert abs(value(samples, "process_start_time_seconds") - began) < LONG


def test_who_is_at_work_and_who_waits_is_shown(tmp_path: Path) -> None:
    go_on, came = threading.Event(), threading.Semaphore(0)

    def hold(asked: Request) -> Response:
        if asked.path.endswith(":predict"):
            came.release()
            assert go_on.wait(LONG)
        return detector(asked)

    settings = {"wait_seconds": 0.5}
    with (
        peer(hold) as engine,
        front(tmp_path / "front", engine.port, places=2, settings=settings) as port,
    ):
        threads = [threading.Thread(target=post, args=(port, b"{}", JSON)) for _ in range(5)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + LONG
        while value(samples := scrape(port), "in_flight") + value(samples, "queued") < 5:
            assert time.monotonic() < deadline
        assert (value(samples, "in_flight"), value(samples, "queued")) == (2, 3)
        assert value(samples, "body_memory_bytes") == 5 * 2
        while value(samples := scrape(port), "queued"):
            assert time.monotonic() < deadline
        assert value(samples, "rejected_total", reason="no_slot") == 3
        go_on.set()
        for thread in threads:
            thread.join()


def test_an_engine_that_is_gone_and_a_model_that_loads_are_shown(tmp_path: Path) -> None:
    nobody = free_port()
    loading = Response(200, AVAILABLE.replace(b"AVAILABLE", b"LOADING"))
    with peer(lambda _: loading) as engine, front(tmp_path / "front", engine.port, nobody) as port:
        samples = scrape(port)
    for address, up in ((f"127.0.0.1:{engine.port}", 1), (f"127.0.0.1:{nobody}", 0)):
        assert value(samples, "engine_up", engine=address) == up
        assert value(samples, "model_ready", engine=address, model="model") == 0


def test_tensorflow_servings_own_metrics_are_appended(tmp_path: Path) -> None:
    own = (
        "# TYPE :tensorflow:serving:request_count counter\n"
        ':tensorflow:serving:request_count{model_name="model",status="OK"} 7\n'
    )

    def answer(asked: Request) -> Response:
        if asked.path == "/monitoring/prometheus/metrics":
            return Response(200, own.encode(), {"Content-Type": "text/plain"})
        return detector(asked)

    with peer(answer) as engine, front(tmp_path / "front", engine.port) as port:
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=LONG).text
        assert text.endswith(own)
        assert list(text_string_to_metric_families(text))


def test_what_is_no_metrics_text_is_not_appended(tmp_path: Path) -> None:
    def answer(asked: Request) -> Response:
        if asked.path == "/monitoring/prometheus/metrics":
            return Response(200, b'{"error": "no such path"}')
        return detector(asked)

    with peer(answer) as engine, front(tmp_path / "front", engine.port) as port:
        assert scrape(port)


def test_scrapes_are_not_logged(running: Front) -> None:
    scrape(running.port)
    post(running.port, b"{}", JSON)
    assert running.log()["path"] == "/invocations"
