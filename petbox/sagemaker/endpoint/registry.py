"""Registers a packaged model as a version in a group of SageMaker's model registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from petbox.aws import request_check, s3, session
from petbox.aws.names import S3Address
from petbox.aws.session import Account
from petbox.cli.program import say
from petbox.errors import DataError
from petbox.sagemaker.endpoint.actual import Described, describe_or_none, every
from petbox.sagemaker.endpoint.names import present

CONTENT_TYPES = ("application/json", "application/jsonlines", "image/jpeg", "image/png")
ACCEPTS = ("application/json", "image/jpeg")
EVALUATION = "evaluation.json"


def read_metrics(path: Path) -> dict[str, float]:
    """The numbers of the whole test set in an evaluation.json."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    except ValueError as error:
        raise DataError(f"{path}: is not JSON; give the file that petbox evaluate wrote") from error
    numbers = content.items() if isinstance(content, dict) else ()
    found = {key: float(value) for key, value in numbers if isinstance(value, (int, float))}
    if not found:
        raise DataError(f"{path}: has no metrics; give the file that petbox evaluate wrote")
    return found


def register(
    account: Account,
    group: str,
    image: str | None,
    archive: dict[str, Any],
    evaluation: Path | None,
) -> str:
    """The version's ARN; an archive that is registered with this image already keeps its own.

    Without an image nothing answers requests, so the version has no types of them either.
    """
    sagemaker, address = account.client("sagemaker"), archive["address"]
    properties = {"sha256": archive["sha256"]}
    beside = S3Address.parse(address.removesuffix("model.tar.gz") + EVALUATION)
    metrics: dict[str, Any] = {}
    if evaluation is not None:
        properties |= {key: f"{value:g}" for key, value in read_metrics(evaluation).items()}
        statistics = {"ContentType": "application/json", "S3Uri": str(beside)}
        metrics = {"ModelQuality": {"Statistics": statistics}}
    request = present(
        ModelPackageGroupName=group,
        InferenceSpecification=present(
            Containers=[present(Image=image, ModelDataUrl=address)],
            SupportedContentTypes=list(CONTENT_TYPES) if image else None,
            SupportedResponseMIMETypes=list(ACCEPTS) if image else None,
        ),
        ModelApprovalStatus="PendingManualApproval",
        ModelMetrics=metrics,
        CustomerMetadataProperties=properties,
    )
    what = f"model package of {group}"
    request_check.check(sagemaker, "create_model_package", request, what)
    if (there := _registered(sagemaker, group, image, address)) is not None:
        say(f"{there}: already registered")
        return there
    if evaluation is not None:
        s3.put(account.client("s3"), evaluation, beside)
    with session.calling(what):
        arn = str(sagemaker.create_model_package(**request)["ModelPackageArn"])
    say(f"{arn}: registered; its approval is pending")
    return arn


def _registered(sagemaker: Any, group: str, image: str | None, address: str) -> str | None:
    """The version that has this archive; the group is created if there is none."""
    name = {"ModelPackageGroupName": group}
    what = f"model package group {group}"
    if describe_or_none(sagemaker.describe_model_package_group, what, **name) is None:
        with session.calling(what):
            sagemaker.create_model_package_group(**name)
        return None
    key = "ModelPackageSummaryList"
    for summary in every(sagemaker, "list_model_packages", key, what, **name):
        with session.calling(what):
            found: Described = sagemaker.describe_model_package(
                ModelPackageName=summary["ModelPackageArn"]
            )
        (container, *_) = found["InferenceSpecification"]["Containers"]
        if (container.get("Image"), container.get("ModelDataUrl")) == (image, address):
            return str(summary["ModelPackageArn"])
    return None
