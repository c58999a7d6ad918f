"""scripts/push_ecr.sh: a real build, a real push, a pull by digest that answers.

Moto's server is ECR's API. The registry that its host name leads to is Debian's docker-registry on
this machine, with the password that moto hands out.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from conftest import CHECKOUT
from support.aws import Aws, moto, no_credentials
from support.docker_engine import MINE, REGISTRY_ADDRESS, REGISTRY_HOST, Engine
from support.saved_models import adder
from support.serving_image import MOUNTS, Container

REGISTRY = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/images}}}}
http: {{addr: {address}:80}}
auth: {{htpasswd: {{realm: ECR, path: {folder}/htpasswd}}}}
"""
ADDRESS = re.escape(f"{REGISTRY_HOST}/petbox@sha256:") + "[0-9a-f]{64}"
OPTIONS = ("--model", "model/adder", "--cpu")
Push = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as server:
        yield server


@pytest.fixture(scope="module")
def registry(
    aws: Aws, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[requests.Session]:
    """The registry; asks it as ECR's user."""
    if not engine.own:
        pytest.skip("the engine that answers would look for ECR on the internet; stop it")
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed; scripts/install_system.sh registry")
    folder = tmp_path_factory.mktemp("registry")
    token = aws.client("ecr").get_authorization_token()["authorizationData"][0]
    user, password = base64.b64decode(token["authorizationToken"]).decode().split(":", 1)
    (folder / "htpasswd").write_text(f"{user}:{hashed(password)}\n")
    (folder / "config.yml").write_text(REGISTRY.format(folder=folder, address=REGISTRY_ADDRESS))
    server = subprocess.Popen(["docker-registry", "serve", folder / "config.yml"])
    session = requests.Session()
    session.auth = (user, password)
    try:
        while not is_open():
            assert server.poll() is None, "docker-registry does not start"
        yield session
    finally:
        server.terminate()
        server.wait()


def hashed(password: str) -> str:
    """By bcrypt, which is all that the registry takes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import crypt

    return crypt.crypt(password, "$2b$04$" + "petboxpetboxpetboxpetb")


def is_open() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((REGISTRY_ADDRESS, 80)) == 0


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of the project the script takes, all committed, and a model that is ignored."""
    folder = tmp_path_factory.mktemp("push") / "checkout"
    shutil.copytree(CHECKOUT / "container", folder / "container")
    (folder / "scripts").mkdir()
    for name in ("scripts/push_ecr.sh", ".dockerignore", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, folder / name)
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
def push(checkout: Path, aws: Aws, engine: Engine) -> Push:
    def push(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """In an environment without what is empty in `env`."""
        whole = {**engine.env, **aws.env, "PYTHON": sys.executable, **env}
        return subprocess.run(
            [checkout / "scripts" / "push_ecr.sh", *words],
            env={name: value for name, value in whole.items() if value},
            capture_output=True,
            text=True,
            timeout=600,
        )

    return push


def test_a_dry_run_changes_nothing(push: Push, aws: Aws, registry: requests.Session) -> None:
    done = push(*OPTIONS, "--keep", "5", "--dry-run")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for what in (
        "would make the repository petbox",
        "newest 5 images",
        "the CPU base",
        "would log",
    ):
        assert what in done.stderr
    assert aws.client("ecr").describe_repositories()["repositories"] == []
    assert registry.get(f"http://{REGISTRY_ADDRESS}/v2/_catalog").json() == {"repositories": []}


def test_another_base_has_another_tag(push: Push, aws: Aws) -> None:
    bases = ((), ("--base", "serving:1"))
    runs = [push("--model", "model/adder", *words, "--dry-run").stderr for words in bases]
    first, second = (re.findall(r"-adder-7-[0-9a-f]{8}$", said, re.MULTILINE) for said in runs)
    assert first and second and first != second, runs


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
    aws: Aws,
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
    ecr = aws.client("ecr")
    (made,) = ecr.describe_repositories()["repositories"]
    assert made["imageTagMutability"] == "IMMUTABLE"
    assert made["imageScanningConfiguration"] == {"scanOnPush": True}
    policy = json.loads(ecr.get_lifecycle_policy(repositoryName="petbox")["lifecyclePolicyText"])
    assert policy["rules"][0]["selection"]["countNumber"] == 5
    (tag,) = registry.get(f"http://{REGISTRY_ADDRESS}/v2/petbox/tags/list").json()["tags"]
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

    # Moto does not see what the registry gets; ECR does.
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = registry.get(
        f"http://{REGISTRY_ADDRESS}/v2/petbox/manifests/{tag}", headers={"Accept": kind}
    )
    ecr.put_image(repositoryName="petbox", imageManifest=manifest.text, imageTag=tag)
    again = push(*OPTIONS, "--", "--network=host")
    assert again.returncode == 0, again.stderr
    assert "already pushed" in again.stderr and "Step" not in again.stderr
    assert re.fullmatch(
        re.escape(f"{REGISTRY_HOST}/petbox@sha256:") + "[0-9a-f]{64}\n", again.stdout
    )


def test_an_image_that_exists_is_pushed_as_it_is(
    push: Push, image: str, engine: Engine, registry: requests.Session
) -> None:
    done = push("--image", image, "--repository", "ready")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(ADDRESS.replace("petbox", "ready") + "\n", done.stdout)
    content = engine("inspect", "--format={{.Id}}", image).stdout.removeprefix("sha256:")
    tags = registry.get(f"http://{REGISTRY_ADDRESS}/v2/ready/tags/list").json()["tags"]
    assert tags == [f"image-{content[:12]}"]


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
    assert "other" not in registry.get(f"http://{REGISTRY_ADDRESS}/v2/_catalog").text


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
    ):
        done = push(*words, **env)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert what in done.stderr
        assert "Traceback" not in done.stderr
