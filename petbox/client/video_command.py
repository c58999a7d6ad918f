"""`petbox detect` of videos, cameras and streams."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path

from petbox.cli.program import say
from petbox.cli.progress import progress
from petbox.cli.signals import signals_go_to
from petbox.client import video
from petbox.client.detections import Detections
from petbox.client.detector import Detector
from petbox.client.output import Show, listing
from petbox.errors import DataError, PetboxError


def detect_in_videos(
    sources: list[str], detector: Detector, draw: Path | None, as_json: bool, as_csv: bool
) -> None:
    """Prints a line for each detection, or the path of each video with the boxes drawn."""
    from petbox.images.drawn_copies import paths

    copies = paths(sources, draw, tuple(video.WRITTEN)) if draw else {}
    failed = 0
    with listing(as_json=as_json, as_csv=as_csv, table=False) as show:
        for source in sources:
            copy = copies.get(source)
            quiet = bool(copy) and not (as_json or as_csv)
            try:
                _detect_in_video(source, detector, copy, _nothing if quiet else show)
            except DataError as error:
                if len(sources) == 1:
                    raise
                failed += 1
                say(f"error: {error}")
            if quiet and copy and copy.exists():
                print(copy, flush=True)
    if failed:
        raise DataError(f"{failed} of {len(sources)} videos failed; see the errors above")


def _nothing(_found: Detections, **_more: object) -> None:
    pass


def _detect_in_video(source: str, detector: Detector, copy: Path | None, show: Show) -> None:
    """A video that breaks off raises when the frames before are printed and drawn."""
    start, seen, failure = time.monotonic(), _Seen(), None
    with ExitStack() as stack:
        clip = stack.enter_context(video.Video(source))
        if clip.live:  # Ctrl-C is how it ends
            stack.enter_context(signals_go_to(_stop(clip)))
        advance = stack.enter_context(progress(Path(source).name or source, clip.frames))
        add = stack.enter_context(video.writing(copy, clip.rate) if copy else nullcontext())
        try:
            for frame, found in video.detect(detector, clip):
                show(found, frame=frame.number, seconds=round(frame.seconds, 3))
                seen.count(found)
                if add and found.photo:
                    add(frame, found.draw())
                advance(1, "")
        except DataError as error:
            if not seen.frames:
                raise
            failure = error
    share = f" of {clip.frames}" if clip.frames and seen.frames < clip.frames else ""
    rate = seen.frames / (time.monotonic() - start)
    say(f"{source}: {seen.frames}{share} frames at {rate:.1f}/s, {seen}")
    if seen.failed:
        raise DataError(f"{source}: {seen.failed} frames failed, the first: {seen.error}")
    if failure:
        raise failure


def _stop(clip: video.Video) -> Callable[..., None]:
    def stop(*_: object) -> None:
        if not clip.stop():
            raise KeyboardInterrupt  # a second Ctrl-C does not wait for the last frames

    return stop


class _Seen:
    """What was found in the frames so far."""

    def __init__(self) -> None:
        self.frames = self.failed = 0
        self.names: Counter[str] = Counter()  # in how many frames each was found
        self.error: PetboxError | None = None

    def count(self, found: Detections) -> None:
        self.frames += 1
        self.names.update(list(dict.fromkeys(one.name for one in found)))
        if found.error:
            self.failed += 1
            self.error = self.error or found.error

    def __str__(self) -> str:
        named = (f"{name} in {count}" for name, count in self.names.most_common())
        return ", ".join(named) or "nothing found"
