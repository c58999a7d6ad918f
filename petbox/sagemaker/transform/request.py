"""Plans the calls that start a transform job; calls nothing."""

from __future__ import annotations

from typing import Any

from petbox.aws import names as aws_names
from petbox.sagemaker import shared_options as shared
from petbox.sagemaker.endpoint import fit, names
from petbox.sagemaker.endpoint.steps import Call
from petbox.sagemaker.model_request import model_request
from petbox.sagemaker.transform.input import LINES
from petbox.sagemaker.transform.options import TransformOptions


def plan(options: TransformOptions, job: str, kind: str, model: str | None) -> list[Call]:
    """The calls for a job on files of one `kind`; `model` exists, or is created first."""
    calls = []
    if model is None:
        request = model_request(owner(job), options)
        model = str(request["ModelName"])
        calls.append(Call("sagemaker", "create_model", request, f"model {model}"))
    request = _job(options, job, kind, model)
    calls.append(Call("sagemaker", "create_transform_job", request, f"transform job {job}"))
    return calls


def owner(job: str) -> str:
    """The tag of the job's model, which no endpoint's model has."""
    return f"{job}-transform"


def _job(options: TransformOptions, job: str, kind: str, model: str) -> dict[str, Any]:
    lines = kind == LINES
    # Strategy and size of a call are the container's own (GET /execution-parameters).
    output = names.present(
        S3OutputPath=str(options.destination).rstrip("/"),
        AssembleWith="Line" if lines else "None",
        Accept=options.accept or (LINES if lines else None),
        KmsKeyId=options.kms_key,
    )
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": options.source}}
    split = "Line" if lines else "None"
    instance_type = options.instance_type or fit.CPU
    return names.present(
        TransformJobName=job,
        ModelName=model,
        TransformInput={"DataSource": source, "ContentType": kind, "SplitType": split},
        TransformOutput=output,
        TransformResources=names.present(
            InstanceType=instance_type,
            InstanceCount=options.instance_count,
            VolumeKmsKeyId=shared.volume_key(options.kms_key, instance_type),
        ),
        MaxConcurrentTransforms=options.concurrency,
        Tags=names.tag_list(aws_names.pairs(options.tag)),
    )
