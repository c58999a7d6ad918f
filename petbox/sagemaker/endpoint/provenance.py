"""Where an endpoint's model comes from, as tags: the training job, and the archive's SHA-256."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from petbox.aws import session
from petbox.aws.names import S3Address
from petbox.sagemaker.endpoint.actual import Actual, Clients

TRAINING_JOB, MODEL = "petbox:training-job", "petbox:model-sha256"
KEYS = (TRAINING_JOB, MODEL)


def tags(clients: Clients, model_data: str | None, actual: Actual) -> dict[str, str]:
    """What is known of the archive; without permission to read it, nothing."""
    if not model_data:
        return {}
    noted = {key: actual.tags[key] for key in KEYS if key in actual.tags}
    container = (actual.last_model or {}).get("PrimaryContainer", {})
    if noted and container.get("ModelDataUrl") == model_data:
        return noted
    found: dict[str, str] = {}
    with suppress(session.CallFailed), session.calling(model_data):
        at = S3Address.parse_object(model_data)
        metadata = clients("s3").head_object(Bucket=at.bucket, Key=at.key)["Metadata"]
        found |= {MODEL: metadata["sha256"]} if "sha256" in metadata else {}
    folder, _, _ = model_data.rpartition("/output/")  # where SageMaker puts a job's model
    job = folder.rpartition("/")[2]
    if folder and job:
        with suppress(session.CallFailed), session.calling(f"training job {job}"):
            described = clients("sagemaker").describe_training_job(TrainingJobName=job)
            if described["ModelArtifacts"]["S3ModelArtifacts"] == model_data:
                found[TRAINING_JOB] = job
    return found


def facts(tags: Mapping[str, str], image: str | None) -> dict[str, Any]:
    _, _, digest = (image or "").partition("@")
    return {
        "training_job": tags.get(TRAINING_JOB),
        "model_sha256": tags.get(MODEL),
        "image_digest": digest or None,
    }


def line(name: str, tags: Mapping[str, str], image: str | None) -> str:
    known = facts(tags, image)
    titles = {"training_job": "training job", "model_sha256": "model", "image_digest": "image"}
    parts = [f"{title} {known[key]}" for key, title in titles.items() if known[key]]
    return " -> ".join([*parts, f"endpoint {name}"])
