"""The container's own gateway, called by `petbox detect` and by the boto3 of the docs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support.aws import settings
from support.command_line import petbox
from support.peer import GOLDEN
from support.serving import embedded_engine, front, tiny_detector
from support.snippets import snippets

TUTORIALS = "Without petbox on the client"  # the heading above the request that tutorials show


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A detector whose boxes follow from the image's size, behind nginx."""
    folder = tmp_path_factory.mktemp("front")
    tiny_detector(folder / "model" / "1", named=True)
    with (
        embedded_engine(folder / "engine", model=folder / "model") as engine,
        front(folder / "nginx", engine.port) as port,
    ):
        yield f"http://127.0.0.1:{port}"


def test_the_tutorials_boto3_runs_as_it_stands_in_the_documents(url: str, tmp_path: Path) -> None:
    found = snippets("README.md", TUTORIALS)
    (snippet,) = found
    assert len(snippet.split("\n\n")[-1].splitlines()) == 7, "and a line of imports"
    (tmp_path / "cat.jpg").write_bytes((GOLDEN / "picture.jpg").read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        env={**os.environ, **settings(url)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    score, box = done.stdout.splitlines()[0].split(" ", 1)
    assert float(score) == pytest.approx(1 / 17)  # of 16 rows
    assert json.loads(box) == pytest.approx([1 / 17, 1 / 25, 16 / 17, 24 / 25])


@pytest.mark.parametrize("by", ["--url", "--endpoint"])
def test_each_image_gets_its_own_boxes_with_eight_under_way(
    url: str, tmp_path: Path, by: str
) -> None:
    for n in range(30):
        Image.new("RGB", (20 + n, 10 + n), "gray").save(tmp_path / f"{n:02}.jpg")
    where = (by, url if by == "--url" else "pets")
    env = settings(url)
    done = petbox("detect", tmp_path, *where, "--json", "--min-score", "0", env=env)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 30
    for n, line in enumerate(lines):
        (one,) = line["detections"]
        assert one["box"][:2] == pytest.approx([1 / (11 + n), 1 / (21 + n)])
        assert one["label"] == "Abyssinian"


def test_a_container_called_as_an_endpoint_takes_what_an_endpoint_takes(
    url: str, tmp_path: Path
) -> None:
    """Its description is not available, so the usual limit is assumed."""
    Image.effect_noise((2500, 1800), 90).save(tmp_path / "noise.png", compress_level=0)
    words = ("--endpoint", "pets", "--json", "--min-score", "0")
    done = petbox("detect", tmp_path / "noise.png", *words, env=settings(url))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["detections"]
    assert done.stderr.endswith(
        b"assuming a limit of 25 MB; for a serverless endpoint use --limit 4 (in Python limit=4)\n"
    )


def test_an_image_that_only_the_model_rejects_is_reported_with_its_key(
    url: str, tmp_path: Path
) -> None:
    """A file whose both ends are right, and nothing between them."""
    whole = (GOLDEN / "picture.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole)
    (tmp_path / "b.png").write_bytes(whole[:60] + whole[80:])
    done = petbox("detect", tmp_path, "--url", url)
    assert done.returncode == 1
    assert f"error: {tmp_path}/b.png: the server rejected it (400)" in done.stderr.decode()
    assert b"error: 1 of 2 images failed" in done.stderr


def test_an_image_made_to_fit_is_understood(url: str, tmp_path: Path) -> None:
    Image.effect_noise((600, 400), 90).save(tmp_path / "noise.png")
    words = ("--limit", "0.05", "--fit", "--json", "--min-score", "0")
    done = petbox("detect", tmp_path / "noise.png", "--url", url, *words)
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)["detections"]
    ymin, xmin, _, _ = one["box"]
    rows, columns = 1 / ymin - 1, 1 / xmin - 1  # of the copy that was sent
    assert columns < 600
    assert columns / rows == pytest.approx(1.5, abs=0.02)
