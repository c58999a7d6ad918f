"""`petbox doctor`: what it finds in an account, and what it says to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.aws import REGION, no_credentials, rejection
from support.endpoint_aws import IMAGE, AwsProxy, aws_proxy, describe_image, done, petbox
from support.peer import Response

ACCOUNT = "123456789012"
ROLE, EXPIRY = (
    f"arn:aws:iam::{ACCOUNT}:role/petbox-{kind}-{REGION}" for kind in ("endpoint", "scheduler")
)
BUCKET = f"petbox-{ACCOUNT}-{REGION}"
FILE = f"""\
name = "pets"
image = "{IMAGE}"
role = "{ROLE}"
ttl = "8h"
ttl_role = "{EXPIRY}"
model = "model/toy"
bucket = "s3://{BUCKET}/models"
capture = "s3://{BUCKET}/seen"
scaling = "1..4"
target = 100
"""


@pytest.fixture(scope="module")
def account() -> Iterator[AwsProxy]:
    with aws_proxy() as server:
        done(petbox(server.env, "setup"))
        server.client("s3").create_bucket(
            Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        yield server


@pytest.fixture
def aws(account: AwsProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AwsProxy:
    (tmp_path / "pets.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    account.calls.clear()
    account.instead.clear()
    account.instead["ListServiceQuotas"] = lambda _: quotas(("ml.m5.xlarge", 4))
    account.instead["ListAWSDefaultServiceQuotas"] = lambda _: quotas(("ml.g5.xlarge", 0))
    return account


def quotas(*values: tuple[str, int]) -> dict[str, Any]:
    return {
        "Quotas": [
            {"QuotaName": f"{name} for endpoint usage", "QuotaCode": "L-1", "Value": value}
            for name, value in values
        ]
    }


def findings(aws: AwsProxy, *words: str, **env: str) -> dict[str, list[str]]:
    """State, text and fix, by check; a check that is made twice counts once if both are well."""
    result = petbox({**aws.env, **env}, "doctor", "--json", *words)
    found = json.loads(result.stdout)
    wrong = sum(one["state"] == "wrong" for one in found)
    assert result.returncode == (1 if wrong else 0)
    if wrong:
        last = result.stderr.splitlines()[-1]
        assert last == f"error: {wrong} of {len(found)} checks found something wrong; see above"
    assert not aws.changes()
    found.sort(key=lambda one: one["state"] != "ok")
    return {one["check"]: [one["state"], one["text"], one["fix"]] for one in found}


def test_a_lone_look_finds_what_setup_made(aws: AwsProxy) -> None:
    assert done(petbox(aws.env, "doctor")).stdout.splitlines() == [
        f"ok    account      {ACCOUNT}, partition aws",
        f"ok    region       {REGION}",
        f"ok    role         {ROLE}: trusts sagemaker.amazonaws.com",
        f"ok    role         {EXPIRY}: trusts scheduler.amazonaws.com",
        f"ok    bucket       {BUCKET}: is in {REGION}",
        f"ok    image        {IMAGE}: is in ECR, and runs on ml.m5.xlarge",
        "ok    quota        ml.m5.xlarge for endpoint usage: 4, in all endpoints of the account",
    ]


def test_without_a_file_only_flags_count(aws: AwsProxy) -> None:
    Path("pets.toml").unlink()
    assert list(findings(aws)) == ["account", "region", "quota"]
    found = findings(aws, "--bucket", f"s3://{BUCKET}", "--ttl-role", EXPIRY)
    assert found["bucket"][0] == found["role"][0] == "ok"
    assert "other.toml: no such file" in petbox(aws.env, "doctor", "other.toml").stderr


def test_the_bucket_of_async_errors_is_checked(aws: AwsProxy) -> None:
    errors = f'async = "s3://{BUCKET}/out"\nasync_errors = "s3://absent/errors"\n'
    Path("pets.toml").write_text(FILE + errors)
    result = petbox(aws.env, "doctor")
    assert "wrong bucket       bucket absent: no such bucket" in result.stdout


def test_an_image_to_be_built_is_checked_as_well(aws: AwsProxy) -> None:
    built = 'name = "pets"\nmodel = "model/toy"\nimage = "build"\n'
    Path("pets.toml").write_text(f'{built}base = "tensorflow/serving:2.20.0-gpu"\n')
    aws.instead["ListServiceQuotas"] = lambda _: quotas(("ml.g4dn.xlarge", 4))
    found = findings(aws)
    assert found["image"][1] == "image: is to be built, and runs on ml.g4dn.xlarge"
    assert found["quota"][0] == "ok" and "bucket" not in found
    assert found["role"][1].startswith(ROLE), "that of petbox setup"
    state, text, _ = findings(aws, "--instance-type", "ml.m5.xlarge")["image"]
    assert state == "wrong" and "needs a GPU" in text


@pytest.mark.parametrize(
    ("words", "check", "text", "fix"),
    [
        (["--role", EXPIRY], "role", "does not trust sagemaker.amazonaws.com", "petbox setup"),
        (["--ttl-role", ROLE], "role", "does not trust scheduler.amazonaws.com", "petbox setup"),
        (["--role", f"{ROLE}x"], "role", "no such role", "petbox setup"),
        (["--role", ROLE.replace(ACCOUNT, "9" * 12)], "role", "in another account", "petbox setup"),
        (["--bucket", "s3://far/models"], "bucket", "is in eu-west-1", "--region eu-west-1"),
        (["--bucket", "s3://absent/models"], "bucket", "no such bucket", "petbox setup"),
        (
            ["--image", IMAGE.replace(REGION, "eu-west-1")],
            "image",
            "the image is in eu-west-1, but the region is us-east-1",
            "--region eu-west-1",
        ),
        (["--instance-type", "ml.g5.xlarge"], "quota", "is 0, and 4 are needed", "L-1"),
        (["--instance-type", "ml.x9.xlarge"], "quota", "no such quota", "instance type"),
    ],
)
def test_what_is_wrong_has_its_fix(
    aws: AwsProxy, words: list[str], check: str, text: str, fix: str
) -> None:
    found = findings(aws, *words)
    assert {name for name, (state, *_) in found.items() if state != "ok"} == {check}
    state, said, advice = found[check]
    assert state == "wrong" and text in said and fix in advice


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        ({"Principal": "*"}, "wrong"),
        ({"Principal": {"Service": ["lambda.amazonaws.com", "sagemaker.amazonaws.com"]}}, "ok"),
        ({"Effect": "Deny", "Principal": {"Service": "sagemaker.amazonaws.com"}}, "wrong"),
        (
            {
                "Principal": {"Service": "sagemaker.amazonaws.com"},
                "Condition": {"StringEquals": {"aws:sourceAccount": "999999999999"}},
            },
            "wrong",
        ),
    ],
)
def test_trust_policies_of_others_are_read(
    aws: AwsProxy, statement: dict[str, Any], state: str
) -> None:
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", **statement}
    text = f'{{"Version": "2012-10-17", "Statement": {json.dumps(trust)}}}'
    aws.instead["GetRole"] = lambda _: Response(200, ROLE_XML.format(quote(text)).encode())
    Path("pets.toml").unlink()
    assert findings(aws, "--role", ROLE)["role"][0] == state


ROLE_XML = f"""\
<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role>
<Path>/</Path><RoleName>pets</RoleName><RoleId>AROA</RoleId><Arn>{ROLE}</Arn>
<AssumeRolePolicyDocument>{{}}</AssumeRolePolicyDocument></Role></GetRoleResult></GetRoleResponse>
"""


def test_an_image_that_cannot_run_is_found(aws: AwsProxy) -> None:
    describe_image(aws.instead, base="tensorflow/serving:2.20.0-gpu")
    state, text, fix = findings(aws, "--instance-type", "ml.m5.xlarge")["image"]
    assert (state, text) == ("wrong", f"{IMAGE}: needs a GPU, and ml.m5.xlarge has none")
    assert "--instance-type ml.g4dn.xlarge" in fix
    quota = findings(aws)["quota"]
    assert quota[1].startswith("ml.g4dn.xlarge for endpoint usage"), "the image's default"


def test_what_may_not_be_seen_is_not_wrong(aws: AwsProxy) -> None:
    denied = rejection("AccessDeniedException", "no")
    for operation in ("ListServiceQuotas", "BatchGetImage"):
        aws.instead[operation] = lambda _: denied
    found = findings(aws)
    assert found["quota"][0] == "?"
    assert "whether it runs on ml.m5.xlarge is unknown" in found["image"][1]


@pytest.mark.parametrize(
    ("profile", "text", "fix"),
    [
        pytest.param(
            "",
            "AWS: the profile needs another package",
            "pip install 'boto3[crt]'",
            marks=pytest.mark.skipif(find_spec("awscrt") is not None, reason="awscrt is here"),
        ),
        ("absent", "could not be found", "set AWS_PROFILE"),
        ("sso", "Token for corp does not exist", "aws sso login"),
        ("empty", "credentials: no AWS credentials", "aws login"),
    ],
)
def test_without_credentials_it_says_how_to_log_in(
    aws: AwsProxy, profile: str, text: str, fix: str
) -> None:
    Path("config").write_text(
        f"[default]\nlogin_session = arn:aws:iam::{ACCOUNT}:user/x\n[profile empty]\n"
        f"[profile sso]\nsso_session = corp\nsso_account_id = {ACCOUNT}\nsso_role_name = dev\n"
        "[sso-session corp]\nsso_start_url = https://corp.invalid\nsso_region = us-east-1\n"
    )
    env = {**no_credentials(Path.cwd()), "AWS_REGION": REGION, "HOME": str(Path.cwd())}
    words = ["--profile", profile] if profile else []
    result = petbox(env, "doctor", "--json", *words)
    (found,) = json.loads(result.stdout)
    assert (result.returncode, found["check"], found["state"]) == (1, "account", "wrong")
    assert text in found["text"] and fix in found["fix"]
