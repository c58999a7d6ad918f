"""Detects objects in images with a server, a SageMaker endpoint, or a model.

On a terminal it prints a table. In a pipe it prints one line per detection,
separated by tabs: image, label, score, and the box as ymin, xmin, ymax, xmax
in fractions of the upright image. A folder stands for the images directly in
it. Several images are processed at once; results keep their order. Overloaded
servers (429, 503) are retried with exponential backoff. Errors are printed to
stderr; remaining images are still processed. Exit code 1 if any image failed.
A video is processed frame by frame; a camera or a stream until Ctrl-C, with
the newest frame each time.

examples:
  petbox detect cat.jpg
  petbox detect cat.jpg --model model/pets
  petbox detect photos/ --draw found/
  petbox detect 'photos/**/*.jpg' --csv > found.csv
  petbox detect photos/ --endpoint pets --fit --json > found.jsonl
  petbox detect photos/ --endpoint zoo --model cats
  petbox detect - --endpoint pets < cat.jpg
  petbox detect clip.mp4 -o found.mp4
  petbox detect rtsp://camera.local/live --json
"""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox.cli.options import POSITIONAL
from petbox.cli.program import say
from petbox.cli.progress import progress
from petbox.client.detector import Detector
from petbox.client.options import DetectorOptions
from petbox.client.output import listing
from petbox.client.video import is_live, is_video
from petbox.client.video_command import detect_in_videos
from petbox.errors import DataError


@dataclass(frozen=True)
class DetectOptions(DetectorOptions):
    image: Annotated[
        tuple[str, ...],
        "an image, a folder of images, a quoted pattern, an address (https, s3), - for stdin, or "
        "a video, a camera (/dev/video0) or a stream (rtsp)",
        POSITIONAL,
    ]
    draw: Annotated[
        Path | None, "folder for copies with the boxes drawn, or the file for a single one", "PATH"
    ] = None
    json: Annotated[bool, "print one line of JSON for each image"] = False
    csv: Annotated[bool, "print CSV with a header, one line for each detection"] = False

    def __post_init__(self) -> None:
        if self.json and self.csv:
            raise ValueError("--json and --csv exclude each other")
        super().__post_init__()


def detect(options: DetectOptions) -> None:
    inputs = list(dict.fromkeys(name for one in options.image for name in _named(one)))
    videos = [one for one in inputs if is_video(one)]
    if videos and len(videos) < len(inputs):
        raise DataError(f"{videos[0]}: a video among images; process them with two commands")
    with options.detector() as detector:
        if videos:
            detect_in_videos(videos, detector, options.draw, options.json, options.csv)
        else:
            detect_in_images(inputs, detector, options)


def _named(one: str) -> list[str]:
    """The images that an argument stands for, or the videos of a folder that has no image."""
    from petbox.images.photos import list_images  # not before: --help works without Pillow

    if is_live(one):
        return [one]
    try:
        return list_images([one])
    except DataError:
        videos = [str(path) for path in sorted(Path(one).glob("[!.]*")) if is_video(str(path))]
        if not videos:
            raise
        return videos


def detect_in_images(images: list[str], detector: Detector, options: DetectOptions) -> None:
    failed = 0
    with (
        listing(as_json=options.json, as_csv=options.csv) as show,
        nullcontext() if len(images) == 1 else progress("detect", len(images)) as advance,
        closing(detector.detect_many(images, draw=options.draw, keep_images=False)) as results,
    ):
        for _, found in results:
            show(found)
            if found.error:
                failed += 1
                if len(images) == 1:
                    raise found.error
                say(f"error: {found.error}")
            if advance:
                advance(1, "")
    if failed:
        raise DataError(f"{failed} of {len(images)} images failed; see the errors above")
