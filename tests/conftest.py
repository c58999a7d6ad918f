"""What every test may ask for: the checkout, its programs, the data beside it."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from support.warm_python import PYTHON, RARELY, WORKER, WarmPython, listening
from xdist.scheduler import LoadFileScheduling

pytest_plugins = tuple(
    f"support.{name}"
    for name in (
        "docker_engine",
        "lambda_runtime",
        "lambda_detectors",
        "permissions",
        "photos_chain",
        "random_detector",
        "s3_shop",
        "serving_image",
        "zoo",
    )
)

CHECKOUT = Path(__file__).resolve().parent.parent
WITH_TENSORFLOW = (
    "export/exporter_savedmodel.py",
    "export/to_litert.py",
    "train/evaluate.py",
    "train/make_records.py",
    "train/train.py",
)
# Files whose tests run in one worker of xdist, so that its Docker engine, images and models serve
# them all.
TOGETHER = (
    (
        "test_conform_petbox",
        "test_hooks_image",
        "test_image",
        "test_image_build",
        "test_image_faults",
        "test_local",
        "test_push_ecr",
        "test_tune_image",
    ),
    ("test_lambda_detector", "test_train_image", "test_zoo"),
    ("test_wheel", "test_chain"),
    ("test_s3_front", "test_s3_retries", "test_arrivals"),
)
# These start first, so that the last minutes do not wait for one worker.
LONGEST = (
    *TOGETHER[0],
    *TOGETHER[1],
    "test_training",
    "test_training_contract",
    "test_conform_image",  # by now the first has made the bare system
    "test_tutorial_path",
    "test_acceleration",
    "test_conform_guarantees",
    *TOGETHER[2],
    "test_serve_script",
    "test_export_speed_options",
    "test_page",
    "test_notebook",
    "test_docs",
    "test_exporter",
    "test_keras_mobilenet",
    *TOGETHER[3],
    "test_conform",
    "test_serve",
    "test_litert",
    "test_retinanet",
    "test_pets",
    "test_replay",
    "test_endpoint_up",
    "test_detect",
    "test_fetch_pets",
    "test_evaluation",
    "test_coco",
    "test_lambda_zips",
    "test_wrapped",
    "test_conftest",
    "test_model_server_program",
    "test_detector",
    "test_endpoint_use",
    "test_transform",
    "test_records",
    "test_train_job",
)


class ByFile(LoadFileScheduling):
    """The tests of a file, or of files that are TOGETHER, go to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return next((together[0] for together in TOGETHER if Path(file).stem in together), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Starts workers as forks of the warm Python: each of them would import TensorFlow."""
    for spec in specs:
        spec.python = f"{shlex.quote(str(PYTHON))} {WORKER}"


def pytest_configure(config: pytest.Config) -> None:
    """Lets Ctrl-C and a hangup reach the tests' programs, even if the shell started pytest without.

    A shell ignores SIGINT and SIGQUIT for a command in the background (`make test &`), `nohup`
    ignores SIGHUP, every child inherits that, and Python then installs no handler. A handler of our
    own is not inherited: pytest goes on ignoring a hangup, its children do not.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _signal, _frame: None)
    if not hasattr(config, "workerinput"):  # one for all workers of xdist
        warm = listening()
        warm.__enter__()
        config.add_cleanup(lambda: warm.__exit__(None, None, None))


def import_share(config: pytest.Config) -> None:
    """Imports every fourth test file, so that each is compiled by one of four workers.

    All of them import all files then. In a fresh checkout each would compile them as well.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker or config.args != config.getini("testpaths"):
        return
    files = sorted((CHECKOUT / "tests").rglob("test_*.py"))
    for path in files[int(worker[2:]) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]:
        with contextlib.suppress(Exception, pytest.skip.Exception):  # reported by the collection
            importlib.import_module(".".join(path.relative_to(CHECKOUT).with_suffix("").parts))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, Any, Any]:
    """Collects no garbage among thousands of tests and TensorFlow's modules, now or later.

    Nor often: a graph that is traced is thousands of new objects, and none of them is garbage.
    """
    gc.disable()
    import_share(session.config)
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(*RARELY)


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
def warm() -> WarmPython:
    return WarmPython()


@pytest.fixture(scope="session")
def run(warm: WarmPython) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs one of the project's programs as a user would."""

    def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        words = list(map(str, command))
        settings = {"cwd": CHECKOUT, "timeout": 600, **options}
        if words[0] in WITH_TENSORFLOW and settings.keys() == {"cwd", "timeout"}:
            return warm.run(*words, **settings)
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, **settings)

    return run
