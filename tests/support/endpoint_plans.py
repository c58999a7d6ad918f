"""What `petbox endpoint up` plans from what is there, without AWS, checked by botocore's models."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from functools import cache
from typing import Any

from support.aws import REGION
from support.endpoint_aws import IMAGE, ROLE

from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.actual import Actual
from petbox.sagemaker.endpoint.apply import check_all
from petbox.sagemaker.endpoint.desired import Desired, desired
from petbox.sagemaker.endpoint.kept import kept
from petbox.sagemaker.endpoint.plan import ENDED, plan
from petbox.sagemaker.endpoint.spec import EndpointSpec, merged, with_instance_type
from petbox.sagemaker.endpoint.steps import Call, Step

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
ARN = f"arn:aws:sagemaker:{REGION}:123456789012:endpoint/pets"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:pets"


def desired_with(**flags: Any) -> Desired:
    """Of an endpoint that does not exist yet."""
    return typed(Actual(), image=IMAGE, role=ROLE, **flags)


def typed(actual: Actual, deployment: Any = None, **flags: Any) -> Desired:
    """What `petbox endpoint up pets` with these flags makes of what is there."""
    wanted = EndpointSpec("pets", **flags)
    whole = merged(wanted, kept("pets", actual), recreated=actual.status in ENDED)
    whole = with_instance_type(whole, "ml.m5.xlarge")
    return desired(whole, NOW, wanted, actual, deployment)


def steps_of(actual: Actual, deployment: Any = None, **flags: Any) -> list[Step]:
    steps = plan(typed(actual, deployment, **flags), actual)
    validate(steps)
    return steps


def variant(state: Desired) -> dict[str, Any]:
    (one,) = state.config["ProductionVariants"]
    return dict(one)


def found(
    state: Desired, status: str = "InService", running: int | None = None, **more: Any
) -> Actual:
    """All of `state`, as AWS describes it."""
    endpoint = {
        "EndpointName": "pets",
        "EndpointArn": ARN,
        "EndpointStatus": status,
        "EndpointConfigName": state.config_name,
        "ProductionVariants": [
            {"VariantName": "AllTraffic", "DesiredInstanceCount": running}
            if (running := running or state.count)
            else {"VariantName": "AllTraffic"}
        ],
    }
    state = Actual(
        endpoint=endpoint,
        tags=state.tags,
        config=state.config,
        last=state.config,
        last_model=state.model,
        alarms={one["AlarmName"]: one for one in state.alarms},
        dashboard=state.dashboard,
        configs=(state.config_name,),
        models=(state.model_name,),
        component=state.component and {**state.component, "InferenceComponentStatus": "InService"},
        scaling=state.scaling,
        policies=tuple([state.policy] if state.policy else []) + WAKE[0] * state.wake,
        wake=WAKE[1] if state.wake else None,
        schedule=state.schedule,
    )
    return replace(state, **more)


WAKE = (
    ({"PolicyName": names.WAKE, "PolicyARN": "arn:policy"},),
    {"AlarmName": "petbox-pets-wake", "AlarmActions": ["arn:policy"]},
)


def operations(steps: list[Step]) -> list[str]:
    return [step.operation if isinstance(step, Call) else step.until for step in steps]


def validate(steps: list[Step]) -> None:
    from botocore.validate import ParamValidator

    check_all(client_of, steps)
    for step in steps:
        if isinstance(step, Call):
            client = client_of(step.service)
            operation = client.meta.method_to_api_mapping[step.operation]
            shape = client.meta.service_model.operation_model(operation).input_shape
            report = ParamValidator().validate(step.request, shape)
            assert not report.has_errors(), f"{operation}: {report.generate_report()}"


@cache
def client_of(service: str) -> Any:
    import boto3

    fake = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return boto3.client(service, region_name=REGION, **fake)


def requests(steps: list[Step], operation: str) -> list[dict[str, Any]]:
    return [
        dict(one.request) for one in steps if isinstance(one, Call) and one.operation == operation
    ]
