"""`petbox detect` of videos, cameras and streams."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from support.camera import camera
from support.command_line import IMAGE, MODULE, failed, petbox
from support.peer import Request, Response, named_detector, peer
from support.serving import CHECKOUT
from support.videos import FRAMES, GRAY, HEIGHT, RATE, RED, WIDTH, write_clip

from petbox import Detector
from petbox.client import video
from petbox.errors import DataError

# Where an MP4 file says how to turn its pictures: columns of the matrix, in units of 1/65536.
UPRIGHT = b"".join(n.to_bytes(4, "big") for n in (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))
QUARTER_TURN = b"".join(
    n.to_bytes(4, "big", signed=True) for n in (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "Ferien, Köln.mp4")


def images(path: Path) -> list[tuple[float, Image.Image]]:
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_image()) for frame in container.decode(video=0)]


def sent(asked: Request) -> Image.Image:
    (instance,) = json.loads(asked.body)["instances"]
    return Image.open(io.BytesIO(base64.b64decode(instance["b64"])))


def near(pixel: tuple[int, ...], color: tuple[int, ...]) -> bool:
    return all(abs(one - other) < 30 for one, other in zip(pixel, color, strict=True))


def test_a_video_is_drawn_frame_by_frame(clip: Path, tmp_path: Path) -> None:
    with peer(named_detector) as server:
        done = petbox("detect", clip, "-o", tmp_path / "found.mp4", "--url", server.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{tmp_path}/found.mp4\n"
    said = f"{clip}: 12 frames at [0-9.]+/s, Abyssinian in 12, yorkshire_terrier in 12"
    assert re.search(said, done.stderr.decode()), done.stderr
    drawn, original = images(tmp_path / "found.mp4"), images(clip)
    assert [time for time, _ in drawn] == pytest.approx([time for time, _ in original], abs=1e-3)
    assert {image.size for _, image in drawn} == {(WIDTH, HEIGHT)}
    box = (round(0.2 * WIDTH), round(0.4 * HEIGHT))  # on the left edge of the first detection
    for (_, before), (_, after) in zip(original, drawn, strict=True):
        assert near(before.getpixel(box), RED)
        assert not near(after.getpixel(box), RED)


@pytest.mark.parametrize("suffix", [".webm", ".mkv", ".mov"])
def test_a_video_is_written_in_the_format_of_its_name(clip: Path, suffix: str) -> None:
    found = clip.with_name(f"found{suffix}")
    with peer(named_detector) as server:
        done = petbox("detect", clip, "--draw", found, "--url", server.url)
    assert done.returncode == 0, done.stderr
    assert len(images(found)) == FRAMES


def test_each_frame_is_a_line_of_json_or_of_csv(clip: Path) -> None:
    with peer(named_detector) as server:
        lines = petbox("detect", clip, "--url", server.url, "--json").stdout.splitlines()
        table = petbox("detect", clip, "--url", server.url, "--csv").stdout.decode()
        plain = petbox("detect", clip, "--url", server.url).stdout.decode().splitlines()
    frames = [json.loads(line) for line in lines]
    assert [frame["frame"] for frame in frames] == list(range(FRAMES))
    assert [frame["seconds"] for frame in frames] == [n / RATE for n in range(FRAMES)]
    assert [frame["picture"] for frame in frames] == [f"{clip}#{n}" for n in range(FRAMES)]
    assert frames[3]["width"] == WIDTH
    assert frames[3]["detections"][0]["label"] == "Abyssinian"
    names = [row["picture"] for row in csv.DictReader(io.StringIO(table))]
    assert names == [line.split("\t")[0] for line in plain]
    assert names == [f"{clip}#{n}" for n in range(FRAMES) for _ in range(2)]


def test_several_frames_are_in_flight(clip: Path) -> None:
    """The server responds in pairs only."""
    pair = threading.Barrier(2)

    def answer(asked: Request) -> Response:
        pair.wait(30)
        return named_detector(asked)

    with peer(answer) as server:
        done = petbox("detect", clip, "--url", server.url, "--json", "--parallel", "2")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == FRAMES


def test_a_phone_s_sideways_video_is_turned_upright(clip: Path) -> None:
    turned = clip.read_bytes().replace(UPRIGHT, QUARTER_TURN)
    header = turned.index(b"tkhd")  # the movie's own matrix stays
    before = clip.read_bytes()
    clip.write_bytes(before[:header] + turned[header:])
    with peer(named_detector) as server:
        done = petbox("detect", clip, "-o", clip.parent / "found.mp4", "--url", server.url)
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == FRAMES
    for asked in server.requests:  # turned clockwise, the left half comes to the top
        image = sent(asked)
        assert image.size == (HEIGHT, WIDTH)
        assert near(image.getpixel((HEIGHT // 2, 8)), RED)
        assert near(image.getpixel((HEIGHT // 2, WIDTH - 8)), GRAY)
    assert {image.size for _, image in images(clip.parent / "found.mp4")} == {(HEIGHT, WIDTH)}


def test_several_videos_go_into_a_folder(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.avi")
    other = write_clip(tmp_path / "a.mp4", width=95 + 1)
    (tmp_path / "broken.mp4").write_bytes(b"not a video" * 1000)
    with peer(named_detector) as server:
        done = petbox(
            *("detect", other, tmp_path),  # a folder with videos alone
            *("-o", tmp_path / "found", "--url", server.url),
        )
    message = failed(done, lines=6)
    assert f"error: {tmp_path}/broken.mp4: cannot be read as a video (" in message
    assert message.endswith("error: 1 of 3 videos failed; see the errors above\n")
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == ["a-2.mp4", "a.mp4"]


def test_a_frame_that_the_model_rejects_fails_alone(clip: Path, tmp_path: Path) -> None:
    count = iter(range(100))

    def answer(asked: Request) -> Response:
        if next(count) == 5:
            return Response(400, b'{"error": "instances[0] is not to my taste"}')
        return named_detector(asked)

    with peer(answer) as server:
        done = petbox(
            *("detect", clip, "--json", "-o", tmp_path / "found.mp4", "--parallel", "1"),
            *("--url", server.url),
        )
    message = failed(done, lines=3)
    assert f"error: {clip}: 1 frames failed, the first: {clip}#5: " in message
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines if "error" in line] == [5]
    assert len(images(tmp_path / "found.mp4")) == FRAMES - 1


def test_what_is_no_video_is_rejected(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "empty.mov").touch()
    with av.open(str(tmp_path / "song.mkv"), "w") as container:
        sound: Any = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    for source, reason in {
        tmp_path / "text.mp4": "cannot be read as a video (invalid data found when processing",
        tmp_path / "empty.mov": "cannot be read as a video (",
        tmp_path / "song.mkv": "has no video stream; name a video",
        "s3://bucket/clip.mp4": "videos are not read from S3; download it first",
        "rtsp://127.0.0.1:9/live": "cannot be read as a video (connection refused); check the",
        "/dev/video99": "no such file; check the path",
    }.items():
        with pytest.raises(DataError, match=re.escape(f"{source}: {reason}")):
            video.Video(str(source))
    for words, reason in {
        (tmp_path / "none.mp4",): "none.mp4: no such file or folder; check the path",
        (clip, IMAGE): f"{clip}: a video among images; process them with two commands",
        (clip, "-o", clip): f"{clip}: would be overwritten by its copy",
    }.items():
        assert reason in failed(petbox("detect", *words))
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_truncated_video_gives_what_it_holds(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.avi").read_bytes()
    (tmp_path / "part.avi").write_bytes(whole[: (whole.index(b"movi") + whole.index(b"idx1")) // 2])
    with peer(named_detector) as server:
        done = petbox("detect", tmp_path / "part.avi", "--url", server.url, "--json")
    count = len(done.stdout.splitlines())
    assert 0 < count < FRAMES
    assert f"part.avi: {count} of {FRAMES} frames at " in done.stderr.decode()


def test_a_camera_is_read_until_ctrl_c_and_always_its_newest_frame(tmp_path: Path) -> None:
    """The detector needs the time of five frames for each."""
    found = tmp_path / "found.mp4"
    with camera() as live:

        def answer(asked: Request) -> Response:
            if "image" not in asked.path and asked.body:
                live.wait_for_frames(5)
            return named_detector(asked)

        with peer(answer) as server, running(live.url, "--json", "-o", found, server.url) as run:
            lines = [json.loads(run.stdout.readline()) for _ in range(8)]
            run.send_signal(signal.SIGINT)
            rest, said = run.communicate(timeout=30)
    assert run.returncode == 0, said
    numbers = [line["frame"] for line in lines]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] - numbers[0] > 2 * len(numbers)  # the others were skipped
    seconds = [line["seconds"] for line in lines]
    assert seconds[0] == 0
    assert seconds == sorted(set(seconds))
    drawn = images(found)
    assert len(drawn) == len(lines) + len(rest.splitlines())
    assert drawn[7][0] == pytest.approx(seconds[7], abs=0.01)
    assert b"frames at " in said


def test_a_camera_that_goes_away_ends_the_command(tmp_path: Path) -> None:
    with camera() as live, peer(named_detector) as server, running(live.url, server.url) as run:
        run.stdout.readline()
        live.off.set()
        run.communicate(timeout=60)
    assert run.returncode == 0


def running(*words: str | Path) -> subprocess.Popen[bytes]:
    *words, url = words
    command = [*MODULE, "detect", *map(str, words), "--parallel", "1", "--url", str(url)]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)


def test_lines_go_to_their_file_below_a_bar_on_the_terminal(clip: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TERM": "xterm"}
    with peer(named_detector) as server, (tmp_path / "lines").open("wb") as lines:
        command = [*MODULE, "detect", str(clip), "--json", "--url", server.url]
        run = subprocess.Popen(command, stdout=lines, stderr=theirs, env=env)
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # EIO: the command has ended, and all is read
            while True:
                said += os.read(ours, 10_000)
        assert run.wait(60) == 0
    os.close(ours)
    assert b"12/12" in said
    assert len((tmp_path / "lines").read_text().splitlines()) == FRAMES


def test_the_same_in_python(clip: Path) -> None:
    with (
        peer(named_detector) as server,
        Detector(server.url) as detector,
        video.Video(str(clip)) as frames,
    ):
        found = list(video.detect(detector, frames))
    assert [frame.number for frame, _ in found] == list(range(FRAMES))
    assert found[-1][1].image.size == (WIDTH, HEIGHT)
