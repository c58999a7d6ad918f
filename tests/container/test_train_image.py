"""The training image, built by its own Dockerfile and run by a real engine.

Its base cannot be pulled here, so it stands on a bare Debian in which pip finds the lock fulfilled:
every line of the Dockerfile runs. What it imports there are empty modules; the packages of the
checkout's own environment, too large to copy, are mounted when it runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from support import locks
from support.aws import moto
from support.docker_engine import MINE, Engine
from support.installed import HERE, PACKAGES, copied, linked, require_python
from support.training_runs import SMALL

Mounted = Callable[[Path, Path], list[str]]
DOCKERFILE = CHECKOUT / "container/train.Dockerfile"
# What the Dockerfile imports to see that it is there.
IMPORTED = ("boto3", "lxml", "matplotlib", "official/core", "PIL", "pycocotools", "rich")
IMPORTED += ("tensorflow", "tf_keras")


@pytest.fixture(scope="module")
def base(engine: Engine, debian: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stand-in for `tensorflow/tensorflow`."""
    require_python(engine, debian)
    folder = copied(tmp_path_factory.mktemp("base"), ("pip",), locks.packages("train"))
    for name in IMPORTED:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
    (folder / "Dockerfile").write_text(f"FROM {debian}\nCOPY . {PACKAGES}\n")
    name = f"{MINE}-tensorflow"
    engine("build", "--network=none", "--tag", name, folder)
    return name


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Mounts what is locked for training, and nothing else that is installed here."""
    folder = linked(tmp_path_factory.mktemp("packages"), locks.packages("train"))
    return [f"--volume={folder}:{PACKAGES}:ro", f"--volume={HERE}:{HERE}:ro"]


@pytest.fixture(scope="module")
def image(engine: Engine, base: str) -> str:
    name = f"{MINE}-train"
    words = ("build", "--network=none", f"--build-arg=BASE={base}", "--file", DOCKERFILE)
    engine(*words, "--tag", name, CHECKOUT)
    return name


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, run: Any) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "pets"
    done = run("train/make_toy_pets.py", "--out", folder, "--train", "16", "--test", "4")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def network(engine: Engine) -> Iterator[str]:
    """One on which hosts find each other by name, and nothing else."""
    name = f"{MINE}-{os.getpid()}"
    engine("network", "create", "--internal", name)
    yield name
    engine("network", "rm", name)


def opt_ml(folder: Path, **hyperparameters: object) -> Path:
    """What SageMaker puts before a job."""
    config = folder / "input/config"
    config.mkdir(parents=True)
    # As SageMaker's SDK has them: JSON in strings, and its own keys among them.
    told = {name: json.dumps(value) for name, value in hyperparameters.items()}
    told |= {"sagemaker_region": '"us-east-1"'}
    (config / "hyperparameters.json").write_text(json.dumps(told))
    channel = {"training": {"TrainingInputMode": "File", "RecordWrapperType": "None"}}
    (config / "inputdataconfig.json").write_text(json.dumps(channel))
    return folder


@pytest.fixture(scope="module")
def mounted(packages: list[str]) -> Callable[[Path, Path], list[str]]:
    """As SageMaker runs it, but that only /opt/ml and /tmp can be written to."""

    def mounted(ml: Path, photos: Path) -> list[str]:
        binds = [f"--volume={ml}:/opt/ml", f"--volume={photos}:/opt/ml/input/data/training:ro"]
        return ["--read-only", "--tmpfs=/tmp:exec", *packages, *binds]

    return mounted


def test_what_cannot_be_trained_on_is_shown_beside_what_can(
    engine: Engine, image: str, tmp_path: Path, mounted: Mounted
) -> None:
    ml, photos = opt_ml(tmp_path / "ml"), tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"\xff\xd8")
    done = engine(
        "run", "--rm", *mounted(ml, photos), "--network=none", image, "train", check=False
    )
    assert done.returncode == 1
    failure = (ml / "output/failure").read_text()
    assert failure in done.stderr
    assert "/opt/ml/input/data/training: nothing to train on; found: cat.jpg; expected:" in failure
    assert not (ml / "model").exists()


def test_a_job_that_is_stopped_has_not_failed(
    engine: Engine, image: str, photos: Path, tmp_path: Path, mounted: Mounted
) -> None:
    """That its last step is saved, test_training_contract says."""
    ml = opt_ml(tmp_path / "ml", steps=100_000)
    name = f"{MINE}-stopped-{os.getpid()}"
    words = (*mounted(ml, photos), "--network=none", f"--name={name}", image, "train")
    job = engine.start("run", *words)
    try:
        assert job.stdout and job.stdout.readline()  # it is at work
        engine("stop", "--time=120", name)
        said = job.communicate(timeout=60)[0]
        assert job.returncode == 143, said
    finally:
        job.kill()
        engine("rm", "--force", name, check=False)
    assert not (ml / "output/failure").exists(), "to be stopped is no failure"
    assert not (ml / "model").exists()


@pytest.fixture(scope="module")
def hosts(
    engine: Engine,
    image: str,
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
    network: str,
    mounted: Mounted,
) -> tuple[Path, dict[str, str]]:
    """What two hosts that trained one model leave behind, each in its folder, and what they say."""
    folder = tmp_path_factory.mktemp("hosts")
    jobs = {}
    # The second is started first, so that it waits for a host that nobody knows yet.
    for host in ("algo-2", "algo-1"):
        small = SMALL.removeprefix("--set=")
        words = {"steps": 2, "report_every": 1, "preset": "toy", "test_share": 0.2, "set": small}
        ml = opt_ml(folder / host, **words)
        resources = {"current_host": host, "hosts": ["algo-1", "algo-2"]}
        resources |= {"network_interface_name": "eth0"}
        (ml / "input/config/resourceconfig.json").write_text(json.dumps(resources))
        there = (f"--network={network}", f"--network-alias={host}", "--rm")
        jobs[host] = engine.start("run", *mounted(ml, photos), *there, image, "train")
    said = {host: job.communicate(timeout=500)[0] for host, job in jobs.items()}
    assert [job.returncode for job in jobs.values()] == [0, 0], said
    return folder, said


def test_two_hosts_train_one_model(hosts: tuple[Path, dict[str, str]]) -> None:
    folder, said = hosts
    model = folder / "algo-1/model/1"
    assert (model / "saved_model.pb").is_file()
    assert "Marmalade" in (model / "assets/label_map.pbtxt").read_text()
    metrics = json.loads((folder / "algo-1/output/data/evaluation.json").read_text())
    assert metrics["split"] == "test"
    assert "trained 2 steps" in said["algo-1"]
    assert not (folder / "algo-2/model").exists(), "one of them exports"


def test_a_plain_run_sends_its_results_to_s3(
    engine: Engine,
    image: str,
    photos: Path,
    packages: list[str],
    hosts: tuple[Path, dict[str, str]],
) -> None:
    """It goes on from the hosts' last checkpoint, as if it had been stopped there."""
    run = hosts[0] / "algo-1/checkpoints/run"
    with moto() as aws:
        s3 = aws.client("s3")
        s3.create_bucket(Bucket="results")
        for file in (path for path in run.rglob("*") if path.is_file()):
            key = f"job/checkpoints/run.unfinished/{file.relative_to(run)}"
            s3.upload_file(str(file), "results", key)
        there = [f"--env={key}={value}" for key, value in aws.env.items() if key[:4] == "AWS_"]
        there += ["--network=host", "--tmpfs=/opt/ml:exec", f"--volume={photos}:/data:ro"]
        words = ("--training=/data", "--output=s3://results/job", "--preset=toy", "--steps=2")
        words += ("--test-share=0.2", "--report-every=1", SMALL)
        done = engine("run", "--rm", "--tmpfs=/tmp:exec", *packages, *there, image, "train", *words)
        sent = {one["Key"] for one in s3.list_objects_v2(Bucket="results")["Contents"]}
    assert "continuing " in done.stderr
    assert {"job/model/1/saved_model.pb", "job/checkpoints/run/checkpoint"} <= sent
    assert any(key.endswith("/evaluation.json") for key in sent)
    assert not any("run.unfinished" in key for key in sent)
