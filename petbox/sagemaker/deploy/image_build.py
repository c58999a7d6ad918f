"""Builds and pushes the image with scripts/push_ecr.sh, which needs a checkout and Docker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from petbox.errors import ServiceError
from petbox.sagemaker.endpoint.fit import HAS_GPU
from petbox.sagemaker.endpoint.options import UpOptions

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "push_ecr.sh"


def command(model: Path, options: UpOptions) -> list[str]:
    """Without an instance type that has a GPU, the image is for CPUs.

    The script looks for a relative path in the checkout first.
    """
    has_gpu = bool(options.instance_type and HAS_GPU.match(options.instance_type))
    return [str(SCRIPT), "--model", str(model.resolve()), *([] if has_gpu else ["--cpu"])]


def push(model: Path, options: UpOptions) -> str:
    """The image's address in ECR, by its digest."""
    if not SCRIPT.is_file():
        raise ServiceError(
            'image = "build": needs the petbox checkout (scripts/push_ecr.sh); '
            "build there, and write the address that it prints"
        )
    done = subprocess.run(
        command(model, options),
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode or not done.stdout.strip():
        raise ServiceError("image: was not pushed; see the lines above")
    return done.stdout.strip().splitlines()[-1]
