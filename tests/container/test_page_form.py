"""The page for a model that is not a detector: a form for its inputs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import Chromium, Tab, chromium
from support.other_models import classifier, many_kinds
from support.saved_models import adder
from support.serving import CONTAINER, embedded_engine, png, served_model, whole_front

RESPONSE = "document.querySelector('#code').textContent"
ANSWERED = "!document.querySelector('#api-call').hidden"
ERROR = "document.querySelector('#form-error:not([hidden])').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def classifier_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("classifier")
    with served_model(folder, classifier(folder / "flowers" / "1").parent) as (port, _):
        yield f"http://localhost:{port}"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gateway with the page, before a model with a signature of each kind and another one."""
    folder = tmp_path_factory.mktemp("kinds")
    models = {
        "many": many_kinds(folder / "many" / "1").parent,
        "adder": adder(folder / "adder" / "1", 1.5).parent,
    }
    settings = {"page": True, "metadata": True, "models": [*models]}
    with (
        embedded_engine(folder / "engine", **models) as engine,
        whole_front(folder / "front", engine.port, settings=settings) as front,
    ):
        shutil.copytree(CONTAINER / "page", front.folder / "page")
        (front.folder / "page" / "label_map.pbtxt").touch()
        yield f"http://localhost:{front.port}"


@pytest.fixture
def tab(browser: Chromium, url: str) -> Iterator[Tab]:
    tab = Tab(browser, url)
    tab.go()
    tab.until("!document.querySelector('#model-form').hidden")
    yield tab
    tab.close()


def choose(tab: Tab, value: str, of: str = "#signature") -> None:
    tab.run(
        f"(() => {{ const s = document.querySelector('{of}'); s.value = '{value}';"
        "s.dispatchEvent(new Event('change')); })()"
    )


def fill(tab: Tab, number: int, value: str) -> None:
    """Types over what is in a field."""
    tab.run(f"document.querySelectorAll('.field textarea')[{number}].select()")
    tab.send("Input.insertText", text=value)


def answer(tab: Tab) -> object:
    tab.click("#model-form .primary")
    tab.until(ANSWERED)
    return json.loads(tab.run(RESPONSE))


def test_a_classifier_is_asked_by_its_form(browser: Chromium, classifier_url: str) -> None:
    tab = Tab(browser, classifier_url)
    tab.go()
    tab.until("!document.querySelector('#model-form').hidden")
    for hidden in (".input", ".samples", ".min-score", "#remove"):
        assert tab.run(f"document.querySelector('{hidden}').offsetParent") is None
    assert "float32 [N, 4]" in tab.run("document.querySelector('.field label').textContent")
    assert tab.run("document.querySelector('.field textarea').value") == "[[0.5, 0.5, 0.5, 0.5]]"
    fill(tab, 0, "[[5.1, 3.5, 1.4, 0.2], [6.2, 3.4, 5.4, 2.3]]")
    answered = answer(tab)
    assert isinstance(answered, dict)
    assert [sum(row) for row in answered["outputs"]] == pytest.approx([1, 1])
    assert "Response time" in tab.run("document.querySelector('#details').textContent")
    assert tab.requests("/invocations") == 1
    tab.click("label[for=format-curl]")
    curl = tab.run(RESPONSE)
    assert "--data '{" in curl and "[[5.1, 3.5, 1.4, 0.2]" in curl
    assert tab.problems() == []
    tab.close()


def test_each_signature_has_its_fields_and_examples(tab: Tab) -> None:
    expected = {
        "pair": {"sum": [1.5], "b": [1]},
        "single": 1.5,
        "text": [9],
        "total": 0.5,
    }
    for name, outputs in expected.items():
        choose(tab, name)
        assert answer(tab) == {"outputs": outputs}, name
    choose(tab, "serving_default")
    fill(tab, 0, "[[1, 2], [3, 4]]")
    assert answer(tab) == {"outputs": [[2, 4], [6, 8]]}
    assert "        [6.0, 8.0]\n" in tab.run(RESPONSE), "a list of numbers on one line"
    choose(tab, "half")  # JSON has no values of it
    assert tab.run("document.querySelector('.field textarea').value") == ""
    tab.click("#model-form .primary")
    assert tab.until(ERROR) == "x: empty. Type a value as JSON."
    assert tab.problems() == []


def test_another_model_is_asked(tab: Tab) -> None:
    choose(tab, "adder", "#model")
    tab.until("document.querySelector('#signature').textContent.includes('slow')")
    assert answer(tab) == {"outputs": [2.0]}
    tab.click("label[for=format-curl]")
    assert "-Custom-Attributes: tfs-model-name=adder'" in tab.run(RESPONSE)
    tab.click("label[for=format-boto3]")
    assert 'CustomAttributes="tfs-model-name=adder",' in tab.run(RESPONSE)
    tab.click("label[for=format-json]")
    choose(tab, "many", "#model")
    tab.until("document.querySelector('#signature').textContent.includes('ragged')")
    assert answer(tab) == {"outputs": [[1.0, 1.0]]}


def test_several_inputs_and_ragged_rows(tab: Tab) -> None:
    choose(tab, "ragged")
    names = tab.run("[...document.querySelectorAll('.field label span')].map((s) => s.textContent)")
    values = {"values": "[1.0, 2.0, 6.0]", "row_splits": "[0, 2, 3]"}
    for number, name in enumerate(names):
        fill(tab, number, values[name])
    assert answer(tab) == {"outputs": [1.5, 6.0]}


def test_an_image_file_is_sent_to_an_input_of_strings(tab: Tab, tmp_path: Path) -> None:
    image = tmp_path / "small.png"
    image.write_bytes(png(7, 5))
    choose(tab, "files")
    tab.choose(".field input", image)
    tab.until("document.querySelector('.chosen img:not([hidden])')")
    assert "small.png" in tab.run("document.querySelector('.chosen p').textContent")
    assert answer(tab) == {"outputs": [[5, 7, 3]]}
    tab.click(".chosen button")
    assert tab.run("document.querySelector('.field textarea').offsetParent !== null")
    tab.drop("#model-form", image)
    assert answer(tab) == {"outputs": [[5, 7, 3]]}


def test_the_pixels_of_an_image_are_sent_to_a_model_of_pixels(tab: Tab, tmp_path: Path) -> None:
    image = tmp_path / "small.png"
    image.write_bytes(png(7, 5))  # of one color
    choose(tab, "pixels")
    tab.choose(".field input", image)
    tab.until("document.querySelector('.chosen img:not([hidden])')")
    assert answer(tab) == {"outputs": [[128, 64, 32]]}
    tab.run("document.querySelector('.scale select').value = '0 to 1'")
    tab.click("#model-form .primary")
    shown = tab.until(f"{RESPONSE}.includes('0.5') && {RESPONSE}")
    assert json.loads(shown)["outputs"] == [pytest.approx([0.502, 0.251, 0.1255], abs=1e-3)]


def test_errors_are_shown(tab: Tab) -> None:
    fill(tab, 0, "[[1, 2")
    tab.click("#model-form .primary")
    assert "x: not JSON" in tab.until(ERROR)
    assert tab.requests("/invocations") == 0
    fill(tab, 0, '[["one", "two"]]')
    tab.click("#model-form .primary")
    shown = tab.until(f"{ERROR}.includes('returned 400') && {ERROR}")
    assert "Hint: the signature serving_default takes x (float32 [N, 2])" in shown
    fill(tab, 0, "[[1, 2]]")
    assert answer(tab) == {"outputs": [[2, 4]]}
    assert tab.run("document.querySelector('#form-error').hidden")


def test_a_phone_has_room_for_it(tab: Tab) -> None:
    tab.resize(360, 740, mobile=True)
    choose(tab, "pixels")
    assert tab.run("document.documentElement.scrollWidth") <= 360
