"""What every test may ask for: the checkout, its programs, the data beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.warm_python import WarmPython

pytest_plugins = tuple(
    f"support.{name}"
    for name in ("docker_engine", "lambda_runtime", "lambda_detectors", "serving_image")
)

CHECKOUT = Path(__file__).resolve().parent.parent
WITH_TENSORFLOW = (
    "export/exporter_savedmodel.py",
    "export/to_litert.py",
    "train/evaluate.py",
    "train/make_records.py",
    "train/train.py",
)
# They are begun first, so that no core is left alone with one of them in the end.
LONGEST = (
    "test_training",
    "test_train_image",
    "test_conform_image",
    "test_zoo",
    "test_training_contract",
    "test_chain",
    "test_export_speed_options",
    "test_evaluation",
    "test_exporter",
    "test_pets",
    "test_lambda_detector",
    "test_keras_mobilenet",
    "test_s3_front",
    "test_litert",
    "test_push_ecr",
    "test_image_faults",
    "test_replay",
    "test_wrapped",
)


def pytest_configure() -> None:
    """Lets Ctrl-C interrupt the tests' programs, even if the shell started them without it.

    A shell ignores SIGINT and SIGQUIT for a command in the background (`make test &`), every child
    inherits that, and Python then installs no handler.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def data() -> Path:
    """Real photos and odd files, kept outside the project."""
    folder = Path(os.environ.get("PETBOX_TEST_DATA", CHECKOUT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder}: not here; name the folder with test data in PETBOX_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def run() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs one of the project's programs as a user would."""
    warm = WarmPython()

    def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        words = list(map(str, command))
        settings = {"cwd": CHECKOUT, "timeout": 600, **options}
        if words[0] in WITH_TENSORFLOW and settings.keys() == {"cwd", "timeout"}:
            return warm.run(*words, **settings)
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, **settings)

    yield run
    warm.close()
