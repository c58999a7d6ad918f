"""The serving image, built by its own Dockerfile, run by a real engine, asked through its port."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.docker_engine import Engine
from support.saved_models import adder
from support.serving_image import MOUNTS, VERY_LONG, Container, until

PREDICTED = b'{\n    "predictions": [3.5\n    ]\n}'
ASKED = b'{"instances": [1]}'
BUILDING = {"gcc", "g++", "make", "cmake", "curl", "wget", "git", "gnupg", "python3-pip"}


@pytest.fixture(scope="module")
def strict(start: Callable[..., Any]) -> Iterator[Container]:
    """As nobody in particular, without rights, on a system that cannot be written to."""
    flags = ("--read-only", "--tmpfs=/tmp", "--user=12345:54321", "--cap-drop=ALL")
    with start(*flags, "--security-opt=no-new-privileges") as container:
        yield container.ready()


@pytest.fixture(scope="module")
def plain(start: Callable[..., Any]) -> Iterator[Container]:
    """`docker run -p 8080:8080 IMAGE`."""
    with start(words=()) as container:
        yield container.ready()


# The image


def test_it_is_started_by_its_entrypoint_and_its_port_can_be_bound(
    engine: Engine, image: str
) -> None:
    (config,) = json.loads(engine("inspect", "--format=[{{json .Config}}]", image).stdout)
    assert config["Entrypoint"] == ["/opt/petbox/serve"]
    assert not config.get("Cmd")
    assert not config.get("User"), "SageMaker expects root"
    assert set(config["ExposedPorts"]) == {"8080/tcp"}
    for capability in ("accept-bind-to-port", "multi-models"):
        label = f"com.amazonaws.sagemaker.capabilities.{capability}"
        assert config["Labels"][label] == "true"


def test_the_model_is_the_last_of_its_layers(engine: Engine, image: str) -> None:
    history = engine("history", "--no-trunc", "--format={{.Size}} {{.CreatedBy}}", image).stdout
    filled = [line for line in history.splitlines() if not re.match(r"0B|[\d.]+kB .*RUN", line)]
    assert "/models/model/" in filled[0]


def test_nothing_to_build_with_is_in_it(engine: Engine, base: str, plain: Container) -> None:
    command = ("dpkg-query", "--show", "--showformat=${Package} ")
    before = engine("run", "--rm", "--network=none", base, *command).stdout.split()
    added = {*engine("exec", plain.name, *command).stdout.split()} - {*before}
    assert {"nginx", "libnginx-mod-http-lua", "lua-cjson"} <= added
    assert not added & BUILDING
    assert "cuda" not in plain.inside("ls /etc/apt/sources.list.d")
    assert plain.inside("find /var/lib/apt/lists -type f") == ""
    assert plain.inside("find /opt/petbox -iname '*dockerfile*'") == ""


def test_a_user_is_prepared_for_those_who_want_one(plain: Container) -> None:
    assert plain.inside("id petbox").startswith("uid=10001(petbox) gid=10001(petbox)")


def test_an_unknown_word_is_misuse(engine: Engine, image: str) -> None:
    done = engine("run", "--rm", "--network=none", image, "train", check=False)
    said = "serve: train: unknown argument; usage: docker run IMAGE [serve|check|check --load]\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


# Running


def test_it_serves_strangers_without_rights_or_a_disk(strict: Container) -> None:
    answer = strict.post(ASKED)
    assert (answer.status_code, answer.content) == (200, PREDICTED)
    assert "12345" in strict.inside("stat -c %u /proc/1")
    assert "emerg" not in strict.said()


def test_it_serves_as_root_and_without_a_word(plain: Container) -> None:
    answer = plain.post(ASKED)
    assert (answer.status_code, answer.content) == (200, PREDICTED)


def test_root_without_rights_or_a_network_serves_as_well(start: Callable[..., Any]) -> None:
    get = r"printf 'GET /ping HTTP/1.0\r\n\r\n' >&3; head -n 1 <&3"
    asked = f"exec 3<>/dev/tcp/127.0.0.1/8080 && {get}"
    with start("--cap-drop=ALL", "--network=none") as container:
        container.inside(f"until ({asked}) | grep '200 OK'; do sleep 0.1; done")
        assert "emerg" not in container.said()


def test_only_the_folder_for_temporary_files_is_written(engine: Engine, plain: Container) -> None:
    changed = [line[2:] for line in engine("diff", plain.name).stdout.splitlines()]
    mounted = [flag.split(":")[1] for flag in MOUNTS]
    ours = [path for path in changed if not any(m.startswith(path) for m in mounted)]
    assert [path for path in ours if path.split("/")[1] != "tmp"] == []


def test_the_first_process_is_the_supervisor_and_leaves_no_dead_lying(plain: Container) -> None:
    assert "/opt/petbox/serve" in plain.inside("tr '\\0' ' ' </proc/1/cmdline")
    plain.inside("for i in 1 2 3 4 5; do (sleep 0.1 &) ; done")  # PID 1 inherits them
    until(lambda: not plain.pids("sleep"))
    states = "cat /proc/[0-9]*/stat | sed 's/.*) //' | cut -c1"
    until(lambda: "Z" not in plain.inside(states))


def test_a_log_line_is_json_and_pings_leave_none(strict: Container) -> None:
    strict.ping()
    strict.post(ASKED, **{"X-Amzn-SageMaker-Inference-Id": "seven"})

    def lines() -> list[str]:
        return strict.engine("logs", strict.name).stdout.splitlines()

    until(lambda: '"seven"' in lines()[-1])  # the engine reads the container's output later
    logged = [json.loads(line) for line in lines()]
    last = logged[-1]
    assert (last["path"], last["status"], last["inference_id"]) == ("/invocations", 200, "seven")
    assert ("/ping", 200) not in [(line["path"], line["status"]) for line in logged]


# As SageMaker runs it


def test_models_engines_and_ports_are_what_sagemaker_says(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "pets").mkdir()
    adder(tmp_path / "pets" / "1", 1.0)
    adder(tmp_path / "pets" / "2", 2.0)
    (tmp_path / "export/Servo").mkdir(parents=True)
    adder(tmp_path / "export/Servo/00007", 7.0)
    env = {
        "SAGEMAKER_BIND_TO_PORT": "25005",
        "SAGEMAKER_SAFE_PORT_RANGE": "25004-25010",
        "SAGEMAKER_TFS_INSTANCE_COUNT": "2",
        "SAGEMAKER_TFS_ENABLE_BATCHING": "true",
        "SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "pets",
    }
    flags = [f"--env={name}={value}" for name, value in env.items()]
    with start(*flags, f"--volume={tmp_path}:/opt/ml/model:ro", port=25005) as container:
        container.ready()

        def asked(attributes: str) -> Any:
            header = {"X-Amzn-SageMaker-Custom-Attributes": attributes}
            return container.post(ASKED, **header).json()

        assert asked("") == {"predictions": [3.0]}, "the newest version"
        assert asked("tfs-model-version=1") == {"predictions": [2.0]}
        assert asked("tfs-model-name=Servo") == {"predictions": [8.0]}
        assert asked("TFS-Model-Name = Servo , tfs-model-version=7") == {"predictions": [8.0]}
        assert "one of: pets Servo" in asked("tfs-model-name=cars")["error"]
        engines = [
            container.inside(f"tr '\\0' ' ' </proc/{pid}/cmdline")
            for pid in container.pids("python3 -m petbox.serving.model_server")
        ]
        ports = re.findall(r"--rest_api_port=(\d+)", "".join(engines))
        assert sorted(ports) == ["25004", "25006"], "in the range, and never nginx's own"
        assert all("--enable_batching=true" in words for words in engines)


def test_models_of_a_multi_model_endpoint_come_and_go(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    for number, name in enumerate(("one", "two")):
        (folder := tmp_path / name / "model").mkdir(parents=True)
        adder(folder / "1", float(number))
        folder.chmod(0o700)  # which nginx's worker cannot enter
    flags = ("--env=SAGEMAKER_MULTI_MODEL=true", f"--volume={tmp_path}:/opt/ml/models:ro")
    with start(*flags) as container:
        url = f"http://127.0.0.1:{container.ready().port}/models"
        for name in ("one", "two"):
            asked = {"model_name": name, "url": f"/opt/ml/models/{name}/model"}
            answer = requests.post(url, json=asked, timeout=VERY_LONG)
            assert answer.status_code == 200, answer.text
        answers = [
            requests.post(f"{url}/{name}/invoke", ASKED, timeout=VERY_LONG)
            for name in ("one", "two")
        ]
        assert [answer.json() for answer in answers] == [
            {"predictions": [1.0]},
            {"predictions": [2.0]},
        ]
        assert requests.delete(f"{url}/one", timeout=VERY_LONG).status_code == 200
        assert requests.post(f"{url}/one/invoke", ASKED, timeout=VERY_LONG).status_code == 404
        assert container.status() == 200
        names = [
            model["modelName"] for model in requests.get(url, timeout=VERY_LONG).json()["models"]
        ]
        assert names == ["two"]


def test_the_model_server_alone_has_tcmalloc(plain: Container) -> None:
    (server,) = plain.pids("python3 -m petbox.serving.model_server")
    assert "libtcmalloc_minimal" in plain.inside(f"cat /proc/{server}/maps")
    (nginx,) = plain.pids("nginx: master")
    assert "tcmalloc" not in plain.inside(f"cat /proc/{nginx}/maps")


def test_a_share_of_the_cpus_is_seen_as_one(engine: Engine, image: str) -> None:
    done = engine("run", "--rm", "--network=none", "--cpus=0.5", image, "check")
    assert ", 1 CPUs, " in done.stdout


def test_a_check_loads_the_model_and_shows_requests_for_it(engine: Engine, image: str) -> None:
    flags = ("--rm", "--network=none", "--read-only", "--tmpfs=/tmp", *MOUNTS)
    done = engine("run", *flags, image, "check", "--load")
    assert "  signature serving_default (tensorflow/serving/predict)\n" in done.stdout
    assert "    input  x: float32 [N]\n" in done.stdout
    assert """--data '{"instances": [0.5]}'\n    → { "predictions": [""" in done.stdout


def test_what_is_no_model_ends_it_with_what_is_wanted(
    engine: Engine, image: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "model.keras").touch()
    volume = f"--volume={tmp_path}:/opt/ml/model:ro"
    done = engine("run", "--rm", "--network=none", volume, image, "serve", check=False)
    assert done.returncode == 1
    assert "no SavedModel in /opt/ml/model\n" in done.stderr
    assert "/opt/ml/model/model.keras" in done.stderr
    assert "model.keras: Keras' own format, not a SavedModel; make one with" in done.stderr
    assert "1/saved_model.pb" in done.stderr


def test_a_temporary_folder_without_room_is_named(engine: Engine, image: str) -> None:
    flags = ("--rm", "--network=none", "--read-only", "--tmpfs=/tmp:size=4k")
    done = engine("run", *flags, image, "serve", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("serve: /tmp: not writable; ")
