"""The training image, built by its own Dockerfile and run by a real engine.

Its base cannot be pulled here, so it stands on a bare Debian with the packages of the checkout's
own environment in place of `tensorflow/tensorflow`: every line of the Dockerfile runs, and pip
finds the lock fulfilled.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from support import locks
from support.aws import moto
from support.docker_engine import MINE, Engine

DOCKERFILE = CHECKOUT / "container/train.Dockerfile"
# Large, and never opened by what runs here; pip asks only what is installed.
UNUSED = ("clang/native", "googleapiclient/discovery_cache", "tensorflow/include")


def others() -> set[str]:
    """What is installed here and not locked for training."""
    training = {top for name in locks.packages("train") for top in tops(name)}
    development = {top for name in locks.packages("dev") for top in tops(name)}
    return development - training


def tops(name: str) -> set[str]:
    """A distribution's entries in site-packages."""
    return {file.parts[0] for file in distribution(name).files or ()} - {"..", "__pycache__"}


@pytest.fixture(scope="module")
def base(engine: Engine, debian_tar: Path) -> str:
    """The stand-in for `tensorflow/tensorflow`."""
    python = f"python3.{sys.version_info.minor}"
    target = f"usr/local/lib/{python}/dist-packages"
    packages = Path(sysconfig.get_path("purelib"))
    name = f"{MINE}-tensorflow"
    with tempfile.TemporaryDirectory(prefix="petbox-base-") as root:
        subprocess.run(["tar", "-xf", debian_tar, "-C", root], check=True)
        if not Path(root, "usr/bin", python).exists():
            pytest.skip(f"{debian_tar.stem} has another Python than .venv, which has {python}")
        excluded = " ".join(f"--exclude={packages.name}/{part}" for part in (*UNUSED, *others()))
        packing = (
            f"tar -c --exclude='*petbox*' --exclude=./{Path(target).parent} {excluded} "
            f"--transform='s#^{packages.name}#{target}#' -C $1 . -C $2 {packages.name}"
        )
        engine.unpacked(name, packing, root, packages.parent)
    return name


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


@pytest.fixture
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


def mounted(ml: Path, photos: Path) -> list[str]:
    """As SageMaker runs it, but that only /opt/ml and /tmp can be written to."""
    binds = [f"--volume={ml}:/opt/ml", f"--volume={photos}:/opt/ml/input/data/training:ro"]
    return ["--read-only", "--tmpfs=/tmp:exec", *binds]


def test_what_cannot_be_trained_on_is_shown_beside_what_can(
    engine: Engine, image: str, tmp_path: Path
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
    engine: Engine, image: str, photos: Path, tmp_path: Path
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


def test_two_hosts_train_one_model(
    engine: Engine, image: str, photos: Path, tmp_path: Path, network: str
) -> None:
    jobs = {}
    # The second is started first, so that it waits for a host that nobody knows yet.
    for host in ("algo-2", "algo-1"):
        ml = opt_ml(tmp_path / host, steps=2, report_every=1, preset="toy", test_share=0.2)
        resources = {"current_host": host, "hosts": ["algo-1", "algo-2"]}
        resources |= {"network_interface_name": "eth0"}
        (ml / "input/config/resourceconfig.json").write_text(json.dumps(resources))
        there = (f"--network={network}", f"--network-alias={host}", "--rm")
        jobs[host] = engine.start("run", *mounted(ml, photos), *there, image, "train")
    said = {host: job.communicate(timeout=500)[0] for host, job in jobs.items()}
    assert [job.returncode for job in jobs.values()] == [0, 0], said
    model = tmp_path / "algo-1/model/1"
    assert (model / "saved_model.pb").is_file()
    assert "Marmalade" in (model / "assets/label_map.pbtxt").read_text()
    metrics = json.loads((tmp_path / "algo-1/output/data/evaluation.json").read_text())
    assert metrics["split"] == "test"
    assert "trained 2 steps" in said["algo-1"]
    assert not (tmp_path / "algo-2/model").exists(), "one of them exports"


def test_a_plain_run_sends_its_results_to_s3(engine: Engine, image: str, photos: Path) -> None:
    with moto() as aws:
        s3 = aws.client("s3")
        s3.create_bucket(Bucket="results")
        there = [f"--env={key}={value}" for key, value in aws.env.items() if key[:4] == "AWS_"]
        there += ["--network=host", "--tmpfs=/opt/ml:exec", f"--volume={photos}:/data:ro"]
        words = ("--training=/data", "--output=s3://results/job", "--preset=toy", "--steps=2")
        engine(
            "run", "--rm", "--tmpfs=/tmp:exec", *there, image, "train", *words, "--test-share=0.2"
        )
        sent = {one["Key"] for one in s3.list_objects_v2(Bucket="results")["Contents"]}
    assert {"job/model/1/saved_model.pb", "job/checkpoints/run/checkpoint"} <= sent
    assert any(key.endswith("/evaluation.json") for key in sent)
