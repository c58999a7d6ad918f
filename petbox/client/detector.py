"""`petbox.Detector`: finds objects in images with a server, a SageMaker endpoint, or a model.

The one way from an image to its detections: the command line and the Lambda functions use it too.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import petbox
from petbox import wire
from petbox.cli.parallel import in_order
from petbox.cli.sizes import MIB
from petbox.client import limits, retry, transport, wake
from petbox.client.detections import Detections
from petbox.client.selection import selected
from petbox.errors import DataError, WireError

if TYPE_CHECKING:
    from petbox.client.sources import Reader, Source
    from petbox.images.photos import Photo

AROUND = len(wire.request([b""], signature=transport.DETECT))  # bytes of a request without an image


class Detector:
    """Finds objects in images; may be used from several threads, and as a context manager.

    Give one of the first four, or a multi-model endpoint and its model; without any, the server is
    http://localhost:8080.

    url          a server: petbox's container, `petbox serve`, petbox's HTTP API in AWS
                 (https://…/v1/detect), or TensorFlow Serving
    endpoint     the name of a SageMaker endpoint
    model        the folder of a SavedModel or of `petbox convert`, which is loaded into this
                 process; with endpoint, the name of its model
    engine       any object with `detect(image: bytes) -> list[petbox.wire.Detection]`
    min_score    leave out detections with a lower score (default: the model's threshold for the
                 class, or 0.5)
    names        class names by id: a mapping, a label map (.pbtxt), or a model's folder
    fit          send smaller copies of images that are over the limit, instead of raising
    limit        the largest request in MB (default: 25, or 4 for a serverless endpoint)
    headers      sent to url with each request, such as {"x-api-key": "…"}
    sign         sign requests to url with AWS's credentials (SigV4), as API Gateway's IAM asks for
    timeout      seconds to wait for a response
    parallel     how many images `detect_many` processes at once
    retry_for    seconds to keep retrying while the server is overloaded, for each image
    component    with endpoint: one of its inference components (default: that of the same name)
    wait_for     seconds to wait for the first copy of a component that is scaled to zero
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        endpoint: str | None = None,
        model: str | Path | None = None,
        engine: wire.Engine | None = None,
        min_score: float | None = None,
        names: Mapping[int, str] | str | Path | None = None,
        fit: bool = False,
        limit: float | None = None,
        headers: Mapping[str, str] | None = None,
        sign: bool = False,
        timeout: float = transport.SECONDS,
        parallel: int = 8,
        retry_for: float = retry.SECONDS,
        component: str | None = None,
        wait_for: float = wake.SECONDS,
    ) -> None:
        chosen = [choice for choice in (url, endpoint, model, engine) if choice is not None]
        if len(chosen) > 1 and chosen != [endpoint, model]:
            raise ValueError("url, endpoint, model and engine exclude each other; give one")
        if component is not None and (endpoint is None or model is not None):
            raise ValueError("component requires endpoint, and excludes model")
        if (headers or sign) and chosen != ([] if url is None else [url]):
            raise ValueError("headers and sign are for a url")
        if limit is not None and not 0 < limit < math.inf:
            raise ValueError(f"limit={limit}: not a number of megabytes")
        self._min_score, self._parallel = _checked_score(min_score), _checked_count(parallel)
        by_path = isinstance(names, (str, os.PathLike))
        self._names: Mapping[int, str] = label_names(Path(names)) if by_path else names or {}  # type: ignore[arg-type, assignment]
        self._fit, self._seconds, self._retry_for = fit, timeout, retry_for
        self._limit: limits.FindLimit | None = limits.fixed(limit) if limit else None
        if model is not None and endpoint is None:
            engine = petbox.open_model(Path(model))
        if engine is None and endpoint is None:
            engine = self._at_url(url or transport.URL, headers, sign)
        self._engine = engine or self._at_endpoint(str(endpoint), model, component)
        self._warned = threading.Lock()
        self._wake = wake.Wake(wait_for)

    def _at_url(self, url: str, headers: Mapping[str, str] | None, sign: bool) -> wire.Engine:
        from petbox.client.api import Api
        from petbox.client.http_transport import Http

        server = Http(url, self._seconds, headers, sign, self._min_score)
        if not server.is_api:
            self._limit = self._limit or limits.of_server(url)
            return self._remote(server)
        most = limits.LAMBDA if self._fit else limits.UPLOADED
        self._limit = self._limit or limits.of_server(url, most)
        return Api(server, self._seconds)

    def _at_endpoint(
        self, name: str, model: str | Path | None, component: str | None
    ) -> wire.Engine:
        self._limit = self._limit or limits.of_endpoint(name)
        target = None if model is None else str(model)
        return self._remote(transport.SageMaker(name, self._seconds, target, component))

    def _remote(self, channel: transport.Transport) -> wire.Engine:
        # Names come with the signature that leaves out low scores. A caller with names of their own
        # gets everything.
        return transport.Remote(channel, all_detections=bool(self._names))

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections that are kept open."""
        if close := getattr(self._engine, "close", None):
            close()

    def detect(
        self, image: Source, *, name: str = "", min_score: float | None = None
    ) -> Detections:
        """The detections in one image; a PetboxError says why there are none.

        `image` is a path, an https:// or s3:// address, the bytes of a file, a Pillow image, or a
        numpy array. Results and errors call it `name`, or else by its path or address.
        """
        score = self._min_score if min_score is None else _checked_score(min_score)
        return self._detect(image, name, score, time.sleep)

    def detect_many(
        self,
        images: str | Path | Iterable[Source],
        *,
        parallel: int | None = None,
        draw: str | Path | None = None,
        keep_images: bool = True,
    ) -> Generator[tuple[Source, Detections], None, None]:
        """Each image with its detections, in order, several of them processed at once.

        `images` is a folder, a quoted pattern, or any iterable of what `detect` takes, which is
        read as it is needed. An image that fails has the reason in `error` of its detections, and
        the others go on; a server that fails raises. `draw` is a folder for copies with the boxes
        drawn. Without `keep_images` results hold no image, and use little memory.
        """
        if isinstance(images, (str, os.PathLike)):
            from petbox.client.sources import list_images

            images = list_images([os.fspath(images)])
        elif isinstance(images, (bytes, bytearray)) or getattr(images, "ndim", 1) in (2, 3):
            raise TypeError("detect_many takes several images; put a single one into a list")
        copies: dict[str, Path] = {}
        if draw is not None:
            from petbox.images import drawn_copies

            images = list(images)
            names = [_name(number, image) for number, image in enumerate(images)]
            copies = drawn_copies.paths(names, Path(draw))
        stop = threading.Event()

        def one(numbered: tuple[int, Source]) -> tuple[Source, Detections]:
            number, image = numbered
            name = _name(number, image)
            try:
                found = self._detect(image, name, self._min_score, stop.wait)
                if name in copies:
                    drawn_copies.save(found.draw(), copies[name])
            except (DataError, WireError) as error:
                return image, Detections(name, error=error)
            return image, found if keep_images else found.without_image()

        count = len(images) if isinstance(images, (list, tuple)) else self._parallel
        workers = min(count, self._parallel if parallel is None else _checked_count(parallel))
        return in_order(one, enumerate(images), workers, stop)

    def _detect(
        self, image: Source, name: str, min_score: float | None, pause: Callable[[float], object]
    ) -> Detections:
        photo = self._reader.read(image, name)
        encoded = self._within_limit(photo)
        try:
            found = retry.while_busy(
                lambda: self._engine.detect(encoded),
                pause,
                self._warn,
                self._retry_for,
                self._wake.waiting,
            )
        except WireError as error:
            raise type(error)(f"{photo.name}: {error}") from error
        self._wake.over()
        return selected(photo, found, self._names, min_score)

    @functools.cached_property
    def _reader(self) -> Reader:
        from petbox.client.sources import Reader  # not before: Pillow may be missing

        return Reader(shrink=self._fit, seconds=self._seconds)

    def _within_limit(self, photo: Photo) -> bytes:
        size = AROUND + 4 * -(-len(photo.encoded) // 3)  # in base64
        if self._limit is None or size <= (limit := self._limit(size)).most:
            return photo.encoded
        if not self._fit:
            raise DataError(
                f"{photo.name}: makes a request of {size / MIB:.1f} MB, and {limit}; "
                "use --fit (in Python fit=True) to send a smaller copy"
            )
        from petbox.images.shrink import shrink

        return shrink(photo, max(0, limit.most - AROUND) // 4 * 3)

    def _warn(self, reason: str) -> None:
        if self._warned.acquire(blocking=False):  # the first time only
            logging.getLogger(__name__).warning("%s; waiting", reason)


def label_names(path: Path) -> dict[int, str]:
    """The label map at `path`: a file, a SavedModel's own, or that of its newest version."""
    from petbox.data import labels

    if not path.is_dir():
        return labels.read(path)
    versions = sorted((p for p in path.iterdir() if p.name.isdecimal()), key=lambda p: -int(p.name))
    for folder in (path, path / "assets", *(version / "assets" for version in versions)):
        if (folder / labels.FILE_NAME).is_file():
            return labels.read(folder / labels.FILE_NAME)
    raise DataError(
        f"{path}: no {labels.FILE_NAME} in it or in its assets; name a label map or a model"
    )


def _name(number: int, image: Source) -> str:
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    return getattr(image, "filename", "") or f"image {number}"  # Pillow's, of an opened file


def _checked_score(score: float | None) -> float | None:
    if score is not None and not 0 <= score <= 1:
        raise ValueError(f"min_score={score}: not a number from 0 to 1")
    return score


def _checked_count(parallel: int) -> int:
    if parallel < 1:
        raise ValueError(f"parallel={parallel}: must be at least 1")
    return parallel
