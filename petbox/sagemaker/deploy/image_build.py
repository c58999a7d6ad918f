"""Builds and pushes the image with scripts/push_ecr.sh, which needs a checkout and Docker."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from petbox.aws.image import DOCKER, Image, is_for_gpu
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint.fit import GRAVITON, HAS_GPU
from petbox.sagemaker.endpoint.spec import EndpointSpec
from petbox.sagemaker.setup import made

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "push_ecr.sh"
ARCHITECTURES = ("amd64", "arm64")


@dataclass(frozen=True)
class Build:
    """Keys of pets.toml, which are options of the script."""

    model: Path
    hooks: bool = False
    code: Path | None = None
    base: str | None = None
    architecture: str | None = None
    repository: str | None = None
    allow_dirty: bool = False

    def __post_init__(self) -> None:
        for name in ("base", "repository"):
            if getattr(self, name) == "":
                raise ValueError(f"{name}: is empty; leave the key out for the default")
        if self.architecture not in (None, *ARCHITECTURES):
            raise ValueError(f"architecture: {self.architecture!r} is not amd64 or arm64")
        if self.code is not None and not self.hooks:
            raise ValueError("code requires hooks = true")

    def image(self, spec: EndpointSpec) -> Image:
        """What it will be; whether another base has CUDA is known only from its name."""
        architecture = self._architecture(spec)
        if architecture != "amd64" and self.base is None:
            raise ServiceError(
                f"image: TensorFlow Serving has no image for {architecture}; add base = "
                f'"IMAGE", one for {architecture}, or choose another --instance-type'
            )
        for_gpu = is_for_gpu(self.base) if self.base is not None else _has_gpu(spec)
        return Image(architecture, needs_gpu=for_gpu, uses_gpu=for_gpu, media_type=DOCKER)

    def command(self, spec: EndpointSpec) -> list[str]:
        """For the instance type, unless the keys say otherwise: with or without a GPU, and which
        architecture.

        The script looks for a relative path in the checkout first.
        """
        words = [str(SCRIPT), "--model", str(self.model.resolve())]
        texts = {
            "--base": self.base,
            "--code": self.code and self.code.resolve(),
            "--repository": self.repository or made.repository(str(spec.role)),
        }
        for flag, text in texts.items():
            words += [flag, str(text)] if text is not None else []
        if (architecture := self._architecture(spec)) != "amd64":
            words += ["--architecture", architecture]
        given = {
            "--cpu": self.base is None and not _has_gpu(spec),
            "--hooks": self.hooks,
            "--allow-dirty": self.allow_dirty,
        }
        return [*words, *(flag for flag, wanted in given.items() if wanted)]

    def push(self, spec: EndpointSpec) -> str:
        """The image's address in ECR, by its digest."""
        if not SCRIPT.is_file():
            raise ServiceError(
                'image = "build": needs the petbox checkout (scripts/push_ecr.sh); '
                "build there, and write the address that it prints"
            )
        done = subprocess.run(
            self.command(spec),
            env={**os.environ, "PYTHON": sys.executable},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode or not done.stdout.strip():
            raise ServiceError("image: was not pushed; see the lines above")
        return done.stdout.strip().splitlines()[-1]

    def _architecture(self, spec: EndpointSpec) -> str:
        graviton = GRAVITON.match(spec.instance_type or "")
        return self.architecture or ("arm64" if graviton else "amd64")


def _has_gpu(spec: EndpointSpec) -> bool:
    return bool(HAS_GPU.match(spec.instance_type or ""))
