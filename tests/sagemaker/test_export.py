"""`petbox endpoint export`: templates that cfn-lint and Terraform's own reader accept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.aws import REGION
from support.endpoint_aws import IMAGE, ROLE, aws_proxy, done, failed, petbox

TOPIC = f"arn:aws:sns:{REGION}:123456789012:pets"
COMMON = f'name = "pets"\nimage = "{IMAGE}"\nrole = "{ROLE}"\n'
FILES = {
    "scaled": 'instance_type = "ml.g5.xlarge"\nscaling = "1..4"\ntarget = 100\nalarms = 2000\n'
    "dashboard = true\n"
    f'alarm_topic = "{TOPIC}"\ncanary = "10%"\ncapture = "s3://pets-bucket/seen"\nttl = "8h"\n'
    'subnet = "subnet-0123456789abcdef0"\nsecurity_group = "sg-0123456789abcdef0"\n'
    f'network_isolation = true\nkms_key = "arn:aws:kms:{REGION}:123456789012:key/1234abcd"\n'
    'env = { PETBOX_METADATA = true }\ntag = { team = "pets" }\nhealth_timeout = 900\n',
    "serverless": 'serverless = "4096,5"\nprovisioned_concurrency = 2\n',
    "measured": 'instance_type = "ml.m5.xlarge"\nmetrics_every = 10\ntag = { team = "pets" }\n',
    "component": 'instance_type = "ml.g5.xlarge"\ncomponent = "2048,2,1"\nscaling = "0..2"\n'
    'target = 5\nrolling = "20%"\nalarms = 900\nhealth_timeout = 900\n'
    'subnet = "subnet-0123456789abcdef0"\nsecurity_group = "sg-0123456789abcdef0"\n'
    'tag = { team = "pets" }\n',
    "asynchronous": 'instance_type = "ml.m5.xlarge"\nasync = "s3://pets-bucket/out"\n'
    f'async_errors = "s3://pets-bucket/errors"\nnotify_error = "{TOPIC}"\nasync_concurrency = 4\n'
    'scaling = "0..4"\ntarget = 2\n',
}
NOWHERE = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": REGION}


def exported(folder: Path, text: str, *words: str) -> dict[str, Any]:
    file = folder / "pets.toml"
    file.write_text(COMMON + text)
    found: dict[str, Any] = json.loads(
        done(petbox(NOWHERE, "endpoint", "export", file, *words)).stdout
    )
    assert "petbox:made-for" not in json.dumps(found)
    return found


def test_cfn_lint_reports_nothing(tmp_path: Path) -> None:
    paths = []
    for name, text in FILES.items():
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(exported(tmp_path, text)))
    code = "import sys; from cfnlint.runner import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--regions", REGION, "--", *map(str, paths)]
    lint = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_cloudformation_has_what_the_file_says(tmp_path: Path) -> None:
    resources = exported(tmp_path, FILES["scaled"])["Resources"]
    assert list(resources) == [
        "Model",
        "EndpointConfig",
        "Endpoint",
        "ScalableTarget",
        "ScalingPolicy",
        "Alarm5Xx",
        "AlarmLatency",
        "AlarmPing",
        "Pings",
        "Dashboard",
    ]
    body = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"])
    assert {one["properties"].get("region", REGION) for one in body["widgets"]} == {REGION}
    (variant,) = resources["EndpointConfig"]["Properties"]["ProductionVariants"]
    assert variant["ModelName"] == {"Fn::GetAtt": ["Model", "ModelName"]}
    assert variant["InstanceType"] == "ml.g5.xlarge"
    assert "CANARY" in json.dumps(resources["Endpoint"]["Properties"]["DeploymentConfig"])


# The arguments of the provider's documentation, by block.
OF_VARIANT = {
    "container_startup_health_check_timeout_in_seconds",
    "initial_instance_count",
    "initial_variant_weight",
    "instance_type",
    "managed_instance_scaling",
    "model_name",
    "routing_config",
    "serverless_config",
    "variant_name",
}
OF_CONFIG = {
    "async_inference_config",
    "data_capture_config",
    "kms_key_arn",
    "lifecycle",
    "name_prefix",
    "production_variants",
    "tags",
}
OF_AWSCC_CONFIG = {
    "endpoint_config_name",
    "execution_role_arn",
    "lifecycle",
    "metrics_config",
    "production_variants",
    "tags",
    "vpc_config",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_terraform_has_the_names_of_its_provider(tmp_path: Path, text: str) -> None:
    resource = exported(tmp_path, text, "--format", "terraform")["resource"]
    if "metrics_every" in text or "component" in text:  # which the provider aws lacks
        config = resource["awscc_sagemaker_endpoint_config"]["endpoint"]
        assert config.keys() <= OF_AWSCC_CONFIG
        assert config["tags"] == [{"key": "team", "value": "pets"}]
        of_endpoint = resource["aws_sagemaker_endpoint"]["endpoint"]["endpoint_config_name"]
        assert of_endpoint == "${awscc_sagemaker_endpoint_config.endpoint.endpoint_config_name}"
    else:
        config = resource["aws_sagemaker_endpoint_configuration"]["endpoint"]
        assert config.keys() <= OF_CONFIG
    (variant,) = config["production_variants"]
    assert variant.keys() <= OF_VARIANT
    container = resource["aws_sagemaker_model"]["endpoint"]["primary_container"]
    assert container.keys() <= {"environment", "image", "model_data_url"}
    if "metrics_every" in text:
        assert config["metrics_config"] == {
            "enable_detailed_observability": True,
            "metric_publish_frequency_in_seconds": 10,
        }
    if "component" in text:
        check_component(resource)
    elif "subnet" in text:
        assert container["environment"] == {"PETBOX_METADATA": "true"}
        vpc = resource["aws_sagemaker_model"]["endpoint"]["vpc_config"]
        assert vpc.keys() == {"subnets", "security_group_ids"}
        (fails, *_) = resource["aws_cloudwatch_metric_alarm"].values()
        assert fails["dimensions"]["EndpointName"] == "pets"
        dashboard = resource["aws_cloudwatch_dashboard"]["endpoint"]
        assert dashboard.keys() == {"dashboard_name", "dashboard_body"}
    if "async" in text:
        assert config["async_inference_config"]["output_config"] == {
            "s3_output_path": "s3://pets-bucket/out",
            "s3_failure_path": "s3://pets-bucket/errors",
            "notification_config": {"error_topic": TOPIC},
        }


def check_component(resource: dict[str, Any]) -> None:
    component = resource["awscc_sagemaker_inference_component"]["endpoint"]
    assert component.keys() <= {
        "deployment_config",
        "endpoint_name",
        "inference_component_name",
        "runtime_config",
        "specification",
        "tags",
        "variant_name",
    }
    assert component["endpoint_name"] == "${aws_sagemaker_endpoint.endpoint.name}"
    assert component["specification"] == {
        "model_name": "${aws_sagemaker_model.endpoint.name}",
        "startup_parameters": {"container_startup_health_check_timeout_in_seconds": 900},
        "compute_resource_requirements": {
            "min_memory_required_in_mb": 2048,
            "number_of_cpu_cores_required": 2.0,
            "number_of_accelerator_devices_required": 1.0,
        },
    }
    assert "rolling_update_policy" in component["deployment_config"]
    assert "deployment_config" not in resource["aws_sagemaker_endpoint"]["endpoint"]
    assert "vpc_config" not in resource["aws_sagemaker_model"]["endpoint"]
    wakes = resource["aws_cloudwatch_metric_alarm"]["petbox-pets-wake"]
    assert wakes["dimensions"] == {"InferenceComponentName": "pets"}
    assert wakes["alarm_actions"] == ["${aws_appautoscaling_policy.wake.arn}"]
    step = resource["aws_appautoscaling_policy"]["wake"]["step_scaling_policy_configuration"]
    assert step["step_adjustment"] == [
        {"metric_interval_lower_bound": 0.0, "scaling_adjustment": 1}
    ]


def test_a_template_from_zero_starts_the_first_one(tmp_path: Path) -> None:
    for name in ("component", "asynchronous"):
        resources = exported(tmp_path, FILES[name])["Resources"]
        assert resources["AlarmWake"]["Properties"]["AlarmActions"] == [{"Ref": "WakePolicy"}]
        assert resources["WakePolicy"]["Properties"]["PolicyType"] == "StepScaling"
    resources = exported(tmp_path, FILES["component"])["Resources"]
    specification = resources["InferenceComponent"]["Properties"]["Specification"]
    assert specification["ModelName"] == {"Fn::GetAtt": ["Model", "ModelName"]}
    assert resources["ScalableTarget"]["DependsOn"] == "InferenceComponent"
    (variant,) = resources["EndpointConfig"]["Properties"]["ProductionVariants"]
    assert variant["ManagedInstanceScaling"]["MinInstanceCount"] == 0


def test_an_endpoint_that_exists_is_exported_as_it_is(tmp_path: Path) -> None:
    with aws_proxy() as aws:
        file = tmp_path / "pets.toml"
        file.write_text(COMMON + 'scaling = "1..4"\ntarget = 100\nenv = { A = "b" }\n')
        done(petbox(aws.env, "deploy", file, "--every", "0.1"))
        of_file, of_endpoint = (
            json.loads(done(petbox(aws.env, "endpoint", "export", *words)).stdout)
            for words in ((file,), ("--endpoint", "pets"))
        )
        assert of_file == of_endpoint
        line = failed(petbox(aws.env, "endpoint", "export", "--endpoint", "none"))
        assert "endpoint none: not found" in line


def test_an_image_that_is_not_pushed_has_no_template(tmp_path: Path) -> None:
    file = tmp_path / "pets.toml"
    file.write_text(f'name = "pets"\nmodel = "m"\nimage = "build"\nrole = "{ROLE}"\n')
    line = failed(petbox(NOWHERE, "endpoint", "export", file))
    assert "image: push it first (scripts/push_ecr.sh)" in line
