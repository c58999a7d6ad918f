"""The settings in a model's tuning.ini: container/serve takes them on the machine they are of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from support.ports import free_port, some_ports
from support.serving import CONTAINER, LONG, await_port, empty_model, post, stand_in_engine, started
from support.serving_image import until

from petbox.serving.tune import machine

INTRA, INTER = "SAGEMAKER_TFS_INTRA_OP_PARALLELISM", "SAGEMAKER_TFS_INTER_OP_PARALLELISM"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return empty_model(tmp_path / "a mödel" / "model" / "3")


def here(folder: Path) -> str:
    """This machine, by the plan that serve prints."""
    return check(folder)[0].rpartition("; ")[2]


def check(folder: Path, **env: str) -> tuple[str, str]:
    """What `serve check` prints, and reports."""
    with serve(folder, "check", **env) as (program, _):
        line = program.line()
        return line, program.ended()[1]


@contextmanager
def serve(folder: Path, word: str, **env: str) -> Iterator[tuple[Any, int]]:
    port = free_port()
    given = {
        "PATH": f"{stand_in_engine(folder / 'engine')}:{os.environ['PATH']}",
        "PETBOX_MODELS": str(folder / "a mödel").replace(" ", "\\ "),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_SAFE_PORT_RANGE": some_ports(),
        **env,
    }
    with started([str(CONTAINER / "serve"), word], folder / "run", **given) as program:
        yield program, port


def test_what_is_not_set_is_taken_from_the_model(tmp_path: Path, model: Path) -> None:
    where = here(tmp_path)
    machine.write(model, "Another, 96 CPUs, 0 GPUs", {INTRA: "9"})
    file = machine.write(model, where, {INTRA: "3", INTER: "4", "PETBOX_MAX_IN_FLIGHT": "5"})
    with serve(tmp_path, "serve", **{INTER: "6"}) as (program, port):
        await_port(port)
        until(lambda: requests.get(f"http://127.0.0.1:{port}/ping", timeout=LONG).ok)
        flags = post(port, b"{}", "application/json").json()["flags"]
        settings = next(program.temporary.glob("*/settings.lua")).read_text()
        taken = f"serve: took {INTRA}=3 PETBOX_MAX_IN_FLIGHT=5 from {file}, measured on such"
        assert taken in program.errors.read_text()
    assert flags["tensorflow_intra_op_parallelism"] == "3"
    assert flags["tensorflow_inter_op_parallelism"] == "6", "a variable that is set wins"
    assert "slots = 5," in settings
    assert list(machine.read(file)) == ["Another, 96 CPUs, 0 GPUs", where]


def test_a_file_of_another_machine_is_ignored(tmp_path: Path, model: Path) -> None:
    where = here(tmp_path)
    other = where.replace(" CPUs", "0 CPUs")
    file = machine.write(model, other, {INTRA: "3"})
    said = f"serve: {file}: ignored; it is of {other}, and this is {where}\n"
    assert check(tmp_path)[1].endswith(said)


def test_what_cannot_be_meant_is_rejected_by_name(tmp_path: Path, model: Path) -> None:
    file = machine.write(model, here(tmp_path), {"PATH": "/x", INTRA: "1025", "evil": "$(id)"})
    errors = check(tmp_path)[1]
    assert f"serve: {file}: PATH=/x: not a setting that petbox tune writes; ignored" in errors
    assert f"serve: {file}: evil=$(id): not a setting" in errors
    assert f"serve: {INTRA}=1025: give a whole number from 0 to 1024" in errors


def test_it_counts_for_one_model_on_one_server_only(tmp_path: Path, model: Path) -> None:
    machine.write(model, here(tmp_path), {INTRA: "3"})
    assert "took" in check(tmp_path)[1]
    assert "tuning.ini" not in check(tmp_path, SAGEMAKER_TFS_INSTANCE_COUNT="2")[1]
    empty_model(tmp_path / "a mödel" / "other" / "1")
    assert "tuning.ini" not in check(tmp_path)[1]
