"""What `petbox setup` made is the default of `up`, `package`, `deploy` and `doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.aws import REGION
from support.endpoint_aws import IMAGE, ROLE, SOON, AwsProxy, done, failed, petbox
from support.peer import Response

pytestmark = pytest.mark.usefixtures("forgotten")
ACCOUNT = "123456789012"
NEW = ("endpoint", "up", "new", "--image", IMAGE, *SOON)


def role(prefix: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{prefix}-endpoint-{REGION}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    version = tmp_path / "Hündchen" / "Kätzchen" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"a model")
    return version.parent


def over_http(aws: AwsProxy, bucket: str) -> None:
    """Moto has no TLS, which the bucket's policy demands."""
    aws.client("s3").delete_bucket_policy(Bucket=bucket)


def planned_role(aws: AwsProxy) -> str:
    result = done(petbox(aws.env, *NEW, "--dry-run"))
    steps = {one.get("call"): one.get("request") for one in json.loads(result.stdout)}
    taken = str(steps["sagemaker.create_model"]["ExecutionRoleArn"])
    assert f"role: {taken}, of petbox setup\n" in result.stderr
    return taken


def test_the_role_is_that_of_the_only_setup_or_of_the_one_without_a_name(
    aws: AwsProxy, model: Path
) -> None:
    iam = aws.client("iam")
    for name in ("theirs", "petbox"):  # of somebody else: without setup's tag
        iam.create_role(RoleName=f"{name}-endpoint-{REGION}", AssumeRolePolicyDocument="{}")
    none = f"error: petbox setup has not run in {REGION}; run it, or give "
    assert failed(petbox(aws.env, *NEW)) == f"{none}--role"
    packed = petbox(aws.env, "endpoint", "package", model)
    assert failed(packed) == f"{none}a bucket, as in s3://bucket/models"
    assert aws.changes() == ["CreateRole", "CreateRole"]
    iam.delete_role(RoleName=f"petbox-endpoint-{REGION}")

    done(petbox(aws.env, "setup", "--name", "cats", "--bucket", "cats-models"))
    assert planned_role(aws) == role("cats")
    over_http(aws, "cats-models")
    packed = done(petbox(aws.env, "endpoint", "package", model))
    assert packed.stdout.startswith("s3://cats-models/models/K-tzchen-")
    assert "bucket: s3://cats-models/models, of petbox setup\n" in packed.stderr
    done(petbox(aws.env, "setup", "--name", "dogs"))
    several = f"once in {REGION} (cats-endpoint-{REGION}, dogs-endpoint-{REGION}); give --role"
    assert several in failed(petbox(aws.env, *NEW))
    done(petbox(aws.env, "setup"))
    assert planned_role(aws) == role("petbox")
    iam.delete_role_policy(RoleName=f"petbox-endpoint-{REGION}", PolicyName="petbox")
    line = failed(petbox(aws.env, "endpoint", "package", model))
    assert "its policy names no bucket; run petbox setup again, or give a bucket" in line
    elsewhere = {**aws.env, "AWS_REGION": "eu-west-1"}
    assert "has not run in eu-west-1" in failed(petbox(elsewhere, "endpoint", "package", model))


def test_a_file_needs_neither_role_nor_bucket(aws: AwsProxy, model: Path) -> None:
    done(petbox(aws.env, "setup", "--yes"))
    over_http(aws, f"petbox-{ACCOUNT}-{REGION}")
    file = model.parent / "pets.toml"
    words = ("--name", "new", "--model", "Kätzchen", "--image", IMAGE, "--ttl", "2h")
    written = done(petbox(aws.env, "deploy", file, "--init", *words)).stderr
    assert "petbox deploy" in written and "role =" not in file.read_text()
    assert '\nmodel = "Kätzchen"\n' in file.read_text(encoding="utf-8")
    aws.calls.clear()
    assert done(petbox(aws.env, "deploy", file, *SOON)).stdout == "new\n"
    (made,), (schedule,) = aws.requests("CreateModel"), aws.requests("CreateSchedule")
    assert made["ExecutionRoleArn"] == role("petbox")
    bucket = f"s3://petbox-{ACCOUNT}-{REGION}/models/K-tzchen-"
    assert made["PrimaryContainer"]["ModelDataUrl"].startswith(bucket)
    assert schedule["Target"]["RoleArn"] == role("petbox").replace("endpoint", "scheduler")
    template = done(petbox(aws.env, "endpoint", "export", file)).stdout
    assert role("petbox") in template and bucket in template

    found = petbox(aws.env, "doctor", file).stdout
    assert f"ok    role         {role('petbox')}: trusts sagemaker" in found
    assert f"ok    bucket       petbox-{ACCOUNT}-{REGION}: is in {REGION}\n" in found

    aws.calls.clear()
    done(petbox(aws.env, *NEW, "--tag", "team=pets"))
    assert "GetRole" not in aws.names(), "an endpoint keeps its role"


def test_what_the_file_and_the_flags_say_wins(aws: AwsProxy, model: Path) -> None:
    done(petbox(aws.env, "setup", "--yes"))
    aws.client("s3").create_bucket(Bucket="pets-bucket")
    aws.calls.clear()
    file = model.parent / "pets.toml"
    file.write_text(
        f'name = "own"\nmodel = "{model.name}"\nimage = "{IMAGE}"\nrole = "{ROLE}"\n'
        'bucket = "s3://pets-bucket/models"\n'
    )
    plan = done(petbox(aws.env, "deploy", file, "--dry-run"))
    assert f"+ role: {ROLE}\n" in plan.stdout and "of petbox setup" not in plan.stderr
    assert "+ model_data: s3://pets-bucket/models/K-tzchen-" in plan.stdout
    done(petbox(aws.env, "endpoint", "package", model, "s3://pets-bucket", "--dry-run"))
    flagged = done(petbox(aws.env, *NEW[:2], "own", *NEW[3:], "--role", ROLE, "--dry-run"))
    assert ROLE in flagged.stdout
    assert not {"GetRole", "ListRoles", "GetRolePolicy"} & set(aws.names())


def test_without_permission_to_look_the_role_must_be_named(aws: AwsProxy) -> None:
    error = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    denied = Response(403, f"<ErrorResponse>{error}</ErrorResponse>".encode())
    aws.instead["GetRole"] = lambda _: denied
    line = failed(petbox(aws.env, *NEW[:2], "denied", *NEW[3:]))
    assert "roles of petbox setup: AccessDenied: no; " in line and aws.changes() == []
    assert line.endswith(", or give --role")
