"""`petbox tune` as a program, before the stand-in engine and the embedded server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.peer import Request, Response, peer
from support.saved_models import adder
from support.serving import CHECKOUT, LONG, empty_model, stand_in_engine, started
from support.warm_python import warm_python

from petbox.cli.signals import StopRequest
from petbox.errors import ModelError
from petbox.serving.http_client import Address
from petbox.serving.tune import choice, example, machine
from petbox.serving.tune.choice import Curve, Setting
from petbox.serving.tune.load import Level, Sample
from petbox.serving.tune.measure import measure

TUNE = [sys.executable, "-m", "petbox", "tune"]
SHORT = "--seconds=0.1"  # one request on each connection


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return empty_model(tmp_path / "a mödel" / "7")


@pytest.fixture
def body(tmp_path: Path) -> Path:
    file = tmp_path / "body.json"
    file.write_text('{"instances": ["hold"]}')
    return file


def tune(engine: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    path = f"{engine}:{os.environ['PATH']}"
    return subprocess.run(
        [*TUNE, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PATH": path},
        capture_output=True,
        text=True,
        timeout=4 * LONG,
        check=False,
    )


def test_what_is_written_is_what_was_chosen(tmp_path: Path, model: Path, body: Path) -> None:
    engine = stand_in_engine(tmp_path / "engine")
    (engine / "hold").touch()
    png = tmp_path / "new folder" / "curve.png"
    done = tune(engine, model.parent, "--request", body, SHORT, "--write", "--json", "-o", png)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["complete"]
    assert result["request"] == str(body)
    assert len(result["curves"]) == 3
    assert all(curve["levels"][0]["connections"] == 1 for curve in result["curves"])
    assert result["curves"][1]["variables"][choice.INTRA] == "1"
    assert result["curves"][2]["variables"][choice.BATCHING] == "true"
    assert not any(level["failed"] for curve in result["curves"] for level in curve["levels"])
    assert machine.read(Path(result["written"])) == {result["machine"]: result["variables"]}
    assert png.read_bytes().startswith(b"\x89PNG")
    again = tune(engine, model.parent, "-o", png)
    assert "exists already" in again.stderr


def test_a_model_is_sent_an_example_of_its_own(tmp_path: Path) -> None:
    """The embedded server, in the name of the real one."""
    adder(tmp_path / "adder" / "1", 2.5)
    program = tmp_path / "engine" / "tensorflow_model_server"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {warm_python()} -m petbox.serving.model_server "$@"\n')
    program.chmod(0o755)
    done = tune(program.parent, tmp_path / "adder", SHORT, "--p99=0.1")
    assert done.returncode == 1, "the limit is not kept"
    assert done.stderr.startswith(f"starting the model in {tmp_path / 'adder' / '1'} ...\n")
    assert "an example for the signature serving_default" in done.stderr
    assert "no setting keeps p99 within 0.1 ms" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["connections", "setting", "requests/s", "p50", "ms", "p99", "ms"]
    assert lines[1].lstrip().startswith("1  ")
    assert "▇" in lines[1]
    assert f"{choice.BATCHING}=false" in lines
    assert not (tmp_path / "adder" / "1" / "assets.extra").exists()


def test_ctrl_c_ends_it_with_what_was_measured(tmp_path: Path, model: Path, body: Path) -> None:
    hold = stand_in_engine(tmp_path / "engine") / "hold"
    os.mkfifo(hold)
    path = f"{hold.parent}:{os.environ['PATH']}"
    words = [*TUNE, str(model), f"--request={body}", SHORT, "--write"]
    with started(words, tmp_path / "run", PATH=path) as program:
        for at in range(4):  # one to try each setting, and the first that is measured of each
            with hold.open("w"):
                following = hold.with_name("following")  # the next request waits for another pipe
                os.mkfifo(following)
                following.replace(hold)
                if at == 3:
                    program.send(signal.SIGINT)
        code, errors = program.ended()
        assert code == 130, errors
        assert program.process.stdout
        assert "SAGEMAKER_TFS_INTRA_OP_PARALLELISM=" in program.process.stdout.read()
        assert "interrupted: this is the best of what was measured so far" in errors
        assert not [*program.temporary.iterdir()], "the servers have stopped"
    assert not (model / machine.FILE).exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("some-image", "--write"), 1, "some-image: an image cannot be written to; pass its"),
        (("some-image", "--write", "--model=none"), 1, "none: no such folder; expected: saved"),
        ((".", "--model=model"), 1, ".: is not an image; leave out --model and --docker"),
        ((".", "--docker=--gpus all"), 1, ".: is not an image; leave out --model and --docker"),
        (("some-image", "--docker='"), 2, "argument --docker: ': no closing quotation"),
        (("./nowhere",), 1, "nowhere: no such folder"),
        (("model/tpyo",), 1, "model/tpyo: no such folder, and no image: "),
        ((".", "--image=x.jpg"), 1, "x.jpg: no such file; check the path"),
        ((".", "--image=a", "--request=b"), 2, "argument --request: not allowed with --image"),
        ((".", "--p99=0"), 2, "argument --p99: 0 is not between 0.1 and"),
        ((".", "--seconds=0"), 2, "argument --seconds: 0 is not between 0.1 and"),
    ],
)
def test_wrong_usage(
    tmp_path: Path,
    words: tuple[str, ...],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")  # nothing is pulled
    done = tune(tmp_path, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_a_model_that_is_not_served_is_not_measured(tmp_path: Path, model: Path) -> None:
    body = tmp_path / "bad.json"
    body.write_text("{")
    engine = stand_in_engine(tmp_path / "engine")
    (engine / "broken").write_text("this engine is broken")
    done = tune(engine, model, "--request", body, SHORT)
    assert (done.returncode, done.stdout) == (1, "")
    said = f"error: {model}: was not served: model server 1 of 1 died: exit code 255: "
    assert said in done.stderr


def test_a_read_only_model_is_rejected_before_it_is_measured(tmp_path: Path, model: Path) -> None:
    as_root = ["unshare", "--map-root-user", "--mount", "sh", "-euc"]
    script = 'mount --bind "$0" "$0"; mount -o remount,ro,bind "$0"; exec "$@"'
    words = [*as_root, script, model.parent, *TUNE, model.parent, "--write"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONG, check=False)
    if "mount" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    said = f"error: {model}: not writable; leave out --write, or copy the model\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


class Servers:
    """They answer at once, and keep the order in which they are called."""

    title = content = "servers"

    def __init__(self) -> None:
        self.called: list[Mapping[str, str]] = []  # the variables of each

    def plan(self) -> str:
        return "model from / with 1 x tensorflow_model_server; A Processor, 2 CPUs, 0 GPUs"

    @contextmanager
    def started(self, variables: Mapping[str, str], _: object) -> Iterator[Address]:
        def respond(_: Request) -> Response:
            self.called.append(variables)
            return Response(200, b"{}")

        with peer(respond) as server:
            yield Address("127.0.0.1", server.port)


def test_batches_are_measured_beside_the_best_without(body: Path) -> None:
    servers = Servers()
    measured = measure(servers, None, body, None, 0.01, StopRequest())
    assert measured.complete
    (best,) = (curve for curve in measured.curves[:2] if not curve.beaten)
    called, batching = servers.called, measured.curves[2].setting.variables
    last = len(called) - called[::-1].index(batching)
    assert best.setting.variables in called[called.index(batching) : last]


# The choice


def curve(name: str, *levels: tuple[int, float, float]) -> Curve:
    return Curve(Setting(name, {}), [Level(n, rate, p99 / 2, p99, 0) for n, rate, p99 in levels])


def test_the_default_stays_unless_another_is_clearly_better() -> None:
    default = curve("default", (1, 100, 10), (16, 200, 90))
    assert choice.best([default, curve("other", (1, 103, 10), (16, 206, 90))], None) is default
    better = curve("other", (1, 130, 10), (16, 260, 90))
    assert choice.best([default, better], None) is better


def test_only_levels_that_all_have_are_compared() -> None:
    default = curve("default", (1, 100, 10))
    assert choice.best([default, curve("other", (1, 101, 10), (16, 900, 90))], None) is default


def test_one_connection_weighs_as_much_as_many() -> None:
    default = curve("default", (1, 100, 10), (16, 200, 90))
    slow_alone = curve("other", (1, 50, 20), (16, 260, 80))
    assert choice.best([default, slow_alone], None) is default


def test_a_limit_counts_the_throughput_within_it() -> None:
    default = curve("default", (1, 100, 10), (16, 300, 250))
    within = curve("other", (1, 90, 11), (16, 280, 150))
    assert choice.best([default, within], 200) is within
    assert choice.score(default.levels, 5) == 0


def test_slots_are_the_fewest_that_get_the_throughput() -> None:
    assert choice.saturating(curve("", (1, 100, 1), (4, 196, 1), (8, 200, 1)).levels) == 4
    assert choice.saturating(curve("", (1, 200, 1), (4, 196, 1)).levels) == 2


def test_failed_requests_are_no_throughput() -> None:
    level = Level.of(2, Sample([0.1] * 99 + [0.5], failed=3, elapsed=10.0))
    assert (level.rate, level.failed) == (10.0, 3)
    assert (round(level.p50), round(level.p99)) == (100, 100)
    assert choice.within([level], 1000) == []


# The example


def test_a_detector_gets_an_image_and_another_model_the_gateways_example() -> None:
    boxes = {"detection_boxes": {"dtype": "float32", "shape": None}}
    detector = {"inputs": {"inputs": {"dtype": "string", "example": "x"}}, "outputs": boxes}
    sent = example.from_signatures({"serving_default": detector}, "m")
    assert sent.content_type == "image/jpeg"
    assert sent.body.startswith(b"\xff\xd8")
    inputs = {"a": {"dtype": "float32", "example": [[0.5]]}, "b": {"dtype": "int64"}}
    with pytest.raises(ModelError, match="no example for its input b; pass --request FILE"):
        example.from_signatures({"f": {"inputs": inputs, "outputs": {}}}, "m")
    inputs["b"]["example"] = [1]
    sent = example.from_signatures({"f": {"inputs": inputs, "outputs": {}}}, "m")
    assert json.loads(sent.body) == {
        "inputs": {"a": [[0.5]], "b": [1]},
        "signature_name": "f",
    }
