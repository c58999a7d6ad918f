"""Models with a code/inference.py: the real gateway and hook processes, before a stand-in engine.

test_hooks_image.py has the image.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.hooks import HANDLERS, MODEL_SERVER, Served, serving
from support.serving import CONTAINER, LONG, empty_model, started
from support.serving_image import until
from support.snippets import snippets

from petbox.serving.demo.command import MODEL

JSON = "application/json"
NUMBERS = '{"instances": [1, 2]}'


@contextmanager
def ready(folder: Path, inference: Path | str, **env: str) -> Iterator[Served]:
    with serving(folder, inference, **env) as served:
        yield served.ready()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hooks")


# Handlers as users write them for AWS's container


@pytest.fixture(scope="module")
def json_and_csv(folder: Path) -> Iterator[Served]:
    (folder / "pair").mkdir()
    workers = {"SAGEMAKER_GUNICORN_WORKERS": "2"}
    with ready(folder / "pair", HANDLERS / "json_and_csv.py", **workers) as served:
        yield served


def test_json_passes_both_handlers(json_and_csv: Served) -> None:
    answer = json_and_csv.post(NUMBERS, JSON, Accept=JSON)
    assert (answer.status_code, answer.json()) == (200, {"predictions": [2, 3]})
    assert (answer.reason, answer.headers["Content-Type"]) == ("OK", JSON)


@pytest.mark.parametrize("accept", ["*/*", "text/html, */*;q=0.8"])
def test_a_handler_that_returns_what_is_accepted_returns_a_type(
    json_and_csv: Served, accept: str
) -> None:
    assert json_and_csv.post(NUMBERS, Accept=accept).headers["Content-Type"] == JSON


def test_csv_becomes_json(json_and_csv: Served) -> None:
    answer = json_and_csv.post("1,2\n3,4\n", "text/csv")
    assert answer.json() == {"predictions": [[2.0, 3.0], [4.0, 5.0]]}


def test_compressed_bodies_arrive_unpacked(json_and_csv: Served) -> None:
    answer = json_and_csv.post(gzip.compress(b"1\n2"), "text/csv", Content_Encoding="gzip")
    assert answer.json() == {"predictions": [[2.0], [3.0]]}
    assert json_and_csv.post("1", "text/csv", Content_Encoding="br").status_code == 415


def test_an_exception_is_a_500_and_the_log_has_its_traceback(json_and_csv: Served) -> None:
    answer = json_and_csv.post("1,two", "text/csv")
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, JSON)
    wanted = "ValueError: could not convert string to float: 'two' (inference.py, line 11)"
    assert answer.json() == {"error": wanted}
    until(lambda: "in input_handler\n" in json_and_csv.said())
    assert json_and_csv.post(NUMBERS, JSON).status_code == 200, "the others are unharmed"


def test_the_output_handler_sees_the_models_errors(json_and_csv: Served) -> None:
    answer = json_and_csv.post("{}", JSON)
    assert answer.status_code == 500
    assert "Missing 'inputs'" in answer.json()["error"]


def test_an_attribute_that_names_no_model_never_reaches_the_handler(json_and_csv: Served) -> None:
    header = {"X_Amzn_SageMaker_Custom_Attributes": "tfs-model-name=cars"}
    assert json_and_csv.post(NUMBERS, JSON, **header).status_code == 400


def test_metrics_and_log_count_them(json_and_csv: Served) -> None:
    text = json_and_csv.get("/metrics").text
    assert 'petbox_hook_up{process="2"} 1\n' in text
    assert "petbox_slots 2\n" in text, "one thread in each of two processes"


def test_images_are_decoded_with_pillow_and_numpy(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (10, 20, 30)).save(file, "png")
    with ready(tmp_path, HANDLERS / "image.py") as served:
        answer = served.post(file.getvalue(), "image/png", Accept="text/csv")
        assert answer.headers["Content-Type"] == "text/csv"
        assert np.fromstring(answer.text, sep=",").tolist() == 4 * [11.0, 21.0, 31.0]
        assert served.post(file.getvalue(), "application/x-image").json() == {"sums": [252.0]}


def test_rows_of_the_built_in_algorithm_are_those_of_either_guide(tmp_path: Path) -> None:
    """docs/migrate.md: the function of a client, and the handler for clients that do not change."""
    client, handler, _ = snippets("docs/migrate.md", "Object Detection - MXNet")
    function: dict[str, Any] = {}
    exec(client.partition("runtime =")[0], function)
    shutil.copytree(MODEL, tmp_path / "model" / "1")
    image = (CONTAINER / "page" / "samples" / "Midnight_121.jpg").read_bytes()
    litert = {"PETBOX_MODEL_SERVER": f"{sys.executable} -m petbox.serving.model_server"}
    with ready(tmp_path, handler, **litert) as served:
        rows = served.post(image, "image/jpeg").json()
        assert served.post(b"no image", "image/jpeg").status_code == 500
    with ready(tmp_path, handler, PETBOX_HOOKS="false", **litert) as served:
        answer = served.post(image, "application/x-image").json()
    assert rows == function["prediction"](answer)
    assert len(rows["prediction"]) > 1 and {len(row) for row in rows["prediction"]} == {6}


def test_a_handler_of_all_calls_the_model_itself(tmp_path: Path) -> None:
    with ready(tmp_path, HANDLERS / "two_calls.py") as served:
        attributes = "tfs-model-version=1, mine=7"
        told = served.post(NUMBERS, X_Amzn_SageMaker_Custom_Attributes=attributes).json()
        assert told["predictions"] == [3, 4]
        context = told["context"]
        assert context.pop("grpc_port").isdigit()
        rest = f"http://127.0.0.1:{served.program.engine_port()}/v1/models/model"
        assert context == {
            "model_name": "model",
            "model_version": "1",
            "method": "predict",
            "rest_uri": f"{rest}/versions/1:predict",
            "channel": "Channel",  # grpcio comes with TensorFlow
            "custom_attributes": attributes,
            "request_content_type": JSON,
            "accept_header": "*/*",  # from the client
            "content_length": len(NUMBERS),
        }


def test_grpc_is_reached_by_the_channel_and_by_the_port(tmp_path: Path) -> None:
    source = """
import grpc
def handler(data, context):
    with grpc.insecure_channel(f"localhost:{context.grpc_port}") as own:
        called = [one.unary_unary("/any/call") for one in (context.channel, own)]
        return b" ".join(call(data.read() or b"again", timeout=20) for call in called)
"""
    with ready(tmp_path, source, PETBOX_MODEL_SERVER=grpc_server(tmp_path)) as served:
        assert served.post("once").text == "ecno niaga"


def grpc_server(folder: Path) -> str:
    """The stand-in with gRPC as well, which turns what it gets round."""
    path = folder / "grpc_server.py"
    path.write_text(
        "import grpc, sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "class Turns(grpc.GenericRpcHandler):\n"
        "    def service(self, call):\n"
        "        return grpc.unary_unary_rpc_method_handler(lambda data, _: data[::-1])\n"
        "server = grpc.server(ThreadPoolExecutor(2), [Turns()])\n"
        "(where,) = (one for one in sys.argv if one.startswith('--grpc_socket_path='))\n"
        "server.add_insecure_port('unix:' + where.partition('=')[2])\n"
        f"server.start()\n{MODEL_SERVER}"
    )
    return f"{sys.executable} {path}"


# Handlers alone


def test_an_input_handler_alone_passes_the_models_response_on(tmp_path: Path) -> None:
    source = "import json\ndef input_handler(data, context):\n    return json.load(data)\n"
    with ready(tmp_path, source) as served:
        assert served.post(NUMBERS).json() == {"predictions": [2, 3]}
        answer = served.post("{}")
        assert (answer.status_code, "Missing" in answer.json()["error"]) == (400, True)


def test_modules_beside_it_and_in_lib_can_be_imported(tmp_path: Path) -> None:
    lib = tmp_path / "model" / "code" / "lib"
    empty_model(tmp_path / "model" / "1")
    lib.mkdir(parents=True)
    (lib / "inside.py").write_text("number = 1")
    (lib.parent / "server.py").write_text("from inside import number")
    (lib.parent / "requirements.txt").write_text("not-a-package")  # lib/ replaces it
    source = "import server\ndef output_handler(response, context):\n    return [server.number]\n"
    with ready(tmp_path, source) as served:
        assert served.post(NUMBERS).json() == [1]


# Starting


def fails(folder: Path, inference: str, **env: str) -> str:
    """Why the container exits; the last line of its log."""
    with serving(folder, inference, **env) as served:
        code, said = served.program.ended()
        assert code == 1
        return said.splitlines()[-1]


def test_ping_is_503_until_every_process_has_imported_it(tmp_path: Path) -> None:
    wait = tmp_path / "wait"
    wait.write_text("")
    source = f"import os, time\nwhile os.path.exists({str(wait)!r}):\n    time.sleep(0.01)\n"
    with serving(tmp_path, f"{source}def handler(data, context):\n    return 'yes'\n") as served:
        until(lambda: served.status() == 503 and "hook process 1" in served.get().text)
        assert "still imports inference.py" in served.get().json()["error"]
        wait.unlink()
        assert served.ready().post("x").text == "yes"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere' (inference.py, line 1)"),
        ("x = 1", "AttributeError: it defines neither handler nor input_handler or output_handler"),
    ],
)
def test_what_cannot_be_imported_ends_the_container(
    tmp_path: Path, source: str, reason: str
) -> None:
    last = fails(tmp_path, source)
    assert last.startswith("serve: hook process ")
    assert last.endswith(f"/code/inference.py: {reason}")


def test_missing_packages_are_named_together_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "model" / "code").mkdir(parents=True)
    empty_model(tmp_path / "model" / "1")
    (tmp_path / "model" / "code" / "requirements.txt").write_text(
        "# what it needs\n-r more.txt\nnumpy>=1\nrequests==0.1\n"
        'not-a-package==1; python_version < "3"\n--no-index\n',
        "utf-16",  # as PowerShell writes it
    )
    (tmp_path / "model" / "code" / "more.txt").write_text("Not_A.Package[x]==1.0 # none\n")
    last = fails(tmp_path, "def handler(data, context): ...")
    named = f"serve: {tmp_path}/model/code: Not_A.Package is not installed; requests is "
    assert last.startswith(named)
    assert f", not ==0.1; install what is missing for {sys.executable}, in an image " in last


def test_without_python_the_start_names_the_build_argument(tmp_path: Path) -> None:
    last = fails(tmp_path, "", PETBOX_PYTHON="")
    assert "/code/inference.py cannot run, because this image has no Python; " in last
    assert "HOOKS=1" in last and "PETBOX_HOOKS=false" in last


def test_hooks_can_be_ignored(tmp_path: Path) -> None:
    with ready(tmp_path, "import nowhere", PETBOX_HOOKS="false", PETBOX_PYTHON="") as served:
        assert served.post(NUMBERS).json() == {"predictions": [2, 3]}


def test_a_check_says_who_runs_them_and_imports_nothing(tmp_path: Path) -> None:
    model = tmp_path / "model"
    empty_model(model / "1")
    (model / "code").mkdir()
    (model / "code" / "inference.py").write_text("import nowhere")
    env = {"PETBOX_MODELS": str(model), "PETBOX_PYTHON": sys.executable}
    env |= {"SAGEMAKER_GUNICORN_WORKERS": "3"}
    command = [str(CONTAINER / "serve"), "check"]
    with started(command, tmp_path / "run", PETBOX_MODEL_SERVER="any", **env) as check:
        assert check.line().endswith(f"; hooks in {model}/code with 3 x {sys.executable}")


# Running


HOLDS = """
import os, threading, time
inside = []
def handler(data, context):
    what = data.read().decode()
    inside.append(what)
    most = len(inside)
    if what == "die":
        os._exit(3)
    if what == "hang":
        threading.Event().wait()
    if what == "hold":
        open(os.environ["HOLD"]).read()
    time.sleep(0.02)
    inside.remove(what)
    return str(max(most, len(inside) + 1))
"""


def test_no_more_threads_than_asked_for_are_in_the_handler(tmp_path: Path) -> None:
    env = {"SAGEMAKER_GUNICORN_THREADS": "3"}
    with ready(tmp_path, HOLDS, **env) as served, ThreadPoolExecutor(12) as pool:
        answers = [answer.text for answer in pool.map(lambda _: served.post("x"), range(36))]
    assert max(map(int, answers)) == 3


def test_a_process_that_dies_ends_the_container_after_the_others(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    os.mkfifo(hold)
    env = {"SAGEMAKER_GUNICORN_WORKERS": "2", "HOLD": str(hold)}
    with ready(tmp_path, HOLDS, **env) as served, ThreadPoolExecutor(1) as pool:
        held = pool.submit(served.post, "hold")
        with hold.open("w"):  # opened when the handler reads it
            died = served.post("die")
            assert (died.status_code, "hook process died" in died.json()["error"]) == (502, True)
            until(lambda: served.status() == 503)
        assert held.result(LONG).status_code == 200
        code, said = served.program.ended()
    assert code == 3
    assert " of 2 died: exit code 3" in said.splitlines()[-1]


def test_a_handler_that_hangs_gets_504_and_its_process_is_restarted(tmp_path: Path) -> None:
    with ready(tmp_path, HOLDS, PETBOX_ENGINE_SECONDS="1") as served:
        assert served.post("hang").status_code == 504
        until(lambda: "has not returned within 1 s" in served.said())
        until(lambda: "line 11, in handler\n" in served.said())  # the log says where
        assert served.ready().post("x").text == "1"


def test_requests_in_flight_are_completed_after_sigterm(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    os.mkfifo(hold)
    with ready(tmp_path, HOLDS, HOLD=str(hold)) as served, ThreadPoolExecutor(1) as pool:
        held = pool.submit(served.post, "hold")
        with hold.open("w"):
            served.program.send(signal.SIGTERM)
            until(lambda: served.status() == 503)
        assert held.result(LONG).status_code == 200
        assert served.program.ended()[0] == 0
