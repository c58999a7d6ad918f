"""Detects objects in images, by sending them to a served model.

On a terminal it prints a table. In a pipe it prints one line per detection,
separated by tabs: image, label, score, and the box as ymin, xmin, ymax, xmax
in fractions of the upright image. A folder stands for the images directly in
it. Several images are sent at once; results are printed in order. Overloaded
servers (429, 503) are retried with exponential backoff. Errors are printed to
stderr; remaining images are still processed. Exit code 1 if any image failed.

examples:
  petbox detect cat.jpg
  petbox detect photos/ --draw found/
  petbox detect 'photos/**/*.jpg' --csv > found.csv
  petbox detect photos/ --endpoint pets --fit --json > found.jsonl
  petbox detect - --endpoint pets < cat.jpg
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox.cli.options import POSITIONAL
from petbox.cli.parallel import in_order
from petbox.cli.program import say
from petbox.cli.progress import progress
from petbox.client import detector as client_detector
from petbox.client import limits, pipeline, retry
from petbox.client.output import listing
from petbox.client.pipeline import Looker
from petbox.errors import DataError
from petbox.images import drawn_copies

MOST_PARALLEL = 256


@dataclass(frozen=True)
class DetectOptions:
    image: Annotated[
        tuple[str, ...], "a picture, a folder of them, a quoted pattern, or - for stdin", POSITIONAL
    ]
    url: Annotated[str | None, f"where the detector answers (default: {client_detector.URL})"] = (
        None
    )
    endpoint: Annotated[str | None, "ask this SageMaker endpoint instead", "NAME"] = None
    parallel: Annotated[int, "pictures under way at once", "N"] = 8
    limit: Annotated[
        float | None,
        "most megabytes of a request (default: 25, or 4 where the endpoint is serverless)",
        "MB",
    ] = None
    fit: Annotated[bool, "send smaller copies of pictures that are over the limit"] = False
    min_score: Annotated[float, "leave out what is less sure than this, from 0 to 1", "S"] = 0.5
    labels: Annotated[
        Path | None, "label map (.pbtxt), or a model's folder, to take the names from", "PATH"
    ] = None
    draw: Annotated[Path | None, "folder for copies with the boxes drawn", "DIR"] = None
    json: Annotated[bool, "print one JSON line a picture"] = False
    csv: Annotated[bool, "print CSV with a head, one line a detection"] = False

    def __post_init__(self) -> None:
        if self.url is not None and self.endpoint is not None:
            raise ValueError("--url and --endpoint exclude each other")
        if self.json and self.csv:
            raise ValueError("--json and --csv exclude each other")
        if not 1 <= self.parallel <= MOST_PARALLEL:
            raise ValueError(
                f"argument --parallel: {self.parallel} is not from 1 to {MOST_PARALLEL}"
            )
        if self.limit is not None and not 0 < self.limit < math.inf:
            raise ValueError(f"argument --limit: {self.limit:g} is not a number of megabytes")
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"argument --min-score: {self.min_score:g} is not from 0 to 1")


def detect(options: DetectOptions) -> None:
    """Lists what is in the pictures on stdout and, if wanted, draws it."""
    from petbox.images import photos  # not sooner: Pillow may be missing, and --help needs none

    names = pipeline.label_names(options.labels) if options.labels else {}
    pictures = photos.find(options.image)
    stop = threading.Event()
    ask = retry.patient(_ask(options), stop.wait, _once(lambda why: say(f"{why}; waiting")))
    look = Looker(
        # Names come with the signature that leaves out what the model is unsure of. Who brings the
        # names gets everything.
        detector=client_detector.Detector(ask, everything=bool(names)),
        limit=_limit(options),
        fit=options.fit,
        min_score=options.min_score,
        names=names,
        copies=drawn_copies.plan(pictures, options.draw) if options.draw else {},
    )
    failed = 0
    with (
        warnings.catch_warnings(),  # for all threads, which cannot each have filters of their own
        listing(as_json=options.json, as_csv=options.csv) as show,
        _progress(len(pictures)) as advance,
    ):
        warnings.simplefilter("ignore")
        for found in in_order(look.at, pictures, options.parallel, stop):
            show(found)
            if found.error:
                failed += 1
                if len(pictures) == 1:
                    raise DataError(found.error)
                say(f"error: {found.error}")
            advance(1, "")
    if failed:
        raise DataError(f"{failed} of {len(pictures)} pictures failed; the lines above say why")


def _ask(options: DetectOptions) -> client_detector.Ask:
    if options.endpoint is not None:
        return client_detector.at_endpoint(options.endpoint, at_once=options.parallel)
    return client_detector.at_url(client_detector.URL if options.url is None else options.url)


def _limit(options: DetectOptions) -> limits.Find:
    if options.limit is not None:
        return limits.given(options.limit)
    if options.endpoint is not None:
        return limits.of_endpoint(options.endpoint)
    return limits.of_server(options.url or client_detector.URL)


def _once(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Tells the first thing only, whoever says it."""
    told = threading.Lock()
    return lambda text: tell(text) if told.acquire(blocking=False) else None


@contextmanager
def _progress(pictures: int) -> Iterator[Callable[[int, str], None]]:
    if pictures == 1:
        yield lambda _by, _note: None
    else:
        with progress("detect", pictures) as advance:
            yield advance
