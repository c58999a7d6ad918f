"""A program's options, from the dataclass to what was typed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from petbox.cli import options
from petbox.cli.options import POSITIONAL


@dataclass(frozen=True)
class Typed:
    files: Annotated[tuple[str, ...], "what to read", POSITIONAL]
    tag: Annotated[tuple[str, ...], "of the bill", "KEY=VALUE"] = ("a=1",)
    out: Annotated[Path | None, "where to"] = None
    yes: Annotated[bool, "do not ask"] = False
    verbose: Annotated[bool, "say more"] = False
    browser: Annotated[bool, "open the page"] = True
    input_type: Annotated[str, "of the model"] = "none"


def parsed(*words: str) -> Typed:
    return options.parse(Typed, words)


def test_a_list_takes_one_value_a_flag_and_leaves_the_rest_alone() -> None:
    assert parsed("--tag", "b=2", "one", "two", "--tag=c=3").tag == ("a=1", "b=2", "c=3")
    assert parsed("--tag", "b=2", "one", "two").files == ("one", "two")


def test_a_list_keeps_its_default_between_calls() -> None:
    parsed("x", "--tag", "b=2")
    assert parsed("x").tag == ("a=1",)


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [(("-o", "here"), "out", Path("here")), (("-y",), "yes", True), (("-v",), "verbose", True)],
)
def test_frequent_flags_are_short(words: tuple[str, ...], name: str, value: object) -> None:
    assert getattr(parsed("x", *words), name) == value


@pytest.mark.parametrize("words", [("--input_type", "a_b"), ("--input_type=a_b",)])
def test_underscores_are_as_good_as_dashes_in_a_flag(words: tuple[str, ...]) -> None:
    assert parsed("x", *words).input_type == "a_b"


def test_a_file_may_be_called_like_a_flag() -> None:
    assert parsed("--", "--a_b.jpg").files == ("--a_b.jpg",)


def test_help_says_what_may_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--tag KEY=VALUE of the bill (repeatable) (default: a=1)" in shown
    assert "default: True" not in shown
