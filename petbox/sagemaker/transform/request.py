"""From what is wanted of a transform job to the calls that start it.

Pure: looks at nothing and calls nothing.
"""

from __future__ import annotations

from typing import Any

from petbox.aws import names as aws_names
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.plan import Call
from petbox.sagemaker.endpoint.wanted import model_request
from petbox.sagemaker.transform.input import LINES
from petbox.sagemaker.transform.options import TransformOptions


def plan(wanted: TransformOptions, job: str, kind: str, model: str | None) -> list[Call]:
    """The calls for a job on files of one `kind`; `model` is there already, or is made first."""
    tags = aws_names.pairs(wanted.tag)
    calls = []
    if model is None:
        request = _model(wanted, job)
        model = str(request["ModelName"])
        calls.append(Call("sagemaker", "create_model", request, f"model {model}"))
    request = _job(wanted, job, kind, model)
    if tags:
        request["Tags"] = names.tag_list(tags)
    calls.append(Call("sagemaker", "create_transform_job", request, f"transform job {job}"))
    return calls


def owner(job: str) -> str:
    """Whose model it is by its tag, so that no endpoint's is taken for it."""
    return f"{job}-transform"


def _model(wanted: TransformOptions, job: str) -> dict[str, Any]:
    assert wanted.image is not None and wanted.role is not None  # the options see to it
    request = model_request(
        owner(job),
        image=wanted.image,
        role=wanted.role,
        model_data=wanted.model_data,
        env=wanted.env,
        subnets=wanted.subnet,
        security_groups=wanted.security_group,
    )
    tags = {**aws_names.pairs(wanted.tag), names.OWNER: owner(job)}
    return {**request, "Tags": names.tag_list(tags)}


def _job(wanted: TransformOptions, job: str, kind: str, model: str) -> dict[str, Any]:
    lines = kind == LINES
    # Strategy and size of a call are the container's own (GET /execution-parameters).
    output: dict[str, Any] = {
        "S3OutputPath": str(wanted.destination).rstrip("/"),
        "AssembleWith": "Line" if lines else "None",
    }
    if accept := wanted.accept or (LINES if lines else None):
        output["Accept"] = accept
    request: dict[str, Any] = {
        "TransformJobName": job,
        "ModelName": model,
        "TransformInput": {
            "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": wanted.source},
            },
            "ContentType": kind,
            "SplitType": "Line" if lines else "None",
        },
        "TransformOutput": output,
        "TransformResources": {
            "InstanceType": wanted.instance_type,
            "InstanceCount": wanted.instance_count,
        },
    }
    if wanted.concurrency is not None:
        request["MaxConcurrentTransforms"] = wanted.concurrency
    return request
