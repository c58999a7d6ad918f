"""A multi-model endpoint: nginx, the supervisor and the embedded model server."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
import requests
from botocore.exceptions import ClientError
from prometheus_client.parser import text_string_to_metric_families
from support import soak
from support.multi_model import ASKED, Endpoint, children, multi_model_endpoint
from support.ports import free_port
from support.saved_models import adder, corrupt
from support.serving import LONG, empty_model, front, raw, stand_in_engine
from support.serving_image import until

LINES = "application/jsonlines"
MODELS = soak.count(5, 50)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with multi_model_endpoint(tmp_path_factory.mktemp("endpoint")) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """Before a stand-in, which has whatever model it is asked for."""
    folder = tmp_path_factory.mktemp("quick")
    server = stand_in_engine(folder / "engine") / "tensorflow_model_server"
    with multi_model_endpoint(folder, str(server)) as endpoint:
        yield endpoint


def ready(endpoint: Endpoint) -> dict[str, float]:
    """model_ready by model."""
    families = {f.name: f for f in text_string_to_metric_families(endpoint.get("/metrics").text)}
    assert [s.value for s in families["petbox_engine_up"].samples] == [1]
    return {s.labels["model"]: s.value for s in families["petbox_model_ready"].samples}


def test_it_is_ready_without_a_model(endpoint: Endpoint) -> None:
    assert endpoint.get("/ping").status_code == 200
    assert endpoint.get("/models").json() == {"models": []}
    assert ready(endpoint) == {}
    answer = requests.post(f"{endpoint.url}/invocations", ASKED, timeout=LONG)
    assert answer.status_code == 404
    assert "use POST /models/NAME/invoke" in answer.json()["error"]
    assert endpoint.invoke("nobody").status_code == endpoint.unload("nobody") == 404
    assert endpoint.get("/models/nobody").json() == {
        "error": "nobody: not loaded; load it with POST /models"
    }


def test_models_of_every_layout_are_loaded_at_the_same_time(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)  # which nginx's worker cannot enter, if the tests are run by root
    layouts = {"plain": "1", "bare": "", "named": "pets/1", "servo": "export/Servo/00007"}
    for number, (name, layout) in enumerate(layouts.items()):
        (folder := tmp_path / name / layout).parent.mkdir(parents=True, exist_ok=True)
        adder(folder, number)
    adder(tmp_path / "plain" / "2", 10.0)
    corrupt(tmp_path / "plain" / "code" / "1")
    with ThreadPoolExecutor() as pool:
        assert all(
            answer.status_code == 200
            for answer in pool.map(lambda name: endpoint.load(name, tmp_path / name), layouts)
        )
    assert endpoint.names() == sorted(layouts)
    url = str(tmp_path / "servo")
    assert endpoint.get("/models/servo").json() == {"modelName": "servo", "modelUrl": url}
    assert ready(endpoint) == dict.fromkeys(layouts, 1)
    assert endpoint.load("bare", tmp_path / "bare").status_code == 409

    def result(name: str, attributes: str = "") -> object:
        return endpoint.invoke(name, attributes=attributes).json()["predictions"]

    assert result("plain") == [11.0]
    assert result("plain", "tfs-model-version=1,tfs-model-name=other") == [1.0]
    assert endpoint.invoke("plain", attributes="tfs-model-version=9").status_code == 404
    assert [result(name) for name in ("bare", "named", "servo")] == [[2.0], [3.0], [4.0]]
    assert endpoint.invoke("servo", b"1\n2\n", LINES).text.splitlines() == [
        '{"predictions": [4.0]}',
        '{"predictions": [5.0]}',
    ]
    assert endpoint.invoke("bare", b"x", "text/xml").status_code == 415
    assert endpoint.invoke("bare", b"1\n2\n", "text/csv").json() == {"predictions": [2.0, 3.0]}
    unknown = endpoint.invoke("bare", b'{"signature_name": "no", "instances": [1]}')
    assert unknown.status_code == 400
    assert "classify, serving_default, slow" in unknown.json()["hint"]
    classify = endpoint.invoke(
        "bare",
        b'{"signature_name": "classify", "examples": [{"x": 1.0}]}',
        attributes="tfs-method=classify",
    )
    assert classify.json() == {"results": [[["none", 1.0]]]}
    with ThreadPoolExecutor() as pool:
        assert {*pool.map(endpoint.unload, layouts)} == {200}
    assert endpoint.names() == []
    assert endpoint.invoke("bare").status_code == endpoint.unload("bare") == 404
    assert ready(endpoint) == {}
    until(lambda: not endpoint.links(), lambda: str(endpoint.links()))


def test_a_model_that_cannot_be_loaded_leaves_nothing_behind(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    answer = endpoint.load("broken", tmp_path / "nowhere")
    assert answer.status_code == 404
    assert answer.json() == {"error": f"{tmp_path / 'nowhere'}: no such folder"}
    (tmp_path / "model.keras").touch()
    answer = endpoint.load("broken", tmp_path)
    assert answer.status_code == 400
    assert f"no SavedModel in {tmp_path}; put one model there that" in answer.json()["error"]
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").touch()
    answer = endpoint.load("broken", tmp_path)
    assert answer.status_code == 400
    assert "does not run on multi-model endpoints" in answer.json()["error"]
    shutil.rmtree(tmp_path / "code")
    for _ in range(2):  # what the model server remembers of the first is not taken for the second
        corrupt(tmp_path / "1")
        answer = endpoint.load("broken", tmp_path)
        assert answer.status_code == 400
        why = answer.json()["error"]
        assert why.startswith("broken: version 1 cannot be loaded: DATA_LOSS: Can't parse ")
        assert endpoint.get("/ping").status_code == 200
        assert endpoint.names() == []
        shutil.rmtree(tmp_path / "1")
    adder(tmp_path / "1", 1.0)
    endpoint.loaded("broken", tmp_path)
    assert endpoint.invoke("broken").json() == {"predictions": [2.0]}
    assert endpoint.unload("broken") == 200


def test_of_two_loads_of_one_name_the_second_finds_it_loaded(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    adder(tmp_path / "1", 1.0)
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _: endpoint.load("twice", tmp_path), range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    assert endpoint.unload("twice") == 200


def test_unloading_waits_for_requests_in_flight(endpoint: Endpoint, tmp_path: Path) -> None:
    adder(tmp_path / "1", 1.0)
    endpoint.loaded("slow", tmp_path)
    slow = b'{"signature_name": "slow", "instances": [30000]}'
    over: list[str] = []
    asked = threading.Event()

    def ask() -> None:
        asked.set()
        assert endpoint.invoke("slow", slow).status_code == 200
        over.append("request")

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: "petbox_in_flight 1\n" in endpoint.get("/metrics").text)
    assert endpoint.unload("slow") == 200
    over.append("unloading")
    thread.join()
    assert over == ["request", "unloading"]


def test_a_disk_that_is_full_leaves_the_models_as_they_are(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    adder(tmp_path / "1", 1.0)
    endpoint.loaded("kept", tmp_path)
    full = endpoint.run_folder() / "multi" / "models.config.tmp"
    full.mkdir()  # which cannot be written to either
    try:
        answer = endpoint.load("new", tmp_path)
        assert answer.status_code == 500
        assert "new: cannot be loaded: " in answer.json()["error"]
        assert "models.config.tmp: " in answer.json()["error"]
        answer = requests.delete(endpoint.at("kept"), timeout=LONG)
        assert (answer.status_code, "kept: cannot be unloaded: " in answer.text) == (500, True)
        assert endpoint.invoke("kept").status_code == endpoint.get("/ping").status_code == 200
        assert "new" not in endpoint.names()
    finally:
        full.rmdir()
    assert endpoint.unload("kept") == 200


@pytest.mark.soak
def test_models_come_and_go_and_no_request_to_another_is_lost(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    """One after the other; the next is loaded while the one before is unloaded."""
    for name in ("stays", "other"):
        (tmp_path / name).mkdir()
    adder(tmp_path / "stays" / "1", 1.0)
    adder(tmp_path / "other" / "1", 2.0)
    endpoint.loaded("stays", tmp_path / "stays")
    stop, statuses = threading.Event(), set[int]()

    def ask() -> None:
        while not stop.wait(0.01):
            statuses.add(endpoint.invoke("stays").status_code)
            statuses.add(endpoint.get("/ping").status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    resident = []
    (engine,) = endpoint.processes(b"--rest_api_port=")
    try:
        with ThreadPoolExecutor() as pool:
            unloaded = []
            for number in range(MODELS):
                endpoint.loaded(f"model {number}", tmp_path / "other")
                assert endpoint.invoke(f"model {number}").json() == {"predictions": [3.0]}
                unloaded.append(pool.submit(endpoint.unload, f"model {number}"))
                resident.append(resident_kilobytes(engine))
            assert {one.result() for one in unloaded} == {200}
    finally:
        stop.set()
        thread.join()
    assert statuses == {200}
    assert endpoint.names() == ["stays"]
    assert max(resident[MODELS // 5 :]) <= 1.1 * resident[MODELS // 5], resident
    assert endpoint.unload("stays") == 200


def resident_kilobytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


# Before the stand-in


@pytest.mark.parametrize(
    "name", ["d41d8cd98f00b204", "a b", 'quote"d', "back\\slash", "100%", "?x=1", "Größe", "a:b;c"]
)
def test_any_printable_name_works(quick: Endpoint, tmp_path: Path, name: str) -> None:
    empty_model(tmp_path / "1")
    quick.loaded(name, tmp_path)
    assert quick.get(quick.at(name)[len(quick.url) :]).json()["modelName"] == name
    assert quick.invoke(name).status_code == 200
    assert name in quick.names()
    assert ready(quick)[name] == 1


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "new\nline", "x" * 1025, None, 7])
def test_other_names_are_rejected(quick: Endpoint, tmp_path: Path, name: object) -> None:
    answer = quick.load(name, empty_model(tmp_path / "1").parent)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("model_name: give ")


def test_other_requests_are_rejected(quick: Endpoint, tmp_path: Path) -> None:
    for body in (b"", b"[", b"7"):
        answer = requests.post(f"{quick.url}/models", body, timeout=LONG)
        assert (answer.status_code, "model_name" in answer.json()["error"]) == (400, True)
    for url in ("relative/path", f"{tmp_path}\n", "/" + "x" * 4095, None):
        answer = quick.load("x", url)
        assert (answer.status_code, answer.json()["error"][:5]) == (400, "url: "), url
    assert requests.put(f"{quick.url}/models", timeout=LONG).headers["Allow"] == "GET, POST"
    assert requests.post(f"{quick.url}/models/x", timeout=LONG).headers["Allow"] == "GET, DELETE"
    assert quick.get("/models/x/invoke").headers["Allow"] == "POST"
    assert quick.get("/models?next_page_token=!").status_code == 400
    for path in (b"/models//x", b"//models/x", b"/./models/x"):  # requests would tidy them
        for method in (b"GET", b"DELETE"):
            head = b"%b %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % (method, path)
            answer_bytes = raw(quick.port, head)
            assert answer_bytes.startswith(b"HTTP/1.1 404"), answer_bytes
            assert path + b": no such route" in answer_bytes


def test_several_models_in_one_folder_are_rejected(quick: Endpoint, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        empty_model(tmp_path / name / "1")
    before = quick.links()
    answer = quick.load("pets", tmp_path)
    assert answer.status_code == 400
    assert "several models: cats dogs" in answer.json()["error"]
    assert {*quick.links()} <= {*before}


def test_a_model_that_does_not_fit_into_memory_gets_507(quick: Endpoint, tmp_path: Path) -> None:
    empty_model(tmp_path / "1")
    with (tmp_path / "1" / "variables").open("w") as file:
        file.truncate(1 << 40)  # takes no space on disk
    answer = quick.load("large", tmp_path)
    assert answer.status_code == 507
    assert "needs about 2097216 MB (twice its files and 64 MB)" in answer.json()["error"]
    assert quick.get("/models/large").status_code == 404


def test_a_long_list_comes_in_pages_and_outlives_nginxs_worker(
    quick: Endpoint, tmp_path: Path
) -> None:
    empty_model(tmp_path / "1")
    names = [f"page {number:03}" for number in range(101)]
    with ThreadPoolExecutor(16) as pool:
        assert {a.status_code for a in pool.map(lambda n: quick.load(n, tmp_path), names)} == {200}
    before = pages(quick)
    assert set(names) <= set(before)
    assert before == sorted(before)
    (nginx,) = quick.processes(b"nginx: master")
    (worker,) = children(nginx)
    os.kill(worker, signal.SIGKILL)
    until(lambda: children(nginx) not in ([], [worker]))
    assert pages(quick) == before
    assert quick.invoke(names[-1]).status_code == 200


def pages(endpoint: Endpoint) -> list[str]:
    page = endpoint.get("/models").json()
    names = [model["modelName"] for model in page["models"]]
    while token := page.get("nextPageToken"):
        assert len(page["models"]) == 100
        page = endpoint.get(f"/models?next_page_token={token}").json()
        names += [model["modelName"] for model in page["models"]]
    return names


def test_an_endpoint_of_one_model_has_no_such_routes(tmp_path: Path) -> None:
    with front(tmp_path / "front", free_port()) as port:
        for path in ("/models", "/models/x", "/models/x/invoke"):
            answer = requests.post(f"http://127.0.0.1:{port}{path}", b"{}", timeout=LONG)
            assert answer.status_code == 404
            assert "SAGEMAKER_MULTI_MODEL=true" in answer.json()["error"]
        client = boto3.client(
            "sagemaker-runtime",
            region_name="us-east-1",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
        with pytest.raises(ClientError) as caught:
            client.invoke_endpoint(EndpointName="pets", Body=b"{}", TargetModel="a.tar.gz")
        assert caught.value.response["Error"] == {
            "Code": "ValidationError",
            "Message": "Endpoint pets is not a multi-model endpoint and does not support target "
            "model header.",
        }
