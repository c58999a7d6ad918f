"""Images in ECR: their manifests in the form that SageMaker takes, and which ones are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from petbox.aws import image, session
from petbox.aws.names import IMAGE, image_parts
from petbox.cli.program import say
from petbox.errors import ServiceError

Image = Mapping[str, Any]  # as DescribeImages describes it
CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
LAYERS = {  # those of Docker, by what they may be called
    _LAYER: _LAYER,
    f"{_LAYER}.gzip": f"{_LAYER}.gzip",
    "application/vnd.oci.image.layer.v1.tar": _LAYER,
    "application/vnd.oci.image.layer.v1.tar+gzip": f"{_LAYER}.gzip",
}
MOST_DELETED = 100  # at once
# What runs images: how SageMaker lists them, and how it describes one.
USERS = (
    ("endpoint", "list_endpoints", "Endpoints", "EndpointName"),
    ("model", "list_models", "Models", "ModelName"),
    (
        "inference_component",
        "list_inference_components",
        "InferenceComponents",
        "InferenceComponentName",
    ),
)


def digest(ecr: Any, uri: str) -> str | None:
    """None if there is no such image."""
    parts = image_parts(uri)
    with session.calling(uri, "RepositoryNotFoundException"):
        found = ecr.batch_get_image(
            repositoryName=parts["repository"],
            imageIds=[{"imageTag": parts["tag"]}],
            acceptedMediaTypes=[image.DOCKER, image.OCI, *image.LISTS],
        )["images"]
        return str(found[0]["imageId"]["imageDigest"]) if found else None
    return None


# The manifest


def for_sagemaker(ecr: Any, uri: str, architecture: str) -> str:
    """The digest of a tag, once its manifest is Docker's.

    Docker's newer stores push a manifest of OCI or an index, which SageMaker and Lambda may reject.
    The same layers then get a manifest of Docker's, which takes over the tag.
    """
    media_type, manifest = image.manifest(ecr, uri, architecture)
    if media_type == image.DOCKER:
        return str(digest(ecr, uri))
    converted = json.dumps(_converted(uri, manifest))
    say(f"{uri}: was pushed as {media_type}; replacing it by a manifest of Docker's")
    _replace(ecr, uri, converted)
    return _digest_of(converted)


def _converted(uri: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    layers = manifest["layers"]
    for layer in layers:
        if layer["mediaType"] not in LAYERS:
            raise ServiceError(
                f"{uri}: has a layer of {layer['mediaType']}, which SageMaker may reject; build it "
                "with --output type=image,compression=gzip,force-compression=true"
            )
    return {
        "schemaVersion": 2,
        "mediaType": image.DOCKER,
        "config": _blob(CONFIG, manifest["config"]),
        "layers": [_blob(LAYERS[layer["mediaType"]], layer) for layer in layers],
    }


def _blob(media_type: str, described: Mapping[str, Any]) -> dict[str, Any]:
    return {"mediaType": media_type, "size": described["size"], "digest": described["digest"]}


def _digest_of(manifest: str) -> str:
    return f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"


def _replace(ecr: Any, uri: str, manifest: str) -> None:
    """Stores it without the tag first: the layers are never without an image."""
    parts = image_parts(uri)
    where = {"repositoryName": parts["repository"]}
    new = {**where, "imageManifest": manifest, "imageManifestMediaType": image.DOCKER}
    with session.calling(uri, "ImageAlreadyExistsException"):
        ecr.put_image(**new, imageDigest=_digest_of(manifest))
    with session.calling(uri):
        ecr.batch_delete_image(**where, imageIds=[{"imageTag": parts["tag"]}])
        ecr.put_image(**new, imageTag=parts["tag"])


# What is kept


def keep(
    clients: Callable[[str], Any], repository: str, count: int, tag: str, *, act: bool
) -> None:
    """Deletes all but the newest images with a tag, `tag`, and those that run somewhere."""
    ecr, name = clients("ecr"), repository.partition("/")[2]
    older = _older(list(_described(ecr, name)), count)
    old = [one for one in older if tag not in one.get("imageTags", ())]
    used = _used(clients("sagemaker"), repository) if old else set()
    gone = [one for one in old if not used & _addresses(one)]
    for one in old:
        tags = ", ".join(one.get("imageTags", ())) or one["imageDigest"]
        verb = "delete" if one in gone else "keep"
        why = "" if one in gone else ", which an endpoint or a model uses"
        say(f"{'' if act else 'would '}{verb} {name}:{tags}{why}")
    for first in range(0, len(gone) if act else 0, MOST_DELETED):
        batch = [{"imageDigest": one["imageDigest"]} for one in gone[first : first + MOST_DELETED]]
        with session.calling(f"images of {name}"):  # a part of an index stays while that exists
            ecr.batch_delete_image(repositoryName=name, imageIds=batch)


def _described(ecr: Any, name: str) -> Iterator[Image]:
    with session.calling(f"images of {name}"):
        for page in ecr.get_paginator("describe_images").paginate(repositoryName=name):
            yield from page["imageDetails"]


def _older(images: list[Image], count: int) -> list[Image]:
    """Those that were pushed before the newest `count` with a tag, newest first."""
    images = sorted(images, key=lambda one: one["imagePushedAt"], reverse=True)
    tagged = [-1, *(number for number, one in enumerate(images) if one.get("imageTags"))]
    return images[tagged[count] + 1 :] if len(tagged) > count else []


def _addresses(one: Image) -> set[str]:
    """The digest and the tags."""
    return {one["imageDigest"], *one.get("imageTags", ())}


def _used(sagemaker: Any, repository: str) -> set[str]:
    """The digests and tags of the images that run."""
    found = set()
    for kind, listing, key, name in USERS:
        with session.calling(listing.replace("_", " ")):
            pages = sagemaker.get_paginator(listing).paginate()
            names = [one[name] for page in pages for one in page[key]]
        for one in names:
            with session.calling(f"{kind} {one}", "ValidationException"):  # it is gone by now
                described = getattr(sagemaker, f"describe_{kind}")(**{name: one})
                found |= set(_images(described, image_parts(repository)))
    return found


def _images(value: Any, repository: Mapping[str, str | None]) -> Iterator[str]:
    """The digest, or else the tag, in each address of the repository in a description."""
    if isinstance(value, str) and (match := IMAGE.fullmatch(value)):
        if all(match[part] == repository[part] for part in ("account", "region", "repository")):
            yield match["digest"] or match["tag"] or "latest"
    elif isinstance(value, (Mapping, list)):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _images(one, repository)
