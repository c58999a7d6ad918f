"""Whatever a caller names or holds as an image, read and made ready to be sent."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from petbox.aws import session
from petbox.aws.names import S3, S3Address
from petbox.aws.s3 import folder_at, objects
from petbox.cli.sizes import MIB, megabytes
from petbox.client import download
from petbox.errors import DataError
from petbox.images import photos
from petbox.images.photos import Photo

from PIL.Image import Image  # isort: skip  # after photos, which says how to install it

if TYPE_CHECKING:
    import numpy.typing

    Source: TypeAlias = str | Path | bytes | Image | numpy.typing.NDArray[numpy.uint8]

MOST_BYTES = 100 * MIB  # of an image that is fetched
AT_ONCE = 10  # boto3's own number of connections


def list_images(arguments: Iterable[str]) -> list[str]:
    """What the arguments stand for; s3://bucket/folder/ for all images in it, however deep."""
    listed = (_in_s3(one) if _is_folder_in_s3(one) else [one] for one in arguments)
    return photos.list_images(name for names in listed for name in names)


def _is_folder_in_s3(text: str) -> bool:
    return text[:5].lower() == S3 and (text.endswith("/") or "/" not in text[5:])


def _in_s3(text: str) -> list[str]:
    found = objects(session.Account().client("s3"), folder_at(S3 + text[5:]))
    names = [str(at) for at, _ in found if Path(at.key).suffix.lower() in photos.SUFFIXES]
    if not names:
        raise DataError(f"{text}: no image under this address; check the bucket and the key")
    return names


class Reader:
    """Reads images, from any thread."""

    def __init__(self, *, shrink: bool, seconds: float) -> None:
        self._shrink = shrink
        self._limits = download.Limits(MOST_BYTES, seconds, images_only=False, ports=())
        self._slots = threading.BoundedSemaphore(AT_ONCE)

    def read(self, source: Source, name: str = "") -> Photo:
        """The image that `source` is or names; errors call it `name`, or else by its own."""
        if isinstance(source, (str, os.PathLike)):
            text = os.fspath(source)
            return self._read_name(text, name or text)
        name = name or "image"
        if isinstance(source, (bytes, bytearray, memoryview)):
            return photos.from_bytes(name, bytes(source), shrink=self._shrink)
        if isinstance(source, Image):
            return photos.from_image(name, source)
        if hasattr(source, "__array_interface__"):
            return photos.from_array(name, source)
        raise DataError(
            f"{name}: has type {type(source).__name__}; give a path, an https:// or s3:// address, "
            "bytes, a Pillow image or a numpy array"
        )

    def _read_name(self, text: str, name: str) -> Photo:
        address = photos.ADDRESS.match(text)
        if address is None:
            return replace(photos.read(text, shrink=self._shrink), name=name)
        if address[1].lower() == "s3":
            fetched = self._from_s3(text)
        else:
            fetched = download.fetch(text, self._limits, may_reach=lambda _address: True)
        return photos.from_bytes(name, fetched, shrink=self._shrink)

    def _from_s3(self, address: str) -> bytes:
        try:
            at = S3Address.parse_object(S3 + address[5:])
        except ValueError as error:
            raise DataError(str(error)) from error
        with self._slots:
            try:
                with session.calling(address):
                    response = self._s3.get_object(Bucket=at.bucket, Key=at.key)
                    if response["ContentLength"] > MOST_BYTES:
                        response["Body"].close()
                        raise DataError(
                            f"{address}: larger than {megabytes(MOST_BYTES)}; scale it down"
                        )
                    return bytes(response["Body"].read())
            except session.Rejected as error:  # the next object may be there
                raise DataError(str(error)) from error

    @functools.cached_property
    def _s3(self) -> Any:
        return session.Account().client("s3")
