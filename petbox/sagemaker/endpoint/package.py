"""Packs a model's folder into SageMaker's model.tar.gz and uploads it to S3.

Prints its address, for `petbox endpoint up --model-data`. The same model gives
the same archive at the same address, and is uploaded once, with its SHA-256: S3
keeps it as the object's checksum, which the Lambda functions compare, and in
its metadata. A LiteRT model's folder is for those functions only.

--register makes it a version in SageMaker's model registry, with the metrics of
evaluation.json; a LiteRT model without --image, since no container serves it.
The same archive and image are registered once.

examples:
  petbox endpoint package model/pets
  petbox endpoint package model/pets s3://bucket/models
  petbox endpoint package model/pets s3://bucket/models --register pets \\
      --image URI --evaluation runs/pets/evaluation.json
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, cast

from petbox.aws.names import S3Address
from petbox.aws.s3 import is_there
from petbox.aws.s3_upload import Upload, send, upload, visible_files
from petbox.aws.session import Account
from petbox.cli.options import POSITIONAL, Checked, Json
from petbox.cli.program import say
from petbox.cli.progress import meter
from petbox.cli.sizes import MB, megabytes
from petbox.errors import ModelError, ServiceError
from petbox.sagemaker.endpoint import registry
from petbox.sagemaker.endpoint.actual import Clients
from petbox.sagemaker.setup import made
from petbox.sagemaker.shared_options import IMAGE, JOB, S3

ARCHIVE = "model.tar.gz"
SAVED_MODEL = "saved_model.pb"
LITERT = "model.tflite"  # of petbox convert, for the Lambda functions
OPENVINO = "model.xml"  # of petbox convert, for an image of its own
LEVEL = 1  # weights hardly compress


@dataclass(frozen=True)
class PackageOptions(Checked):
    model: Annotated[Path, "SavedModel, folder of its versions, or LiteRT model", POSITIONAL]
    to: Annotated[
        str | None,
        "s3://… to upload it to (default: the bucket of `petbox setup`)",
        POSITIONAL,
        S3,
    ] = None
    register: Annotated[
        str | None, "register it in this group of SageMaker's model registry", JOB
    ] = None
    image: Annotated[str | None, "with --register: serving image in ECR", IMAGE] = None
    evaluation: Annotated[
        Path | None, "with --register: evaluation.json with the model's metrics", "FILE"
    ] = None
    json: Json = False
    dry_run: Annotated[bool, "make the archive and print its address, but upload nothing"] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        lite = is_lite(self.model)
        if self.register is not None and self.image is None and not lite:
            raise ValueError("--register requires --image")
        if self.image is not None and lite:
            raise ValueError(
                f"argument --image: TensorFlow Serving cannot run the LiteRT model {self.model}; "
                "leave it out"
            )
        if self.register is None and (self.image or self.evaluation):
            raise ValueError("--image and --evaluation require --register")


def package(options: PackageOptions) -> None:
    files(options.model)  # raises if it is no model
    if options.evaluation is not None:
        registry.read_metrics(options.evaluation)  # before anything is uploaded
    address = address_of(options.model, options.to or made.models(Account(), None))
    if options.dry_run:
        facts = publish(options.model, address, None)
    else:
        account = Account()
        facts = publish(options.model, address, account.client("s3"))
        if options.register:
            facts["model_package"] = registry.register(
                account, options.register, options.image, facts, options.evaluation
            )
    print(json.dumps(facts) if options.json else address)


def publish(model: Path, address: str, s3: Any) -> dict[str, Any]:
    """Makes the archive, and uploads it unless it is there; without `s3`, only makes it."""
    members = files(model)
    with tempfile.TemporaryDirectory(prefix="petbox-package-") as folder:
        archive = Path(folder) / ARCHIVE
        digest = pack(members, archive)
        size = archive.stat().st_size
        say(f"{ARCHIVE}: {len(members)} files, {megabytes(size)}, sha256 {digest}")
        if s3 is not None:
            send(Upload(address, {address: archive}, size), s3, digest)
    return {"address": address, "sha256": digest, "files": len(members), "bytes": size}


def address_of(model: Path, to: str) -> str:
    """The archive's address; of a version's folder it has the parent's name too."""
    files(model)  # raises if it is no model
    model = model.resolve()
    *under, folder = upload(model, to).address.rstrip("/").split("/")
    named = f"{model.parent.name}-{folder}" if model.name.isdecimal() else folder
    return "/".join([*under, named, ARCHIVE])


def files(model: Path) -> dict[str, Path]:
    """The archive's members by name, in order: what lies under `1/`, `2/`, … and `code/`.

    Those of a LiteRT model's folder keep their names.
    """
    if not model.is_dir():
        raise ModelError(f"{model}: no such folder; give one with a {SAVED_MODEL} in it")
    folders = _versions(model, LITERT if is_lite(model) else SAVED_MODEL)
    if not folders and _versions(model, OPENVINO):
        raise ModelError(
            f"{model}: is a model for OpenVINO, which no archive is for; build an image of it "
            f"(make image MODEL={model}), or convert the run with --to litert for a Lambda function"
        )
    if not folders:
        raise ModelError(
            f"{model}: has neither a {SAVED_MODEL} nor a {LITERT} nor numbered versions of one; "
            "make a model: petbox export --run RUN --out model/NAME/1"
        )
    if not is_lite(model):
        folders = {name or "1": folder for name, folder in folders.items()}
        code = (model.parent if model.name.isdecimal() else model) / "code"
        folders |= {"code": code} if (code / "inference.py").is_file() else {}
    found = {
        Path(name, path.relative_to(folder)).as_posix(): path
        for name, folder in folders.items()
        for path in visible_files(folder)
    }
    return dict(sorted(found.items()))


def is_lite(model: Path) -> bool:
    lite = _versions(model, LITERT)
    return "" in lite or (bool(lite) and not _versions(model, SAVED_MODEL))


def _versions(model: Path, file: str) -> dict[str, Path]:
    """The folders with this file by their numbers; "" is the model's folder itself."""
    if (model / file).is_file():
        return {"": model}
    numbered = model.glob("[0-9]*")
    return {
        path.name: path for path in numbered if path.name.isdecimal() and (path / file).is_file()
    }


def check_served(model: Path) -> None:
    """Rejects what an endpoint's container cannot run."""
    if is_lite(model):
        raise ModelError(
            f"{model}: is a LiteRT model, and TensorFlow Serving in an endpoint's container cannot "
            "run it; give the SavedModel: petbox export --run RUN --out model/NAME/1"
        )


def check_uploaded(clients: Clients, address: str) -> None:
    """Rejects an archive that a container would start with, and that is not there."""
    if not is_there(clients("s3"), S3Address.parse_object(address)):
        raise ServiceError(
            f"{address}: not in S3; upload it: petbox endpoint package MODEL prints its address"
        )


def pack(members: dict[str, Path], archive: Path) -> str:
    """Writes the archive; its SHA-256. Times, owners and modes of the files are not in it."""
    total = sum(path.stat().st_size for path in members.values())
    done = 0
    with (
        meter("pack", total) as at,
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, path in members.items():
            member = tarfile.TarInfo(name)
            member.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(member, cast("IO[bytes]", file))
            at(done := done + member.size)
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while chunk := file.read(MB):
            digest.update(chunk)
    return digest.hexdigest()
