"""`petbox conform` on addresses: the line for the one rule that a server breaks must fail."""

from __future__ import annotations

import json
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from support.conforming import CONFORM, breaking, failing, outcomes
from support.ports import free_port
from support.serving import served_detector

from petbox.serving.conform import report
from petbox.serving.conform.contract import CONTRACT, Result
from petbox.serving.conform.diagnosis import ListeningPort, parse_tcp_table
from petbox.serving.conform.failures import Process, model_server
from petbox.serving.conform.payload import drawn

Run = Callable[..., subprocess.CompletedProcess[str]]


# petbox itself


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_detector(tmp_path_factory.mktemp("served")) as (port, _):
        yield f"http://127.0.0.1:{port}"


def test_petbox_breaks_no_line_that_can_be_tried(served: str, run: Run) -> None:
    done = run(*CONFORM, served, "--json")
    assert failing(done) == {}
    timed = {"ping-under-load", "leavers-not-computed"}
    assert failing(done, "petbox").keys() <= timed, "other tests are at work as well"
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["conforms"] is True
    names = [line.name for line in CONTRACT if not line.multi_model]
    assert [line["name"] for line in report["lines"]] == names


def test_what_only_an_image_shows_is_not_said_to_hold(served: str, run: Run) -> None:
    found = outcomes(run(*CONFORM, served, "--json", "--sagemaker-only"))
    tried = {name for name, outcome in found.items() if outcome != "not tried"}
    assert tried == {"ping", "ping-in-time", "invocations", "headers"}


def test_a_request_of_ones_own_is_put_instead(served: str, run: Run, tmp_path: Path) -> None:
    own = tmp_path / "request"
    own.write_bytes(drawn(30, 20))
    done = run(*CONFORM, served, "--json", "--request", own, "--content-type", "image/png")
    assert failing(done) == {}
    found = outcomes(done)
    assert found["invocations"] == "holds"
    assert found["json-lines"] == "not tried"
    assert found["gzip"] == "not tried"


# Servers that break one rule


@pytest.mark.parametrize(
    ("rule", "line", "seen"),
    [
        ("answers the ping slowly", "ping-in-time", "slow: it took 2."),
        ("has no ping", "ping", "no GET /ping: 404"),
        ("is never ready", "ping", "503 the weights are still on their way"),
        ("pings by the worker that works", "ping-in-time", "under load of 4 clients"),
        ("chokes on attributes", "headers", "400 unknown attribute"),
        ("answers nothing to the model's request", "invocations", "500 shapes differ"),
    ],
)
def test_a_broken_rule_is_named_and_no_other(
    rule: str, line: str, seen: str, run: Run, tmp_path: Path
) -> None:
    with breaking(rule, tmp_path) as url:
        done = run(*CONFORM, url, "--json", "--sagemaker-only")
    bad = failing(done)
    assert list(bad) == [line]
    assert seen in bad[line]
    assert done.returncode == 1
    assert done.stderr == f"error: {url}: breaks SageMaker's contract: {line}\n"


def test_a_server_need_not_keep_petboxs_promises(run: Run, tmp_path: Path) -> None:
    with breaking("answers errors in html", tmp_path) as url:
        done = run(*CONFORM, url, "--json")
    assert done.returncode == 0
    assert "text/html instead of" in failing(done, "petbox")["unknown-path"]


# What is printed


def test_the_table_names_the_line_that_fails(run: Run, tmp_path: Path) -> None:
    with breaking("chokes on attributes", tmp_path) as url:
        env = {**os.environ, "COLUMNS": "200"}
        done = run(*CONFORM, url, "--sagemaker-only", env=env)
    assert done.stdout.startswith("SageMaker's requirements: 3 hold, 1 fail, 12 not tried\n")
    line = next(line for line in CONTRACT if line.name == "headers")
    assert re.search(rf"^FAILS +headers +{line.says}: ", done.stdout, re.MULTILINE)
    assert "\033" not in done.stdout


def test_an_unreachable_address_is_reported_in_one_line(run: Run) -> None:
    done = run(*CONFORM, f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"error: http://\S+: cannot connect \(.*refused\); .*\n", done.stderr)


@pytest.mark.parametrize(
    "words",
    [
        ("https://localhost:8080",),
        ("http://localhost:8080/ping",),
        ("http://localhost:8080", "--model", "model"),
        ("image", "--env", "no-value"),
        ("http://localhost:8080", "--junit", "results", "--badge", "./results"),
        ("image", "--start-seconds", "0"),
        (),
    ],
)
def test_what_is_misused_exits_2(words: tuple[str, ...], run: Run) -> None:
    done = run(*CONFORM, *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_without_docker_an_image_is_rejected(run: Run, tmp_path: Path) -> None:
    done = run(*CONFORM, "image", env={**os.environ, "PATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.startswith("error: docker is not installed")


def test_every_line_of_the_contract_is_documented() -> None:
    page = (CHECKOUT / "docs/conform.md").read_text()
    rows: list[Any] = re.findall(r"^\| `([\w-]+)` \| (.*) \| ([^|]+) \|$", page, re.MULTILINE)
    assert [row[:2] for row in rows] == [(line.name, line.says) for line in CONTRACT]
    addresses = dict(re.findall(r"^(\[[\w-]+\]): (https:\S+)$", page, re.MULTILINE))
    linked = [addresses.get(row[2]) or "docs/" + row[2].split("(")[1][:-1] for row in rows]
    assert linked == [line.reference for line in CONTRACT]


# What is written for CI


def test_junit_and_a_badge_say_what_was_found(run: Run, tmp_path: Path) -> None:
    junit, badge = tmp_path / "größe 1.xml", tmp_path / "badge.json"
    badge.write_text("of an earlier run")
    with breaking("answers nothing to the model's request", tmp_path) as url:
        words = ("--json", "--sagemaker-only", "--junit", junit, "--badge", badge)
        done = run(*CONFORM, url, *words)
    root = ElementTree.parse(junit).getroot()
    follows_schema(root)
    assert root.get("name") == url
    (suite,) = root
    assert suite.get("name") == "SageMaker's requirements"
    found = outcomes(done)
    kinds = {"failure": "fails", "skipped": "not tried", "system-out": "holds"}
    assert {case.get("name"): kinds[case[0].tag] for case in suite} == found
    (failure,) = suite.iter("failure")
    assert "500 shapes differ" in (failure.get("message") or "")
    line = next(line for line in CONTRACT if line.name == "invocations")
    assert line.reference in (failure.text or "")
    shown = json.loads(badge.read_text())
    assert shown.keys() == {"schemaVersion", "label", "message", "color"}
    assert (shown["schemaVersion"], shown["message"]) == (1, "1 of 16 fail")
    assert shown["color"] == "red"


def test_a_badge_is_green_only_if_everything_was_tried() -> None:
    required = [one.name for one in CONTRACT if one.level == "sagemaker" and not one.multi_model]
    results = dict.fromkeys(required, Result("holds", "")) | {"npy": Result("fails", "")}
    assert json.loads(report.as_badge(results))["message"] == "16 of 16 hold"
    assert json.loads(report.as_badge(results))["color"] == "brightgreen"
    results["port"] = Result("not tried", "")
    assert json.loads(report.as_badge(results))["color"] == "yellow"
    assert json.loads(report.as_badge(results))["message"] == "15 of 16 hold, the others not tried"


def test_what_xml_cannot_hold_is_replaced() -> None:
    seen = 'its log: \x1b[31m<error> "a" & \0 \ud800 \ufffe € 🐈\x85'
    results = {"serve": Result("fails", seen), "npy": Result("holds", seen)}
    root = ElementTree.fromstring(report.as_junit("a\x08b", results))
    follows_schema(root)
    assert root.get("name") == "a\N{REPLACEMENT CHARACTER}b"
    (failure,) = root.iter("failure")
    assert '<error> "a" &' in (failure.get("message") or "")
    assert "€ 🐈" in (failure.get("message") or "")


@pytest.mark.parametrize("option", ["--junit", "--badge"])
def test_a_file_that_cannot_be_written_is_reported_before_the_checks(
    option: str, run: Run, tmp_path: Path
) -> None:
    done = run(*CONFORM, f"http://127.0.0.1:{free_port()}", option, tmp_path / "no" / "file")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}/no/file: cannot be written (no such file")


@pytest.mark.parametrize("option", ["--junit", "--badge"])
def test_no_older_result_outlives_a_run_that_fails(option: str, run: Run, tmp_path: Path) -> None:
    (older := tmp_path / "file").write_text("of an earlier run")
    done = run(*CONFORM, f"http://127.0.0.1:{free_port()}", option, older)
    assert "cannot connect" in done.stderr
    assert not older.exists()


# The elements and attributes that CI systems read of JUnit's format: which may be where, and which
# attributes an element must have.
SCHEMA: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"testsuite"}, {"name"}),
    "testsuite": ({"testcase"}, {"name", "tests", "failures", "errors", "skipped"}),
    "testcase": ({"failure", "skipped", "system-out"}, {"name", "classname"}),
    "failure": (set(), {"message", "type"}),
    "skipped": (set(), {"message"}),
    "system-out": (set(), set()),
}


def follows_schema(element: ElementTree.Element) -> None:
    children, attributes = SCHEMA[element.tag]
    assert element.attrib.keys() == attributes
    assert {child.tag for child in element} <= children
    if element.tag == "testsuite":
        counts = {"tests": "testcase", "failures": "failure", "skipped": "skipped"}
        found = {name: len(list(element.iter(tag))) for name, tag in counts.items()}
        assert {name: int(element.get(name, "")) for name in found} == found
    for child in element:
        follows_schema(child)


# What it is made of


def test_listening_ports_are_read_from_the_kernels_table() -> None:
    table = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0B00007F:B13B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0100007F:2135 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3
   3: 020012AC:1F90 010012AC:B16A 01 00000000:00000000 00:00000000 00000000     0        0 4
   4: 00000000000000000000000001000000:2328 00000000000000000000000000000000:0000 0A 0 0 0 0
   5: 00000000000000000000000000000000:2328 00000000000000000000000000000000:0000 0A 0 0 0 0
"""
    # Not Docker's own resolver at 127.0.0.11, and no connection.
    assert parse_tcp_table(table) == [
        ListeningPort(8080, loopback=False),
        ListeningPort(8501, loopback=True),
        ListeningPort(9000, loopback=False),
    ]


@pytest.mark.parametrize(
    ("found", "name", "pids"),
    [
        ([(1, "serve", 9), (7, "nginx", 5), (8, "tensorflow_mode", 3)], None, [8]),
        (
            [(1, "python3", 900), (7, "nginx", 5), (8, "worker", 30), (9, "worker", 31)],
            None,
            [8, 9],
        ),
        ([(1, "server", 900)], None, [1]),
        ([(1, "serve", 9), (7, "nginx", 5)], "nginx", [7]),
        ([(1, "serve", 9), (7, "tensorflow_mode", 5)], "tensorflow_model_server", [7]),
        ([(1, "serve", 9)], "absent", []),
    ],
)
def test_the_engine_is_a_known_process_or_the_largest(
    found: list[tuple[int, str, int]], name: str | None, pids: list[int]
) -> None:
    assert [one.pid for one in model_server([Process(*one) for one in found], name)] == pids


def test_the_drawn_image_is_valid() -> None:
    pillow = pytest.importorskip("PIL.Image")
    import io

    with pillow.open(io.BytesIO(drawn(320, 240))) as image:
        image.load()
        assert (image.size, image.mode) == ((320, 240), "RGB")
