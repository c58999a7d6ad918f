"""Detects objects in images with a server, a SageMaker endpoint, or a model.

On a terminal it prints a table. In a pipe it prints one line per detection,
separated by tabs: image, label, score, and the box as ymin, xmin, ymax, xmax
in fractions of the upright image. A folder stands for the images directly in
it. Several images are processed at once; results keep their order. Overloaded
servers (429, 503) are retried with exponential backoff; the command waits for
an inference component that is scaled to zero. Errors are printed to stderr;
remaining images are still processed. Exit code 1 if any image failed.
A video is processed frame by frame; a camera or a stream until Ctrl-C, with
the newest frame each time.

examples:
  petbox detect cat.jpg
  petbox detect cat.jpg --model model/pets
  petbox detect photos/ --draw found/
  petbox detect 'photos/**/*.jpg' --csv > found.csv
  petbox detect photos/ --endpoint pets --fit --json > found.jsonl
  petbox detect photos/ --endpoint zoo --model cats
  petbox detect cat.jpg --url https://…/v1/detect --header 'x-api-key: KEY'
  petbox detect s3://bucket/photos/ --async-endpoint pets --csv > found.csv
  petbox detect - --endpoint pets < cat.jpg
  petbox detect clip.mp4 -o found.mp4
  petbox detect rtsp://camera.local/live --json
"""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox.aws.names import check_name
from petbox.cli.options import POSITIONAL, Value, between
from petbox.cli.progress import progress
from petbox.client import wake
from petbox.client.detector import Detector, label_names
from petbox.client.options import DetectorOptions
from petbox.client.output import listing, show_each
from petbox.client.video import is_live, is_video
from petbox.client.video_command import detect_in_videos
from petbox.errors import DataError

MINUTES = wake.SECONDS / 60


@dataclass(frozen=True)
class DetectOptions(DetectorOptions):
    image: Annotated[
        tuple[str, ...],
        "an image, a folder of images, a quoted pattern, an address (https, s3; s3://…/ for a "
        "folder), - for stdin, or a video, a camera (/dev/video0) or a stream (rtsp)",
        POSITIONAL,
    ]
    async_endpoint: Annotated[
        str | None,
        "use this asynchronous SageMaker endpoint instead: queue every image",
        Value("NAME", check_name),
    ] = None
    wait: Annotated[
        float | None,
        "with --async-endpoint: minutes without a response until the remaining images fail; with "
        "--endpoint: minutes to wait for the first copy of an inference component at zero "
        f"(default: {MINUTES:g})",
        Value("MIN", between(0.001, 10_000)),
    ] = None
    draw: Annotated[
        Path | None, "folder for copies with the boxes drawn, or the file for a single one", "PATH"
    ] = None
    json: Annotated[bool, "print one line of JSON for each image"] = False
    csv: Annotated[bool, "print CSV with a header, one line for each detection"] = False

    def __post_init__(self) -> None:
        if self.json and self.csv:
            raise ValueError("--json and --csv exclude each other")
        if self.async_endpoint and (self.fit or self.limit is not None):
            raise ValueError("--fit and --limit are not for --async-endpoint, which takes 1 GB")
        if self.wait is not None and not (self.async_endpoint or self.endpoint):
            raise ValueError("--wait requires --async-endpoint or --endpoint")
        super().__post_init__()


def detect(options: DetectOptions) -> None:
    inputs = list(dict.fromkeys(name for one in options.image for name in _named(one)))
    videos = [one for one in inputs if is_video(one)]
    if videos and len(videos) < len(inputs):
        raise DataError(f"{videos[0]}: a video among images; process them with two commands")
    if options.async_endpoint:
        if videos:
            raise DataError(f"{videos[0]}: is a video, which --async-endpoint does not take")
        _detect_asynchronously(inputs, options)
        return
    with options.detector((options.wait or MINUTES) * 60) as detector:
        if videos:
            detect_in_videos(videos, detector, options.draw, options.json, options.csv)
        else:
            detect_in_images(inputs, detector, options)


def _named(one: str) -> list[str]:
    """The images that an argument stands for, or the videos of a folder that has no image."""
    from petbox.client.sources import list_images  # not before: --help works without Pillow

    if is_live(one):
        return [one]
    try:
        return list_images([one])
    except DataError:
        videos = [str(path) for path in sorted(Path(one).glob("[!.]*")) if is_video(str(path))]
        if not videos:
            raise
        return videos


def _detect_asynchronously(images: list[str], options: DetectOptions) -> None:
    from petbox.client.async_endpoint import AsyncEndpoint  # which needs Pillow
    from petbox.images import drawn_copies

    endpoint = AsyncEndpoint(
        str(options.async_endpoint),
        names=label_names(options.labels) if options.labels else {},
        min_score=options.min_score,
        parallel=options.parallel,
        minutes=options.wait or MINUTES,
        copies=drawn_copies.paths(images, options.draw) if options.draw else {},
    )
    sent = []
    with progress("send", len(images)) as advance, closing(endpoint.send(images)) as sending:
        for one in sending:
            sent.append(one)
            advance(1, "")
    with (
        listing(as_json=options.json, as_csv=options.csv) as show,
        progress("detect", len(images)) as advance,
        closing(endpoint.results(sent, lambda: advance(1, ""))) as results,
    ):
        show_each(show, results, len(images))


def detect_in_images(images: list[str], detector: Detector, options: DetectOptions) -> None:
    with (
        listing(as_json=options.json, as_csv=options.csv) as show,
        nullcontext() if len(images) == 1 else progress("detect", len(images)) as advance,
        closing(detector.detect_many(images, draw=options.draw, keep_images=False)) as results,
    ):
        show_each(show, (found for _, found in results), len(images), advance)
