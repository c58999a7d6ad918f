"""SageMaker's inference components in memory: changes take a while, fail, and are rolled back.

They stand beside a simulator, or before moto, which has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError
from support.aws import REGION, rejection

PREFIX = f"arn:aws:sagemaker:{REGION}:123456789012:inference-component/"
STAND_IN = "stand-in"
PINGS = "did not pass the ping health check"
COPIES = b"sagemaker:inference-component:DesiredCopyCount"
INSTANCES = b"sagemaker:variant:DesiredInstanceCount"
Request = dict[str, Any]


@dataclass
class Component:
    request: Request
    copies: int
    status: str = "Creating"
    polls: int = 1  # until it is settled
    before: Request | None = None  # the specification that a rollback restores
    reason: str = ""


@dataclass
class Components:
    """`fails` says whether the change that settles now fails."""

    by_name: dict[str, Component] = field(default_factory=dict)
    fails: Callable[[], bool] = lambda: False
    polls: int = 1
    reason: str = PINGS  # why a change fails

    def create(self, request: Request) -> Request:
        name = request["InferenceComponentName"]
        if name in self.by_name:
            raise _rejected(f"Cannot create already existing inference component {name}")
        copies = request["RuntimeConfig"]["CopyCount"]
        self.by_name[name] = Component(request, copies, polls=self.polls)
        return {"InferenceComponentArn": PREFIX + name}

    def update(self, request: Request) -> Request:
        one = self._settled(request, "update")
        one.before = one.request["Specification"]
        one.request = {**one.request, "Specification": request["Specification"]}
        one.status, one.polls = "Updating", self.polls
        return {"InferenceComponentArn": PREFIX + request["InferenceComponentName"]}

    def delete(self, request: Request) -> Request:
        one = self._settled(request, "delete")
        one.status, one.polls = "Deleting", self.polls
        return {}

    def _settled(self, request: Request, verb: str) -> Component:
        one = self._found(request)
        if one.status in ("Creating", "Updating"):
            self._poll(request["InferenceComponentName"], one)
            state = f"{one.status.upper()}_IN_PROGRESS"
            raise _rejected(f"Cannot {verb} inference component while it is in state {state}")
        return one

    def _found(self, request: Request) -> Component:
        name = request["InferenceComponentName"]
        if name not in self.by_name:
            raise _rejected(f"Could not find inference component {name}")
        return self.by_name[name]

    def describe(self, request: Request) -> Request:
        name = request["InferenceComponentName"]
        self._poll(name, self._found(request))
        one = self._found(request)
        specification = one.request["Specification"]
        if one.status == "Updating":
            specification = one.before or specification
        found = {
            "InferenceComponentName": name,
            "InferenceComponentArn": PREFIX + name,
            "EndpointName": one.request["EndpointName"],
            "EndpointArn": "arn:of-the-endpoint",
            "InferenceComponentStatus": one.status,
            "Specification": specification,
            "RuntimeConfig": {"DesiredCopyCount": one.copies, "CurrentCopyCount": one.copies},
            "CreationTime": 0,
            "LastModifiedTime": 0,
        }
        return {**found, **({"FailureReason": one.reason} if one.reason else {})}

    def _poll(self, name: str, one: Component) -> None:
        if one.status not in ("Creating", "Updating", "Deleting"):
            return
        if one.polls:
            one.polls -= 1
        elif one.status == "Deleting":
            del self.by_name[name]
        else:
            self._settle(one)

    def _settle(self, one: Component) -> None:
        failed, created = self.fails(), one.status == "Creating"
        one.status = "Failed" if failed and created else "InService"
        one.reason = self.reason if failed else ""
        if failed and one.before is not None:
            one.request = {**one.request, "Specification": one.before}
        one.before = None

    def list(self, request: Request) -> Request:
        of = request.get("EndpointNameEquals")
        found = [
            {
                "InferenceComponentName": name,
                "InferenceComponentArn": PREFIX + name,
                "EndpointName": one.request["EndpointName"],
                "EndpointArn": "arn:of-the-endpoint",
                "VariantName": "AllTraffic",
                "CreationTime": 0,
                "LastModifiedTime": 0,
            }
            for name, one in self.by_name.items()
            if of in (None, one.request["EndpointName"])
        ]
        return {"InferenceComponents": found}

    def tags(self, arn: str) -> list[dict[str, str]] | None:
        one = self.by_name.get(arn.removeprefix(PREFIX)) if arn.startswith(PREFIX) else None
        return None if one is None else list(one.request.get("Tags", ()))

    def responses(self, moto: Any) -> Mapping[str, Callable[[Request], Any]]:
        """For a proxy before moto, by operation; `moto` is its client of SageMaker.

        Moto wants a model in each configuration: it gets another one.
        """
        configs: dict[str, Request] = {}

        def create_config(request: Request) -> Request | None:
            variants = request["ProductionVariants"]
            if "ModelName" in variants[0]:
                return None
            if not configs:
                role = request["ExecutionRoleArn"]
                moto.create_model(ModelName=STAND_IN, ExecutionRoleArn=role, PrimaryContainer={})
            name, with_model = request["EndpointConfigName"], {**variants[0], "ModelName": STAND_IN}
            made: Request = moto.create_endpoint_config(
                EndpointConfigName=name, ProductionVariants=[with_model], Tags=request["Tags"]
            )
            arn = made["EndpointConfigArn"]
            configs[name] = {**request, "EndpointConfigArn": arn, "CreationTime": 0}
            return {"EndpointConfigArn": arn}

        def delete_config(request: Request) -> None:
            configs.pop(request["EndpointConfigName"], None)

        acts: dict[str, Callable[[Request], Any]] = {
            "CreateEndpointConfig": create_config,
            "DescribeEndpointConfig": lambda one: configs.get(one["EndpointConfigName"]),
            "DeleteEndpointConfig": delete_config,
            "CreateInferenceComponent": self.create,
            "UpdateInferenceComponent": self.update,
            "DeleteInferenceComponent": self.delete,
            "DescribeInferenceComponent": self.describe,
            "ListInferenceComponents": self.list,
            "ListTags": self._tags,
        }
        return {name: _over_http(act) for name, act in acts.items()}

    def _tags(self, request: Request) -> Request | None:
        tags = self.tags(request["ResourceArn"])
        return None if tags is None else {"Tags": tags}


def without_copies(request: bytes) -> bytes:
    """For moto's Application Auto Scaling, which scales instances only."""
    request = re.sub(rb'"inference-component/([\w-]+)"', rb'"endpoint/\1/variant/copies"', request)
    return request.replace(COPIES, INSTANCES)


def with_copies(response: bytes) -> bytes:
    if b"/variant/copies" not in response:
        return response

    def restore(found: Request) -> Request:
        resource, of_copies, _ = str(found.get("ResourceId")).partition("/variant/copies")
        if of_copies:
            found["ResourceId"] = resource.replace("endpoint/", "inference-component/")
            found["ScalableDimension"] = COPIES.decode()
        return found

    return json.dumps(json.loads(response, object_hook=restore)).encode()


def _over_http(act: Callable[[Request], Any]) -> Callable[[Request], Any]:
    def respond(request: Request) -> Any:
        try:
            return act(request)
        except ClientError as error:
            return rejection(error.response["Error"]["Code"], error.response["Error"]["Message"])

    return respond


def _rejected(text: str) -> ClientError:
    response: Any = {
        "Error": {"Code": "ValidationException", "Message": text},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }
    return ClientError(response, "call")
