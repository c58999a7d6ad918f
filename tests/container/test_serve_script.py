"""container/serve without Docker: starting, refusing, dying, stopping, before a stand-in engine.

The stand-in is a `tensorflow_model_server` for PATH that needs no TensorFlow and says what it was
started with. test_image.py and test_image_faults.py have the real things.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from support.ports import free_port, some_ports
from support.serve_script import SERVE, Serve, serving
from support.serving import CONTAINER, LONG, await_port, empty_model, is_open, post, stand_in_engine
from support.serving_image import many_in_flight, until

JSON = "application/json"
WANTED = "1/saved_model.pb"


@pytest.fixture
def baked(tmp_path: Path) -> Path:
    return empty_model(tmp_path / "models" / "model" / "1")


# Starting


@pytest.mark.parametrize("words", [(), ("serve",)])
def test_it_serves_what_was_baked_in(tmp_path: Path, baked: Path, words: tuple[str, ...]) -> None:
    with serving(tmp_path, *words) as serve:
        told = serve.ready().ask()
        assert told["models"] == {"model": {"1": str(baked)}}
        assert told["path"] == "/v1/models/model:predict"
        serve.stop()
        code, errors = serve.ended()
    assert code == 0
    assert f"with 1 x {tmp_path}/engine/tensorflow_model_server" in errors
    assert "the engine says that it is there" in errors
    lines = [json.loads(line) for line in serve.requests.read_text().splitlines()]
    assert lines[-1]["path"] == "/invocations", "requests are all there is on stdout"


@pytest.mark.parametrize("words", [("train",), ("serve", "now"), ("--help",)])
def test_an_unknown_word_is_misuse(tmp_path: Path, words: tuple[str, ...]) -> None:
    with serving(tmp_path, *words) as serve:
        usage = "usage: docker run IMAGE [serve|check|check --load]"
        said = f"serve: {' '.join(words)}: unknown argument; {usage}\n"
        assert serve.ended() == (2, said)


def test_a_check_says_what_would_be_served(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path, "check") as serve:
        code, errors = serve.ended()
        assert (code, errors) == (0, "")
        said = serve.requests.read_text()
        assert said.startswith(f"port {serve.port}: model from {tmp_path}/models with 1 x ")


def test_the_port_is_open_while_the_model_loads(tmp_path: Path, baked: Path) -> None:
    os.mkfifo(stand_in_engine(tmp_path / "engine") / "load")
    with serving(tmp_path) as serve:
        with (tmp_path / "engine" / "load").open("w"):  # opened when the engine reads it
            until(lambda: is_open(serve.port))
            answer = serve.ping()
            assert answer.status_code == 503
            assert "still loading" in answer.json()["error"]
        serve.ready()


def test_the_embedded_server_stands_in_where_there_is_no_other(tmp_path: Path, baked: Path) -> None:
    (stand_in_engine(tmp_path / "engine") / "petbox-model-server").symlink_to(
        "tensorflow_model_server"
    )
    (tmp_path / "alone").mkdir()
    path = f"{tmp_path}/alone:/usr/bin:/bin"
    (tmp_path / "alone" / "petbox-model-server").symlink_to(tmp_path / "engine/petbox-model-server")
    with serving(tmp_path, PATH=path) as serve:
        serve.ready()
        assert "1 x " in serve.errors.read_text()
        assert "petbox-model-server" in serve.errors.read_text()


def test_a_model_server_can_be_named_with_its_arguments(tmp_path: Path, baked: Path) -> None:
    other = stand_in_engine(tmp_path / "an other")
    escaped = str(other / "tensorflow_model_server").replace(" ", "\\ ")
    with serving(tmp_path, PETBOX_MODEL_SERVER=f"{escaped} --version_of=mine") as serve:
        assert serve.ready().ask()["flags"]["version_of"] == "mine"
        assert f"with 1 x {other}/tensorflow_model_server --version_of=mine; " in (
            serve.errors.read_text()
        )


def test_it_listens_on_the_address_that_is_named(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path, PETBOX_HOST="127.0.0.2") as serve:
        until(lambda: answers("127.0.0.2", serve.port))
        assert not answers("127.0.0.1", serve.port)


def answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def test_without_any_engine_it_says_so(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path, PATH="/usr/bin:/bin") as serve:
        code, errors = serve.ended()
    assert code == 1
    assert errors.startswith("serve: no model server: neither tensorflow_model_server nor ")


# The model


@pytest.mark.parametrize(
    ("layout", "found"),
    [
        (["1"], {"model": {"1": "1"}}),
        (["00007"], {"model": {"7": "00007"}}),
        (["1", "12"], {"model": {"1": "1", "12": "12"}}),
        (["pets/3"], {"pets": {"3": "pets/3"}}),
        (["pets/1", "cars/2"], {"cars": {"2": "cars/2"}, "pets": {"1": "pets/1"}}),
        (["export/Servo/5"], {"Servo": {"5": "export/Servo/5"}}),
        (["."], {"model": {"1": "."}}),
        (["saved"], {"saved": {"1": "saved"}}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_every_layout_is_understood(
    tmp_path: Path, baked: Path, layout: list[str], found: dict[str, dict[str, str]]
) -> None:
    for place in layout:
        folder = tmp_path / "opt" / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").touch()
    empty_model(tmp_path / "opt" / "code" / "1")  # what AWS's image would run; nobody's model
    with serving(tmp_path) as serve:
        told = serve.ready().ask()["models"]
        there = {
            n: {v: str((tmp_path / "opt" / p).resolve()) for v, p in versions.items()}
            for n, versions in found.items()
        }
        assert told == there


def test_one_version_can_be_named(tmp_path: Path) -> None:
    for number in ("7", "8"):
        empty_model(tmp_path / "my models" / number)
    named = str(tmp_path / "my models" / "7")
    with serving(tmp_path, PETBOX_MODELS=named.replace(" ", "\\ ")) as serve:
        assert serve.ready().ask()["models"] == {"model": {"7": named}}


def test_a_version_half_copied_is_left_alone(tmp_path: Path) -> None:
    empty_model(tmp_path / "opt" / "1")
    (tmp_path / "opt" / "2" / "variables").mkdir(parents=True)
    with serving(tmp_path) as serve:
        assert set(serve.ready().ask()["models"]["model"]) == {"1"}


def test_the_first_of_several_answers_unless_another_is_named(tmp_path: Path) -> None:
    for name in ("pets", "cars", "birds"):
        empty_model(tmp_path / "opt" / name / "1")
    attributes = "X-Amzn-SageMaker-Custom-Attributes"
    with serving(tmp_path) as serve:
        serve.ready()
        assert serve.ask()["path"] == "/v1/models/birds:predict"
        told = serve.ask(**{attributes: "tfs-model-name=pets"})
        assert told["path"] == "/v1/models/pets:predict"
    (tmp_path / "again").mkdir()
    models = str(tmp_path / "opt")
    env = {"PETBOX_MODELS": models, "SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "cars"}
    with serving(tmp_path / "again", **env) as serve:
        assert serve.ready().ask()["path"] == "/v1/models/cars:predict"


def test_what_is_no_model_shows_the_tree_found_and_the_tree_wanted(tmp_path: Path) -> None:
    (tmp_path / "models" / "deep").mkdir(parents=True)
    (tmp_path / "models" / "deep" / "notes.txt").touch()
    with serving(tmp_path) as serve:
        code, errors = serve.ended()
    assert code == 1
    assert errors.splitlines()[0] == f"serve: no SavedModel in {tmp_path}/models"
    found, wanted = errors.split("serve: expected")
    assert f"{tmp_path}/models/deep/notes.txt" in found
    assert WANTED in wanted


@pytest.mark.parametrize("name", ["model.tflite", "model.xml"])
def test_a_converted_detector_needs_an_image_of_its_own(tmp_path: Path, name: str) -> None:
    network = tmp_path / "models" / "1" / name
    network.parent.mkdir(parents=True)
    network.touch()
    with serving(tmp_path) as serve:
        code, errors = serve.ended()
    assert code == 1
    first = errors.splitlines()[0]
    wanted = "TensorFlow Serving cannot run a detector of petbox convert; "
    assert first.startswith(f"serve: {network}: {wanted}")
    assert first.endswith("make image MODEL=model/NAME")


def test_a_model_that_was_sent_and_is_none_is_not_passed_over(tmp_path: Path, baked: Path) -> None:
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "model.h5").touch()
    with serving(tmp_path) as serve:
        code, errors = serve.ended()
    assert code == 1
    assert f"no SavedModel in {tmp_path}/opt\n" in errors


def test_nothing_at_all_names_the_places_looked_at(tmp_path: Path) -> None:
    with serving(tmp_path) as serve:
        code, errors = serve.ended()
    assert code == 1
    assert errors.startswith(f"serve: no SavedModel in {tmp_path}/opt {tmp_path}/models\n")


@pytest.mark.parametrize(
    ("layout", "complaint"),
    [
        (["a/pets/1", "b/pets/1"], "two models are named pets: "),
        (["1", "."], "two folders are version 1 of model: "),
        (["1", "007", "7"], "two folders are version 7 of model: "),
        (["my pets/1"], "my pets: not a valid model name; "),
    ],
)
def test_models_that_cannot_be_told_apart_are_refused(
    tmp_path: Path, layout: list[str], complaint: str
) -> None:
    for place in layout:
        folder = tmp_path / "opt" / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").touch()
    with serving(tmp_path) as serve:
        code, errors = serve.ended()
    assert code == 1
    assert complaint in errors.splitlines()[0]


def test_a_default_that_is_not_there_is_refused(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path, SAGEMAKER_TFS_DEFAULT_MODEL_NAME="cars") as serve:
        code, errors = serve.ended()
    assert code == 1
    assert errors.startswith(
        "serve: SAGEMAKER_TFS_DEFAULT_MODEL_NAME=cars: there is no model of this name; "
        "the models are: model\n"
    )


# The environment


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        *[
            ("SAGEMAKER_BIND_TO_PORT", port, "from 1 to 65535")
            for port in ("http", "0", "65536", "-1", "80 80")
        ],
        ("PETBOX_HOST", "127.0.0.1:80", "an address or a host name"),
        ("SAGEMAKER_SAFE_PORT_RANGE", "9000", "two ports"),
        ("SAGEMAKER_SAFE_PORT_RANGE", "9001-9000", "fewer than 1 free port"),
        ("SAGEMAKER_SAFE_PORT_RANGE", "70000-70005", "fewer than 1 free port"),
        ("SAGEMAKER_BATCH", "perhaps", "true or false"),
        ("SAGEMAKER_MULTI_MODEL", "often", "give true or false"),
        ("SAGEMAKER_TFS_ENABLE_BATCHING", "on", "true or false"),
        ("SAGEMAKER_TFS_MAX_BATCH_SIZE", "0", "from 1 to"),
        ("SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS", "1ms", "from 0 to"),
        ("SAGEMAKER_TFS_NUM_BATCH_THREADS", "0", "from 1 to"),
        ("SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES", "1e6", "from 1 to"),
        ("SAGEMAKER_TFS_INTER_OP_PARALLELISM", "-2", "from 0 to"),
        ("SAGEMAKER_TFS_INTRA_OP_PARALLELISM", "two", "from 0 to"),
        ("SAGEMAKER_TFS_INSTANCE_COUNT", "0", "from 1 to"),
        ("SAGEMAKER_TFS_DEFAULT_MODEL_NAME", "../pets", "name of a model's folder"),
        ("PETBOX_MAX_IN_FLIGHT", "0", "from 1 to"),
        ("PETBOX_WAIT_SECONDS", "61", "from 0 to 60"),
        ("PETBOX_DRAIN_SECONDS", "26", "from 1 to 25"),
        ("PETBOX_ENGINE_SECONDS", "3601", "from 1 to 3600"),
        ("SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS", "0", "from 1 to 3600"),
        ("PETBOX_STRINGS", "auto", "images or text"),
        ("PETBOX_PAYLOAD_MEGABYTES", "0", "from 1 to"),
        ("PETBOX_METRICS_NAMESPACE", "a b", "letters, digits"),
        ("PETBOX_PAGE", "yes", "true or false"),
    ],
)
def test_a_bad_value_is_refused_by_name(
    tmp_path: Path, baked: Path, name: str, value: str, what: str
) -> None:
    with serving(tmp_path, "check", port=free_port(), **{name: value}) as serve:
        code, errors = serve.ended()
    assert code == 1
    (line,) = errors.splitlines()
    assert line.startswith(f"serve: {name}={value.replace(' ', chr(92) + ' ')}: ")
    assert what in line


@pytest.mark.parametrize("name", ["PETBOX_PAGE", "PETBOX_METADATA"])
def test_many_models_have_no_page_and_no_metadata(tmp_path: Path, name: str) -> None:
    with serving(tmp_path, "check", SAGEMAKER_MULTI_MODEL="true", **{name: "true"}) as serve:
        code, errors = serve.ended()
    assert (code, errors.count("\n")) == (1, 1)
    assert "the page and /metadata need a model" in errors


def test_a_check_of_many_models_needs_none(tmp_path: Path) -> None:
    with serving(tmp_path, "check", SAGEMAKER_MULTI_MODEL="true") as serve:
        assert serve.ended() == (0, "")
        said = serve.requests.read_text()
        assert said.startswith(f"port {serve.port}: models from POST /models with 1 x ")


def test_all_bad_values_are_named_at_once(tmp_path: Path, baked: Path) -> None:
    env = {"PETBOX_PAGE": "yes", "PETBOX_WAIT_SECONDS": "-1", "SAGEMAKER_BATCH": "no"}
    with serving(tmp_path, **env) as serve:
        code, errors = serve.ended()
    assert code == 1
    assert {line.split("=")[0] for line in errors.splitlines()} == {f"serve: {n}" for n in env}


def test_an_empty_value_is_the_default_and_zeros_may_lead(tmp_path: Path, baked: Path) -> None:
    env = {"PETBOX_WAIT_SECONDS": "", "PETBOX_MAX_IN_FLIGHT": "010", "SAGEMAKER_BATCH": "FALSE"}
    with serving(tmp_path, **env) as serve:
        flags = serve.ready().ask()["flags"]
        assert int(flags["rest_api_num_threads"]) == 26
        assert setting(serve, "wait_seconds") == "10"


@pytest.mark.parametrize(
    "name", ["PETBOX_WAIT_SECOND", "SAGEMAKER_TFS_WAIT_TIME_SECONDS", "SAGEMAKER_GUNICORN_TIMEOUT"]
)
def test_a_variable_without_effect_is_named(tmp_path: Path, baked: Path, name: str) -> None:
    with serving(tmp_path, "check", **{name: "1"}) as serve:
        code, errors = serve.ended()
    assert (code, errors.splitlines()) == (
        0,
        [f"serve: {name}: has no effect; docs/contract.md lists the supported variables"],
    )


def setting(serve: Serve, name: str) -> str:
    """What nginx is told, from the one line that says it."""
    limits, settings = (f for f in sorted(serve.temporary.glob("*/settings.*")))
    text = limits.read_text() + settings.read_text()
    (found,) = re.findall(rf"^ *{name}(?: (.*);| = (.*),)", text, re.MULTILINE)
    return next(filter(None, found))


@pytest.mark.parametrize(
    ("env", "settings"),
    [
        (
            {},
            {
                "client_max_body_size": "25m",
                "concurrent_transforms": "4",
                "records_in_flight": "8",
                "slots": "32",
                "models": '{"model",}',
                "batching": "false",
                "page": "false",
                "metrics_namespace": '""',
                "engine_seconds": "60",
                "strings": '"auto"',
            },
        ),
        (
            {"SAGEMAKER_BATCH": "true"},
            {
                "client_max_body_size": "100m",
                "client_body_buffer_size": "126m",
                "body_megabytes": "100",
                "payload_megabytes": "25",
                "batch": "true",
                "concurrent_transforms": "4",
                "records_in_flight": "32",
            },
        ),
        ({"PETBOX_PAYLOAD_MEGABYTES": "30"}, {"concurrent_transforms": "3"}),
        (
            {"PETBOX_PAYLOAD_MEGABYTES": "1024"},
            {
                "concurrent_transforms": "1",
                "client_max_body_size": "1024m",
                "payload_megabytes": "100",
                "body_megabytes": "1024",
            },
        ),
        ({"SAGEMAKER_TFS_INSTANCE_COUNT": "2"}, {"slots": "64"}),
        ({"PETBOX_WAIT_SECONDS": "3"}, {"wait_seconds": "3"}),
        ({"PETBOX_ENGINE_SECONDS": "3600"}, {"engine_seconds": "3600"}),
        ({"SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS": "90"}, {"engine_seconds": "90"}),
        ({"PETBOX_STRINGS": "text"}, {"strings": '"text"'}),
        ({"PETBOX_MAX_IN_FLIGHT": "3"}, {"records_in_flight": "3"}),
        ({"PETBOX_METRICS_NAMESPACE": "Team/pets#1"}, {"metrics_namespace": '"Team/pets#1"'}),
        ({"PETBOX_PAGE": "true"}, {"page": "true"}),
        ({"SAGEMAKER_TFS_ENABLE_BATCHING": "true"}, {"batching": "true"}),
    ],
)
def test_what_the_environment_says_reaches_nginx(
    tmp_path: Path, baked: Path, env: dict[str, str], settings: dict[str, str]
) -> None:
    os.mkfifo(stand_in_engine(tmp_path / "engine") / "load")
    with serving(tmp_path, **env) as serve:
        until(lambda: is_open(serve.port))
        assert {name: setting(serve, name) for name in settings} == settings


def test_the_engine_is_told_what_sagemaker_needs(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path) as serve:
        told = serve.ready().ask()
    assert told["env"] == {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    flags = told["flags"]
    assert flags["rest_api_timeout_in_ms"] == "60000"
    assert flags["max_num_load_retries"] == "0"
    assert flags["port"] == "0", "gRPC takes no port"
    assert int(flags["rest_api_num_threads"]) > 32, "one is left for /ping"
    assert "enable_batching" not in flags


def test_the_engine_gets_the_time_that_is_named(tmp_path: Path, holding: None) -> None:
    env = {"PETBOX_ENGINE_SECONDS": "1", "SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS": "90"}
    with serving(tmp_path, **env) as serve:
        assert serve.ready().ask()["flags"]["rest_api_timeout_in_ms"] == "1000"
        with held(serve) as statuses:
            until(lambda: statuses)
        assert statuses == [504]


def test_batching_writes_the_engines_file(tmp_path: Path, baked: Path) -> None:
    env = {
        "SAGEMAKER_TFS_ENABLE_BATCHING": "true",
        "SAGEMAKER_TFS_MAX_BATCH_SIZE": "64",
        "SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS": "2000",
        "SAGEMAKER_TFS_NUM_BATCH_THREADS": "3",
        "SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES": "7",
    }
    with serving(tmp_path, **env) as serve:
        told = serve.ready().ask(b'{"instances": [1]}')
    assert told["flags"]["enable_batching"] == "true"
    assert re.findall(r"(\w+) \{ value: (\d+) \}", told["batching"]) == [
        ("max_batch_size", "64"),
        ("batch_timeout_micros", "2000"),
        ("num_batch_threads", "3"),
        ("max_enqueued_batches", "7"),
    ]
    assert int(told["flags"]["rest_api_num_threads"]) >= 128, (
        "a batch fills only with what is let in"
    )


# Several engines


def test_each_gpu_has_its_engine(tmp_path: Path, baked: Path) -> None:
    smi = stand_in_engine(tmp_path / "engine") / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU 0: A10G (UUID: a)'\necho 'GPU 1: A10G (UUID: b)'\n")
    smi.chmod(0o755)
    with serving(tmp_path) as serve:
        serve.ready()
        until(lambda: serve.errors.read_text().count("the engine says that it is there") == 2)
        assert devices_that_answer(serve) == {"0", "1"}


def test_a_count_of_engines_shares_the_gpus(tmp_path: Path, baked: Path) -> None:
    env = {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b", "SAGEMAKER_TFS_INSTANCE_COUNT": "3"}
    with serving(tmp_path, **env) as serve:
        serve.ready()
        assert len(serve.engines()) == 3
        seen = [_environment(pid)["CUDA_VISIBLE_DEVICES"] for pid in serve.engines()]
        assert sorted(seen) == ["GPU-a", "GPU-a", "GPU-b"]


def devices_that_answer(serve: Serve) -> set[str]:
    """Whose engines took requests that came together."""
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: serve.ask(b'{"slow": 1}'), range(8)))
    return {one["env"]["CUDA_VISIBLE_DEVICES"] for one in told}


def _environment(pid: int) -> dict[str, str]:
    words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(word.split("=", 1) for word in words if word)


def test_ports_that_are_taken_are_left_out(tmp_path: Path, baked: Path) -> None:
    ports = some_ports()
    first, last = map(int, ports.split("-"))
    env = {"SAGEMAKER_SAFE_PORT_RANGE": ports}
    with serving(tmp_path, port=first, **env) as serve:  # its own lies in the range as well
        taken = int(serve.ready().ask()["flags"]["rest_api_port"])
        assert first < taken <= last
        env |= {"PETBOX_MODELS": str(tmp_path / "models")}
        (tmp_path / "second").mkdir()
        with serving(tmp_path / "second", **env) as second:
            port = int(second.ready().ask()["flags"]["rest_api_port"])
            assert taken < port <= last


def test_a_port_that_its_base_image_exposes_is_left_alone(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path, SAGEMAKER_SAFE_PORT_RANGE="") as serve:
        assert int(serve.ready().ask()["flags"]["rest_api_port"]) > 8501


# The machine


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "25000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
    ],
)
def test_cpus_are_those_that_the_cgroup_leaves(
    tmp_path: Path, files: dict[str, str], cpus: int | None
) -> None:
    assert counted("cpus", tmp_path, files) == (cpus or 64)


def counted(name: str, folder: Path, files: dict[str, str]) -> int:
    """What the supervisor counts on a machine of 64 CPUs whose cgroup has these files."""
    for file, text in files.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text + "\n")
    nproc = folder / "nproc"
    nproc.write_text("#!/bin/sh\nexpr 64 / ${OMP_NUM_THREADS:-1}\n")
    nproc.chmod(0o755)
    count = f"count_machine {folder}; count_free {folder}"
    script = f". {CONTAINER}/environment.sh; {count}; echo ${name}"
    words = ["bash", "-euc", script]
    env = {**os.environ, "OMP_NUM_THREADS": "2", "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(words, capture_output=True, text=True, env=env, check=True)
    return int(done.stdout)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"memory.max": "max"}, None),
        ({"memory.max": "104857600"}, 104857600),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ({"memory/memory.limit_in_bytes": "209715200"}, 209715200),
    ],
)
def test_memory_is_what_the_cgroup_leaves(
    tmp_path: Path, files: dict[str, str], limit: int | None
) -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert counted("memory_bytes", tmp_path, files) == (limit or total)


@pytest.mark.parametrize(
    "files",
    [
        {
            "memory.max": "100000000",
            "memory.current": "90000000",
            "memory.stat": "anon 20000000\ninactive_file 30000000\nactive_file 40000000",
        },
        {  # its own pages, and those of the groups below it
            "memory/memory.limit_in_bytes": "100000000",
            "memory/memory.usage_in_bytes": "90000000",
            "memory/memory.stat": "inactive_file 1000\nactive_file 1000\n"
            "total_inactive_file 30000000\ntotal_active_file 40000000",
        },
    ],
    ids=["version 2", "version 1"],
)
def test_memory_that_files_take_is_free(tmp_path: Path, files: dict[str, str]) -> None:
    assert counted("free_bytes", tmp_path, files) == 80_000_000


def test_the_memory_reaches_the_gateway(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path) as serve:
        until(lambda: is_open(serve.port))
        assert int(setting(serve, "memory_bytes")) > 2**20


def test_engines_share_the_cpus(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path, SAGEMAKER_TFS_INSTANCE_COUNT="2") as serve:
        flags = serve.ready().ask()["flags"]
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert int(flags["tensorflow_intra_op_parallelism"]) <= share
    assert int(flags["tensorflow_inter_op_parallelism"]) <= share


def test_threads_can_be_named(tmp_path: Path, baked: Path) -> None:
    env = {"SAGEMAKER_TFS_INTRA_OP_PARALLELISM": "5", "SAGEMAKER_TFS_INTER_OP_PARALLELISM": "0"}
    with serving(tmp_path, **env) as serve:
        flags = serve.ready().ask()["flags"]
    assert flags["tensorflow_intra_op_parallelism"] == "5"
    assert flags["tensorflow_inter_op_parallelism"] == "0"


# Dying


@pytest.mark.parametrize(
    ("how", "status", "why"),
    [
        (signal.SIGKILL, 137, "killed by SIGKILL, probably because memory ran out"),
        (signal.SIGSEGV, 139, "killed by SIGSEGV"),
        (signal.SIGTERM, 143, "killed by SIGTERM"),
    ],
)
def test_a_dead_engine_ends_the_container(
    tmp_path: Path, baked: Path, how: signal.Signals, status: int, why: str
) -> None:
    with serving(tmp_path) as serve:
        serve.ready()
        os.kill(serve.engines()[0], how)
        code, errors = serve.ended()
    assert code == status
    assert last_line(errors).startswith("serve: model server 1 of 1 died: ")
    assert why in last_line(errors)
    assert "serve: stopping" not in errors, "there is nothing to wait for"


def test_one_of_two_engines_that_dies_lets_the_other_complete(
    tmp_path: Path, holding: None
) -> None:
    with serving(tmp_path, SAGEMAKER_TFS_INSTANCE_COUNT="2") as serve:
        serve.ready()
        with held(serve, 2) as statuses:
            until(lambda: all(holds(pid, tmp_path / "engine" / "hold") for pid in serve.engines()))
            os.kill(serve.engines()[1], signal.SIGKILL)
            until(lambda: serve.ping().status_code == 503)
            until(lambda: statuses)
            assert statuses == [502]
        assert statuses == [502, 200]
        code, errors = serve.ended()
    assert code == 137
    assert last_line(errors).startswith("serve: model server 2 of 2 died: killed by SIGKILL")


def holds(pid: int, file: Path) -> bool:
    """Whether the process has the file open."""
    return str(file) in {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}


def test_a_model_that_cannot_be_loaded_ends_it_with_the_engines_words(
    tmp_path: Path, baked: Path
) -> None:
    said = "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{a"
    log = f"E retrier.cc:40] Loading servable failed\n{said}\n\t [[{{node x}}]]}}, }}\n\n"
    (stand_in_engine(tmp_path / "engine") / "broken").write_text(log)
    with serving(tmp_path) as serve:
        code, errors = serve.ended()
    assert code == 255
    assert last_line(errors).startswith("serve: model server 1 of 1 died: ")
    assert last_line(errors).endswith(f"exit code 255: {said}")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_nginx_ends_the_container(tmp_path: Path, baked: Path, how: signal.Signals) -> None:
    with serving(tmp_path) as serve:
        serve.ready()
        os.kill(serve.nginx(), how)
        code, errors = serve.ended()
    assert code == (137 if how == signal.SIGKILL else 1)  # to leave unasked is to fail
    assert last_line(errors).startswith("serve: nginx died: ")


def test_a_port_that_is_taken_is_told_in_nginxs_words(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path) as first:
        first.ready()
        (tmp_path / "second").mkdir()
        models = str(tmp_path / "models")
        with serving(tmp_path / "second", port=first.port, PETBOX_MODELS=models) as second:
            code = second.process.wait(LONG)
            errors = second.errors.read_text()
    assert code == 1
    assert f":{first.port} failed" in last_line(errors)


def last_line(errors: str) -> str:
    return errors.splitlines()[-1]


def test_a_temporary_folder_that_cannot_be_written_is_named(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path, TMPDIR=str(tmp_path / "absent")) as serve:
        code = serve.process.wait(LONG)
        errors = serve.errors.read_text()
    assert code == 1
    assert (
        errors == f"serve: {tmp_path}/absent: not writable; it must be, with 1 MB of free space\n"
    )


def test_a_temporary_folder_that_workers_cannot_enter_is_named(tmp_path: Path, baked: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root runs the workers as another user")
    folder = tmp_path / "closed" / "inner"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o700)
    with serving(tmp_path, TMPDIR=str(folder)) as serve:
        code, errors = serve.ended()
    assert code == 1
    assert last_line(errors) == (
        f"serve: TMPDIR={folder}: nginx's worker, which is not root, cannot read in it; "
        "chmod o+x its folders, or choose another TMPDIR"
    )


def test_the_log_may_be_a_socket(tmp_path: Path, baked: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, serving(tmp_path, stdout=theirs) as serve:
        theirs.close()
        serve.ready().ask()
        with ours.makefile() as lines:
            assert '"path":"/invocations"' in next(line for line in lines if "/ping" not in line)
            serve.process.send_signal(signal.SIGINT)
            assert serve.ended()[0] == 0
            assert lines.read() == "", "nothing keeps it open"


CUINIT = "E external/cuda_platform.cc:51] failed call to cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"


@pytest.mark.parametrize(
    "line",
    [
        CUINIT,
        "W gpu_device.cc:2343] Cannot dlopen some GPU libraries. Please make sure the missing",
    ],
)
def test_a_gpu_that_does_not_start_is_named(tmp_path: Path, baked: Path, line: str) -> None:
    (stand_in_engine(tmp_path / "engine") / "log").write_text(f"2026: {line}\nmore")
    with serving(tmp_path, CUDA_VISIBLE_DEVICES="0") as serve:
        code, errors = serve.ended()
    assert code == 1
    assert last_line(errors).startswith("serve: a GPU cannot be used; ")
    assert last_line(errors).endswith(f": 2026: {line}")


def test_without_a_gpu_the_engines_search_for_one_is_no_error(tmp_path: Path, baked: Path) -> None:
    (stand_in_engine(tmp_path / "engine") / "log").write_text(CUINIT)
    with serving(tmp_path, CUDA_VISIBLE_DEVICES="-1") as serve:
        assert serve.ready().ask()["flags"]


def test_what_is_logged_each_second_on_a_multi_model_endpoint_is_left_out(
    tmp_path: Path, baked: Path
) -> None:
    core = "2026-11-29 22:00:00.000000: I tensorflow_serving/model_servers/server_core.cc:"
    repeated = (
        f"{core}474] Adding/updating models.\n"
        f"{core}636]  (Re-)adding model: cats\n"
        f"{core}501] Finished adding/updating models\n"
        f"{core}507] Finished reloading config\n"
    )
    others = f"{core}90] Creating a manager\n2026: I basic_manager.cc:744] Adding cats\n"
    (stand_in_engine(tmp_path / "engine") / "log").write_text(repeated + others)
    with serving(tmp_path) as serve:
        serve.ready().stop()
        _, errors = serve.ended()
    assert others in errors
    assert not [line for line in repeated.splitlines() if line in errors]


# Stopping


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stopping_leaves_nothing(tmp_path: Path, baked: Path, how: signal.Signals) -> None:
    with serving(tmp_path) as serve:
        engines = serve.ready().engines()
        serve.process.send_signal(how)
        assert serve.ended()[0] == 0
        assert not [pid for pid in engines if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_signal_just_before_a_substitution_is_kept(name: str) -> None:
    """Bash 5.2 parses a trap wrongly then: one in a thousand starts missed the signal to stop."""
    traps = SERVE.read_text().split("if ((BASH_VERSINFO")[0]
    before = f': "$(kill -{name} $$)$(:)"; kill -{name} $$; echo "${{signals[@]}}"'
    done = subprocess.run(["bash", "-c", traps + before], capture_output=True, text=True)
    assert done.stdout == f"{name} {name}\n", done.stderr


def test_after_ctrl_c_the_port_closes_at_once(tmp_path: Path, holding: None) -> None:
    with serving(tmp_path) as serve:
        serve.ready()
        with held(serve) as statuses:
            serve.process.send_signal(signal.SIGINT)
            await_port(serve.port, opened=False)
            assert statuses == []
        assert statuses == [200]
        assert serve.ended()[0] == 0


def test_stopping_while_loading_takes_no_loading_time(tmp_path: Path, baked: Path) -> None:
    os.mkfifo(stand_in_engine(tmp_path / "engine") / "load")
    with serving(tmp_path) as serve, (tmp_path / "engine" / "load").open("w"):
        until(lambda: is_open(serve.port))
        serve.stop()
        code, errors = serve.ended()
        assert (code, "serve: stopping" in errors) == (0, False), "nobody can have sent a request"


@contextmanager
def held(serve: Serve, count: int = 1) -> Iterator[list[int]]:
    """The statuses that came; the requests are with the engine until the block is left."""
    statuses: list[int] = []

    def ask() -> None:
        try:
            statuses.append(post(serve.port, b'{"hold": 1}', JSON).status_code)
        except requests.ConnectionError:
            statuses.append(0)

    asking = [threading.Thread(target=ask) for _ in range(count)]
    for one in asking:
        one.start()
    with (serve.folder / "engine" / "hold").open("w"):  # opened when an engine reads it
        yield statuses
    for one in asking:
        one.join()


@pytest.fixture
def holding(tmp_path: Path, baked: Path) -> None:
    os.mkfifo(stand_in_engine(tmp_path / "engine") / "hold")


def test_while_it_stops_ping_says_so_and_nobody_is_refused(tmp_path: Path, holding: None) -> None:
    with serving(tmp_path) as serve:
        serve.ready()
        with held(serve) as statuses:
            serve.stop()
            until(lambda: serve.ping().status_code == 503)
            assert "stopping" in serve.ping().json()["error"]
            assert serve.ask()["body"] == 2, "who has not heard of it is answered"
            assert not serve.over()
            assert statuses == []
        assert statuses == [200]
        code, errors = serve.ended()
        assert (code, "dropped" in errors) == (0, False)


def test_requests_that_come_while_it_stops_are_answered(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path) as serve:
        serve.ready().stop()
        until(lambda: serve.ping().status_code == 503)
        assert [serve.ask()["body"] for _ in range(20)] == [2] * 20
        code, errors = serve.ended()
        assert (code, "dropped" in errors) == (0, False)


def test_clients_that_never_notice_do_not_keep_it(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path, PETBOX_DRAIN_SECONDS="3") as serve:
        serve.ready().stop()
        until(lambda: serve.ping().status_code == 503)
        until_refused(serve)
        assert serve.ended()[0] == 0


def until_refused(serve: Serve) -> None:
    with contextlib.suppress(requests.ConnectionError):
        while serve.ask():
            pass


def test_none_of_two_hundred_in_flight_is_lost(tmp_path: Path, baked: Path) -> None:
    with serving(tmp_path, SAGEMAKER_TFS_INSTANCE_COUNT="2") as serve:
        serve.ready()
        with many_in_flight(serve.port, 200) as answers:
            serve.stop()
            assert answers() == [200] * 200
        assert serve.ended()[0] == 0


def test_without_room_for_a_file_nobody_is_dropped(tmp_path: Path, holding: None) -> None:
    with serving(tmp_path) as serve:
        serve.ready()
        with held(serve) as statuses:
            (run,) = serve.temporary.iterdir()
            (run / "stopping").mkdir()  # where the file would be
            serve.stop()
            until(lambda: "serve: stopping" in serve.errors.read_text())
        code, errors = serve.ended()
        assert (code, statuses) == (0, [200])
        assert "stopping: cannot be written" in errors


def test_what_takes_longer_than_it_has_is_dropped(tmp_path: Path, holding: None) -> None:
    with serving(tmp_path, PETBOX_DRAIN_SECONDS="1") as serve:
        serve.ready()
        with held(serve) as statuses:
            serve.stop()
            code, errors = serve.ended()
        assert code == 0
        assert statuses != [200]
        assert "requests not completed within 1 s are dropped" in errors


def test_asked_twice_it_drops_all_at_once(tmp_path: Path, holding: None) -> None:
    with serving(tmp_path) as serve:
        serve.ready()
        with held(serve) as statuses:
            serve.stop()
            until(lambda: serve.ping().status_code == 503)
            serve.stop()
            code, errors = serve.ended()
        assert (code, statuses) == (143, [0])
        assert "second signal: requests in flight are dropped" in errors


def test_an_engine_that_dies_while_stopping_is_told_of(tmp_path: Path, holding: None) -> None:
    with serving(tmp_path) as serve:
        serve.ready()
        with held(serve):
            serve.stop()
            until(lambda: serve.ping().status_code == 503)
            os.kill(serve.engines()[0], signal.SIGKILL)
            code, errors = serve.ended()
        assert code == 137
        assert "model server 1 of 1 died" in last_line(errors)
