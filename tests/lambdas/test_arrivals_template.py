"""serverless/arrivals.yaml and its parameters in the templates that deploy it."""

from __future__ import annotations

from typing import Any

import pytest
from support.templates import Stack, of_kind, source

KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd"
SUBNETS, GROUPS = {"SubnetIds": "subnet-0a,subnet-0b"}, {"SecurityGroupIds": "sg-0c"}
NONE = {"Ref": "AWS::NoValue"}


def bucket(**given: str) -> dict[str, Any]:
    """The bucket's properties, as the front's parameters make them."""
    stack = Stack("front", given).nested("Arrivals")
    (found,) = of_kind("arrivals", "AWS::S3::Bucket").values()
    properties: dict[str, Any] = stack.resolved(found)
    return properties


@pytest.mark.parametrize(("name", "default"), [("front", 10), ("detector", 1000)])
def test_concurrency_is_low_before_an_endpoint_only(name: str, default: int) -> None:
    parameter = source(name)["Parameters"]["Concurrency"]
    assert parameter["Default"] == default
    assert (parameter["MinValue"], parameter["MaxValue"]) == (2, 1000)  # Lambda's own bounds
    (mapping,) = of_kind(name, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "Concurrency"}}


def test_images_and_results_expire_only_on_request() -> None:
    def expiring(**given: str) -> dict[str, tuple[Any, Any]]:
        rules = bucket(**given)["LifecycleConfiguration"]["Rules"]
        return {
            rule["Id"]: (rule.get("Prefix"), rule.get("ExpirationInDays"))
            for rule in rules
            if rule != NONE and "AbortIncompleteMultipartUpload" not in rule
        }

    images = {"images": ({"Ref": "InputPrefix"}, {"Ref": "ImagesExpireDays"})}
    results = {"results": ({"Ref": "ResultsPrefix"}, {"Ref": "ResultsExpireDays"})}
    assert expiring() == {}
    assert expiring(ImagesExpireDays="7") == images
    assert expiring(ImagesExpireDays="7", ResultsExpireDays="30") == images | results


@pytest.mark.parametrize("key", ["", KEY])
def test_a_key_encrypts_the_bucket_and_the_function_may_use_it(key: str) -> None:
    (rule,) = bucket(BucketKmsKeyArn=key)["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    chosen = rule["ServerSideEncryptionByDefault"]
    assert rule["BucketKeyEnabled"] == bool(key)
    assert chosen["SSEAlgorithm"] == ("aws:kms" if key else "AES256")
    assert chosen["KMSMasterKeyID"] == ({"Ref": "BucketKmsKeyArn"} if key else NONE)
    (policy,) = of_kind("arrivals", "AWS::IAM::Policy").values()
    stack = Stack("front", {"BucketKmsKeyArn": key}).nested("Arrivals")
    *_, last = stack.resolved(policy["PolicyDocument"]["Statement"])
    allowed = {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"]}
    assert last == (allowed | {"Resource": {"Ref": "BucketKmsKeyArn"}} if key else NONE)


@pytest.mark.parametrize("name", ["front", "detector"])
@pytest.mark.parametrize("given", [{}, SUBNETS, GROUPS], ids=["public", "subnets", "groups"])
def test_every_function_runs_in_the_vpc_if_one_is_given(name: str, given: dict[str, str]) -> None:
    """Of half a VPC Lambda gets both parts, and rejects the empty one."""
    stack = Stack(name, given)
    inside = {key: {"Ref": key} for key in ("SubnetIds", "SecurityGroupIds")}
    for function in of_kind(name, "AWS::Lambda::Function").values():
        assert stack.resolved(function)["VpcConfig"] == (inside if given else NONE)
