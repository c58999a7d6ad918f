"""`--profile` and `--region`: every command that talks to AWS calls there, as that account."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.aws import REGION, rejection, settings
from support.endpoint_aws import IMAGE, ROLE, failed, petbox
from support.peer import Peer, golden, peer
from test_layout import ANY_ROOM, PETBOX, modules_imported

from petbox.cli.main import Parser, parser

FAR = "us-west-2"
IMAGE_FAR = IMAGE.replace(REGION, FAR)
TYPED = {
    "setup": "--dry-run",
    "doctor": "",
    "deploy": "pets.toml --dry-run",
    "transform": "s3://bucket/in/ s3://bucket/out/ --endpoint pets",
    "train-job": f"--image {IMAGE_FAR} --role {ROLE} --data s3://bucket/in --output s3://bucket/out",
    "upload": "cat.jpg s3://bucket/in/",
    "detect": "cat.jpg --endpoint pets",
    "label": "cat.jpg --endpoint pets --out labels",
    "endpoint package": "model s3://bucket/models",
    "endpoint up": f"pets --image {IMAGE_FAR} --role {ROLE}",
    "endpoint status": "pets",
    "endpoint logs": "pets",
    "endpoint watch": "pets",
    "endpoint invoke": "pets cat.jpg",
    "endpoint down": "pets",
    "endpoint models": "pets list",
    "endpoint export": "--endpoint pets",
    "endpoint list": "",
    "zoo train": f"--data s3://bucket/zoo.csv --out s3://bucket/zoo --on ecs --image {IMAGE_FAR} "
    f"--role {ROLE} --subnet subnet-1",
}


@pytest.fixture(scope="module")
def aws() -> Iterator[Peer]:
    with peer(lambda _: rejection("AccessDeniedException", "no", 403), hangs_up=True) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cat.jpg").write_bytes(golden("picture.jpg"))
    (tmp_path / "model" / "1").mkdir(parents=True)
    (tmp_path / "model" / "1" / "saved_model.pb").write_bytes(b"a model")
    (tmp_path / "pets.toml").write_text(f'name = "pets"\nimage = "{IMAGE_FAR}"\nrole = "{ROLE}"\n')
    (tmp_path / "config").write_text(
        "[profile other]\nregion = eu-central-1\n"
        "aws_access_key_id = OTHERKEY\naws_secret_access_key = secret\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(group: Parser, name: str = "") -> Iterator[tuple[str, Parser]]:
    for word, command in group.commands.items():
        yield from commands(command, f"{word} ") if command.commands else [(name + word, command)]


def talks_to_aws(module: str, seen: set[str]) -> bool:
    """Whether it imports boto3's sessions, by whatever way."""
    if module in seen or module in ANY_ROOM:
        return False
    seen.add(module)
    return module == "petbox.aws.session" or any(
        talks_to_aws(name, seen) for name in modules_imported(module)
    )


def test_each_command_that_talks_to_aws_has_them() -> None:
    for name, command in commands(parser()):
        module = f"petbox.{command.entry_point.split(':')[0]}"
        assert command.on_aws == (name in TYPED) == talks_to_aws(module, set()), name
    assert module in PETBOX


@pytest.mark.parametrize("name", TYPED)
def test_calls_go_to_that_region_as_that_account(name: str, aws: Peer, folder: Path) -> None:
    env = settings(aws.url) | {"AWS_CONFIG_FILE": str(folder / "config")}
    words = f"{name} {TYPED[name]}".split()
    aws.requests.clear()
    result = petbox(env, *words, "--region", FAR, "--profile", "other")
    assert aws.requests, result.stderr
    for request in aws.requests:
        signed = request.headers["Authorization"]
        assert re.search(rf"Credential=OTHERKEY/\d+/{FAR}/", signed), signed


def test_the_region_is_that_of_the_profile_if_nothing_else_says_one(
    aws: Peer, folder: Path
) -> None:
    env = settings(aws.url) | {"AWS_CONFIG_FILE": str(folder / "config")}
    del env["AWS_DEFAULT_REGION"]
    aws.requests.clear()
    petbox(env, "endpoint", "status", "pets", "--profile", "other")
    assert "/eu-central-1/sagemaker/" in aws.requests[0].headers["Authorization"]


def test_what_is_no_region_or_profile_is_rejected(aws: Peer, folder: Path) -> None:
    env = settings(aws.url)
    wrong = petbox(env, "endpoint", "list", "--region", "Frankfurt")
    assert wrong.returncode == 2
    assert "'Frankfurt' is not a region; write it like us-east-1" in wrong.stderr
    proxy = failed(petbox(env, "setup"))
    assert proxy == (
        "error: credentials: the response is not AWS's; check the proxy, and AWS_ENDPOINT_URL"
    )
    unknown = failed(petbox({**env, "AWS_REGION": "my region"}, "endpoint", "list"))
    assert "'my region'" in unknown and unknown.endswith("; check AWS_REGION")
    absent = petbox(env, "endpoint", "list", "--profile", "absent")
    assert absent.returncode == 1
    assert "profile (absent) could not be found" in absent.stderr


KEY = f"arn:aws:kms:{FAR}:123456789012:key/1"
LONG = "s3://bucket/" + "x" * 1005


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("endpoint", "package", "model", LONG), "has more than 1024 characters or bytes"),
        (("upload", "cat.jpg", f"{LONG}xxxx/"), "has more than 1024 characters or bytes"),
        (("upload", "cat.jpg", "s3://10.0.0.1/in/"), "is not an S3 address"),
        (("setup", "--kms-key", KEY), "the key is in us-west-2, but the region is us-east-1"),
        (("endpoint", "up", "pets", "--kms-key", KEY), "the key is in us-west-2, but the region"),
        (("detect", "cat.jpg", "--endpoint", "my_pets"), "is not a valid SageMaker name"),
        (("detect", "cat.jpg", "--async-endpoint", "my_pets"), "is not a valid SageMaker name"),
        (("label", "cat.jpg", "--endpoint", "p" * 64, "--out", "x"), "the maximum is 63"),
    ],
)
def test_names_and_addresses_are_checked_before_any_call(
    words: tuple[str, ...], why: str, aws: Peer, folder: Path
) -> None:
    aws.requests.clear()
    result = petbox(settings(aws.url), *words)
    assert result.returncode and why in result.stderr.splitlines()[-1]
    assert not aws.requests
