"""The model server's models over time: which version serves while others come, fail and go."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.saved_models import adder, corrupt, removed
from support.serving import LONG

from petbox.serving.model_server import config
from petbox.serving.model_server.config import ModelConfig
from petbox.serving.model_server.model_versions import LoadOptions
from petbox.serving.model_server.rest import Model
from petbox.serving.model_server.served_models import ServedModels
from petbox.serving.model_server.status import StatusError
from petbox.serving.model_server.version_policy import Policy, State, Step, next_step, on_disk

ALL = Policy(latest=None)


# What is desired, and the next step to it


@pytest.mark.parametrize(
    ("policy", "desired"),
    [
        (Policy(), {7}),
        (Policy(latest=2), {5, 7}),
        (ALL, {-5, 2, 5, 7}),
        (Policy(latest=None, specific=frozenset({2, 9})), {2}),
    ],
)
def test_a_policy_chooses_among_what_is_there(policy: Policy, desired: set[int]) -> None:
    assert policy.desired([2, -5, 7, 5]) == desired


def test_a_folder_counts_if_its_name_is_a_whole_number(tmp_path: Path) -> None:
    for name in ("00007", "-5", "v9", "8.tmp", "12345678901234567890", "3"):
        (tmp_path / name).mkdir()
    (tmp_path / "4").touch()
    assert {n: p.name for n, p in on_disk(tmp_path).items()} == {7: "00007", -5: "-5", 3: "3"}


@pytest.mark.parametrize(
    ("states", "desired", "step"),
    [
        ({1: "START", 2: "START"}, {1, 2}, Step("load", 2)),
        ({1: "AVAILABLE", 2: "START"}, {2}, Step("load", 2)),  # 1 serves until 2 does
        ({1: "AVAILABLE", 2: "AVAILABLE"}, {2}, Step("unload", 1)),
        ({1: "AVAILABLE", 2: "LOADING"}, {2}, None),
        ({1: "AVAILABLE", 2: "END"}, {2}, None),  # 2 failed: better 1 than none
        ({1: "AVAILABLE", 2: "AVAILABLE", 3: "END"}, {3}, Step("unload", 1)),
        ({1: "AVAILABLE"}, set(), Step("unload", 1)),
        ({1: "END"}, {1}, None),
    ],
)
def test_a_version_goes_only_when_another_serves(
    states: dict[int, State], desired: set[int], step: Step | None
) -> None:
    assert next_step(states, desired) == step


# The configuration file

GOOD = """
model_config_list {
  config { name: "a" base_path: "/m/a" model_platform: "tensorflow" }
  config: <
    name: 'b', base_path: '/m/b', model_platform: 'tensorflow',
    model_version_policy { specific { versions: 3 versions: 4 } }
    version_labels { key: "stable" value: 3 }
    version_labels { key: "canary" value: 4 }
  >
  config { name: "c" base_path: "/m/c" model_type: TENSORFLOW
           model_version_policy { latest { num_versions: 2 } } }
  config { name: "d" base_path: "/m/d" model_platform: "tensorflow"
           model_version_policy { all { } } }
}
"""


def configured(folder: Path, text: str) -> list[ModelConfig]:
    file = folder / "models.config"
    file.write_text(text)
    return config.read(file)


def test_a_configuration_file_names_models_versions_and_labels(tmp_path: Path) -> None:
    specific = Policy(latest=None, specific=frozenset({3, 4}))
    assert configured(tmp_path, GOOD) == [
        ModelConfig("a", Path("/m/a")),
        ModelConfig("b", Path("/m/b"), specific, {"stable": 3, "canary": 4}),
        ModelConfig("c", Path("/m/c"), Policy(latest=2)),
        ModelConfig("d", Path("/m/d"), ALL),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Invalid argument"),
        ("garbage: 1", "line 1: no field named garbage here"),
        ("model_config_list: 5", "model_config_list needs braces"),
        ("model_config_list {", "never closed"),
        ("model_config_list { config { name: 'a' nope: 1 } }", "no field named nope"),
        ("model_config_list { config { name: 'a' base_path: '/a' } }", "Illegal setting neither"),
        (GOOD.replace('"/m/a"', '"m/a"'), "Expected model a to have an absolute path"),
        (GOOD.replace('"c"', '"a"'), "Illegal to list model a multiple times"),
        (GOOD.replace("value: 3", "value: three"), "'three' is not a whole number"),
        (GOOD.replace('"/m/a" model_platform: "tensorflow"', '"/a" model_platform: "x"'), "only"),
    ],
)
def test_a_wrong_configuration_file_is_rejected(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(StatusError, match=sentence):
        configured(tmp_path, text)


def test_a_missing_configuration_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match=r"NOT_FOUND: .*; No such file or directory"):
        config.read(tmp_path / "models.config")


# The models themselves, with TensorFlow

Start = Callable[..., ServedModels]


@pytest.fixture
def start() -> Iterator[Start]:
    """Serves `configs`, looking at the disk all the time."""
    from petbox.serving.model_server.model import load
    from petbox.serving.model_server.tensorflow_engine import TensorFlow
    from petbox.serving.model_server.warmup import warm_up

    started = []

    def load_and_warm(name: str, version: int, folder: Path) -> Model:
        model = load(name, version, folder, TensorFlow())
        warm_up(model, folder)
        return model

    def serve(*configs: ModelConfig, retries: int = 0, retry_seconds: float = 0.01) -> ServedModels:
        servables = ServedModels(load_and_warm, LoadOptions(0.01, retries, retry_seconds))
        started.append(servables)
        servables.configure(configs)
        return servables

    yield serve
    for servables in started:
        servables.stop()


def eventually(true: Callable[[], bool]) -> bool:
    """Whether it comes true in time."""
    late = threading.Event()
    timer = threading.Timer(LONG, late.set)
    timer.start()
    while not (found := true()) and not late.wait(0.01):
        pass
    timer.cancel()
    return found


def answer(servables: ServedModels, version: int | None = None, label: str | None = None) -> float:
    model = servables.find("adder", version, label)
    zero = {"x": np.zeros(1, np.float32)}
    return float(model.run("serving_default", zero)["y"][0])


def states(servables: ServedModels) -> dict[int, str]:
    with contextlib.suppress(StatusError):  # nothing is known of it yet
        return {status.version: status.state for status in servables.states("adder", None)}
    return {}


def test_a_new_version_takes_over_and_a_removed_one_gives_back(
    tmp_path: Path, start: Start
) -> None:
    adder(tmp_path / "1", 1.0)
    served = ModelConfig("adder", tmp_path)
    servables = start(served)
    assert servables.wait([served])
    answers, done = [], threading.Event()

    def ask() -> None:
        while not done.is_set():
            answers.append(answer(servables))

    asking = threading.Thread(target=ask)
    asking.start()
    adder(tmp_path / "2", 2.0)
    assert eventually(lambda: states(servables) == {2: "AVAILABLE", 1: "END"})
    with pytest.raises(StatusError, match=r"Specific\(adder, 1\)"):
        servables.find("adder", 1, None)
    removed(tmp_path / "2")
    assert eventually(lambda: states(servables) == {2: "END", 1: "AVAILABLE"})
    assert eventually(lambda: answers[-1] == 1.0)
    done.set()
    asking.join()
    switches = [
        now for before, now in zip([None, *answers], answers, strict=False) if now != before
    ]
    assert switches == [1.0, 2.0, 1.0]  # and no request in between failed, or the thread had died
    removed(tmp_path / "1")
    assert eventually(lambda: states(servables) == {2: "END", 1: "END"})
    with pytest.raises(StatusError, match=r"Servable not found for request: Latest\(adder\)"):
        answer(servables)
    adder(tmp_path / "1", 5.0)
    assert eventually(lambda: states(servables)[1] == "AVAILABLE")
    assert answer(servables) == 5.0


def test_a_version_that_fails_leaves_the_old_one_serving(tmp_path: Path, start: Start) -> None:
    adder(tmp_path / "1", 1.0)
    served = ModelConfig("adder", tmp_path)
    servables = start(served, retries=2)
    assert servables.wait([served])
    corrupt(tmp_path / "4")
    assert eventually(lambda: states(servables) == {4: "END", 1: "AVAILABLE"})
    (status,) = servables.states("adder", 4)
    assert status.error_code == "DATA_LOSS"
    assert status.error_message == f"Can't parse {tmp_path}/4/saved_model.pb as binary proto"
    assert answer(servables) == 1.0


def test_a_version_still_tried_again_does_not_delay_a_better_one(
    tmp_path: Path, start: Start
) -> None:
    corrupt(tmp_path / "1")
    served = ModelConfig("adder", tmp_path)
    servables = start(served, retries=5, retry_seconds=1e6)
    assert eventually(lambda: states(servables) == {1: "LOADING"})
    adder(tmp_path / "2", 2.0)
    assert servables.wait([served])
    assert states(servables) == {2: "AVAILABLE", 1: "END"}


@pytest.mark.parametrize(
    ("spoil", "code", "sentence"),
    [
        (corrupt, "DATA_LOSS", "as binary proto"),
        (Path.mkdir, "NOT_FOUND", "does not appear to contain a SavedModel bundle"),
    ],
)
def test_a_model_without_hope_ends_the_start(
    tmp_path: Path, start: Start, spoil: Callable[[Path], object], code: str, sentence: str
) -> None:
    adder(tmp_path / "1", 1.0)
    (tmp_path / "bad").mkdir()
    spoil(tmp_path / "bad" / "7")
    served = [ModelConfig("adder", tmp_path), ModelConfig("bad", tmp_path / "bad")]
    servables = start(*served)
    with pytest.raises(StatusError) as raised:
        servables.wait(served)
    text = str(raised.value)
    assert text.startswith(
        "UNKNOWN: 1 servable(s) did not become available: "
        f"{{{{{{name: bad version: 7}} due to error: {code}: "
    )
    assert sentence in text


def test_a_model_without_versions_is_waited_for(tmp_path: Path, start: Start) -> None:
    served = ModelConfig("adder", tmp_path / "not there yet")
    servables = start(served)
    ready = threading.Event()
    waiting = threading.Thread(target=lambda: servables.wait([served]) and ready.set())
    waiting.start()
    assert not ready.wait(0.1)
    (tmp_path / "not there yet").mkdir()
    adder(tmp_path / "not there yet" / "1", 1.0)
    assert ready.wait(LONG)
    waiting.join()


def test_stopping_ends_the_wait(tmp_path: Path, start: Start) -> None:
    served = ModelConfig("adder", tmp_path)
    servables = start(served)
    servables.stop()
    assert not servables.wait([served])


def test_models_come_and_go_with_the_configuration(tmp_path: Path, start: Start) -> None:
    for number in (1, 2, 3):
        adder(tmp_path / str(number), number)
    served = ModelConfig("adder", tmp_path, ALL, {"stable": 1})
    servables = start(served)
    assert servables.wait([served])
    assert states(servables)[1] == "AVAILABLE"  # it is to have a label
    assert eventually(lambda: set(states(servables).values()) == {"AVAILABLE"})
    assert list(states(servables)) == [3, 2, 1]
    servables.label([served])
    assert answer(servables) == 3.0
    assert answer(servables, label="stable") == answer(servables, version=1) == 1.0
    with pytest.raises(StatusError, match="Unrecognized servable version label: no"):
        answer(servables, label="no")

    fewer = ModelConfig("adder", tmp_path, Policy(None, frozenset({2})), {"stable": 1})
    servables.configure([fewer])
    assert eventually(lambda: states(servables) == {3: "END", 2: "AVAILABLE", 1: "END"})
    with pytest.raises(StatusError, match="assign label to version 1 of model adder, which is not"):
        servables.label([fewer])
    servables.label([fewer], allow_unavailable=True)
    with pytest.raises(StatusError, match=r"Specific\(adder, 1\)"):
        answer(servables, label="stable")

    used = [servables.find("adder", 2, None)]  # as by a request
    servables.configure([])
    assert eventually(lambda: states(servables) == {3: "END", 2: "UNLOADING", 1: "END"})
    with pytest.raises(StatusError, match=r"Latest\(adder\)"):
        answer(servables)
    used.clear()
    assert eventually(lambda: set(states(servables).values()) == {"END"})
    servables.configure([served])
    assert eventually(lambda: set(states(servables).values()) == {"AVAILABLE"})


def test_a_warm_up_request_that_fails_fails_the_load(tmp_path: Path, start: Start) -> None:
    adder(tmp_path / "1", 1.0, warmup=[np.ones(3, np.float32)])
    served = ModelConfig("adder", tmp_path)
    servables = start(served)
    assert servables.wait([served])
    adder(tmp_path / "2", 2.0, warmup=[["a word"]])
    assert eventually(lambda: states(servables) == {2: "END", 1: "AVAILABLE"})
    adder(tmp_path / "3.tmp2", 3.0)
    (tmp_path / "3.tmp2" / "assets.extra").mkdir()
    (tmp_path / "3.tmp2/assets.extra/tf_serving_warmup_requests").write_text("not a TFRecord file")
    (tmp_path / "3.tmp2").rename(tmp_path / "3")
    assert eventually(lambda: states(servables).get(3) == "END")
    (status,) = servables.states("adder", 3)
    assert status.error_code == "DATA_LOSS"
    assert "Please verify your warmup data is in TFRecord format." in status.error_message
