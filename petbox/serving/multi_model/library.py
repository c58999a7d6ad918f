"""The folder of models that takes the place of the S3 prefix, and its models once unpacked.

A model is an archive or a folder. It is unpacked where the container reads it, in a folder that is
named by a hash, as on SageMaker.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from petbox.data.fetch import archives
from petbox.errors import DataError, ModelError

MOUNT = "/opt/ml/models"  # where SageMaker's containers read them


class UnknownModel(ModelError):
    """No model has this name."""


@dataclass(frozen=True)
class Library:
    """The models in `folder`; the container sees `unpacked` as `mount`."""

    folder: Path
    unpacked: Path
    mount: str

    def names(self) -> list[str]:
        """What can be asked for, hidden files aside."""
        return sorted(
            path.name
            for path in self.folder.iterdir()
            if not path.name.startswith(".")
            and (path.is_dir() or path.name.endswith(archives.ENDINGS))
        )

    def find(self, name: str) -> Path:
        """The archive or folder; for `a.tar.gz` the folder `a` will do."""
        parts = PurePosixPath(name).parts
        if (
            parts
            and parts[-1] != ".tar.gz"
            and not name.startswith("/")
            and ".." not in parts
            and "\0" not in name
        ):
            for path in (self.folder / name, self.folder / name.removesuffix(".tar.gz")):
                with contextlib.suppress(OSError):  # a name that is too long, for example
                    if path.is_dir() or path.is_file():
                        return path
        raise UnknownModel(f"{self.folder}: has no model {name!r}; put its archive or folder there")

    def add(self, name: str, copy: str = "") -> str:
        """Unpacks a model and returns its id; another `copy` of it has another id."""
        source, model_id = self.find(name), self.model_id(name, copy)
        target = self.path(model_id)
        if target.exists():
            return model_id
        try:
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                archives.unpack(source, target)
        except (DataError, OSError) as error:
            self.remove(model_id)
            raise ModelError(str(error)) from error
        return model_id

    def model_id(self, name: str, copy: str = "") -> str:
        return hashlib.sha256(f"{name}\0{copy}".encode()).hexdigest()[:32]

    def remove(self, model_id: str) -> None:
        shutil.rmtree(self.unpacked / model_id, ignore_errors=True)

    def path(self, model_id: str) -> Path:
        """The model's files on this machine."""
        return self.unpacked / model_id / "model"

    def url(self, model_id: str) -> str:
        """The same folder as the container sees it."""
        return f"{self.mount}/{model_id}/model"


@contextlib.contextmanager
def library(folder: Path, mount: str | None = MOUNT) -> Iterator[Library]:
    """The models in `folder`, unpacked while the context lasts.

    Without a `mount`, the server runs on this machine and sees the same paths.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; name one with model archives or folders")
    with tempfile.TemporaryDirectory(prefix="petbox-models-") as unpacked:
        Path(unpacked).chmod(0o755)  # the container may run as another user
        yield Library(folder, Path(unpacked), mount or unpacked)
