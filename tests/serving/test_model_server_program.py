"""petbox-model-server as a program: started in the place of tensorflow_model_server."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from support.ports import free_port
from support.saved_models import adder, corrupt
from support.serving import CHECKOUT, LONG, Program, await_port, is_open, started
from support.warm_python import warm_python

from petbox.serving.model_server import __main__
from petbox.serving.model_server.flags import parse
from petbox.serving.model_server.http_server import HttpServer
from petbox.serving.model_server.model_versions import LoadOptions
from petbox.serving.model_server.served_models import ServedModels
from petbox.serving.model_server.status import StatusError

SERVER = [sys.executable, "-m", "petbox.serving.model_server"]
QUICK = ["--file_system_poll_wait_seconds=1", "--max_num_load_retries=0"]


def entry(name: str, folder: Path, more: str = "") -> str:
    return (
        f'config {{ name: "{name}" base_path: "{folder}" model_platform: "tensorflow" {more} }}\n'
    )


def listed(*entries: str) -> str:
    return "model_config_list {\n" + "".join(entries) + "}\n"


class Server:
    """A started server, and what it answers."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}/v1/models/{path}", timeout=LONG)

    def post(self, path: str, body: object) -> requests.Response:
        url = f"http://127.0.0.1:{self.port}/v1/models/{path}"
        return requests.post(url, json.dumps(body), timeout=LONG)

    def sum(self, path: str) -> Any:
        return self.post(f"{path}:predict", {"instances": [0]}).json().get("predictions")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Of `adder`, versions 1 and 3 of which 3 is not to be served, and `other`."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("adder", "other"):
        (folder / name).mkdir()
    for number in (1, 2, 3):
        adder(folder / "adder" / str(number), number)
    adder(folder / "other" / "7", 7.0, warmup=[np.ones(2, np.float32)])
    policy = "model_version_policy { specific { versions: 1 versions: 2 } }"
    labels = 'version_labels { key: "stable" value: 1 } version_labels { key: "new" value: 2 }'
    config = folder / "models.config"
    models = entry("adder", folder / "adder", policy + labels), entry("other", folder / "other")
    config.write_text(listed(*models))
    port = free_port()
    flags = [f"--rest_api_port={port}", f"--model_config_file={config}", *QUICK]
    flags += ["--model_config_file_poll_wait_seconds=3600", "--rest_api_enable_cors_support"]
    with started([warm_python(), *SERVER[1:], *flags], folder / "run") as program:
        await_port(port)
        yield Server(program, port)


def test_the_port_opens_when_every_model_is_available(server: Server) -> None:
    assert server.sum("adder") == [2.0]
    assert server.sum("other") == [7.0]
    log = server.program.errors.read_text()
    assert f"version 7 of other is ready on TensorFlow {version('tensorflow')} (1 warm-up" in log


def test_versions_and_labels_are_distinguished(server: Server) -> None:
    assert server.sum("adder/versions/1") == server.sum("adder/labels/stable") == [1.0]
    assert server.sum("adder/versions/2") == server.sum("adder/labels/new") == [2.0]
    assert server.post("adder/versions/3:predict", []).status_code == 400  # the body comes first
    assert server.post("adder/versions/3:predict", {"instances": [0]}).status_code == 404
    assert server.post("adder/labels/no:predict", {"instances": [0]}).status_code == 400


def test_status_and_metadata_are_those_of_the_versions(server: Server) -> None:
    states = server.get("adder").json()["model_version_status"]
    assert [(s["version"], s["state"]) for s in states] == [("2", "AVAILABLE"), ("1", "AVAILABLE")]
    answer = server.get("adder/labels/stable/metadata").json()
    assert answer["model_spec"] == {"name": "adder", "version": "1", "signature_name": ""}
    given = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["x"]
    assert given == {
        "name": "x:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
    }


def test_classify_reads_examples(server: Server) -> None:
    body = {
        "signature_name": "classify",
        "context": {"tag": "cat"},
        "examples": [{"x": 1.5}, {"x": 2.5, "tag": "dog"}],
    }
    answer = server.post("adder:classify", body)
    assert answer.json()["results"] == [[["cat", 1.5]], [["dog", 2.5]]]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_a_slow_graph_delays_no_status(server: Server) -> None:
    slow = {"signature_name": "slow", "instances": [100_000]}
    done = threading.Event()

    def ask() -> None:
        assert server.post("other:predict", slow).status_code == 200
        done.set()

    asking = threading.Thread(target=ask)
    asking.start()
    answered = 0
    while not done.is_set():
        assert server.get("other").status_code == server.get("other/metadata").status_code == 200
        answered += 1
    asking.join()
    assert answered > 3


def test_the_configuration_is_read_again_once_it_changes(server: Server, tmp_path: Path) -> None:
    folder = server.program.errors.parent.parent
    config = folder / "models.config"
    before = config.read_text()
    adder(tmp_path / "1", 11.0)
    config.write_text("nonsense")
    assert said(server.program, "the models are unchanged")
    assert server.sum("adder") == [2.0]
    config.write_text(before.replace("value: 1", "value: 3"))
    assert said(server.program, "not currently available for inference; the labels are unchanged")
    assert server.sum("adder/labels/stable") == [1.0]
    config.write_text(before.replace("model_config_list {", listed(entry("late", tmp_path))[:-2]))
    assert said(server.program, "version 1 of late is ready")
    assert server.sum("late") == [11.0]
    config.write_text(before)
    assert said(server.program, "version 1 of late is unloaded")
    assert server.get("late").json()["model_version_status"][0]["state"] == "END"


def said(program: Program, words: str) -> bool:
    late = threading.Event()
    timer = threading.Timer(LONG, late.set)
    timer.start()
    while (missing := words not in program.errors.read_text()) and not late.wait(0.05):
        pass
    timer.cancel()
    return not missing


def test_requests_in_flight_are_finished_after_term(tmp_path: Path) -> None:
    """And TensorFlow's Python, which would take seconds, is not imported to serve."""
    (tmp_path / "models").mkdir()
    adder(tmp_path / "models" / "1", 1.0)
    port = free_port()
    flags = [f"--rest_api_port={port}", f"--model_base_path={tmp_path}/models", "--model_name=late"]
    noting = [SERVER[0], "-X", "importtime", *SERVER[1:]]
    with started([*noting, *flags], tmp_path / "run") as program:
        await_port(port)
        body = json.dumps({"signature_name": "slow", "instances": [30_000]}).encode()
        head = b"POST /v1/models/late:predict HTTP/1.1\r\nExpect: 100-continue\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=LONG) as client:
            client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body))
            assert b"100 Continue" in client.recv(100)  # it is in flight now
            program.send_beside(signal.SIGTERM)
            await_port(port, opened=False)
            client.sendall(body)
            answer = b"".join(iter(lambda: client.recv(1000), b""))
        assert b"200 OK" in answer and b"Connection: close" in answer
        code, noted = program.ended()
    assert code == 0
    imported = {line.split("|")[-1].strip().split(".")[0] for line in noted.splitlines()}
    assert "numpy" in imported and not imported & {"tensorflow", "keras", "tf_keras", "official"}


# What cannot be started


def ended(folder: Path, *flags: str) -> tuple[int, str]:
    with started([*SERVER, *flags], folder / "run") as program:
        return program.ended()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "INVALID_ARGUMENT: Both server_options.model_base_path and server_options."),
        (["--model_base_path=models/x"], "Expected model default to have an absolute path"),
        (["--rest_api_port=abc"], "Couldn't interpret value abc for flag rest_api_port."),
        (["--rest_api_port=8_501"], "Couldn't interpret value 8_501 for flag rest_api_port."),
        (["--enable_batching=maybe"], "Couldn't interpret value maybe for flag enable_batching."),
        (["--model_config_file=/nosuch"], "NOT_FOUND: /nosuch; No such file or directory"),
        (["--model_base_path=/x"], "--rest_api_port=0: give a port"),
        (["--model_base_path=/x", "--rest_api_port=8500"], "also given as --port"),
        (
            ["--model_base_path=/x", "--batching_parameters_file=/x"],
            "server_options.batching_parameters_file is set without setting server_options.",
        ),
    ],
)
def test_flags_that_make_no_sense_end_the_start(
    tmp_path: Path, flags: list[str], sentence: str
) -> None:
    code, errors = ended(tmp_path, *flags)
    assert code == 255
    assert errors.splitlines()[-1].startswith("Failed to start server. Error: ")
    assert sentence in errors.splitlines()[-1]


def test_a_port_in_use_ends_the_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, errors = ended(tmp_path, f"--rest_api_port={port}", "--model_base_path=/x")
    assert code == 255
    assert f"port {port}: Address already in use" in errors


def test_a_port_that_is_taken_while_models_load_ends_the_start() -> None:
    """Two servers can bind a port, of which one can listen."""
    server = HttpServer(0)
    models = ServedModels(pytest.fail, LoadOptions(1, 0, 1))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", server.port))
        other.listen()
        with pytest.raises(StatusError, match=f"port {server.port}: Address already in use"):
            __main__._serve(parse([])[0], [], models, server, threading.Event())
    server.server_close()


def test_flags_without_effect_and_unknown_ones_are_named(tmp_path: Path) -> None:
    unnoticed = ["--grpc_socket_path=/x", "--rest_api_num_threads=8", "--num_load_threads=8"]
    flags = ["--enable_batching", "--num_tflite_pools=8", "--nosuch=1", "--model_name", "--x"]
    assert ended(tmp_path, *unnoticed, *flags)[1].splitlines()[:5] == [
        "--enable_batching: has no effect here",
        "--num_tflite_pools=8: has no effect here",
        "unknown argument: --nosuch=1",
        "unknown argument: --model_name",
        "unknown argument: --x",
    ]


def test_the_version_is_that_of_tensorflow(tmp_path: Path) -> None:
    with started([*SERVER, "--version"], tmp_path / "run") as program:
        assert "TensorFlow ModelServer: 2." in program.line()
        assert program.ended() == (0, "")


def test_a_model_that_cannot_be_loaded_ends_the_start(tmp_path: Path) -> None:
    corrupt(tmp_path / "1")
    port = free_port()
    flags = [f"--rest_api_port={port}", "--model_name=m", f"--model_base_path={tmp_path}", *QUICK]
    code, errors = ended(tmp_path, *flags)
    assert code == 255
    assert errors.splitlines()[-1] == (
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
        f"{{{{{{name: m version: 1}} due to error: DATA_LOSS: Can't parse {tmp_path}/1/"
        "saved_model.pb as binary proto}, }"
    )
    assert not is_open(port)


def test_importing_the_server_imports_no_tensorflow(run: Any) -> None:
    code = "import sys, petbox.serving.model_server.__main__; sys.exit('tensorflow' in sys.modules)"
    assert run("-c", code, cwd=CHECKOUT).returncode == 0


def test_without_packages_the_pip_line_is_given() -> None:
    code = "from petbox.serving.model_server.program import main; main()"
    bare = [sys.executable, "-S", "-c", code]
    done = subprocess.run(bare, cwd=CHECKOUT, capture_output=True, text=True, timeout=LONG)
    line = "error: numpy is not installed; in the petbox checkout type: pip install './[tf]'\n"
    assert (done.returncode, done.stderr) == (255, line)
