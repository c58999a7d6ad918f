"""Whether an image can run on an instance type, and the type that it runs on by default."""

from __future__ import annotations

import re

from petbox.aws.image import DOCKER, Image
from petbox.cli.program import say
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import sizes

CPU = "ml.m5.xlarge"  # new accounts have quota for it
GPU = "ml.g4dn.xlarge"
ARM = "ml.m6g.xlarge"
HAS_GPU = re.compile(r"ml\.(g|p)\d")
ACCELERATED = re.compile(r"ml\.(g|p|inf|trn)\d")
GRAVITON = re.compile(r"ml\.[a-z]+\d+g")  # m6g, c7gn, r8g, and g5g with a GPU


def default_instance(image: Image | None) -> str:
    if image is not None and image.uses_gpu:
        return GPU
    return ARM if image is not None and image.architecture == "arm64" else CPU


def check(uri: str, image: Image | None, instance_type: str | None, *, built: bool = False) -> None:
    """Raises if the container could not start; `instance_type` is None for serverless.

    An image to be `built` is as pets.toml says.
    """
    if image is None:
        return
    where = instance_type or "a serverless endpoint"
    graviton = bool(instance_type and GRAVITON.match(instance_type))
    architecture = "arm64" if graviton else "amd64"
    has_gpu = bool(instance_type and HAS_GPU.match(instance_type))
    if image.architecture != architecture:
        raise ServiceError(
            f"{uri}: is built for {image.architecture}, and {where} runs {architecture}; "
            f"choose an --instance-type with {image.architecture}, or "
            + (
                f'architecture = "{architecture}"'
                if built
                else f"push an image: scripts/push_ecr.sh --architecture {architecture}"
            )
        )
    if image.needs_gpu and not has_gpu:
        raise ServiceError(
            f"{uri}: needs a GPU, and {where} has none; choose --instance-type {GPU}, "
            + (
                "or a base for CPUs"
                if built
                else "or push an image for CPUs: scripts/push_ecr.sh --cpu"
            )
        )
    if image.uses_gpu and not has_gpu:
        say(f"{uri}: is made for a GPU (it has CUDA), and {where} has none")
    if has_gpu and not image.uses_gpu:
        say(
            f"{uri}: is for CPUs, so the GPU of {where} stays idle; "
            + (
                "choose a base for GPUs"
                if built
                else "push an image for GPUs: scripts/push_ecr.sh without --cpu"
            )
        )
    if image.media_type != DOCKER:
        say(
            f"{uri}: has the media type {image.media_type}, which SageMaker may reject; push it "
            "with scripts/push_ecr.sh, which stores one of Docker's"
        )


def check_copy(uri: str, image: Image | None, instance_type: str, component: str) -> None:
    """The same for a copy of an inference component, which sees the GPUs that it states."""
    gpus = "NumberOfAcceleratorDevicesRequired" in sizes.of_copy(component)
    if gpus and not ACCELERATED.match(instance_type):
        raise ServiceError(
            f"--component {component}: states GPUs, and {instance_type} has none; leave the third "
            f"number out, or choose --instance-type {GPU}"
        )
    if image is None or gpus or not HAS_GPU.match(instance_type) or not image.uses_gpu:
        return
    text = f"{uri}: is made for a GPU, and its copies get none; state it: --component {component},1"
    if image.needs_gpu:
        raise ServiceError(text)
    say(text)
