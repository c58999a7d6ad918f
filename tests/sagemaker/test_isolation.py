"""KMS keys, subnets and network isolation: flags of `up`, keys of pets.toml, and templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.aws import REGION
from support.endpoint_aws import IMAGE, ROLE, AwsProxy, aws_proxy, done, petbox, shown

KEY = f"arn:aws:kms:{REGION}:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"
FILE = f"""\
name = "pets"
image = "{IMAGE}"
role = "{ROLE}"
async = "s3://pets-bucket/out"
capture = "s3://pets-bucket/seen"
subnet = ["subnet-1", "subnet-2"]
security_group = "sg-1"
network_isolation = true
kms_key = "{KEY}"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pets.toml"
    path.write_text(FILE)
    return path


def made(aws: AwsProxy, operation: str) -> Any:
    (request,) = aws.requests(operation)
    return request


def test_they_are_created_kept_and_removed(file: Path) -> None:
    with aws_proxy() as aws:
        done(petbox(aws.env, "deploy", file, "--every", "0.1"))
        model, config = made(aws, "CreateModel"), made(aws, "CreateEndpointConfig")
        assert model["EnableNetworkIsolation"] is True
        assert model["VpcConfig"] == {
            "Subnets": ["subnet-1", "subnet-2"],
            "SecurityGroupIds": ["sg-1"],
        }
        outputs = config["DataCaptureConfig"], config["AsyncInferenceConfig"]["OutputConfig"]
        assert {one["KmsKeyId"] for one in (config, *outputs)} == {KEY}

        # Moto describes every model as one without.
        aws.amended["DescribeModel"] = lambda found: found | {"EnableNetworkIsolation": True}
        assert shown(petbox(aws.env, "endpoint", "up", "pets", "--dry-run")) == []
        flags = ("--no-network-isolation", "--no-kms-key", "--no-vpc", "--dry-run")
        removed = petbox(aws.env, "endpoint", "up", "pets", *flags)
        for key in ("network_isolation: True", f"kms_key: {KEY}", "subnet: subnet-1, subnet-2"):
            assert f"- {key}\n" in removed.stderr
        requests = json.dumps(shown(removed))
        for word in ("EnableNetworkIsolation", "KmsKeyId", "VpcConfig"):
            assert word not in requests
        off = "network_isolation = false\nkms_key = false\n"
        file.write_text(f'name = "pets"\n{off}')
        plan = done(petbox(aws.env, "deploy", file, "--dry-run")).stdout
        assert "0 to add, 0 to change, 2 to remove" in plan


def test_up_has_the_same_as_flags() -> None:
    with aws_proxy() as aws:
        flags = ("--network-isolation", "--kms-key", KEY, "--dry-run")
        result = petbox(aws.env, "endpoint", "up", "pets", "--image", IMAGE, "--role", ROLE, *flags)
        requests = dict(shown(result))
        assert requests["sagemaker.create_model"]["EnableNetworkIsolation"] is True
        assert requests["sagemaker.create_endpoint_config"]["KmsKeyId"] == KEY


def test_terraform_calls_them_otherwise(file: Path) -> None:
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": REGION}
    words = ("endpoint", "export", file, "--format", "terraform")
    file.write_text(FILE + 'instance_type = "ml.m5.xlarge"\n')
    found = json.loads(done(petbox(env, *words)).stdout)["resource"]
    config = found["aws_sagemaker_endpoint_configuration"]["endpoint"]
    assert config["kms_key_arn"] == config["data_capture_config"]["kms_key_id"] == KEY
    assert config["async_inference_config"]["output_config"]["kms_key_id"] == KEY
    assert found["aws_sagemaker_model"]["endpoint"]["enable_network_isolation"] is True
