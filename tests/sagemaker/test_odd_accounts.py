"""FIPS, other partitions, and what jobs have of KMS keys and network isolation."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from support.aws import REGION, no_credentials
from support.endpoint_aws import IMAGE, ROLE, petbox

from petbox.aws import request_check, session
from petbox.sagemaker.shared_options import volume_key
from petbox.sagemaker.transform.options import TransformOptions
from petbox.sagemaker.transform.request import plan

KEY = f"arn:aws:kms:{REGION}:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"
# A call of each service that petbox calls everywhere; the Price List is in some regions only.
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "application-autoscaling": ("describe_scaling_policies", {"ServiceNamespace": "sagemaker"}),
    "cloudwatch": ("describe_alarms", {}),
    "ecr": ("get_authorization_token", {}),
    "iam": ("get_role", {"RoleName": "pets"}),
    "logs": ("describe_log_groups", {}),
    "s3": ("list_objects_v2", {"Bucket": "pets-bucket"}),
    "sagemaker": ("list_models", {}),
    "sagemaker-runtime": ("invoke_endpoint", {"EndpointName": "pets", "Body": b""}),
    "scheduler": ("list_schedules", {}),
    "service-quotas": ("list_service_quotas", {"ServiceCode": "sagemaker"}),
    "sqs": ("get_queue_url", {"QueueName": "pets"}),
    "sts": ("get_caller_identity", {}),
}


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What AWS's clients would connect to: a proxy notes it, and rejects the connection."""
    found: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            found.append(self.path.removesuffix(":443"))
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    env = {"HTTPS_PROXY": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "local"}
    env |= {"AWS_SECRET_ACCESS_KEY": "local", **no_credentials(Path("/nonexistent"))}
    for name, text in env.items():
        monkeypatch.setenv(name, text)
    for name in ("AWS_ENDPOINT_URL", "NO_PROXY", "no_proxy", "AWS_PROFILE", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("region", "fips", "expected"),
    [
        (REGION, "true", "-fips."),
        ("us-gov-west-1", "false", "us-gov"),
        ("cn-north-1", "false", ".amazonaws.com.cn"),
    ],
)
def test_every_service_is_called_where_the_account_is(
    hosts: list[str], monkeypatch: pytest.MonkeyPatch, region: str, fips: str, expected: str
) -> None:
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", fips)
    monkeypatch.setenv("AWS_REGION", region)
    account = session.Account()
    for service, (operation, request) in CALLS.items():
        with pytest.raises(session.Unavailable), session.calling(service):
            getattr(account.client(service), operation)(**request)
    assert len(hosts) == len(CALLS)
    assert [host for host in hosts if expected not in host] == []
    assert any("-fips." in host for host in hosts) == (fips == "true")


def test_a_detector_calls_fips_endpoints_too(
    hosts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from petbox import Detector

    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    monkeypatch.setenv("AWS_REGION", REGION)
    with pytest.raises(session.CallFailed):
        Detector(endpoint="pets").detect(Path(__file__).parents[1] / "golden" / "picture.jpg")
    assert hosts and all("-fips." in host for host in hosts)


def test_a_region_without_fips_endpoints_is_thought_of() -> None:
    for host, hint in (("api-fips.sagemaker", True), ("api.sagemaker", False)):
        url = f"https://{host}.eu-west-1.amazonaws.com/"
        with pytest.raises(session.Unavailable) as failed, session.calling("endpoint pets"):
            raise EndpointConnectionError(endpoint_url=url)
        assert ("whether AWS has FIPS endpoints there" in str(failed.value)) is hint


# Jobs


def train_job(*words: str, region: str = REGION) -> Any:
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": region}
    where = ("--data", "s3://bucket/in", "--output", "s3://bucket/out", "--role", ROLE)
    return petbox(env, "train-job", "--image", IMAGE, *where, *words)


def test_a_training_job_has_key_and_isolation() -> None:
    flags = ("--dry-run", "--kms-key", KEY, "--network-isolation", "--instance-type")
    request = json.loads(train_job(*flags, "ml.m5.xlarge").stdout)
    assert request["ResourceConfig"]["VolumeKmsKeyId"] == KEY
    assert request["OutputDataConfig"]["KmsKeyId"] == KEY
    assert request["EnableNetworkIsolation"] is True
    request = json.loads(train_job(*flags, "ml.g4dn.xlarge").stdout)
    assert "VolumeKmsKeyId" not in request["ResourceConfig"]
    assert request["OutputDataConfig"]["KmsKeyId"] == KEY
    plain = train_job("--dry-run").stdout
    assert "Kms" not in plain and "EnableNetworkIsolation" not in plain


def test_a_transform_job_has_key_and_isolation() -> None:
    account = session.Account()
    options = {"image": IMAGE, "role": ROLE, "kms_key": KEY, "network_isolation": True}
    for instance_type, key in (("ml.m5.xlarge", KEY), ("ml.g5.xlarge", None)):
        chosen = TransformOptions(
            "s3://bucket/in", "s3://bucket/out", instance_type=instance_type, **options
        )
        model, job = plan(chosen, "job", "image/jpeg", None)
        for call in (model, job):
            client = account.client("sagemaker", REGION)
            request_check.check(client, call.operation, call.request, call.what)
        assert model.request["EnableNetworkIsolation"] is True
        assert job.request["TransformOutput"]["KmsKeyId"] == KEY
        assert job.request["TransformResources"].get("VolumeKmsKeyId") == key
    with pytest.raises(ValueError, match="--endpoint and --network-isolation exclude each other"):
        TransformOptions(
            "s3://bucket/in", "s3://bucket/out", endpoint="pets", network_isolation=True
        )


def test_a_key_in_another_region_is_rejected_before_any_call() -> None:
    far = KEY.replace(REGION, "eu-west-1")
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": REGION}
    words = ("s3://bucket/in", "s3://bucket/out", "--endpoint", "pets")
    transform = petbox(env, "transform", *words, "--kms-key", far)
    for result in (train_job("--kms-key", far), transform):
        assert result.returncode == 1
        assert "the key is in eu-west-1, but the region is us-east-1" in result.stderr


@pytest.mark.parametrize(
    ("instance_type", "local"),
    [
        ("ml.m5.xlarge", False),
        ("ml.m6g.large", False),
        ("ml.p3.2xlarge", False),
        ("ml.m5d.xlarge", True),
        ("ml.m6gd.large", True),
        ("ml.p4d.24xlarge", True),
        ("ml.g4dn.xlarge", True),
        ("ml.g5.xlarge", True),
    ],
)
def test_local_disks_take_no_key(instance_type: str, local: bool) -> None:
    assert volume_key(KEY, instance_type) == (None if local else KEY)
