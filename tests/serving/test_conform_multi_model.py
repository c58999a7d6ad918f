"""`petbox conform --multi-model`: the line for the one rule that a server breaks must fail."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.conforming import CONFORM, failing, outcomes
from support.multi_model_server import multi_model_server
from support.ports import free_port

from petbox.serving.conform.contract import CONTRACT

Run = Callable[..., subprocess.CompletedProcess[str]]
ON_IMAGES = {"models-label", "models-memory"}  # need an image


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "answer").write_text(f"from {name}")
    return tmp_path / "models"


def conform(run: Run, rule: str, models: Path, *words: str) -> subprocess.CompletedProcess[str]:
    with multi_model_server(rule) as server:
        at = f"http://127.0.0.1:{server.port}"
        return run(*CONFORM, at, "--multi-model", models, "--json", *words)


def test_a_server_that_keeps_the_contract_breaks_no_line(run: Run, models: Path) -> None:
    done = conform(run, "", models)
    assert done.returncode == 0, done.stderr + done.stdout
    expected = {line.name for line in CONTRACT if line.multi_model}
    assert outcomes(done) == {
        name: "not tried" if name in ON_IMAGES else "holds" for name in expected
    }


def test_a_server_that_answers_200_to_everything_fails(run: Run, models: Path) -> None:
    done = conform(run, "answers 200 to everything", models)
    assert done.returncode == 1
    assert failing(done).keys() == {
        *("models-load-again", "models-list", "models-describe", "models-describe-unknown"),
        *("models-invoke-unknown", "models-unload", "models-unload-unknown", "models-load-broken"),
    }
    guaranteed = {"models-errors", "models-broken-gone", "models-repaired", "models-load-together"}
    assert failing(done, "petbox").keys() == guaranteed


@pytest.mark.parametrize(
    ("rule", "lines", "guaranteed"),
    [
        ("loads twice", {"models-load-again"}, {"models-errors", "models-load-together"}),
        ("lists nothing", {"models-list"}, set()),
        ("describes nothing", {"models-describe"}, set()),
        ("forgets nothing", {"models-unload"}, {"models-others"}),
        ("keeps what did not load", set(), {"models-broken-gone", "models-repaired"}),
        ("is not healthy while it loads", {"models-ping"}, set()),
        ("cuts requests off when it unloads", set(), {"models-unload-waits"}),
        ("stalls the others while it loads", set(), {"models-others"}),
        ("takes ASCII only", {"models-headers"}, set()),
        ("answers errors in html", set(), {"models-errors"}),
    ],
)
def test_a_broken_rule_is_named_and_no_other(
    rule: str, lines: set[str], guaranteed: set[str], run: Run, models: Path
) -> None:
    done = conform(run, rule, models)
    assert failing(done).keys() == lines
    assert failing(done, "petbox").keys() == guaranteed
    assert done.returncode == (1 if lines else 0)


def test_only_sagemakers_requirements_are_tested_if_asked(run: Run, models: Path) -> None:
    done = conform(run, "answers errors in html", models, "--sagemaker-only")
    levels = {line["level"] for line in json.loads(done.stdout)["lines"]}
    assert levels == {"sagemaker"}


def test_a_model_that_does_not_load_leaves_nothing_to_try(run: Run, models: Path) -> None:
    (models / "two" / "answer").unlink()
    done = conform(run, "", models)
    assert list(failing(done)) == ["models-load"]
    assert failing(done)["models-load"].startswith("two: 400 ")
    assert outcomes(done)["models-invoke"] == "not tried"


@pytest.mark.parametrize(("folder", "why"), [("", "has no model"), ("none", "no such folder")])
def test_a_folder_without_models_is_an_error(
    folder: str, why: str, run: Run, tmp_path: Path
) -> None:
    at = f"http://127.0.0.1:{free_port()}"
    done = run(*CONFORM, at, "--multi-model", tmp_path / folder)
    assert done.returncode == 1
    assert why in done.stderr
