"""The frames of videos, cameras and streams, and videos with the detections drawn.

A file gives every frame. A live source (a camera, an RTSP address, a stream without an end) gives
the newest frame whenever one can be processed, and skips those that came meanwhile.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from petbox.errors import DataError, PetboxError, needs
from petbox.outputs import product

if TYPE_CHECKING:
    from PIL.Image import Image

    from petbox.client.detections import Detections
    from petbox.client.detector import Detector

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"),
    *(".wmv", ".flv", ".3gp", ".m3u8", ".mjpg", ".mjpeg"),
)
STREAM = re.compile(r"(rtsps?|rtmps?|udp|tcp|srt)://", re.IGNORECASE)
CAMERA = re.compile(r"/dev/video\d+")
# What can be written, by suffix: formats that keep the time of each frame.
WRITTEN = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
# VP9's encoder takes seconds for a frame by default.
OPTIONS = {"webm": {"deadline": "realtime", "cpu-used": "8"}}
SECONDS = 30.0  # that a camera or a server may send nothing
GRACE = 1.0  # seconds for a read in progress, before the video is left open
TICK = Fraction(1, 90_000)  # seconds; the unit of time in a video that is written
USUAL_RATE = 25  # frames a second, where a video does not say


@dataclass(frozen=True)
class Frame:
    """Which frame of its video the detections are of."""

    number: int  # from 0; skipped frames of a live source count
    seconds: float  # since the first frame


def is_video(source: str) -> bool:
    """Whether `source` names a video, a camera or a stream; by its name alone."""
    path = urlsplit(source).path if "://" in source else source
    return is_live(source) or Path(path).suffix.lower() in SUFFIXES


def is_live(source: str) -> bool:
    return bool(STREAM.match(source) or CAMERA.fullmatch(source))


class Video:
    """An open video; a context manager."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._av = needs("av", "video")
        if source.lower().startswith("s3://"):
            raise DataError(f"{source}: videos are not read from S3; download it first")
        kind = {"format": "v4l2"} if CAMERA.fullmatch(source) else {}
        options = {"rtsp_transport": "tcp"} if source.lower().startswith("rtsp") else {}
        self._reading = threading.Lock()
        self._changed = threading.Condition()
        self._stopped = False
        with self._explained():
            self._container = self._av.open(source, timeout=SECONDS, options=options, **kind)
        if not self._container.streams.video:
            self._container.close()
            raise DataError(f"{source}: has no video stream; name a video")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.rate = self._stream.average_rate or Fraction(USUAL_RATE)
        seconds = (self._container.duration or 0) / self._av.time_base
        self.live = not Path(source).is_file() and seconds <= 0
        # How many frames there are, as the file says; else about how many, or unknown.
        self.frames = self._stream.frames or round(seconds * self.rate) or None

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._reading.acquire(
            timeout=GRACE
        ):  # or a camera hangs, and reads until its time limit
            self._container.close()

    def stop(self) -> bool:
        """Ends the frames; False if that was requested before."""
        with self._changed:
            first, self._stopped = not self._stopped, True
            self._changed.notify_all()
        return first

    def __iter__(self) -> Iterator[tuple[Frame, Image]]:
        """Frames as upright images, with their place; a broken video raises after the last one."""
        first: float | None = None
        for number, frame in self._newest() if self.live else self._decoded():
            if first is None:
                first = frame.time
            seconds = number / self.rate if first is None else (frame.time or first) - first
            image = frame.to_image()
            if frame.rotation:  # phones store the sensor's rows, and how far to turn them
                image = image.rotate(frame.rotation, expand=True)
            image.filename = f"{self.source}#{number}"  # what results and errors call it
            yield Frame(number, float(seconds)), image

    def _decoded(self) -> Iterator[tuple[int, Any]]:
        frames = self._container.decode(self._stream)
        for number in itertools.count():
            frame = None
            with self._reading, self._explained():
                frame = None if self._stopped else next(frames, None)
            if frame is None:
                break
            yield number, frame
        if not number and not self._stopped:
            raise DataError(f"{self.source}: has no frames; replace it")

    def _newest(self) -> Iterator[tuple[int, Any]]:
        """The newest frame each time, so that a slow detector does not fall behind a camera."""
        newest: deque[tuple[int, Any]] = deque(maxlen=1)
        failure: list[BaseException | None] = []  # one item, at the end

        def read() -> None:
            ended_by = None
            try:
                for numbered in self._decoded():
                    with self._changed:
                        newest.append(numbered)
                        self._changed.notify()
            except BaseException as error:
                ended_by = error
            with self._changed:
                failure.append(ended_by)
                self._changed.notify()

        threading.Thread(target=read, daemon=True).start()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: newest or failure or self._stopped)
                if self._stopped or not newest:
                    break
                numbered = newest.pop()
            yield numbered
        if not self._stopped and failure[0]:
            raise failure[0]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (self._av.FFmpegError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise DataError(f"{self.source}: no such file; check the path") from error
            raise DataError(
                f"{self.source}: cannot be read as a video ({_reason(error)}); "
                "check the file or the address"
            ) from error


def detect(detector: Detector, video: Video) -> Generator[tuple[Frame, Detections], None, None]:
    """The detections in each frame, in order, several frames processed at once."""
    in_work: deque[Frame] = deque()

    def images() -> Iterator[Image]:
        for frame, image in video:
            in_work.append(frame)
            yield image

    with closing(detector.detect_many(images())) as results:
        for _, found in results:
            yield in_work.popleft(), found


@contextmanager
def writing(path: Path, rate: Fraction) -> Iterator[Callable[[Frame, Image], None]]:
    """Yields what is called with each image of the video that is written to `path`."""
    av = needs("av", "video")
    form = WRITTEN.get(path.suffix.lower())
    if form is None:
        raise DataError(f"{path}: cannot be written as a video; end it with {', '.join(WRITTEN)}")
    try:
        with product(path, replace=True) as partial, av.open(str(partial), "w", form) as container:
            writer = _Writer(av, container, rate, OPTIONS.get(form, {}))
            yield writer.add
            writer.finish()
    except av.FFmpegError as error:
        raise PetboxError(
            f"{path}: cannot be written ({_reason(error)}); write to another disk"
        ) from error


class _Writer:
    def __init__(self, av: Any, container: Any, rate: Fraction, options: dict[str, str]) -> None:
        self._av, self._container, self._rate, self._options = av, container, rate, options
        self._stream: Any = None
        self._last = -1  # the time of the last frame, in ticks

    def add(self, frame: Frame, image: Image) -> None:
        # Encoders halve the resolution of colors, and need an even number of pixels.
        size = max(2, image.width // 2 * 2), max(2, image.height // 2 * 2)
        if self._stream is None:
            codec = self._container.default_video_codec
            self._stream = self._container.add_stream(codec, self._rate, self._options)
            self._stream.width, self._stream.height = size
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = TICK
        first = self._stream.width, self._stream.height
        image = image.crop((0, 0, *size)) if size == first else image.resize(first)
        encoded = self._av.VideoFrame.from_image(image)
        self._last = encoded.pts = max(round(frame.seconds / TICK), self._last + 1)
        encoded.time_base = TICK
        self._container.mux(self._stream.encode(encoded))

    def finish(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode())


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
