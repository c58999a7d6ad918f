"""`petbox demo`: the detector that comes with petbox, and the page, with nginx and without."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.browser import Tab, chromium
from support.ports import free_port
from support.serving import CHECKOUT, LONG, WITHOUT_LUA, Program, post, predict_json, started
from support.without_tensorflow import python_path

from petbox import wire
from petbox.litert import bundle
from petbox.litert.detector import LiteDetector
from petbox.serving.demo.command import MODEL
from petbox.serving.reduced_gateway import PAGE
from petbox.serving.requirements import PYTHON

pytest.importorskip("ai_edge_litert.interpreter", reason="pip install './[serve]'")

SAMPLES = sorted((PAGE / "samples").glob("*.jpg"))
IMAGE = SAMPLES[0].read_bytes()
DONE = "document.querySelector('#status').textContent.includes('Marmalade')"
SHOWN = "document.querySelectorAll('.box:not([hidden])').length"


@pytest.fixture(scope="module")
def absent(tmp_path_factory: pytest.TempPathFactory) -> str:
    return python_path(tmp_path_factory.mktemp("demo") / "absent", CHECKOUT)


@pytest.fixture(scope="module", params=["nginx", "reduced"])
def demo(
    request: pytest.FixtureRequest, absent: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, int, Program]]:
    program = ["-m", "petbox"] if request.param == "nginx" else ["-c", WITHOUT_LUA]
    port, run = free_port(), tmp_path_factory.mktemp("run")
    if "-P" in PYTHON:  # somebody's own file in the folder where the demo is started
        (run / "numpy.py").write_text("raise SystemExit('imported from the current folder')")
    command = [*PYTHON, *program, "demo", f"--port={port}", "--no-browser"]
    with started(command, run, PYTHONPATH=absent) as running:
        line = running.line()
        assert line == f"http://localhost:{port}/#samples", running.errors.read_text()
        yield request.param, port, running


# The model


def about() -> dict[str, str]:
    """The lines of ABOUT.txt."""
    rows = re.findall(r"^(\S+(?: by)?)  +(.*)$", (MODEL / "ABOUT.txt").read_text(), re.MULTILINE)
    return dict(rows)


def test_its_file_is_the_one_that_was_measured() -> None:
    content, stated = (MODEL / bundle.NETWORK).read_bytes(), about()
    assert stated["sha256"] == hashlib.sha256(content).hexdigest()
    assert int(stated["bytes"]) == len(content) <= 1_000_000
    assert stated["weights"] == bundle.read(MODEL).form
    assert float(stated["mAP"]) > 0.7 and float(stated["mAP@0.5"]) > 0.99


def test_it_detects_the_toy_images(run: Any, tmp_path: Path) -> None:
    drawn = tmp_path / "toy"
    done = run("train/make_toy_pets.py", f"--out={drawn}", "--train=1", "--test=12", "--seed=77")
    assert done.returncode == 0, done.stderr
    detector = LiteDetector(MODEL)
    right = 0
    for path in sorted((drawn / "images").glob("*.jpg")):
        found = [one for one in detector.detect(path.read_bytes()) if one.score >= one.threshold]
        right += {one.name for one in found} == {path.stem.rpartition("_")[0]}
    assert right >= 12  # of 13


def test_a_command_that_loads_it_prints_nothing_but_detections() -> None:
    command = [sys.executable, "-m", "petbox", "detect", SAMPLES[0], "--model", MODEL, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["detections"]


def test_it_says_nothing_of_where_it_was_made() -> None:
    stated = json.loads((MODEL / bundle.ABOUT).read_text())
    assert not Path(stated["made"]["self_check"]["source"]).is_absolute()


# The command


def test_boxes_appear_on_all_samples(demo: tuple[str, int, Program], tmp_path: Path) -> None:
    with chromium(tmp_path) as browser:
        tab = Tab(browser, f"http://localhost:{demo[1]}")
        tab.go("/#samples")
        tab.until(DONE)
        thumbnails = "[...document.querySelectorAll('#thumbnails button')]"
        tab.until(f"{thumbnails}.every((one) => one.ariaLabel.endsWith(' detected'))")
        assert tab.run(f"{thumbnails}.length") == len(SAMPLES)
        assert tab.run(SHOWN) == 2  # two orange cats on the first sample
        assert tab.requests("/invocations") == len(SAMPLES)
        tab.close()


def test_tensorflow_is_not_needed(demo: tuple[str, int, Program]) -> None:
    _, port, program = demo
    (found,) = wire.detections(post(port, predict_json(IMAGE), "application/json").content)
    assert found[0].label == 2
    assert "Traceback" not in program.errors.read_text()


def test_a_missing_extra_is_reported_with_the_pip_line(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-m", "petbox", "demo", f"--port={free_port()}"]
    with started(command, tmp_path / "run") as program:
        code, errors = program.ended()
    assert code == 1
    assert re.fullmatch(
        r"error: ai-edge-litert is not installed; in the petbox checkout type: "
        r"pip install './\[serve\]'\n",
        errors.splitlines(keepends=True)[-1],
    )


def test_a_taken_port_is_reported(demo: tuple[str, int, Program], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "petbox", "demo", f"--port={demo[1]}"]
    with started(command, tmp_path / "run") as program:
        code, errors = program.ended()
    assert code == 1
    assert "choose another with --port" in errors.splitlines()[-1]


# Without nginx


@pytest.fixture(scope="module")
def reduced(absent: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Program]]:
    """`petbox serve MODEL` without nginx's Lua module."""
    port = free_port()
    command = [sys.executable, "-c", WITHOUT_LUA, "serve", str(MODEL), f"--port={port}"]
    with started(command, tmp_path_factory.mktemp("run"), PYTHONPATH=absent) as program:
        assert program.line() == f"http://localhost:{port}/", program.errors.read_text()
        yield port, program


def test_it_says_what_it_does_not_do(reduced: tuple[int, Program]) -> None:
    first, second = reduced[1].errors.read_text().splitlines()[:2]
    assert first == (
        "nginx with Lua is not installed, so petbox itself serves the page, /ping, and "
        "/invocations for JSON and images, without queue, limits, metrics and the other formats"
    )
    assert "on LiteRT" in second


def test_answers_are_the_same_with_nginx_and_without(demo: tuple[str, int, Program]) -> None:
    detector = LiteDetector(MODEL)
    expected = [(one.label, one.score) for one in detector.detect(IMAGE)]
    for body, kind in ((IMAGE, "image/jpeg"), (predict_json(IMAGE), "application/json")):
        answer = post(demo[1], body, kind)
        assert answer.status_code == 200
        assert answer.text.startswith('{\n    "predictions": [\n        {\n')
        (found,) = wire.detections(answer.content)
        assert [(one.label, one.score) for one in found][: len(expected)] == [
            (label, pytest.approx(score)) for label, score in expected
        ]
    answer = post(demo[1], b"nothing", "image/png")
    why = "image 0 of the request is not a JPEG, PNG, GIF, BMP or WebP file"
    assert (answer.status_code, answer.json()) == (400, {"error": why})
    headers = {"Content-Type": "image/jpeg", "Accept": "image/jpeg"}
    url = f"http://localhost:{demo[1]}/endpoints/any/invocations"
    drawn = requests.post(url, data=IMAGE, headers=headers, timeout=LONG)
    assert drawn.content.startswith(b"\xff\xd8\xff") and drawn.content != IMAGE


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ping", 200),
        ("HEAD", "/", 200),
        ("GET", "/page/page.js?x", 200),
        ("GET", "/page/label_map.pbtxt", 200),
        ("GET", "/page/../reduced_gateway.py", 404),
        ("GET", "/page/%2e%2e/serve", 404),
        ("GET", "/metrics", 404),
        ("POST", "/models", 404),
        ("GET", "/invocations", 405),
        ("POST", "/invocations", 415),
    ],
)
def test_routes(reduced: tuple[int, Program], method: str, path: str, status: int) -> None:
    request = requests.Request(method, f"http://127.0.0.1:{reduced[0]}").prepare()
    request.url = f"http://127.0.0.1:{reduced[0]}{path}"  # as it is
    request.headers["Content-Type"] = "text/csv"
    answer = requests.Session().send(request, timeout=LONG)
    assert answer.status_code == status
    if status in (404, 415):
        assert "nginx with Lua is not installed" in answer.json()["error"]


def test_ctrl_c_stops_it_at_once(absent: str, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", WITHOUT_LUA, "demo", f"--port={port}", "--no-browser"]
    with started(command, tmp_path / "run", PYTHONPATH=absent) as program:
        assert program.line()
        program.send(signal.SIGINT)
        assert program.ended()[0] == 0
