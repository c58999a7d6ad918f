"""The page: its files over HTTP, and what somebody sees and does in a real browser."""

from __future__ import annotations

import argparse
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from support import spots
from support.browser import Chromium, Tab, chromium
from support.peer import Answer, Asked, golden, peer
from support.serving import (
    CONTAINER,
    LONG,
    SERVE,
    await_port,
    empty_model,
    free_port,
    post,
    stand_in_engine,
    started,
    whole_front,
)

from petbox.cli import options
from petbox.serving import command as serving_command

PAGE = CONTAINER / "page"
FILES = sorted(str(path.relative_to(PAGE)) for path in PAGE.rglob("*") if path.is_file())
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "Permissions-Policy": "camera=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
SPOTS: dict[int, spots.Box] = {
    1: (40, 30, 160, 110),
    2: (200, 150, 380, 280),
    3: (300, 20, 390, 90),
}
SHOWN = "[...document.querySelectorAll('.box:not([hidden])')]"
DONE = "document.querySelector('#details').textContent.includes('Response time')"
TROUBLE = "!document.querySelector('#error').hidden"
BY = "\N{MULTIPLICATION SIGN}"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`petbox serve` with a detector of spots."""
    folder = tmp_path_factory.mktemp("served")
    model = spots.detector(folder / "spots" / "1").parent
    port = free_port()
    with started([*SERVE, str(model), "--port", str(port)], folder / "run") as program:
        assert program.line(), program.errors.read_text()
        yield f"http://localhost:{port}"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def tab(window: Chromium, url: str) -> Iterator[Tab]:
    """The page, open; at its end it has complained of nothing."""
    with looking_at(window, url) as tab:
        yield tab
        assert tab.complaints() == []


@contextmanager
def looking_at(window: Chromium, url: str) -> Iterator[Tab]:
    tab = Tab(window, url)
    try:
        tab.go()
        yield tab
    finally:
        tab.close()


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 95, "subsampling": 0, **options})
    return file.getvalue()


@pytest.fixture
def spotted(tmp_path: Path) -> Path:
    """A picture with three spots in it, whose name wants quoting."""
    path = tmp_path / "it's a $cat.jpg"
    path.write_bytes(jpeg(spots.picture(420, 300, SPOTS)))
    return path


def found(url: str, picture: bytes) -> list[list[float]]:
    """The boxes that the API finds, in fractions."""
    port = int(url.rsplit(":", 1)[1])
    (prediction,) = post(port, picture, "image/jpeg").json()["predictions"]
    boxes: list[list[float]] = prediction["detection_boxes"]
    return boxes[: int(prediction["num_detections"])]


def drawn(tab: Tab) -> list[list[float]]:
    """Top, left, bottom and right of the boxes, in pixels of the page from the picture's corner."""
    boxes: list[list[float]] = tab.run(
        "(() => { const at = document.querySelector('#image').getBoundingClientRect();"
        f"return {SHOWN}.map((box) => {{ const b = box.getBoundingClientRect();"
        "return [b.top - at.top, b.left - at.left, b.bottom - at.top, b.right - at.left]; }); })()"
    )
    return boxes


def on_page(tab: Tab, boxes: list[list[float]]) -> list[list[float]]:
    """Fractions in the page's pixels."""
    _, _, width, height = tab.place("#image")
    return [[t * height, le * width, b * height, r * width] for t, le, b, r in boxes]


def agree(some: list[list[float]], others: list[list[float]], pixels: float = 2) -> bool:
    assert len(some) == len(others)
    return some == [pytest.approx(other, abs=pixels) for other in others]


def shown_names(tab: Tab) -> list[str]:
    names: list[str] = tab.run(f"{SHOWN}.map((box) => box.textContent)")
    return names


def show_all(tab: Tab) -> None:
    """The slider all the way down, by the keyboard."""
    tab.run("document.querySelector('#min-score').focus()")
    tab.press("Home")


def text(tab: Tab, selector: str) -> str:
    return str(tab.run(f"document.querySelector({json.dumps(selector)}).textContent"))


# Over HTTP


def test_the_page_comes_with_its_headers(url: str) -> None:
    answer = requests.get(f"{url}/", timeout=LONG)
    assert answer.status_code == 200
    assert answer.text == (PAGE / "index.html").read_text()
    of_the_message = {"Server", "Date", "Connection", "Content-Length"}
    of_the_file = {"Content-Type", "Last-Modified", "ETag"}
    assert {*answer.headers} == of_the_message | of_the_file | {*HEADERS}
    assert HEADERS.items() <= answer.headers.items()
    assert answer.headers["Server"] == "nginx"


@pytest.mark.parametrize("name", FILES)
def test_each_file_has_its_type_and_is_asked_about_by_its_mark(url: str, name: str) -> None:
    answer = requests.get(f"{url}/page/{name}", timeout=LONG)
    assert answer.status_code == 200
    assert answer.content == (PAGE / name).read_bytes()
    assert answer.headers["Content-Type"] == KINDS[Path(name).suffix]
    assert HEADERS.items() <= answer.headers.items()
    mark = {"If-None-Match": answer.headers["ETag"]}
    again = requests.get(f"{url}/page/{name}", headers=mark, timeout=LONG)
    assert (again.status_code, again.content) == (304, b"")
    part = requests.get(f"{url}/page/{name}", headers={"Range": "bytes=9-"}, timeout=LONG)
    assert (part.status_code, part.content) == (200, answer.content)


@pytest.mark.parametrize("path", ["/", "/page/page.js"])
def test_the_page_can_be_looked_at_and_no_more(url: str, path: str) -> None:
    head = requests.head(url + path, timeout=LONG)
    assert (head.status_code, head.content) == (200, b"")
    for method in ("POST", "PUT", "DELETE"):
        answer = requests.request(method, url + path, data=b"{}", timeout=LONG)
        assert answer.status_code == 405
        assert answer.headers["Allow"] == "GET, HEAD"
        assert answer.headers["Content-Type"] == "application/json"
        assert "GET, HEAD" in answer.json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/page",
        "/page/",
        "/page/samples",
        "/page/../nginx.conf",
        "/page/%2e%2e/nginx.conf",
        "/page/x.js",
    ],
)
def test_there_is_nothing_else_beside_it(url: str, path: str) -> None:
    session = requests.Session()
    request = requests.Request("GET", url).prepare()
    request.url = url + path  # as it is written
    answer = session.send(request, timeout=LONG, allow_redirects=False)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/json"
    assert "POST /invocations" in answer.json()["error"]


def test_without_being_asked_for_there_is_no_page(tmp_path: Path) -> None:
    with whole_front(tmp_path / "front", free_port()) as front:
        shutil.copytree(PAGE, front.folder / "page")
        for path in ("/", "/page/index.html", "/page/page.js"):
            answer = requests.get(f"http://127.0.0.1:{front.port}{path}", timeout=LONG)
            assert answer.status_code == 404
            assert answer.headers["Content-Type"] == "application/json"
            assert "Content-Security-Policy" not in answer.headers
            assert "no such route" in answer.json()["error"]


@pytest.mark.parametrize(("wanted", "status"), [("1", 200), ("0", 404)])
def test_the_container_shows_it_when_asked_to(tmp_path: Path, wanted: str, status: int) -> None:
    models = tmp_path / "models"
    for name, number in (("pets", "2"), ("pets", "10"), ("others", "1")):
        version = empty_model(models / name / number)
        (version / "assets").mkdir()
        (version / "assets" / "label_map.pbtxt").write_text(f"{name} {number}")
    engine = stand_in_engine(tmp_path / "engine")
    port = free_port()
    settings = {
        "PETBOX_PAGE": wanted,
        "PETBOX_MODELS": str(models),
        "SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "pets",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "PATH": f"{engine}:{os.environ['PATH']}",
    }
    with (
        tempfile.TemporaryDirectory() as temporary,  # pytest's own is root's alone
        started([str(CONTAINER / "serve")], tmp_path / "run", **settings, TMPDIR=temporary),
    ):
        Path(temporary).chmod(0o755)
        await_port(port)
        here = f"http://127.0.0.1:{port}"
        assert requests.get(f"{here}/", timeout=LONG).status_code == status
        names = requests.get(f"{here}/page/label_map.pbtxt", timeout=LONG)
        assert names.status_code == status
        assert status == 404 or names.text == "pets 10"


def test_the_page_asks_nobody_else_and_writes_no_html() -> None:
    outside = r"https?:|//[a-z]|\burl\(|@import"
    as_html = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\("
    inline = r"\sstyle=|\son[a-z]+=|<style|<script>"
    for name in FILES:
        if name.endswith((".html", ".css", ".js")):
            found = re.search(f"{outside}|{as_html}|{inline}", (PAGE / name).read_text())
            assert not found, (name, found)


def test_a_sample_is_small() -> None:
    samples = [*(PAGE / "samples").iterdir()]
    assert len(samples) > 3
    assert all(sample.stat().st_size <= 30 * 1024 for sample in samples)


def test_what_the_policy_forbids_is_heard_of(window: Chromium, url: str) -> None:
    with looking_at(window, url) as tab:
        assert tab.complaints() == []
        tab.run("document.body.setAttribute('style', 'color: red')")
        tab.run("document.body.append(new Image()); document.body.lastChild.src = 'http://[::1]/'")
        tab.until("forbidden.length === 2")
        assert len(tab.complaints()) >= 2
        with pytest.raises(AssertionError, match="TrustedHTML"):
            tab.run("document.body.innerHTML = '<b>bold</b>'")


# Pictures and their boxes


def test_a_dropped_picture_has_its_boxes_where_the_api_says(
    tab: Tab, url: str, spotted: Path
) -> None:
    tab.drop("#viewer", spotted)
    tab.until(DONE)
    show_all(tab)
    wanted = on_page(tab, found(url, spotted.read_bytes()))
    assert len(wanted) == 3
    assert agree(drawn(tab), wanted)
    assert shown_names(tab) == ["<b>red</b> & 'co' 90%", "green 60%", "blue 30%"]
    assert text(tab, "#detections") == "<b>red</b> & 'co' 90%green 60%blue 30%"
    assert text(tab, "#status") == f"1 {BY} <b>red</b> & 'co', 1 {BY} green, 1 {BY} blue."
    kilobytes = -(-spotted.stat().st_size // 1000)
    assert re.fullmatch(
        rf"Response time\d+ msImage sent420 {BY} 300, {kilobytes} kB", text(tab, "#details")
    )
    tab.resize(700, 900)  # the boxes go with the picture
    assert agree(drawn(tab), on_page(tab, found(url, spotted.read_bytes())))


def test_boxes_fall_where_they_are_seen(tab: Tab, spotted: Path) -> None:
    tab.drop("#viewer", spotted)
    tab.until(DONE)
    show_all(tab)
    boxes = dict(zip(spots.COLOURS, drawn(tab), strict=True))
    assert agree(list(boxes.values()), list(seen(tab).values()))


def seen(tab: Tab) -> dict[int, list[float]]:
    """Where the spots are on the screen, as `drawn` says it; nothing is drawn over them."""
    tab.run("document.querySelector('#boxes').style.visibility = 'hidden'")
    left, top, width, height = tab.place("#image")
    screen = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    screen = screen.crop((round(left), round(top), round(left + width), round(top + height)))
    tab.run("document.querySelector('#boxes').style.visibility = ''")
    boxes = {}
    for label, colour in spots.COLOURS.items():
        alike = (np.asarray(screen) > 128) == (np.array(colour) > 128)
        rows, columns = np.nonzero(alike.all(2))
        boxes[label] = [rows.min(), columns.min(), rows.max() + 1.0, columns.max() + 1.0]
    return boxes


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_that_exif_turns_has_its_boxes_where_they_are_seen(
    tab: Tab, tmp_path: Path, orientation: int
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(spots.turned(spots.picture(420, 300, SPOTS), orientation))
    tab.drop("#viewer", photo)
    tab.until(DONE)
    show_all(tab)
    boxes = drawn(tab)
    upright = [[t / 300, le / 420, b / 300, r / 420] for le, t, r, b in SPOTS.values()]
    assert agree(boxes, on_page(tab, upright), 3)
    assert agree(boxes, list(seen(tab).values()), 3)
    assert ("rotated upright" in text(tab, "#details")) == (orientation > 1)


def test_the_slider_filters_without_asking_again(tab: Tab, spotted: Path) -> None:
    tab.choose("#files", spotted)
    tab.until(DONE)
    assert shown_names(tab) == ["<b>red</b> & 'co' 90%", "green 60%"]
    tab.run("document.querySelector('#min-score').focus()")
    tab.press(*["ArrowRight"] * 11)
    assert text(tab, "#min-score-text") == "61%"
    assert shown_names(tab) == ["<b>red</b> & 'co' 90%"]
    assert tab.run("document.querySelectorAll('#detections li:not([hidden])').length") == 1
    tab.press("End")
    assert shown_names(tab) == []
    assert (
        text(tab, "#status") == "All scores are below the minimum. Highest: <b>red</b> & 'co', 90%."
    )
    tab.press("Home")
    assert len(shown_names(tab)) == 3
    assert tab.requests("/invocations") == 1


def test_a_finding_that_the_slider_hides_is_kept_no_longer(tab: Tab, spotted: Path) -> None:
    tab.choose("#files", spotted)
    tab.until(DONE)
    tab.run("document.querySelectorAll('#detections button')[1].focus()")
    tab.press(" ")
    tab.run("document.querySelector('#min-score').focus()")
    alone = (
        "document.querySelectorAll('.boxes.fade-others, #detections [aria-pressed=true]').length"
    )
    assert tab.run(alone) == 2
    tab.press(*["ArrowRight"] * 11)
    assert shown_names(tab) == ["<b>red</b> & 'co' 90%"]
    assert tab.run(alone) == 0
    tab.press("Home")
    assert tab.run(alone) == 0


def test_a_large_photo_is_shrunk_when_that_is_chosen(tab: Tab, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    spotted: dict[int, spots.Box] = {
        label: (10 * a, 10 * b, 10 * c, 10 * d) for label, (a, b, c, d) in SPOTS.items()
    }
    photo.write_bytes(spots.turned(spots.picture(4000, 3000, spotted), 6))
    upright = [[t / 3000, le / 4000, b / 3000, r / 4000] for le, t, r, b in spotted.values()]
    tab.choose("#files", photo)
    tab.until(DONE)
    assert f"4000 {BY} 3000" in text(tab, "#details")
    show_all(tab)
    assert agree(drawn(tab), on_page(tab, upright))
    tab.click("#shrink")
    tab.until(f"document.querySelector('#details').textContent.includes('1600 {BY} 1200')")
    assert f"shrunk from 4000 {BY} 3000, rotated upright" in text(tab, "#details")
    tab.until(f"{SHOWN}.length === 3")
    assert agree(drawn(tab), on_page(tab, upright))
    assert tab.requests("/invocations") == 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP"])
def test_other_kinds_of_pictures_are_sent_as_they_are(tab: Tab, tmp_path: Path, kind: str) -> None:
    photo = tmp_path / "photo.jpg"  # whatever it is called
    spots.picture(420, 300, SPOTS).save(photo, kind, quality=100)
    tab.drop("body", photo)
    tab.until(DONE)
    assert len(shown_names(tab)) == 2
    tab.click("label[for=format-curl]")
    assert f"image/{kind.lower()}" in text(tab, "#code")


def test_a_kind_that_the_model_cannot_read_is_made_a_jpeg(tab: Tab, tmp_path: Path) -> None:
    photo = tmp_path / "photo.avif"
    spots.picture(420, 300, SPOTS).save(photo, "AVIF", quality=95)
    tab.drop("#viewer", photo)
    tab.until(DONE)
    assert len(shown_names(tab)) == 2
    assert "converted to JPEG" in text(tab, "#details")


def test_a_pasted_picture_is_asked_about(tab: Tab, url: str) -> None:
    tab.run(
        "(async () => { const canvas = new OffscreenCanvas(200, 100);"
        "const pen = canvas.getContext('2d');"
        "pen.fillStyle = '#ccc'; pen.fillRect(0, 0, 200, 100);"
        "pen.fillStyle = 'rgb(220 20 20)'; pen.fillRect(20, 10, 100, 50);"
        "const blob = await canvas.convertToBlob({type: 'image/png'});"
        "await navigator.clipboard.write([new ClipboardItem({'image/png': blob})]); })()"
    )
    tab.paste()
    tab.until(DONE)
    assert agree(drawn(tab), on_page(tab, [[0.1, 0.1, 0.6, 0.6]]))
    tab.click("label[for=format-boto3]")
    assert not tab.run("document.querySelector('#download-note').hidden")  # it is in no file yet


def test_the_camera_takes_a_picture(tab: Tab) -> None:
    tab.click("#use-camera")
    tab.until(
        "document.querySelector('#camera').open && !document.querySelector('#take-photo').disabled"
    )
    tab.press("Enter")  # the button has the focus
    tab.until(DONE)
    assert not tab.run("document.querySelector('#camera').open")
    assert not tab.run("document.querySelector('#preview').srcObject")  # its light is off
    assert tab.run("document.querySelector('#image').alt") == "camera-1.jpg"


# Whoever is asked whether the page may use the camera takes their time: each answer is a call of
# one of `asked`. What was given is in `streams`, what the dialog said in `told`.
SLOW_TO_ALLOW = """
window.asked = []; window.streams = []; window.told = [];
const devices = navigator.mediaDevices;
const real = devices.getUserMedia.bind(devices);
devices.getUserMedia = (wanted) => new Promise((done) => asked.push(async () => {
    streams.push(await real(wanted));
    done(streams.at(-1));
}));
const line = document.querySelector('#camera-status');
new MutationObserver(() => told.push(line.textContent)).observe(line, {childList: true});
"""


def test_a_camera_that_is_allowed_too_late_is_let_go(tab: Tab) -> None:
    tab.run(SLOW_TO_ALLOW)
    tab.click("#use-camera")
    tab.press("Escape")
    tab.until("!document.querySelector('#camera').open")
    tab.click("#use-camera")
    tab.run("asked[0]()")
    # Closed and opened again while the video begins.
    tab.run(
        "asked[1]().then(() => { document.querySelector('#camera').close();"
        "document.querySelector('#use-camera').click(); })"
    )
    tab.run("asked[2]()")
    tab.until("!document.querySelector('#take-photo').disabled")
    live = "streams.map((s) => s.getTracks().filter((t) => t.readyState === 'live').length)"
    assert tab.run(live) == [0, 0, 1]
    tab.press("Enter")
    tab.until(DONE)
    assert tab.run(live) == [0, 0, 0]
    assert set(tab.run("told")) == {"Waiting for the camera\N{HORIZONTAL ELLIPSIS}", ""}


def test_a_sample_is_a_click_away(tab: Tab) -> None:
    tab.click("[data-sample]")
    tab.until(DONE)
    assert tab.requests("/invocations") == 1
    tab.click("[data-sample]")
    assert tab.requests("/invocations") == 1  # it is here already


HOLDS = """
window.held = new Set();
const [make, revoke] = [URL.createObjectURL, URL.revokeObjectURL];
URL.createObjectURL = (blob) => { const made = make(blob); held.add(made); return made; };
URL.revokeObjectURL = (address) => { held.delete(address); revoke(address); };
"""


def test_of_a_picture_that_is_removed_nothing_is_held(tab: Tab) -> None:
    tab.run(HOLDS)
    tab.run(
        "document.querySelectorAll('[data-sample]')[0].click();"  # it begins to be prepared
        "document.querySelector('#remove').click();"
        "document.querySelectorAll('[data-sample]')[1].click();"
    )
    tab.until(DONE)
    assert tab.run("held.size") == 2  # of the second: what was sent, and what is shown
    assert tab.requests("/invocations") == 1
    tab.click("#remove")
    assert tab.run("held.size") == 0


# The same call


def copied(tab: Tab, form: str) -> str:
    tab.click(f"label[for=format-{form}]")
    tab.click("#copy")
    tab.until("document.querySelector('#copy').textContent === 'Copied'")
    return str(tab.run("navigator.clipboard.readText()"))


def test_the_copied_json_is_the_answer(tab: Tab, url: str, spotted: Path) -> None:
    tab.choose("#files", spotted)
    tab.until(DONE)
    port = int(url.rsplit(":", 1)[1])
    assert copied(tab, "json") == post(port, spotted.read_bytes(), "image/jpeg").text


@pytest.mark.parametrize("form", ["curl", "boto3"])
def test_the_copied_call_runs_and_gives_the_same_answer(tab: Tab, spotted: Path, form: str) -> None:
    tab.choose("#files", spotted)
    tab.until(DONE)
    answer = copied(tab, "json")
    assert ran(copied(tab, form), form, spotted.parent).strip() == answer.strip()


@pytest.mark.parametrize("form", ["curl", "boto3"])
def test_the_copied_call_of_a_sample_needs_no_file(tab: Tab, tmp_path: Path, form: str) -> None:
    tab.click("[data-sample]")
    tab.until(DONE)
    answer = copied(tab, "json")
    assert ran(copied(tab, form), form, tmp_path).strip() == answer.strip()


def ran(program: str, form: str, folder: Path) -> str:
    """What it prints, typed into a shell or given to Python."""
    command = ["bash", "-c"] if form == "curl" else [sys.executable, "-c"]
    if form == "boto3":
        pytest.importorskip("boto3")
    done = subprocess.run(
        [*command, program],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_call_whose_picture_was_changed_says_what_to_save(tab: Tab, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(spots.turned(spots.picture(420, 300, SPOTS), 3))
    tab.choose("#files", photo)
    tab.until(DONE)
    assert tab.run("document.querySelector('#download-note').hidden")  # JSON reads no file
    assert "@'photo-as-sent.jpg'" in copied(tab, "curl")
    assert tab.run("document.querySelector('#download').download") == "photo-as-sent.jpg"
    assert not tab.run("document.querySelector('#download-note').hidden")


# What goes wrong


def trouble(tab: Tab) -> str:
    tab.until(TROUBLE)
    return text(tab, "#error-message")


def test_a_broken_picture_is_told_of_in_words(window: Chromium, url: str, spotted: Path) -> None:
    cut = spotted.with_name("cut.jpg")
    cut.write_bytes(spotted.read_bytes()[:2000])
    with looking_at(window, url) as tab:
        tab.drop("#viewer", cut)
        why = "it is corrupt or truncated; send the whole file"
        assert trouble(tab) == f"The model rejected this image: {why}."
        assert tab.run("document.querySelector('#retry').hidden")
        tab.drop("#viewer", spotted)
        tab.until(f"{SHOWN}.length === 2")
        assert not tab.run(TROUBLE)


def test_what_is_no_picture_is_never_sent(tab: Tab, tmp_path: Path) -> None:
    notes = tmp_path / "notes.jpg"
    notes.write_text("<script>alert(1)</script>")
    tab.drop("#viewer", notes, tmp_path)
    assert trouble(tab).startswith("notes.jpg is not an image that the model or this browser can")
    tab.until("document.querySelector('#thumbnails').textContent === '!!'")
    tab.press("ArrowRight")
    assert "choose the images in it." in trouble(tab)
    assert tab.requests("/invocations") == 0


def test_odd_pictures_are_answered_in_boxes_or_in_words(
    window: Chromium, url: str, data: Path
) -> None:
    odd = sorted((data / "odd_images").glob("*.*"))
    odd = [path for path in odd if path.suffix not in (".txt", ".json")]
    with looking_at(window, url) as tab:
        tab.drop("#viewer", *odd)
        tab.until("document.querySelector('#thumbnails').textContent.match(/^[0-9!]+$/)")
        said = tab.run(
            "[...document.querySelectorAll('#thumbnails button')].map((b) => { b.click();"
            "return [b.getAttribute('aria-label'),"
            "document.querySelector('#error-message').textContent]; })"
        )
        complaints = [c for c in tab.complaints() if "Failed to load resource" not in c]
    assert len(said) == len(odd)
    assert complaints == []
    for label, why in said:
        assert ("failed" in label) == bool(why)
        assert not re.search(r"undefined|null|mistake|Error|\{\{|NaN", why), (label, why)
    failed = {label.split(":")[0] for label, why in said if why}
    assert {"zero_width.gif", "decompression_bomb.gif"} <= failed
    assert not {"Landscape_6.jpg", "hopper.png", "hopper_orientation_6.webp"} & failed


@contextmanager
def before(engine: Any, folder: Path, **settings: object) -> Iterator[tuple[str, Any]]:
    """The front with its page before an engine that says what the test wants, and its program."""
    with (
        peer(engine) as server,
        whole_front(folder, server.port, places=1, settings={"page": True, **settings}) as front,
    ):
        shutil.copytree(PAGE, front.folder / "page")
        (front.folder / "page" / "label_map.pbtxt").touch()
        yield f"http://localhost:{front.port}", front.program


def says(body: bytes, status: int = 200) -> Any:
    return lambda _asked: Answer(status, body)


def test_a_model_without_names_shows_its_numbers(
    window: Chromium, tmp_path: Path, spotted: Path
) -> None:
    said = golden("answer_one.json")
    with before(says(said), tmp_path / "front") as (url, _), looking_at(window, url) as tab:
        tab.drop("#viewer", spotted)
        tab.until(DONE)
        show_all(tab)
        labels = json.loads(said)["predictions"][0]["detection_classes"]
        assert shown_names(tab)[0].startswith(f"class {labels[0]:.0f} ")
        assert tab.complaints() == []


def test_a_busy_model_is_asked_again(window: Chromium, tmp_path: Path, spotted: Path) -> None:
    taken, free = threading.Event(), threading.Event()

    def engine(asked: Asked) -> Answer:
        if b"hold" in asked.body:
            taken.set()
            assert free.wait(LONG)
        return Answer(200, golden("answer_one.json"))

    with before(engine, tmp_path / "front", wait_seconds=0) as (url, _):
        port = int(url.rsplit(":", 1)[1])
        holding = threading.Thread(target=post, args=(port, b'{"hold": 1}', "application/json"))
        holding.start()
        assert taken.wait(LONG)
        with looking_at(window, url) as tab:
            tab.drop("#viewer", spotted)
            tab.until("document.querySelector('#status').textContent.startsWith('The server is')")
            assert text(tab, "#status") == "The server is overloaded. Retrying in 1 s (1 of 4)."
            free.set()
            tab.until(DONE)
        holding.join()


def test_the_picture_being_asked_about_is_shrunk_as_well(window: Chromium, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg(spots.picture(2000, 1500, SPOTS)))
    taken, free = threading.Event(), threading.Event()

    def engine(_asked: Asked) -> Answer:
        taken.set()
        assert free.wait(LONG)
        return Answer(200, golden("answer_one.json"))

    with before(engine, tmp_path / "front") as (url, _), looking_at(window, url) as tab:
        tab.choose("#files", photo)
        assert taken.wait(LONG)
        tab.click("#shrink")
        free.set()
        tab.until(DONE)
        assert f"1600 {BY} 1200" in text(tab, "#details")
        assert tab.complaints() == []


def test_a_server_that_is_gone_is_told_of_and_can_be_tried_again(
    window: Chromium, tmp_path: Path, spotted: Path
) -> None:
    said = says(golden("answer_one.json"))
    with before(said, tmp_path / "front") as (url, program), looking_at(window, url) as tab:
        program.process.terminate()
        program.process.wait(LONG)
        tab.drop("#viewer", spotted)
        assert trouble(tab) == f"No response from {url}. Check that it is running."
        tab.click("#retry")
        tab.until(f"performance.getEntriesByName('{url}/invocations').length > 1 && {TROUBLE}")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"predictions": [[1.5]]}', 200, "has no boxes"),
        (b'{"predictions": [{"detection_boxes": NaN}]}', 200, "not valid JSON"),
        (
            b'{"error": "<img src=x onerror=alert(1)>"}',
            400,
            "returned 400: <img src=x onerror=alert",
        ),
        (b"<html>", 500, "returned 500: <html>"),
    ],
)
def test_an_answer_without_boxes_is_told_of(
    window: Chromium, tmp_path: Path, spotted: Path, body: bytes, status: int, words: str
) -> None:
    said = says(body, status)
    with before(said, tmp_path / "front") as (url, _), looking_at(window, url) as tab:
        tab.drop("#viewer", spotted)
        assert words in trouble(tab)
        assert tab.run("document.querySelectorAll('#error img').length") == 0
        if status == 200:
            assert copied(tab, "json") == body.decode()


def test_a_model_server_that_is_gone_is_told_of(
    window: Chromium, tmp_path: Path, spotted: Path
) -> None:
    with whole_front(tmp_path / "front", free_port(), settings={"page": True}) as front:
        shutil.copytree(PAGE, front.folder / "page")
        with looking_at(window, f"http://localhost:{front.port}") as tab:
            tab.drop("#viewer", spotted)
            assert trouble(tab).startswith(
                "The server returned 502: the model server is not running;"
            )
            assert not tab.run("document.querySelector('#retry').hidden")


# Several pictures, keys, sizes, colours


def test_several_pictures_are_moved_between_by_arrow_keys(
    tab: Tab, url: str, tmp_path: Path
) -> None:
    files = []
    for label in SPOTS:
        path = tmp_path / f"{label}.jpg"
        path.write_bytes(jpeg(spots.picture(420, 300, {label: SPOTS[label]})))
        files.append(path)
    tab.drop("#viewer", *files)
    tab.until("document.querySelector('#thumbnails').textContent === '110'")  # as sure as asked for
    assert tab.run("document.querySelector('#image').alt") == "1.jpg"
    for way, name in (("Right", "2"), ("Right", "3"), ("Right", "3"), ("Left", "2")):
        tab.press(f"Arrow{way}")
        assert tab.run("document.querySelector('#image').alt") == f"{name}.jpg"
    assert agree(drawn(tab), on_page(tab, found(url, files[1].read_bytes())))
    label = "document.querySelector('#thumbnails [aria-current=true]').getAttribute('aria-label')"
    assert tab.run(label) == "2.jpg: 1 detected"
    tab.press("Delete")
    assert tab.run("document.querySelector('#image').alt") == "3.jpg"
    tab.press("ArrowLeft", "Delete")
    assert tab.run("document.querySelector('#thumbnails').hidden")
    tab.press("Delete")
    assert tab.run("document.body.classList.contains('empty')")
    assert tab.requests("/invocations") == 3


def test_a_click_outlasts_a_new_picture(tab: Tab, spotted: Path) -> None:
    tab.choose("#files", spotted, spotted)  # all alike, so that the page keeps its shape
    tab.until("document.querySelector('#thumbnails').textContent === '22'")
    current = "document.querySelector('#thumbnails [aria-current=true]').parentElement"
    place = f"[...document.querySelectorAll('#thumbnails li')].indexOf({current})"
    with tab.mouse_down("#thumbnails li:first-child button"):
        tab.choose("#files", spotted)
        tab.until("document.querySelector('#thumbnails').textContent === '222'")
        assert tab.run(place) == 2
    assert tab.run(place) == 0


def test_everything_can_be_done_with_the_keyboard(tab: Tab) -> None:
    reached = walk(tab)
    assert reached[:3] == ["choose", "use-camera", "shrink"]
    first = next(i for i, name in enumerate(reached) if name.endswith(".jpg"))
    tab.run("document.querySelector('#choose').focus()")
    tab.press(*["Tab"] * first, "Enter")
    tab.until(DONE)
    assert {"min-score", "format-json", "copy", "code", "remove"} <= set(walk(tab))
    tab.run("document.querySelector('#format-json').focus()")
    tab.press("ArrowRight")
    assert "curl --silent" in text(tab, "#code")
    tab.run("document.querySelector('#copy').focus()")
    tab.press(" ")
    tab.until("document.querySelector('#copy').textContent === 'Copied'")


def walk(tab: Tab) -> list[str]:
    """What the Tab key reaches, from the first on; each shows a ring."""
    tab.run("document.querySelector('#choose').focus()")
    reached: list[str] = ["choose"]
    while True:
        tab.press("Tab")
        name, ring = tab.run(
            "(() => { const a = document.activeElement; const seen = a.matches('.formats input') ?"
            "a.nextElementSibling : a;"
            "return [a.id || a.dataset.sample || a.textContent,"
            "getComputedStyle(seen).outlineStyle]; })()"
        )
        if name in reached or tab.run("document.activeElement === document.body"):
            return reached
        assert ring == "solid", name
        reached.append(name)


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_has_nothing_to_scroll_sideways(tab: Tab, spotted: Path, width: int) -> None:
    tab.resize(width, 700, mobile=True)
    sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert tab.run(sideways) == 0
    tab.choose("#files", spotted, *(PAGE / "samples").iterdir())
    tab.until("document.querySelector('#thumbnails').textContent.match(/^[0-9]{6}$/)")
    show_all(tab)
    for form in ("json", "curl", "boto3"):
        tab.click(f"label[for=format-{form}]")
        assert tab.run(sideways) == 0
    assert tab.run("document.documentElement.clientWidth") == width


CONTRASTS = """(() => {
    const channel = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const weights = [0.2126, 0.7152, 0.0722];
    const light = (c) => weights.reduce((sum, w, i) => sum + w * channel(c[i] / 255), 0);
    const colour = (text) => text.match(/[0-9.]+/g).map(Number);
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const found = colour(getComputedStyle(e).backgroundColor);
            if (found.length === 3 || found[3] > 0.5) return found;
        }
        return [255, 255, 255];
    };
    const low = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !element.checkVisibility({opacityProperty: true})) continue;
        const [a, b] = [light(colour(getComputedStyle(element).color)), light(behind(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) low.push(`${element.textContent}: ${ratio.toFixed(1)}`);
    }
    return low;
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_all_that_is_written_can_be_read(
    tab: Tab, spotted: Path, tmp_path: Path, dark: bool
) -> None:
    tab.dark(dark)
    assert tab.run(CONTRASTS) == []
    notes = tmp_path / "notes.txt"
    notes.write_text("no picture")
    tab.choose("#files", spotted, notes)
    tab.until("document.querySelector('#thumbnails').textContent === '2!'")
    show_all(tab)
    assert tab.run(CONTRASTS) == []
    paper = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(22, 21, 20)") == dark
    tab.press("Tab")
    tab.run("document.querySelectorAll('#thumbnails button')[1].click()")
    trouble(tab)
    assert tab.run(CONTRASTS) == []


def test_what_can_be_used_has_a_name(tab: Tab, spotted: Path) -> None:
    tab.choose("#files", spotted)
    tab.until(DONE)
    nodes = tab.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "checkbox", "radio", "link", "image", "region", "list"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles - {"list"}
    ]
    assert [role for role, name in named if not name] == []
    assert ("slider", "Minimum score") in named
    assert ("region", "Results") in named
    assert tab.run("document.querySelector('#status').role") == "status"


# Opening it


@contextmanager
def typed(folder: Path, *command: str, **env: str) -> Iterator[tuple[Any, Path]]:
    """A command typed into a terminal by somebody with this environment: what the terminal shows,
    and the pipe into which their browser writes what it is asked to show."""
    folder.mkdir()
    shown, browser = folder / "shown", folder / "browser"
    os.mkfifo(shown)
    browser.write_text(f'#!/bin/sh\necho "$1" >{shown}\n')
    browser.chmod(0o755)
    ours, theirs = pty.openpty()
    settings = {"BROWSER": "{browser} %s &", **env}
    settings["BROWSER"] = settings["BROWSER"].format(browser=browser)
    unsaid = dict.fromkeys(("CI", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "WAYLAND_DISPLAY"), "")
    with subprocess.Popen(
        command,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        cwd=CONTAINER.parent,
        env={**os.environ, **unsaid, **settings},
    ) as program:
        os.close(theirs)
        try:
            with os.fdopen(ours) as terminal:
                yield terminal, shown
        finally:
            program.send_signal(signal.SIGINT)


def test_on_a_desktop_the_page_is_opened(tmp_path: Path) -> None:
    path = f"{stand_in_engine(tmp_path / 'engine')}:{os.environ['PATH']}"
    command = [*SERVE, str(empty_model(tmp_path / "model")), f"--port={free_port()}"]
    with typed(tmp_path / "desk", *command, DISPLAY=":7", PATH=path) as (terminal, shown):
        line = terminal.readline().strip()
        assert re.fullmatch(r"http://localhost:\d+/", line)
        assert shown.read_text().strip() == line


# Shows an address, and waits for all that this has started.
SHOW = """
import os, threading
from petbox.cli import browser
browser.show("http://localhost/")
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join()
try:
    os.wait()
except ChildProcessError:
    pass
print("done")
"""


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"DISPLAY": ":7"}, b"http://localhost/\n"),
        ({"DISPLAY": "", "WAYLAND_DISPLAY": "wayland-0"}, b"http://localhost/\n"),
        ({"DISPLAY": ""}, b""),
        ({"DISPLAY": ":7", "CI": "true"}, b""),
        ({"DISPLAY": ":7", "SSH_CONNECTION": "10.0.0.1 50000 10.0.0.2 22"}, b""),
        ({"DISPLAY": ":7", "BROWSER": "{browser} %s"}, b""),  # it would take the terminal
    ],
)
def test_it_is_opened_where_somebody_looks(
    tmp_path: Path, env: dict[str, str], told: bytes
) -> None:
    with typed(tmp_path / "desk", sys.executable, "-c", SHOW, **env) as (terminal, shown):
        reader = os.open(shown, os.O_RDONLY | os.O_NONBLOCK)  # or a browser waits for one
        assert terminal.readline().strip() == "done"
        assert os.read(reader, 100) == told
        os.close(reader)


def test_what_goes_to_a_program_opens_nothing(tmp_path: Path) -> None:
    env = {**os.environ, "DISPLAY": ":7", "BROWSER": "echo shown %s &", "CI": ""}
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=CONTAINER.parent,
        env=env,
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"done\n"


def test_it_can_be_told_not_to() -> None:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser, serving_command.ServeOptions)
    assert parser.parse_args(["model"]).open
    assert not parser.parse_args(["model", "--no-open"]).open
