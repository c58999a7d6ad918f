"""scripts/push_ecr.sh: a real build, a real push, a pull by digest that answers.

Moto's server is ECR's API. The registry that its host name leads to is Debian's docker-registry on
this machine, with the password that moto hands out.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from conftest import CHECKOUT
from support import ecr, macos, permissions
from support.aws import no_credentials
from support.docker_engine import MINE, REGISTRY_ADDRESS, REGISTRY_HOST, Engine
from support.endpoint_aws import AwsProxy, aws_proxy
from support.saved_models import adder
from support.serving_image import MOUNTS, Container, build_context

from petbox.aws.image import DOCKER, LISTS
from petbox.sagemaker.deploy.image_build import Build
from petbox.sagemaker.endpoint.spec import EndpointSpec

ADDRESS = re.escape(f"{REGISTRY_HOST}/petbox@sha256:") + "[0-9a-f]{64}"
OPTIONS = ("--model", "model/adder", "--cpu")
Push = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsProxy]:
    with aws_proxy() as server:
        server.instead["BatchGetImage"] = lambda _: {"images": []}
        yield server


@pytest.fixture(scope="module")
def registry(
    aws: AwsProxy, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[requests.Session]:
    if not engine.own:
        pytest.skip("the engine that answers would look for ECR on the internet; stop it")
    with ecr.registry(aws, tmp_path_factory.mktemp("registry")) as session:
        yield session


@pytest.fixture(scope="session")
def tools(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    return macos.path_of_tools(tmp_path_factory.mktemp("macos") / "bin")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of the project the script takes, all committed, and a model that is ignored."""
    folder = tmp_path_factory.mktemp("push") / "checkout"
    build_context(folder, "scripts/push_ecr.sh", "pyproject.toml")
    (folder / ".gitignore").write_text("/model/\n")
    version = adder(folder / "model" / "adder" / "7", 2.5)
    told_by_exporter(version, "2.20.0")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=all"]):
        who = ["-c", "user.name=petbox", "-c", "user.email=petbox@localhost"]
        subprocess.run(["git", *who, *words], cwd=folder, check=True)
    return folder


def told_by_exporter(version: Path, tensorflow: str) -> None:
    (version / "assets.extra").mkdir(exist_ok=True)
    (version / "assets.extra" / "export.json").write_text(
        json.dumps({"tensorflow": tensorflow}, indent=1)
    )


@pytest.fixture
def push(checkout: Path, aws: AwsProxy, engine: Engine, tools: str) -> Push:
    def push(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """In an environment without what is empty in `env`."""
        found = {"PATH": tools, "PYTHON": sys.executable, "PYTHONPATH": str(CHECKOUT)}
        run = permissions.begin(["push_ecr.sh", *words], aws.env)
        whole = {**engine.env, **aws.env, **found, **run, **env}
        return subprocess.run(
            [checkout / "scripts" / "push_ecr.sh", *words],
            env={name: value for name, value in whole.items() if value},
            capture_output=True,
            text=True,
            timeout=600,
        )

    return push


def test_a_dry_run_changes_nothing(push: Push, aws: AwsProxy, registry: requests.Session) -> None:
    done = push(*OPTIONS, "--keep", "5", "--dry-run")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for what in ("would make the repository petbox", "the CPU base", "would log"):
        assert what in done.stderr
    assert aws.client("ecr").describe_repositories()["repositories"] == []
    assert registry.get(f"{ecr.URL}/_catalog").json() == {"repositories": []}


def test_another_base_or_architecture_has_another_tag(push: Push, aws: AwsProxy) -> None:
    options = ((), ("--base", "serving:1"), ("--architecture", "arm64"))
    runs = [push("--model", "model/adder", *words, "--dry-run").stderr for words in options]
    first, based, arm64 = (re.findall(r"-adder-7-(\S+)$", said, re.MULTILINE)[0] for said in runs)
    assert re.fullmatch("[0-9a-f]{8}", first) and re.fullmatch("[0-9a-f]{8}", based), runs
    assert based != first and arm64 == f"{first}-arm64", runs


def test_an_image_with_code_has_another_tag_whenever_the_code_changes(
    push: Push, checkout: Path
) -> None:
    code = checkout / "model" / "adder" / "code"
    code.mkdir()
    try:
        tags = []
        for source in ("x = 1", "x = 2"):
            (code / "inference.py").write_text(source)
            said = push("--model", "model/adder", "--hooks", "--dry-run").stderr
            assert "with Python for its code" in said
            tags += re.findall(r"-adder-7-[0-9a-f]{8}-hooks$", said, re.MULTILINE)
    finally:
        shutil.rmtree(code)
    assert len(set(tags)) == 2, tags


def test_what_is_pushed_can_be_pulled_by_its_digest_and_answers(
    push: Push,
    aws: AwsProxy,
    registry: requests.Session,
    engine: Engine,
    publishing: str,
    checkout: Path,
    official_bases: tuple[str, str],
) -> None:
    done = push(*OPTIONS, "--keep", "5", "--", "--network=host")
    assert done.returncode == 0, done.stderr
    (uri,) = done.stdout.splitlines()
    assert re.fullmatch(ADDRESS, uri)
    (made,) = aws.client("ecr").describe_repositories()["repositories"]
    assert made["imageTagMutability"] == "IMMUTABLE"
    assert made["imageScanningConfiguration"] == {"scanOnPush": True}
    (tag,) = registry.get(f"{ecr.URL}/petbox/tags/list").json()["tags"]
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=checkout, capture_output=True, text=True
    )
    assert re.fullmatch(f"{commit.stdout.strip()}-adder-7-[0-9a-f]{{8}}-cpu", tag)

    engine("rmi", "--force", *engine("images", "--quiet", f"{REGISTRY_HOST}/petbox").stdout.split())
    engine("pull", uri)
    label = '{{index .Config.Labels "org.opencontainers.image.base.name"}}'
    assert engine("inspect", f"--format={label}", uri).stdout.strip() == official_bases[1]
    name = f"{MINE}-pulled"
    network = (f"--network={publishing}", "--publish=127.0.0.1::8080")
    engine("run", "--detach", f"--name={name}", *network, *MOUNTS, uri, "serve")
    try:
        answer = Container(engine, name, 8080).ready().post(b'{"instances": [1.0]}')
        assert answer.json() == {"predictions": [3.5]}
    finally:
        engine("rm", "--force", "--volumes", name)

    again = push(*OPTIONS, "--", "--network=host")
    assert (again.returncode, again.stdout) == (0, done.stdout), again.stderr
    assert "already pushed" in again.stderr and "Step" not in again.stderr


def test_an_image_that_exists_is_pushed_as_it_is(
    push: Push, image: str, engine: Engine, registry: requests.Session
) -> None:
    done = push("--image", image, "--repository", "ready")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(ADDRESS.replace("petbox", "ready") + "\n", done.stdout)
    content = engine("inspect", "--format={{.Id}}", image).stdout.removeprefix("sha256:")
    tags = registry.get(f"{ecr.URL}/ready/tags/list").json()["tags"]
    assert tags == [f"image-{content[:12]}"]


def test_what_docker_29_pushes_becomes_what_sagemaker_takes(
    push: Push, image: str, engine: Engine, registry: requests.Session
) -> None:
    """An index of OCI, with a manifest and an attestation."""
    words = ("--image", image, "--repository", "newer")
    push(*words)
    tag = registry.get(f"{ecr.URL}/newer/tags/list").json()["tags"][0]
    before = ecr.manifest(registry, "newer", tag).json()
    ecr.make_oci(registry, "newer", tag)
    assert ecr.manifest(registry, "newer", tag).headers["Content-Type"] == LISTS[1]

    again = push(*words)
    assert again.returncode == 0, again.stderr
    assert f"{tag}: was pushed as {LISTS[1]}; replacing it" in again.stderr
    found = ecr.manifest(registry, "newer", tag)
    assert found.headers["Content-Type"] == DOCKER
    assert again.stdout.strip().endswith(f"@{found.headers['Docker-Content-Digest']}")
    layers = [one["mediaType"] for one in found.json()["layers"]]
    assert layers == [one["mediaType"] for one in before["layers"]]
    engine("pull", again.stdout.strip())


def test_the_training_image_is_pushed_too(
    push: Push, checkout: Path, image: str, registry: requests.Session
) -> None:
    """From a short file in its place: what is in the real one, other tests build."""
    path = checkout / "container/train.Dockerfile"
    before = path.read_text()
    assert re.search("^ARG BASE=.*-gpu$", before, re.MULTILINE)
    path.write_text(f"ARG BASE={image}-gpu\nFROM ${{BASE}}\n")
    try:
        done = push("--train", "--cpu", "--allow-dirty")
    finally:
        path.write_text(before)
    assert re.fullmatch(ADDRESS.replace("petbox", "petbox-train") + "\n", done.stdout), done.stderr


@pytest.fixture
def packages(checkout: Path) -> Iterator[Path]:
    """A folder with the packages of the model's code, apart from the model."""
    folder = checkout / "model" / "more packages"
    folder.mkdir()
    (folder / "requirements.txt").write_text("numpy\n")
    yield folder
    shutil.rmtree(folder)


def test_packages_of_another_folder_are_installed(
    push: Push,
    checkout: Path,
    packages: Path,
    image: str,
    engine: Engine,
    registry: requests.Session,
) -> None:
    """By a short Dockerfile in its place: what is in the real one, other tests build."""
    words = ("--model", "model/adder", "--hooks", "--code", packages)
    tags = []
    for content in ("numpy\n", "pillow\n"):
        (packages / "requirements.txt").write_text(content)
        said = push(*map(str, words), "--dry-run").stderr
        assert "with Python for its code and the packages of model/more packages\n" in said
        tags += re.findall(r"-adder-7-[0-9a-f]{8}-hooks$", said, re.MULTILINE)
    assert len(set(tags)) == 2, tags

    path = checkout / "container/Dockerfile"
    before = path.read_text()
    assert "ARG CODE=" in before
    path.write_text(f"FROM {image}\nARG CODE\nLABEL code=${{CODE}}\n")
    try:
        done = push(*map(str, words), "--allow-dirty", "--repository", "coded")
    finally:
        path.write_text(before)
    assert done.returncode == 0, done.stderr
    label = engine("inspect", '--format={{index .Config.Labels "code"}}', done.stdout.strip())
    assert label.stdout.strip() == "model/more packages"


def test_the_script_takes_what_deploy_passes(push: Push, checkout: Path, packages: Path) -> None:
    build = Build(
        checkout / "model" / "adder",
        hooks=True,
        code=packages,
        base="mine:1",
        architecture="arm64",
        repository="cats",
        allow_dirty=True,
    )
    path = checkout / "container" / "nginx.conf"
    before = path.read_text()
    path.write_text(before + "# changed\n")
    try:
        done = push(*build.command(EndpointSpec("pets"))[1:], "--dry-run")
        alone = Build(build.model, allow_dirty=True).command(EndpointSpec("pets"))
        other = push(*alone[1:], "--dry-run")
    finally:
        path.write_text(before)
    assert done.returncode == other.returncode == 0, done.stderr + other.stderr
    assert re.search("/cats:.*-dirty-.*-hooks-arm64\n", done.stderr), done.stderr
    assert "for linux/arm64 with model/adder on mine:1 with Python" in done.stderr
    assert "for linux/amd64 with model/adder on the CPU base\n" in other.stderr


def saved(folder: Path, name: str, architecture: str) -> Path:
    """An image as `docker save` writes it, of an empty layer: Docker 20.10 builds none from scratch
    but for its own processor."""
    layer = bytes(1024)  # a tar file of nothing
    config = {"architecture": architecture, "os": "linux", "config": {"Env": [architecture]}}
    layers = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    manifest = [{"Config": "config.json", "RepoTags": [f"{name}:latest"], "Layers": ["layer.tar"]}]
    path = folder / f"{architecture}.tar"
    with tarfile.open(path, "w") as archive:
        for file, content in (
            ("layer.tar", layer),
            ("config.json", json.dumps({**config, "rootfs": layers}).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(file)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_an_image_for_arm64_is_pushed_beside_the_one_for_amd64(
    push: Push, checkout: Path, registry: requests.Session, engine: Engine, tmp_path: Path
) -> None:
    """From files that run nothing: there is no other processor here."""
    path = checkout / "container/train.Dockerfile"
    before = path.read_text()
    base = f"{MINE}-of-two"
    path.write_text(f"FROM {base}\nCOPY container/nginx.conf /\n")

    def pushed(architecture: str) -> subprocess.CompletedProcess[str]:
        """From a base whose tag means another image on each architecture, as official ones do."""
        engine("load", "--input", saved(tmp_path, base, architecture))
        words = ("--train", "--allow-dirty", "--repository", "two")
        return push(*words, "--architecture", architecture)

    try:
        amd64, arm64, again = map(pushed, ("amd64", "arm64", "amd64"))
    finally:
        path.write_text(before)
    assert arm64.returncode == 0, arm64.stderr
    assert amd64.stdout != arm64.stdout, "two images"
    assert again.stdout == amd64.stdout and "already pushed" in again.stderr
    tags = [re.findall(r"/two:(\S+)$", one.stderr, re.M)[0] for one in (amd64, arm64)]
    assert tags[1] == f"{tags[0]}-arm64"
    for tag, expected in zip(tags, ("amd64", "arm64"), strict=True):
        config = ecr.manifest(registry, "two", tag).json()["config"]["digest"]
        image = registry.get(f"{ecr.URL}/two/blobs/{config}").json()
        assert (image["os"], image["architecture"]) == ("linux", expected)
    # One that is there already is not returned for an image of the other architecture.
    local = f"{REGISTRY_HOST}/two:{tags[0]}"
    mixed = push("--train", "--image", local, "--repository", "two", "--architecture", "arm64")
    assert (mixed.returncode, mixed.stdout) == (1, "")
    assert "is for linux/amd64, not linux/arm64" in mixed.stderr.splitlines()[-1]
    engine("rmi", "--force", base, *[f"{REGISTRY_HOST}/two:{tag}" for tag in tags])


def test_the_images_of_lambda_and_ecs_are_pushed_too(push: Push, checkout: Path) -> None:
    for kind, dockerfile, model in (
        ("detector", "serverless/detector.Dockerfile", "model/adder"),
        ("zoo", "serverless/zoo/Dockerfile", ""),
    ):
        assert (CHECKOUT / dockerfile).exists()
        done = push(f"--{kind}", *(["--model", model] if model else []), "--dry-run")
        assert f"would make the repository petbox-{kind}\n" in done.stderr
        with_model = f" with {model}" if model else ""
        assert f"would build {dockerfile} for linux/amd64{with_model}\n" in done.stderr


def test_the_script_is_one_for_bash_3_2() -> None:
    script = (CHECKOUT / "scripts/push_ecr.sh").read_text()
    assert list(macos.newer_bash(script)) == []
    newer = '"${all[@]}" ${x^^} declare -A y; mapfile z; echo ${w: -1}'
    assert len(list(macos.newer_bash(newer))) == 5


def test_an_image_that_does_not_fit_is_not_pushed(
    push: Push, base: str, debian: str, registry: requests.Session
) -> None:
    for words, what in (
        (
            ("--image", base, "--architecture", "arm64"),
            "is for linux/amd64, not linux/arm64",
        ),
        (
            ("--image", debian),
            "serves with TensorFlow of an unknown version, but its model needs 2.20",
        ),
        (("--image", "petbox-that-is-nowhere"), "no such image; build or pull it first"),
    ):
        done = push(*words, "--repository", "other")
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert what in done.stderr.splitlines()[-1]
    assert "other" not in registry.get(f"{ecr.URL}/_catalog").text


def test_a_model_of_another_tensorflow_is_not_pushed(
    push: Push, base: str, checkout: Path, registry: requests.Session
) -> None:
    words = ("--model", "model/adder", "--base", base, "--repository", "other")
    version = checkout / "model" / "adder" / "7"
    told_by_exporter(version, "2.19.1")
    try:
        done = push(*words, "--", "--network=host")
    finally:
        told_by_exporter(version, "2.20.0")
    assert done.returncode == 1
    assert "serves with TensorFlow 2.20, but its model needs 2.19" in done.stderr.splitlines()[-1]


def test_what_is_not_committed_is_refused_unless_it_is_meant(
    push: Push, checkout: Path, registry: requests.Session
) -> None:
    path = checkout / "container" / "nginx.conf"
    before = path.read_text()
    path.write_text(before + "# changed\n")
    try:
        refused = push(*OPTIONS, "--dry-run")
        meant = push(*OPTIONS, "--dry-run", "--allow-dirty")
    finally:
        path.write_text(before)
    assert refused.returncode == 1
    assert "uncommitted changes:  M container/nginx.conf" in refused.stderr
    assert meant.returncode == 0 and re.search(r"-dirty-[0-9a-f]{8}-adder-7-", meant.stderr)


def test_what_is_missing_is_said_in_a_line(push: Push, tmp_path: Path) -> None:
    nowhere = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    for words, env, code, what in (
        (OPTIONS, {**no_credentials(tmp_path), **nowhere}, 1, "no AWS credentials; log in"),
        (OPTIONS, {"AWS_DEFAULT_REGION": "", "AWS_REGION": ""}, 1, "no AWS region is set"),
        ((*OPTIONS, "--profile", "absent"), {}, 1, "profile (absent) could not be found"),
        ((*OPTIONS, "--region", "Paris"), {}, 2, "'Paris' is not a region"),
        (OPTIONS, {"DOCKER_HOST": f"unix://{tmp_path}/none"}, 1, "Docker does not respond"),
        (("--model", "model/none"), {}, 1, "--model model/none: contains no version"),
        (("--model", str(tmp_path)), {}, 1, "contains no version"),
        ((*OPTIONS, "--repository", "Pets!", "--dry-run"), {}, 1, "repository Pets!: ECR takes"),
        ((*OPTIONS, "--keep", "0", "--dry-run"), {}, 2, "--keep 0: must be a whole number from 1"),
        ((*OPTIONS, "--base", "mine"), {}, 2, "--cpu: has no effect with --base or --image"),
        (("--architecture", "mips"), {}, 2, "--architecture mips: must be amd64"),
        (("--push",), {}, 2, "--push: unknown option"),
        (("--model",), {}, 2, "--model needs a value"),
        (("--train", "--zoo"), {}, 2, "--train and --zoo exclude each other"),
        (("--zoo", "--cpu"), {}, 2, "--cpu: has no effect with --zoo"),
        (("--train", "--model", "x"), {}, 2, "--model: has no effect with --train"),
        ((*OPTIONS, "--code", "model/adder"), {}, 2, "--code: has no effect without --hooks"),
        ((*OPTIONS, "--hooks", "--code", "model/x"), {}, 1, "x: contains no requirements.txt"),
        (("--detector", "--hooks"), {}, 2, "--hooks: has no effect with --detector"),
        (("--detector", "--keep", "3"), {}, 2, "--keep: does not know what Lambda and ECS use"),
    ):
        done = push(*words, **env)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert what in done.stderr
        assert "Traceback" not in done.stderr


def test_podman_pushes_what_docker_pushes(
    push: Push, checkout: Path, registry: requests.Session, tmp_path: Path
) -> None:
    """With a storage of its own, and an image that needs no container to be built."""
    if not (podman := shutil.which("podman")):
        pytest.skip("podman is not installed; scripts/install_system.sh podman")
    folders = f'runroot = "{tmp_path}/run"\ngraphroot = "{tmp_path}/root"'
    (tmp_path / "storage.conf").write_text(f'[storage]\ndriver = "vfs"\n{folders}\n')
    plain = f'[[registry]]\nlocation = "{REGISTRY_HOST}"\ninsecure = true\n'
    (tmp_path / "registries.conf").write_text(plain)
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{REGISTRY_ADDRESS} {REGISTRY_HOST}\n")
    client = tmp_path / "podman"
    mounts = f'mount --bind {hosts} /etc/hosts; exec {podman} "$@"'
    client.write_text(f"#!/bin/sh\nexec unshare --mount sh -euc '{mounts}' - \"$@\"\n")
    client.chmod(0o755)
    path = checkout / "serverless/zoo/Dockerfile"
    path.parent.mkdir(parents=True)
    path.write_text("FROM scratch\nCOPY container/train /train\n")
    env = {
        "DOCKER": str(client),
        "PATH": os.environ["PATH"] + ":/usr/sbin",
        "XDG_RUNTIME_DIR": str(tmp_path),
        "CONTAINERS_STORAGE_CONF": str(tmp_path / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(tmp_path / "registries.conf"),
    }
    try:
        done = push("--zoo", "--allow-dirty", **env)
    finally:
        shutil.rmtree(path.parent.parent)
    assert re.fullmatch(ADDRESS.replace("petbox", "petbox-zoo") + "\n", done.stdout), done.stderr
    (tag,) = registry.get(f"{ecr.URL}/petbox-zoo/tags/list").json()["tags"]
    assert ecr.manifest(registry, "petbox-zoo", tag).headers["Content-Type"] == DOCKER
    assert "was pushed as" not in done.stderr


@pytest.fixture
def lite(checkout: Path) -> Iterator[Path]:
    """A LiteRT detector, as `petbox convert` makes it."""
    yield shutil.copytree(CHECKOUT / "petbox/serving/demo/model", checkout / "model/lite")
    shutil.rmtree(checkout / "model/lite")


def test_a_litert_detector_is_pushed_with_its_own_server(
    push: Push, lite: Path, litert_base: str, registry: requests.Session
) -> None:
    words = ("--model", "model/lite", "--base", litert_base, "--repository", "lite")
    done = push(*words, "--", "--network=host")
    assert done.returncode == 0, done.stderr
    (tag,) = registry.get(f"{ecr.URL}/lite/tags/list").json()["tags"]
    assert "-lite-1-" in tag


def test_a_model_of_both_kinds_is_served_by_tensorflow(push: Push, lite: Path) -> None:
    adder(lite / "1", 2.5)
    shutil.copytree(CHECKOUT / "petbox/serving/demo/model", lite / "2")
    said = push("--model", "model/lite", "--dry-run").stderr
    assert "-lite-1-" in said and "debian" not in said


def test_the_base_of_a_litert_detector_is_a_debian(push: Push, lite: Path) -> None:
    done = push("--model", "model/lite", "--cpu", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert (
        "with model/lite and litert on debian:12-slim" in done.stderr and "-lite-1-" in done.stderr
    )
    done = push("--model", "model/lite", "--base", "mine", "--dry-run")
    assert "with model/lite and litert on mine" in done.stderr
    (lite / "model.tflite").rename(lite / "model.xml")
    done = push("--model", "model/lite", "--dry-run")
    assert "with model/lite and openvino on debian:12-slim" in done.stderr
    done = push("--model", "model/lite", "--detector", "--dry-run")
    assert done.returncode == 1 and done.stderr.endswith("scripts/package_lambda.sh detector\n")
