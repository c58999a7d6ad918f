"""A short video to detect objects in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT, RATE, FRAMES = 96, 64, 10, 12
RED, GRAY = (200, 30, 30), (128, 128, 128)


def write_clip(path: Path, width: int = WIDTH, frames: int = FRAMES) -> Path:
    """Gray, with a red left half."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(container.default_video_codec, RATE)
        stream.width, stream.height, stream.pix_fmt = width, HEIGHT, "yuv420p"
        pixels = np.full((HEIGHT, width, 3), GRAY, np.uint8)
        pixels[:, : width // 2] = RED
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path
