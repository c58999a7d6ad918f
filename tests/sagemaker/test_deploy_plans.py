"""Golden plans of `petbox deploy --dry-run`: what each key adds, changes and removes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.endpoint_aws import IMAGE, ROLE, SOON, AwsProxy, done, failed, petbox

from petbox.sagemaker.endpoint import names

COMMON = f'name = "NAME"\nimage = "{IMAGE}"\nrole = "{ROLE}"\n'


def plan(aws: AwsProxy, file: Path, name: str, text: str) -> str:
    """The lines of the plan, without image and role."""
    file.write_text((COMMON + text).replace("NAME", name))
    found = done(petbox(aws.env, "deploy", file, "--dry-run")).stdout
    return re.sub(r"  \+ (image|role): .*\n", "", found)


def deploy(aws: AwsProxy, file: Path, name: str, text: str, *words: str) -> None:
    file.write_text((COMMON + text).replace("NAME", name))
    done(petbox(aws.env, "deploy", file, *SOON, *words))


@pytest.fixture
def file(tmp_path: Path, forgotten: None) -> Path:
    return tmp_path / "pets.toml"


BY_USE = (
    "price: by calls, their duration and provisioned concurrency; "
    "see https://aws.amazon.com/sagemaker/ai/pricing/\n"
)


def test_provisioned_concurrency_of_a_serverless_endpoint(aws: AwsProxy, file: Path) -> None:
    first = 'serverless = "4096,5"\nprovisioned_concurrency = 2\n'
    assert plan(aws, file, "light", first) == (
        "endpoint light: 4 to add, 0 to change, 0 to remove\n"
        "  + serverless: 4096,5\n"
        "  + provisioned_concurrency: 2\n" + BY_USE
    )
    deploy(aws, file, "light", first)
    nothing = "endpoint light: 0 to add, 0 to change, 0 to remove\n" + BY_USE
    assert plan(aws, file, "light", "") == plan(aws, file, "light", first) == nothing
    assert plan(aws, file, "light", "provisioned_concurrency = 3\n") == (
        "endpoint light: 0 to add, 1 to change, 0 to remove\n"
        "  ~ provisioned_concurrency: 2 -> 3\n" + BY_USE
    )
    assert plan(aws, file, "light", "provisioned_concurrency = false\n") == (
        "endpoint light: 0 to add, 0 to change, 1 to remove\n"
        "  - provisioned_concurrency: 2\n" + BY_USE
    )
    line = failed(petbox(aws.env, "deploy", file))
    assert line == f"error: {file}: removes provisioned_concurrency; pass --yes to confirm"
    status = done(petbox(aws.env, "endpoint", "status", "light")).stdout
    assert "serverless, 4096 MB, 5 calls at once, 2 kept ready" in status


PRICE = "price: 0.23 USD an hour (1 x 0.23, AWS Price List), scaled 0 to 0.92\n"


def test_an_inference_component(aws: AwsProxy, file: Path) -> None:
    first = 'component = "2048,2"\nscaling = "0..4"\ntarget = 5\nmetrics_every = 10\n'
    assert plan(aws, file, "idle", first) == (
        "endpoint idle: 7 to add, 0 to change, 0 to remove\n"
        "  + instance_type: ml.m5.xlarge\n"
        "  + component: 2048,2\n"
        "  + autoscale: 0..4\n"
        "  + target: 5.0\n"
        "  + metrics_every: 10\n" + PRICE
    )
    deploy(aws, file, "idle", first)
    nothing = "endpoint idle: 0 to add, 0 to change, 0 to remove\n" + PRICE
    assert plan(aws, file, "idle", "") == plan(aws, file, "idle", first) == nothing
    of_file, of_endpoint = (
        json.loads(done(petbox(aws.env, "endpoint", "export", *words)).stdout)
        for words in ((file,), ("--endpoint", "idle"))
    )
    assert of_file == of_endpoint and "InferenceComponent" in of_file["Resources"]
    text = 'component = "4096,2"\nscaling = "1..2"\nhealth_timeout = 900\nmetrics_every = false\n'
    assert plan(aws, file, "idle", text) == (
        "endpoint idle: 1 to add, 2 to change, 1 to remove\n"
        "  ~ component: 2048,2 -> 4096,2\n"
        "  ~ autoscale: 0..4 -> 1..2\n"
        "  + health_timeout: 900\n"
        "  - metrics_every: 10\n"
        "price: 0.23 USD an hour (1 x 0.23, AWS Price List), scaled 0.23 to 0.46\n"
    )
    for text, expected in (
        ("component = false\n", "component: False is not a text"),
        ("scaling = false\n", "endpoint idle: component requires scaling"),
    ):
        file.write_text('name = "idle"\n' + text)
        assert expected in failed(petbox(aws.env, "deploy", file, "--dry-run"))
    done(petbox(aws.env, "endpoint", "down", "idle", "--yes", *SOON))


def test_a_queue_of_the_expiry(aws: AwsProxy, file: Path) -> None:
    queue = "arn:aws:sqs:us-east-1:123456789012:not-deleted"
    first = f'ttl = "8h"\nttl_dead_letters = "{queue}"\n'
    assert f"  + ttl_dead_letters: {queue}\n" in plan(aws, file, "ends", first)
    deploy(aws, file, "ends", first)
    assert "ttl_dead_letters" not in plan(aws, file, "ends", 'ttl = "8h"\n')
    without = 'ttl = "8h"\nttl_dead_letters = false\n'
    assert f"  - ttl_dead_letters: {queue}\n" in plan(aws, file, "ends", without)
    line = failed(petbox(aws.env, "deploy", file))
    assert line == f"error: {file}: removes ttl_dead_letters; pass --yes to confirm"
    done(petbox(aws.env, "endpoint", "down", "ends", "--yes", *SOON))


def test_third_party_scaling_that_goes_is_named(aws: AwsProxy, file: Path) -> None:
    deploy(aws, file, "busy", "")
    of, client = names.scaled("busy"), aws.client("application-autoscaling")
    client.register_scalable_target(**of, MinCapacity=1, MaxCapacity=3)
    client.put_scaling_policy(
        **of,
        PolicyName="theirs",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={"TargetValue": 9.0},
    )
    client.put_scheduled_action(**of, ScheduledActionName="mornings", Schedule="cron(0 7 * * ? *)")
    assert "0 to remove" in plan(aws, file, "busy", "")
    found = plan(aws, file, "busy", "scaling = false\n")
    assert found.startswith(
        "endpoint busy: 0 to add, 0 to change, 3 to remove\n"
        "  - autoscale: 1..3\n"
        "  - scaling policy theirs: TargetTrackingScaling\n"
        "  - scheduled action mornings: cron(0 7 * * ? *)\n"
    )
    line = failed(petbox(aws.env, "deploy", file))
    assert "removes autoscale, scaling policy theirs, scheduled action mornings; pass" in line
    done(petbox(aws.env, "endpoint", "down", "busy", "--yes", *SOON))


def test_a_dashboard(aws: AwsProxy, file: Path) -> None:
    assert plan(aws, file, "seen", "dashboard = true\n") == (
        "endpoint seen: 4 to add, 0 to change, 0 to remove\n"
        "  + instance_type: ml.m5.xlarge\n"
        "  + dashboard: True\n"
        "price: 0.23 USD an hour (1 x 0.23, AWS Price List)\n"
    )
    deploy(aws, file, "seen", "dashboard = true\n")
    assert "0 to add, 0 to change, 0 to remove" in plan(aws, file, "seen", "")
    assert plan(aws, file, "seen", "dashboard = false\n") == (
        "endpoint seen: 0 to add, 0 to change, 1 to remove\n"
        "  - dashboard: True\n"
        "price: 0.23 USD an hour (1 x 0.23, AWS Price List)\n"
    )
    aws.calls.clear()
    deploy(aws, file, "seen", "dashboard = false\n", "--yes")
    assert aws.changes() == ["DeleteDashboards"]
    done(petbox(aws.env, "endpoint", "down", "seen", "--yes", *SOON))
