"""What an image in ECR says of itself: the architecture it is for, and whether it needs a GPU.

Read from its manifest and its configuration; no layer is downloaded.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from petbox.aws import names, session
from petbox.cli.program import say
from petbox.errors import ServiceError

BASE = "org.opencontainers.image.base.name"  # a label of container/Dockerfile
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
LISTS = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
LARGEST = 4 * 1024 * 1024  # of a configuration
SECONDS = 30.0


class Absent(ServiceError):
    """There is no such image."""


@dataclass(frozen=True)
class Image:
    """`needs_gpu`: its model server cannot start without one. `uses_gpu`: it has CUDA.

    `digest` is that of what is at the address, which may be a list of images.
    """

    architecture: str  # amd64 or arm64
    needs_gpu: bool
    uses_gpu: bool
    media_type: str
    digest: str | None = None  # of one in ECR


def read(ecr: Any, uri: str) -> Image | None:
    """None, with one line on stderr, if there is no permission to read it."""
    try:
        stored = _stored(ecr, uri)
        media_type, found = _manifest(ecr, uri, stored, "amd64")
        config = _config(ecr, uri, found["config"]["digest"])
        return _described(stored["imageId"]["imageDigest"], media_type, config)
    except (session.Rejected, session.Unavailable) as error:
        say(f"{error}; so whether the image needs a GPU is unknown")
        return None


def pinned(uri: str, digest: str) -> str:
    """The same address by digest: a tag may be moved."""
    tag = names.image_parts(uri)["tag"]
    return f"{uri.partition('@')[0].removesuffix(f':{tag}')}@{digest}"


def manifest(ecr: Any, uri: str, architecture: str) -> tuple[str, Mapping[str, Any]]:
    """The media type of what is at the address, and the manifest of one image there.

    Of several images it is that for `architecture`, or else the first.
    """
    return _manifest(ecr, uri, _stored(ecr, uri), architecture)


def _manifest(
    ecr: Any, uri: str, stored: Mapping[str, Any], architecture: str
) -> tuple[str, Mapping[str, Any]]:
    found = json.loads(stored["imageManifest"])
    if "manifests" in found:  # of several architectures
        one = _stored(ecr, uri, _digest_for(architecture, found["manifests"]))
        return found.get("mediaType", LISTS[1]), _manifest(ecr, uri, one, architecture)[1]
    return found.get("mediaType", OCI), found


def _stored(ecr: Any, uri: str, digest: str | None = None) -> Mapping[str, Any]:
    """What ECR has at the address, or under another digest of the repository."""
    parts = names.image_parts(uri)
    identity: dict[str, str | None] = {"imageTag": parts["tag"] or "latest"}
    if digest := digest or parts["digest"]:
        identity = {"imageDigest": digest}
    try:
        with session.calling(uri):
            answer = ecr.batch_get_image(
                registryId=parts["account"],
                repositoryName=parts["repository"],
                imageIds=[identity],
                acceptedMediaTypes=[DOCKER, OCI, *LISTS],
            )
    except session.Rejected as error:
        if error.code != "RepositoryNotFoundException":
            raise
        raise _absent(uri) from error
    if not answer["images"]:
        raise _absent(uri)
    found: Mapping[str, Any] = answer["images"][0]
    return found


def _digest_for(architecture: str, manifests: list[Mapping[str, Any]]) -> str:
    def rank(one: Mapping[str, Any]) -> int:
        platform = one.get("platform", {}).get("architecture", "unknown")
        return {architecture: 0, "unknown": 2}.get(
            platform, 1
        )  # provenance has an unknown platform

    return str(min(manifests, key=rank)["digest"])


def _absent(uri: str) -> Absent:
    return Absent(f"{uri}: not in ECR; push it: scripts/push_ecr.sh prints its address")


def _config(ecr: Any, uri: str, digest: str) -> Mapping[str, Any]:
    parts = names.image_parts(uri)
    with session.calling(uri):
        address = ecr.get_download_url_for_layer(
            registryId=parts["account"], repositoryName=parts["repository"], layerDigest=digest
        )["downloadUrl"]
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as response:
            config: Mapping[str, Any] = json.loads(response.read(LARGEST))
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise session.Unavailable(
            f"{uri}: its configuration cannot be read ({error}); check the network"
        ) from error
    return config


def is_for_gpu(base: str) -> bool:
    """TensorFlow Serving's own are linked against libcuda; the tag may have a digest behind it."""
    return base.partition("@")[0].endswith("-gpu")


def _described(digest: str, media_type: str, config: Mapping[str, Any]) -> Image:
    inside = config.get("config") or {}
    base = (inside.get("Labels") or {}).get(BASE, "")
    variables = {text.partition("=")[0] for text in inside.get("Env") or ()}
    cuda = bool(variables & {"CUDA_VERSION", "NVIDIA_REQUIRE_CUDA"})
    needs_gpu = is_for_gpu(base)
    return Image(
        digest=digest,
        architecture=str(config.get("architecture", "amd64")),
        needs_gpu=needs_gpu,
        uses_gpu=needs_gpu or cuda,
        media_type=media_type,
    )
