"""`petbox detect`: which pets are where in pictures, asked of a detector that is served.

A picture that fails is told of and does not stop the others; a server that fails does. Looks into
no model itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from petbox import client, labels
from petbox.errors import DataError, PetboxError, WireError
from petbox.listing import Found, listing
from petbox.options import POSITIONAL
from petbox.products import product
from petbox.program import say
from petbox.progress import progress
from petbox.wire import Detection

if TYPE_CHECKING:
    from petbox.photos import Photo

STDIN = "-"


@dataclass(frozen=True)
class DetectOptions:
    image: Annotated[
        tuple[str, ...], "a picture, a folder of them, a quoted pattern, or - for stdin", POSITIONAL
    ]
    url: Annotated[str | None, f"where the detector answers (default: {client.URL})"] = None
    endpoint: Annotated[str | None, "ask this SageMaker endpoint instead", "NAME"] = None
    min_score: Annotated[float, "leave out what is less sure than this, from 0 to 1", "S"] = 0.5
    labels: Annotated[
        Path | None, "label map (.pbtxt), or a model's folder, to take the names from", "PATH"
    ] = None
    draw: Annotated[Path | None, "folder for copies with the boxes drawn", "DIR"] = None
    json: Annotated[bool, "print one JSON line a picture"] = False

    def __post_init__(self) -> None:
        if self.url is not None and self.endpoint is not None:
            raise ValueError("--url and --endpoint exclude each other")
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"argument --min-score: {self.min_score:g} is not from 0 to 1")


def detect(options: DetectOptions) -> None:
    """Lists what is in the pictures on stdout and, if wanted, draws it."""
    from petbox import photos  # not sooner: Pillow may be missing, and --help needs none

    names = label_names(options.labels) if options.labels else {}
    pictures = photos.find(options.image)
    copies = plan_copies(pictures, options.draw) if options.draw else {}
    # Names come with the signature that leaves out what the model is unsure of. Who brings the
    # names gets everything.
    detector = client.Detector(_ask(options), everything=bool(names))
    failed = 0
    with listing(as_json=options.json) as show, _progress(len(pictures)) as advance:
        for picture in pictures:
            try:
                photo = photos.read(picture)
                detections = look(detector, photo, options.min_score, names)
            except (DataError, WireError) as error:
                failed += 1
                show(Found(picture, error=str(error)))
                if len(pictures) == 1:
                    raise
                say(f"error: {error}")
            else:
                if picture in copies:
                    draw_copy(photo, detections, copies[picture])
                show(Found(picture, (photo.width, photo.height), tuple(detections)))
            advance(1, "")
    if failed:
        raise DataError(f"{failed} of {len(pictures)} pictures failed; the lines above say why")


def look(
    detector: client.Detector, photo: Photo, min_score: float, names: Mapping[int, str]
) -> list[Detection]:
    """What is in `photo`, the surest first, each with a name to show."""
    try:
        found = detector.detect(photo.encoded)
    except WireError as error:
        raise WireError(f"{photo.name}: {error}") from error
    if not all(math.isfinite(number) for one in found for number in (one.score, *one.box)):
        raise WireError(
            f"{photo.name}: the model answers NaN or Infinity, so it is broken; train it anew"
        )
    sure = [one for one in found if one.score >= min_score]
    surest_first = sorted(sure, key=lambda one: -one.score)
    return [replace(one, name=shown_name(one, names)) for one in surest_first]


def shown_name(one: Detection, names: Mapping[int, str]) -> str:
    """The user's own, else the model's, else the number."""
    return names.get(one.label) or one.name or f"class {one.label}"


def label_names(path: Path) -> dict[int, str]:
    """The label map at `path`: a file, a SavedModel's own, or that of its newest version."""
    if not path.is_dir():
        return labels.read(path)
    versions = sorted((p for p in path.iterdir() if p.name.isdecimal()), key=lambda p: -int(p.name))
    for folder in (path, path / "assets", *(version / "assets" for version in versions)):
        if (folder / labels.FILE_NAME).is_file():
            return labels.read(folder / labels.FILE_NAME)
    raise DataError(
        f"{path}: no {labels.FILE_NAME} in it or in its assets; name a label map or a model"
    )


def _ask(options: DetectOptions) -> client.Ask:
    if options.endpoint is not None:
        return client.at_endpoint(options.endpoint)
    return client.at_url(client.URL if options.url is None else options.url)


@contextmanager
def _progress(pictures: int) -> Iterator[Callable[[int, str], None]]:
    if pictures == 1:
        yield lambda _by, _note: None
    else:
        with progress("detect", pictures) as advance:
            yield advance


# Copies with boxes


def plan_copies(pictures: Iterable[str], folder: Path) -> dict[str, Path]:
    """Where each picture's copy goes: under its own name, numbered where two are the same."""
    plan: dict[str, Path] = {}
    taken: set[str] = set()
    for picture in pictures:
        path = Path("stdin.jpg" if picture == STDIN else picture)
        suffix = path.suffix if path.suffix.lower() in (".jpg", ".jpeg", ".png") else ".jpg"
        name, number = f"{path.stem}{suffix}", 1
        while name.lower() in taken:  # on some file systems capitals are all the same
            number += 1
            name = f"{path.stem}-{number}{suffix}"
        taken.add(name.lower())
        plan[picture] = folder / name
    originals = {Path(picture).resolve() for picture in plan}
    for copy in plan.values():
        if copy.resolve() in originals:
            raise DataError(f"{copy}: would be overwritten by its copy; --draw into another folder")
    return plan


def draw_copy(photo: Photo, detections: Sequence[Detection], path: Path) -> None:
    from petbox.draw import drawn

    names = {one.label: one.name for one in detections if one.name}
    copy = drawn(photo.seen(), detections, names)
    form = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    try:
        with product(path, replace=True) as partial:
            copy.save(partial, form, quality=95)
    except OSError as error:
        raise PetboxError(f"{path}: cannot be written ({error.strerror}); check --draw") from error
