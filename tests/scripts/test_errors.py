"""scripts/errors.py lists the messages that users get, in each language of the project."""

from __future__ import annotations

import re
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest
from conftest import CHECKOUT

LISTED = re.compile(r"(\S+):(\d+): (.+)")


@pytest.fixture(scope="module")
def listed(run: Callable[..., CompletedProcess[str]]) -> list[tuple[str, int, str]]:
    lines = run("scripts/errors.py").stdout.splitlines()
    found = [match for match in map(LISTED.fullmatch, lines) if match]
    return [(match[1], int(match[2]), match[3]) for match in found]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("petbox/outputs.py", "{path}: exists already and is not overwritten; remove it or name "),
        ("petbox/serving/docker.py", "argument --env: {pair}: write it as NAME=VALUE"),
        ("petbox/data/annotations.py", "{where}: the class {name} is not in the label map; add it"),
        ("container/gateway/images.lua", "the body is empty; send the image"),
        ("container/run_folder.sh", "TMPDIR=${TMPDIR:-/tmp}: nginx's worker, which is not root, "),
        ("scripts/push_ecr.sh", "--image $image: no such image; build or pull it first"),
        ("container/hooks.sh", "$code/inference.py cannot run, because this image has no Python; "),
    ],
)
def test_messages_of_each_language_are_listed_where_they_are(
    path: str, text: str, listed: list[tuple[str, int, str]]
) -> None:
    (line,) = [at for file, at, message in listed if file == path and message.startswith(text)]
    words = re.findall(r"[a-z]{4,}", text.split("{")[0] or text.split("}")[1])
    near = "".join((CHECKOUT / path).read_text().splitlines(keepends=True)[line - 1 : line + 4])
    assert all(word in near for word in words[:2])


def test_names_and_numbers_are_not_messages(listed: list[tuple[str, int, str]]) -> None:
    assert len(listed) > 900
    assert not [text for _, _, text in listed if not re.search(r"[a-z]{2}", text)]


def test_those_that_advise_nothing_can_be_listed_alone(
    run: Callable[..., CompletedProcess[str]], listed: list[tuple[str, int, str]]
) -> None:
    shown = run("scripts/errors.py", "--no-advice").stdout.splitlines()
    assert not [line for line in shown if "; " in line]
    advising = [f"{path}:{line}: {text}" for path, line, text in listed if "; " in text]
    assert len(shown) + len(advising) <= len(listed)
