"""`petbox setup`: what an account is given, and what it is asked before."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from moto.iam.access_control import IAMPolicy, PermissionResult
from support.aws import REGION, rejection
from support.endpoint_aws import AwsProxy, done, failed, petbox
from support.permissions import iam_actions

ACCOUNT = "123456789012"
BUCKET = f"petbox-{ACCOUNT}-{REGION}"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:pets"
LIMITS = f"arn:aws:iam::{ACCOUNT}:policy/limits"
ROLES = {
    kind: f"arn:aws:iam::{ACCOUNT}:role/petbox-{kind}-{REGION}"
    for kind in ("endpoint", "training", "scheduler", "lambda")
}


pytestmark = pytest.mark.usefixtures("forgotten")


def policies(aws: AwsProxy, *words: str, **env: str) -> dict[str, dict[str, Any]]:
    """What a dry run would write, by operation and name."""
    result = done(petbox({**aws.env, **env}, "setup", "--dry-run", *words))
    return {
        f"{step['call']} {next(iter(step['request'].values()))}": step["request"]
        for step in json.loads(result.stdout)
    }


def policy_of(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_it_creates_what_is_missing_and_then_changes_nothing(aws: AwsProxy) -> None:
    first = done(petbox(aws.env, "setup"))
    assert dict(line.split("\t") for line in first.stdout.splitlines()) == {
        "bucket": f"s3://{BUCKET}",
        "repository": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/petbox",
        **ROLES,
    }
    assert f"+ role petbox-lambda-{REGION}: lambda.amazonaws.com may assume it" in first.stderr
    closed = aws.client("s3").get_public_access_block(Bucket=BUCKET)
    assert all(closed["PublicAccessBlockConfiguration"].values())
    aws.calls.clear()

    second = done(petbox(aws.env, "setup", "--json"))
    assert json.loads(second.stdout)["roles"] == ROLES
    assert "petbox: nothing to create or change" in second.stderr
    assert not aws.changes()


def test_what_exists_is_changed_only_after_a_yes(aws: AwsProxy) -> None:
    done(petbox(aws.env, "setup", "--name", "kept", "--vpc"))
    iam, s3 = aws.client("iam"), aws.client("s3")
    role, bucket = f"kept-scheduler-{REGION}", f"kept-{ACCOUNT}-{REGION}"
    trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=policy_of(trust))
    s3.delete_public_access_block(Bucket=bucket)
    reads = {"Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    s3.put_bucket_policy(Bucket=bucket, Policy=policy_of({**trust, **reads, "Sid": "Theirs"}))
    aws.calls.clear()

    refused = petbox(aws.env, "setup", "--name", "kept")
    assert failed(refused) == "error: kept: stdin is not a terminal; pass --yes to confirm"
    assert refused.stderr.splitlines()[:3] == [
        f"~ role {role}: trust policy, for scheduler.amazonaws.com alone",
        f"~ bucket {bucket}: block all public access",
        f"~ bucket {bucket}: bucket policy: reject requests without TLS",
    ], "the statements of --vpc stay"
    assert not aws.changes()

    done(petbox(aws.env, "setup", "--name", "kept", "--yes"))
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    assert [one["Sid"] for one in policy["Statement"]] == ["Theirs", "OnlyTls"]
    assert "nothing to create" in done(petbox(aws.env, "setup", "--name", "kept")).stderr
    bounded = petbox(aws.env, "setup", "--name", "kept", "--boundary", LIMITS, "--kms-key", KEY)
    assert f"permissions boundary, from none to {LIMITS}" in bounded.stderr
    assert f"bucket {bucket}: encryption, from a key of S3 to {KEY}" in bounded.stderr
    done(petbox(aws.env, *bounded.args, "--yes"))
    assert "nothing to create" in done(petbox(aws.env, *bounded.args)).stderr


def test_every_role_is_for_one_service_in_this_account_and_place(aws: AwsProxy) -> None:
    services = {}
    for call, request in policies(aws, "--name", "new").items():
        if call.startswith("iam.create_role"):
            (trust,) = request["AssumeRolePolicyDocument"]["Statement"]
            service = services[request["RoleName"]] = trust["Principal"]["Service"]
            assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}
            source = trust["Condition"]["ArnLike"]["aws:SourceArn"]
            assert source.startswith(f"arn:aws:{service.split('.')[0]}:{REGION}:{ACCOUNT}:")
    assert set(services.values()) == {
        f"{service}.amazonaws.com" for service in ("sagemaker", "scheduler", "lambda")
    }


def test_the_policies_name_actions_that_exist_on_resources_that_those_have(aws: AwsProxy) -> None:
    words = ("--name", "new", "--kms-key", KEY, "--vpc", "--topic", TOPIC)
    written = policies(aws, *words)
    statements = [
        one
        for request in written.values()
        for one in request.get("PolicyDocument", {}).get("Statement", ())
    ]
    assert len(statements) > 20
    for one in statements:
        for action in one["Action"]:
            service, name = action.split(":")
            known = iam_actions()[service]
            supported = known["Actions"][name.lower()].get("Resources", [])
            if one["Resource"] == "*":  # CloudWatch's resource is of another kind than metrics
                assert not supported or action == "cloudwatch:PutMetricData"
                continue
            forms = [form for kind in supported for form in known["Resources"][kind]["ARNFormats"]]
            arns = [one["Resource"]] if isinstance(one["Resource"], str) else one["Resource"]
            for arn in arns:
                fits = (re.fullmatch(re.sub(r"\$\{\w+\}", ".*", form), arn) for form in forms)
                assert any(fits), f"{action} on {arn}"


OBJECT = f"arn:aws:s3:::{BUCKET}/models/pets/model.tar.gz"
IMAGES, ENDPOINT = (
    f"arn:aws:{service}:{REGION}:{ACCOUNT}:{what}"
    for service, what in (("ecr", "repository/petbox"), ("sagemaker", "endpoint/pets"))
)
GROUPS = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws"
MAY = {
    "endpoint": {
        "s3:GetObject": OBJECT,
        "s3:PutObject": OBJECT,
        "s3:ListBucket": f"arn:aws:s3:::{BUCKET}",
        "ecr:BatchGetImage": IMAGES,
        "logs:PutLogEvents": f"{GROUPS}/sagemaker/Endpoints/pets:log-stream:AllTraffic/i-1",
        "logs:CreateLogStream": f"{GROUPS}/sagemaker/InferenceComponents/pets:log-stream:1",
    },
    "training": {
        "s3:GetObject": OBJECT,
        "s3:DeleteObject": OBJECT,
        "ecr:GetDownloadUrlForLayer": f"{IMAGES}-train",
        "logs:CreateLogStream": f"{GROUPS}/sagemaker/TrainingJobs:log-stream:pets/algo-1",
    },
    "scheduler": {"sagemaker:DeleteEndpoint": ENDPOINT},
    "lambda": {
        "s3:GetObject": OBJECT,
        "sagemaker:InvokeEndpoint": ENDPOINT.replace("endpoint/", "inference-component/"),
        "logs:CreateLogGroup": f"{GROUPS}/lambda/petbox-front",
    },
}
MAY_NOT = {
    "endpoint": {"s3:DeleteObject": OBJECT, "ecr:BatchGetImage": f"{IMAGES}mine"},
    "training": {"s3:GetObject": OBJECT.replace(BUCKET, f"{BUCKET}-2"), "sns:Publish": TOPIC},
    "scheduler": {
        "s3:GetObject": OBJECT,
        "sagemaker:DeleteEndpoint": ENDPOINT.replace("endpoint/", "endpoint-config/"),
    },
    "lambda": {"sagemaker:DeleteEndpoint": ENDPOINT, "s3:DeleteObject": OBJECT},
}


def test_a_role_may_do_its_work_and_nothing_else(aws: AwsProxy) -> None:
    """As moto reads policies."""
    done(petbox(aws.env, "setup"))
    iam = aws.client("iam")
    for table, expected in ((MAY, PermissionResult.PERMITTED), (MAY_NOT, PermissionResult.NEUTRAL)):
        for kind, actions in table.items():
            role = ROLES[kind].rpartition("/")[2]
            found = iam.get_role_policy(RoleName=role, PolicyName="petbox")["PolicyDocument"]
            policy = IAMPolicy(json.dumps(found))
            for action, resource in actions.items():
                assert policy.is_action_permitted(action, resource) == expected, (kind, action)


def test_each_option_adds_what_it_says(aws: AwsProxy) -> None:
    without = json.dumps(policies(aws, "--name", "new"))
    for words, adds in (
        (["--boundary", LIMITS], [f'"PermissionsBoundary": "{LIMITS}"']),
        (["--bucket", "elsewhere"], ['"arn:aws:s3:::elsewhere/*"', '"Bucket": "elsewhere"']),
        (["--kms-key", KEY], [f'"KMSMasterKeyID": "{KEY}"', '"kms:GenerateDataKey"', '"kmsKey"']),
        (["--topic", TOPIC], [f'"sns:Publish"], "Resource": ["{TOPIC}"]']),
        (["--vpc"], ['"ec2:CreateNetworkInterface"']),
    ):
        added = json.dumps(policies(aws, "--name", "new", *words))
        for text in adds:
            assert text in added and text not in without


@pytest.mark.parametrize(
    ("region", "partition", "domain"),
    [
        ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
    ],
)
def test_other_partitions_are_in_every_arn(
    aws: AwsProxy, region: str, partition: str, domain: str
) -> None:
    text = json.dumps(policies(aws, AWS_REGION=region))
    assert set(re.findall(r"arn:([^:]+):", text)) == {partition}
    made = done(petbox({**aws.env, "AWS_REGION": region}, "setup", "--name", "far"))
    assert f"repository\t{ACCOUNT}.dkr.ecr.{region}.{domain}/far\n" in made.stdout
    location = aws.client("s3").get_bucket_location(Bucket=f"far-{ACCOUNT}-{region}")
    assert location["LocationConstraint"] == region


def test_without_permission_to_look_a_dry_run_prints_it_all(aws: AwsProxy) -> None:
    aws.instead["DescribeRepositories"] = lambda _: rejection("AccessDeniedException", "no")
    result = petbox(aws.env, "setup", "--dry-run")
    assert '"ecr.create_repository"' in done(result).stdout
    assert "assuming that there is none" in result.stderr
    assert "petbox: AccessDeniedException: no" in failed(petbox(aws.env, "setup"))
    assert not aws.changes()


def test_a_bucket_elsewhere_is_left_alone(aws: AwsProxy) -> None:
    taken = ("setup", "--name", "new", "--bucket", "taken")
    aws.instead["ListBucket"] = lambda _: rejection("Forbidden", "", 403)
    assert "bucket taken: belongs to another account" in failed(petbox(aws.env, *taken))
    aws.instead.clear()
    aws.client("s3").create_bucket(Bucket="taken")
    aws.calls.clear()
    there = petbox({**aws.env, "AWS_REGION": "eu-west-1"}, *taken)
    assert "bucket taken: is in us-east-1, not in eu-west-1" in failed(there)
    assert not aws.changes()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--name", "Pets"], "'Pets' is not a short name; write it like pets"),
        (["--bucket", "My_Bucket"], "'My_Bucket' is not the name of a bucket"),
        (["--boundary", "limits"], "'limits' is not the ARN of a policy"),
        (["--kms-key", "alias/pets"], "'alias/pets' is not the ARN of a KMS key"),
        (["--topic", "pets"], "'pets' is not the ARN of a topic"),
    ],
)
def test_names_are_checked_before_any_call(aws: AwsProxy, words: list[str], why: str) -> None:
    result = petbox(aws.env, "setup", *words)
    assert (result.returncode, aws.calls) == (2, [])
    assert why in result.stderr
