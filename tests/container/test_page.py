"""The page: its files over HTTP, and its behavior in Chromium."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
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
from support.peer import Request, Response, golden, peer
from support.ports import free_port
from support.serving import (
    CONTAINER,
    LONG,
    await_port,
    empty_model,
    post,
    served_model,
    stand_in_engine,
    started,
    whole_front,
)

PAGE = CONTAINER / "page"
FILES = sorted(str(path.relative_to(PAGE)) for path in PAGE.rglob("*") if path.is_file())
CONTENT_TYPES = {
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
VISIBLE_BOXES = "[...document.querySelectorAll('.box:not([hidden])')]"
DONE = "document.querySelector('#details').textContent.includes('Response time')"
ERROR_SHOWN = "!document.querySelector('#error').hidden"
BY = "\N{MULTIPLICATION SIGN}"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`petbox serve` with a detector of colored spots."""
    folder = tmp_path_factory.mktemp("served")
    model = spots.detector(folder / "spots" / "1").parent
    with served_model(folder, model) as (port, _):
        yield f"http://localhost:{port}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def tab(browser: Chromium, url: str) -> Iterator[Tab]:
    """The open page. It must not log errors during the test."""
    with open_page(browser, url) as tab:
        yield tab
        assert tab.problems() == []


@contextmanager
def open_page(browser: Chromium, url: str) -> Iterator[Tab]:
    tab = Tab(browser, url)
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
    """An image with three spots, whose file name needs quoting."""
    path = tmp_path / "it's a $cat.jpg"
    path.write_bytes(jpeg(spots.image(420, 300, SPOTS)))
    return path


def detected_boxes(url: str, image: bytes) -> list[list[float]]:
    """The boxes in the API's response, in fractions."""
    port = int(url.rsplit(":", 1)[1])
    (prediction,) = post(port, image, "image/jpeg").json()["predictions"]
    boxes: list[list[float]] = prediction["detection_boxes"]
    return boxes[: int(prediction["num_detections"])]


def drawn_boxes(tab: Tab) -> list[list[float]]:
    """Top, left, bottom and right of the boxes, in pixels of the page from the image's corner."""
    boxes: list[list[float]] = tab.run(
        "(() => { const at = document.querySelector('#image').getBoundingClientRect();"
        f"return {VISIBLE_BOXES}.map((box) => {{ const b = box.getBoundingClientRect();"
        "return [b.top - at.top, b.left - at.left, b.bottom - at.top, b.right - at.left]; }); })()"
    )
    return boxes


def to_pixels(tab: Tab, boxes: list[list[float]]) -> list[list[float]]:
    """Converts fractions to pixels of the page."""
    _, _, width, height = tab.place("#image")
    return [[t * height, le * width, b * height, r * width] for t, le, b, r in boxes]


def are_close(some: list[list[float]], others: list[list[float]], pixels: float = 2) -> bool:
    assert len(some) == len(others)
    return some == [pytest.approx(other, abs=pixels) for other in others]


def visible_labels(tab: Tab) -> list[str]:
    names: list[str] = tab.run(f"{VISIBLE_BOXES}.map((box) => box.textContent)")
    return names


def show_all(tab: Tab) -> None:
    """Moves the slider to 0 by keyboard."""
    tab.run("document.querySelector('#min-score').focus()")
    tab.press("Home")


def text(tab: Tab, selector: str) -> str:
    return str(tab.run(f"document.querySelector({json.dumps(selector)}).textContent"))


# Over HTTP


def test_the_page_has_its_headers(url: str) -> None:
    response = requests.get(f"{url}/", timeout=LONG)
    assert response.status_code == 200
    assert response.text == (PAGE / "index.html").read_text()
    message_headers = {"Server", "Date", "Connection", "Content-Length"}
    file_headers = {"Content-Type", "Last-Modified", "ETag"}
    assert {*response.headers} == message_headers | file_headers | {*HEADERS}
    assert HEADERS.items() <= response.headers.items()
    assert response.headers["Server"] == "nginx"


@pytest.mark.parametrize("name", FILES)
def test_each_file_has_its_content_type_and_an_etag(url: str, name: str) -> None:
    response = requests.get(f"{url}/page/{name}", timeout=LONG)
    assert response.status_code == 200
    assert response.content == (PAGE / name).read_bytes()
    assert response.headers["Content-Type"] == CONTENT_TYPES[Path(name).suffix]
    assert HEADERS.items() <= response.headers.items()
    condition = {"If-None-Match": response.headers["ETag"]}
    unchanged = requests.get(f"{url}/page/{name}", headers=condition, timeout=LONG)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    part = requests.get(f"{url}/page/{name}", headers={"Range": "bytes=9-"}, timeout=LONG)
    assert (part.status_code, part.content) == (200, response.content)


@pytest.mark.parametrize("path", ["/", "/page/page.js"])
def test_the_page_allows_get_and_head_only(url: str, path: str) -> None:
    head = requests.head(url + path, timeout=LONG)
    assert (head.status_code, head.content) == (200, b"")
    for method in ("POST", "PUT", "DELETE"):
        response = requests.request(method, url + path, data=b"{}", timeout=LONG)
        assert response.status_code == 405
        assert response.headers["Allow"] == "GET, HEAD"
        assert response.headers["Content-Type"] == "application/json"
        assert "GET, HEAD" in response.json()["error"]


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
def test_other_paths_are_404(url: str, path: str) -> None:
    session = requests.Session()
    request = requests.Request("GET", url).prepare()
    request.url = url + path  # requests would normalize the path
    response = session.send(request, timeout=LONG, allow_redirects=False)
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/json"
    assert "POST /invocations" in response.json()["error"]


def test_the_page_is_disabled_by_default(tmp_path: Path) -> None:
    with whole_front(tmp_path / "front", free_port()) as front:
        shutil.copytree(PAGE, front.folder / "page")
        for path in ("/", "/page/index.html", "/page/page.js"):
            response = requests.get(f"http://127.0.0.1:{front.port}{path}", timeout=LONG)
            assert response.status_code == 404
            assert response.headers["Content-Type"] == "application/json"
            assert "Content-Security-Policy" not in response.headers
            assert "no such route" in response.json()["error"]


@pytest.mark.parametrize(("setting", "status"), [("1", 200), ("0", 404)])
def test_a_variable_enables_the_page_in_the_container(
    tmp_path: Path, setting: str, status: int
) -> None:
    models = tmp_path / "models"
    for name, number in (("pets", "2"), ("pets", "10"), ("others", "1")):
        version = empty_model(models / name / number)
        (version / "assets").mkdir()
        (version / "assets" / "label_map.pbtxt").write_text(f"{name} {number}")
    engine = stand_in_engine(tmp_path / "engine")
    port = free_port()
    settings = {
        "PETBOX_PAGE": setting,
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
        url = f"http://127.0.0.1:{port}"
        assert requests.get(f"{url}/", timeout=LONG).status_code == status
        names = requests.get(f"{url}/page/label_map.pbtxt", timeout=LONG)
        assert names.status_code == status
        assert status == 404 or names.text == "pets 10"


def test_the_page_loads_nothing_from_elsewhere_and_writes_no_html() -> None:
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


def test_violations_of_the_policy_are_recorded(browser: Chromium, url: str) -> None:
    with open_page(browser, url) as tab:
        assert tab.problems() == []
        tab.run("document.body.setAttribute('style', 'color: red')")
        tab.run("document.body.append(new Image()); document.body.lastChild.src = 'http://[::1]/'")
        tab.until("forbidden.length === 2")
        assert len(tab.problems()) >= 2
        with pytest.raises(AssertionError, match="TrustedHTML"):
            tab.run("document.body.innerHTML = '<b>bold</b>'")


# Images and their boxes


def test_boxes_of_a_dropped_image_are_those_of_the_api(tab: Tab, url: str, spotted: Path) -> None:
    tab.drop("#viewer", spotted)
    tab.until(DONE)
    show_all(tab)
    expected = to_pixels(tab, detected_boxes(url, spotted.read_bytes()))
    assert len(expected) == 3
    assert are_close(drawn_boxes(tab), expected)
    assert visible_labels(tab) == ["<b>red</b> & 'co' 90%", "green 60%", "blue 30%"]
    assert text(tab, "#detections") == "<b>red</b> & 'co' 90%green 60%blue 30%"
    assert text(tab, "#status") == f"1 {BY} <b>red</b> & 'co', 1 {BY} green, 1 {BY} blue."
    kilobytes = -(-spotted.stat().st_size // 1000)
    assert re.fullmatch(
        rf"Response time[\d.]+ m?sImage sent420 {BY} 300, {kilobytes} kB", text(tab, "#details")
    )
    tab.resize(700, 900)  # boxes scale with the image
    assert are_close(drawn_boxes(tab), to_pixels(tab, detected_boxes(url, spotted.read_bytes())))


def test_boxes_surround_what_the_screen_shows(tab: Tab, spotted: Path) -> None:
    tab.drop("#viewer", spotted)
    tab.until(DONE)
    show_all(tab)
    boxes = dict(zip(spots.COLORS, drawn_boxes(tab), strict=True))
    assert are_close(list(boxes.values()), list(spots_on_screen(tab).values()))


def spots_on_screen(tab: Tab) -> dict[int, list[float]]:
    """Where a screenshot without boxes shows the spots, in the form of `drawn_boxes`."""
    tab.run("document.querySelector('#boxes').style.visibility = 'hidden'")
    left, top, width, height = tab.place("#image")
    screen = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    screen = screen.crop((round(left), round(top), round(left + width), round(top + height)))
    tab.run("document.querySelector('#boxes').style.visibility = ''")
    boxes = {}
    for label, color in spots.COLORS.items():
        matches = (np.asarray(screen) > 128) == (np.array(color) > 128)
        rows, columns = np.nonzero(matches.all(2))
        boxes[label] = [rows.min(), columns.min(), rows.max() + 1.0, columns.max() + 1.0]
    return boxes


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_a_photo_with_exif_orientation_surround_what_the_screen_shows(
    tab: Tab, tmp_path: Path, orientation: int
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(spots.with_orientation(spots.image(420, 300, SPOTS), orientation))
    tab.drop("#viewer", photo)
    tab.until(DONE)
    show_all(tab)
    boxes = drawn_boxes(tab)
    upright = [[t / 300, le / 420, b / 300, r / 420] for le, t, r, b in SPOTS.values()]
    assert are_close(boxes, to_pixels(tab, upright), 3)
    assert are_close(boxes, list(spots_on_screen(tab).values()), 3)
    assert ("rotated upright" in text(tab, "#details")) == (orientation > 1)


def test_the_slider_filters_without_a_new_request(tab: Tab, spotted: Path) -> None:
    tab.choose("#files", spotted)
    tab.until(DONE)
    assert visible_labels(tab) == ["<b>red</b> & 'co' 90%", "green 60%"]
    tab.run("document.querySelector('#min-score').focus()")
    tab.press(*["ArrowRight"] * 11)
    assert text(tab, "#min-score-text") == "61%"
    assert visible_labels(tab) == ["<b>red</b> & 'co' 90%"]
    assert tab.run("document.querySelectorAll('#detections li:not([hidden])').length") == 1
    tab.press("End")
    assert visible_labels(tab) == []
    assert (
        text(tab, "#status") == "All scores are below the minimum. Highest: <b>red</b> & 'co', 90%."
    )
    tab.press("Home")
    assert len(visible_labels(tab)) == 3
    assert tab.requests("/invocations") == 1


def test_a_detection_hidden_by_the_slider_is_unpinned(tab: Tab, spotted: Path) -> None:
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
    assert visible_labels(tab) == ["<b>red</b> & 'co' 90%"]
    assert tab.run(alone) == 0
    tab.press("Home")
    assert tab.run(alone) == 0


def test_a_large_photo_is_shrunk_if_selected(tab: Tab, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    spotted: dict[int, spots.Box] = {
        label: (10 * a, 10 * b, 10 * c, 10 * d) for label, (a, b, c, d) in SPOTS.items()
    }
    photo.write_bytes(spots.with_orientation(spots.image(4000, 3000, spotted), 6))
    upright = [[t / 3000, le / 4000, b / 3000, r / 4000] for le, t, r, b in spotted.values()]
    tab.choose("#files", photo)
    tab.until(DONE)
    assert f"4000 {BY} 3000" in text(tab, "#details")
    show_all(tab)
    assert are_close(drawn_boxes(tab), to_pixels(tab, upright))
    tab.click("#shrink")
    tab.until(f"document.querySelector('#details').textContent.includes('1600 {BY} 1200')")
    assert f"shrunk from 4000 {BY} 3000, rotated upright" in text(tab, "#details")
    tab.until(f"{VISIBLE_BOXES}.length === 3")
    assert are_close(drawn_boxes(tab), to_pixels(tab, upright))
    assert tab.requests("/invocations") == 2


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF", "BMP"])
def test_other_formats_are_sent_unchanged(tab: Tab, tmp_path: Path, image_format: str) -> None:
    photo = tmp_path / "photo.jpg"  # the wrong extension
    spots.image(420, 300, SPOTS).save(photo, image_format, quality=100)
    tab.drop("body", photo)
    tab.until(DONE)
    assert len(visible_labels(tab)) == 2
    tab.click("label[for=format-curl]")
    assert f"image/{image_format.lower()}" in text(tab, "#code")


def test_a_format_only_the_browser_decodes_is_converted_to_jpeg(tab: Tab, tmp_path: Path) -> None:
    photo = tmp_path / "photo.avif"
    spots.image(420, 300, SPOTS).save(photo, "AVIF", quality=95)
    tab.drop("#viewer", photo)
    tab.until(DONE)
    assert len(visible_labels(tab)) == 2
    assert "converted to JPEG" in text(tab, "#details")


def test_a_pasted_image_is_sent(tab: Tab, url: str) -> None:
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
    assert are_close(drawn_boxes(tab), to_pixels(tab, [[0.1, 0.1, 0.6, 0.6]]))
    tab.click("label[for=format-boto3]")
    assert not tab.run("document.querySelector('#download-note').hidden")  # it exists in no file


def test_the_camera_takes_a_photo(tab: Tab) -> None:
    tab.click("#use-camera")
    tab.until(
        "document.querySelector('#camera').open && !document.querySelector('#take-photo').disabled"
    )
    tab.press("Enter")  # the button has the focus
    tab.until(DONE)
    assert not tab.run("document.querySelector('#camera').open")
    assert not tab.run("document.querySelector('#preview').srcObject")  # the camera is off
    assert tab.run("document.querySelector('#image').alt") == "camera-1.jpg"


# Delays the permission to use the camera: calling an entry of `pending` grants it. `streams` has
# the granted streams, `statuses` the texts of the dialog.
DELAYED_PERMISSION = """
window.pending = []; window.streams = []; window.statuses = [];
const devices = navigator.mediaDevices;
const real = devices.getUserMedia.bind(devices);
devices.getUserMedia = (constraints) => new Promise((done) => pending.push(async () => {
    streams.push(await real(constraints));
    done(streams.at(-1));
}));
const line = document.querySelector('#camera-status');
new MutationObserver(() => statuses.push(line.textContent)).observe(line, {childList: true});
"""


def test_a_camera_allowed_after_closing_is_released(tab: Tab) -> None:
    tab.run(DELAYED_PERMISSION)
    tab.click("#use-camera")
    tab.press("Escape")
    tab.until("!document.querySelector('#camera').open")
    tab.click("#use-camera")
    tab.run("pending[0]()")
    # Close and open again while the video starts.
    tab.run(
        "pending[1]().then(() => { document.querySelector('#camera').close();"
        "document.querySelector('#use-camera').click(); })"
    )
    tab.run("pending[2]()")
    tab.until("!document.querySelector('#take-photo').disabled")
    live = "streams.map((s) => s.getTracks().filter((t) => t.readyState === 'live').length)"
    assert tab.run(live) == [0, 0, 1]
    tab.press("Enter")
    tab.until(DONE)
    assert tab.run(live) == [0, 0, 0]
    assert set(tab.run("statuses")) == {"Waiting for the camera\N{HORIZONTAL ELLIPSIS}", ""}


def test_a_sample_is_sent_once(tab: Tab) -> None:
    tab.click("[data-sample]")
    tab.until(DONE)
    assert tab.requests("/invocations") == 1
    tab.click("[data-sample]")
    assert tab.requests("/invocations") == 1  # it was added before


TRACK_OBJECT_URLS = """
window.object_urls = new Set();
const [make, revoke] = [URL.createObjectURL, URL.revokeObjectURL];
URL.createObjectURL = (blob) => { const made = make(blob); object_urls.add(made); return made; };
URL.revokeObjectURL = (address) => { object_urls.delete(address); revoke(address); };
"""


def test_removing_an_image_frees_its_memory(tab: Tab) -> None:
    tab.run(TRACK_OBJECT_URLS)
    tab.run(
        "document.querySelectorAll('[data-sample]')[0].click();"  # preparing starts
        "document.querySelector('#remove').click();"
        "document.querySelectorAll('[data-sample]')[1].click();"
    )
    tab.until(DONE)
    assert tab.run("object_urls.size") == 2  # the second: the image sent and the one shown
    assert tab.requests("/invocations") == 1
    tab.click("#remove")
    assert tab.run("object_urls.size") == 0


# API call


def copied(tab: Tab, snippet: str) -> str:
    tab.click(f"label[for=format-{snippet}]")
    tab.click("#copy")
    tab.until("document.querySelector('#copy').textContent === 'Copied'")
    return str(tab.run("navigator.clipboard.readText()"))


def test_the_copied_json_is_the_response(tab: Tab, url: str, spotted: Path) -> None:
    tab.choose("#files", spotted)
    tab.until(DONE)
    port = int(url.rsplit(":", 1)[1])
    assert copied(tab, "json") == post(port, spotted.read_bytes(), "image/jpeg").text


@pytest.mark.parametrize("snippet", ["curl", "boto3"])
def test_the_copied_call_gets_the_same_response(tab: Tab, spotted: Path, snippet: str) -> None:
    tab.choose("#files", spotted)
    tab.until(DONE)
    response = copied(tab, "json")
    assert run_snippet(copied(tab, snippet), snippet, spotted.parent).strip() == response.strip()


@pytest.mark.parametrize("snippet", ["curl", "boto3"])
def test_the_copied_call_of_a_sample_needs_no_file(tab: Tab, tmp_path: Path, snippet: str) -> None:
    tab.click("[data-sample]")
    tab.until(DONE)
    response = copied(tab, "json")
    assert run_snippet(copied(tab, snippet), snippet, tmp_path).strip() == response.strip()


def run_snippet(program: str, snippet: str, folder: Path) -> str:
    """Its output in a shell or in Python."""
    command = ["bash", "-c"] if snippet == "curl" else [sys.executable, "-c"]
    if snippet == "boto3":
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


def test_the_call_of_a_changed_image_offers_it_for_download(tab: Tab, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(spots.with_orientation(spots.image(420, 300, SPOTS), 3))
    tab.choose("#files", photo)
    tab.until(DONE)
    assert tab.run("document.querySelector('#download-note').hidden")  # JSON reads no file
    assert "@'photo-as-sent.jpg'" in copied(tab, "curl")
    assert tab.run("document.querySelector('#download').download") == "photo-as-sent.jpg"
    assert not tab.run("document.querySelector('#download-note').hidden")


# Errors


def error_text(tab: Tab) -> str:
    tab.until(ERROR_SHOWN)
    return text(tab, "#error-message")


def test_a_truncated_image_shows_the_models_error(
    browser: Chromium, url: str, spotted: Path
) -> None:
    cut = spotted.with_name("cut.jpg")
    cut.write_bytes(spotted.read_bytes()[:2000])
    with open_page(browser, url) as tab:
        tab.drop("#viewer", cut)
        problem = "it is corrupt or truncated; send the whole file"
        assert error_text(tab) == f"The model rejected this image: {problem}."
        assert tab.run("document.querySelector('#retry').hidden")
        tab.drop("#viewer", spotted)
        tab.until(f"{VISIBLE_BOXES}.length === 2")
        assert not tab.run(ERROR_SHOWN)


def test_a_file_that_is_not_an_image_is_not_sent(tab: Tab, tmp_path: Path) -> None:
    notes = tmp_path / "notes.jpg"
    notes.write_text("<script>alert(1)</script>")
    tab.drop("#viewer", notes, tmp_path)
    assert error_text(tab).startswith(
        "notes.jpg is not an image that the model or this browser can"
    )
    tab.until("document.querySelector('#thumbnails').textContent === '!!'")
    tab.press("ArrowRight")
    assert "choose the images in it." in error_text(tab)
    assert tab.requests("/invocations") == 0


def test_odd_images_show_boxes_or_an_error(browser: Chromium, url: str, data: Path) -> None:
    odd = sorted((data / "odd_images").glob("*.*"))
    odd = [path for path in odd if path.suffix not in (".txt", ".json")]
    with open_page(browser, url) as tab:
        tab.drop("#viewer", *odd)
        tab.until("document.querySelector('#thumbnails').textContent.match(/^[0-9!]+$/)")
        shown = tab.run(
            "[...document.querySelectorAll('#thumbnails button')].map((b) => { b.click();"
            "return [b.getAttribute('aria-label'),"
            "document.querySelector('#error-message').textContent]; })"
        )
        problems = [c for c in tab.problems() if "Failed to load resource" not in c]
    assert len(shown) == len(odd)
    assert problems == []
    for label, error in shown:
        assert ("failed" in label) == bool(error)
        assert not re.search(r"undefined|null|mistake|Error|\{\{|NaN", error), (label, error)
    failed = {label.split(":")[0] for label, error in shown if error}
    assert {"zero_width.gif", "decompression_bomb.gif"} <= failed
    assert not {"Landscape_6.jpg", "hopper.png", "hopper_orientation_6.webp"} & failed


@contextmanager
def served_page(
    engine: Any, folder: Path, label_map: str = "", **settings: object
) -> Iterator[tuple[str, Any]]:
    """The gateway with the page before a fake model server: the address and the gateway."""

    def without_signatures(asked: Request) -> Response:
        return Response(200, b"{}") if asked.path.endswith("/metadata") else engine(asked)

    shown = {"page": True, "metadata": True, **settings}
    with (
        peer(without_signatures) as server,
        whole_front(folder, server.port, places=1, settings=shown) as front,
    ):
        shutil.copytree(PAGE, front.folder / "page")
        (front.folder / "page" / "label_map.pbtxt").write_text(label_map)
        yield f"http://localhost:{front.port}", front.program


def respond(body: bytes, status: int = 200) -> Any:
    return lambda _request: Response(status, body)


def test_a_model_without_class_names_shows_class_numbers(
    browser: Chromium, tmp_path: Path, spotted: Path
) -> None:
    body = golden("answer_one.json")
    with served_page(respond(body), tmp_path / "front") as (url, _), open_page(browser, url) as tab:
        tab.drop("#viewer", spotted)
        tab.until(DONE)
        show_all(tab)
        labels = json.loads(body)["predictions"][0]["detection_classes"]
        assert visible_labels(tab)[0].startswith(f"class {labels[0]:.0f} ")
        assert tab.problems() == []


def test_the_models_own_thresholds_decide_until_the_slider_is_moved(
    browser: Chromium, tmp_path: Path, spotted: Path
) -> None:
    body = json.loads(golden("answer_detect.json"))
    found = body["predictions"][0]
    found |= {"detection_scores": [0.9, 0.3], "detection_thresholds": [0.95, 0.25]}
    engine = respond(json.dumps(body).encode())
    with served_page(engine, tmp_path / "front") as (url, _), open_page(browser, url) as tab:
        tab.drop("#viewer", spotted)
        tab.until(DONE)
        assert visible_labels(tab) == ["yorkshire_terrier 30%"]
        assert text(tab, "#min-score-text") == "set by the model"
        assert text(tab, "#status") == "1 × yorkshire_terrier."  # noqa: RUF001
        tab.run("document.querySelector('#min-score').focus()")
        tab.press("ArrowRight")
        assert text(tab, "#min-score-text") == "51%"
        assert visible_labels(tab) == ["Abyssinian 90%"]
        assert tab.problems() == []


@pytest.mark.parametrize(
    "label_map",
    [
        "item { id: 1 name: 'caf\\303\\251 \\x26 bar' } # comment",
        'item { name: "café & bar" id: 1 }',
        'item { name: "/m/01" part { id: 2 name: "door" } id: 1 display_name: "café & bar" }',
    ],
)
def test_class_names_come_from_the_label_map(
    browser: Chromium, tmp_path: Path, spotted: Path, label_map: str
) -> None:
    engine = respond(golden("answer_one.json"))
    with (
        served_page(engine, tmp_path / "front", label_map) as (url, _),
        open_page(browser, url) as tab,
    ):
        tab.drop("#viewer", spotted)
        tab.until(DONE)
        assert visible_labels(tab)[0] == "café & bar 98%"


def test_a_request_to_an_overloaded_server_is_retried(
    browser: Chromium, tmp_path: Path, spotted: Path
) -> None:
    received, proceed = threading.Event(), threading.Event()

    def engine(request: Request) -> Response:
        if b"hold" in request.body:
            received.set()
            assert proceed.wait(LONG)
        return Response(200, golden("answer_one.json"))

    with served_page(engine, tmp_path / "front", wait_seconds=0) as (url, _):
        port = int(url.rsplit(":", 1)[1])
        holding = threading.Thread(target=post, args=(port, b'{"hold": 1}', "application/json"))
        holding.start()
        assert received.wait(LONG)
        with open_page(browser, url) as tab:
            tab.drop("#viewer", spotted)
            tab.until("document.querySelector('#status').textContent.startsWith('The server is')")
            assert text(tab, "#status") == "The server is overloaded. Retrying in 1 s (1 of 4)."
            proceed.set()
            tab.until(DONE)
        holding.join()


def test_the_image_being_processed_is_shrunk_as_well(browser: Chromium, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg(spots.image(2000, 1500, SPOTS)))
    received, proceed = threading.Event(), threading.Event()

    def engine(_request: Request) -> Response:
        received.set()
        assert proceed.wait(LONG)
        return Response(200, golden("answer_one.json"))

    with served_page(engine, tmp_path / "front") as (url, _), open_page(browser, url) as tab:
        tab.choose("#files", photo)
        assert received.wait(LONG)
        tab.click("#shrink")
        proceed.set()
        tab.until(DONE)
        assert f"1600 {BY} 1200" in text(tab, "#details")
        assert tab.problems() == []


def test_an_unreachable_server_shows_an_error_with_retry(
    browser: Chromium, tmp_path: Path, spotted: Path
) -> None:
    engine = respond(golden("answer_one.json"))
    with served_page(engine, tmp_path / "front") as (url, program), open_page(browser, url) as tab:
        program.process.terminate()
        program.process.wait(LONG)
        tab.drop("#viewer", spotted)
        assert error_text(tab) == f"No response from {url}. Check that it is running."
        tab.click("#retry")
        tab.until(f"performance.getEntriesByName('{url}/invocations').length > 1 && {ERROR_SHOWN}")


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
def test_a_response_without_boxes_shows_an_error(
    browser: Chromium, tmp_path: Path, spotted: Path, body: bytes, status: int, words: str
) -> None:
    engine = respond(body, status)
    with served_page(engine, tmp_path / "front") as (url, _), open_page(browser, url) as tab:
        tab.drop("#viewer", spotted)
        assert words in error_text(tab)
        assert tab.run("document.querySelectorAll('#error img').length") == 0
        if status == 200:
            assert copied(tab, "json") == body.decode()


def test_a_stopped_model_server_shows_an_error_with_retry(
    browser: Chromium, tmp_path: Path, spotted: Path
) -> None:
    with whole_front(tmp_path / "front", free_port(), settings={"page": True}) as front:
        shutil.copytree(PAGE, front.folder / "page")
        with open_page(browser, f"http://localhost:{front.port}") as tab:
            tab.drop("#viewer", spotted)
            assert error_text(tab).startswith(
                "The server returned 502: the model server is not running;"
            )
            assert not tab.run("document.querySelector('#retry').hidden")


# Thumbnails, keyboard, layout, accessibility


def test_arrow_keys_switch_between_images(tab: Tab, url: str, tmp_path: Path) -> None:
    files = []
    for label in SPOTS:
        path = tmp_path / f"{label}.jpg"
        path.write_bytes(jpeg(spots.image(420, 300, {label: SPOTS[label]})))
        files.append(path)
    tab.drop("#viewer", *files)
    tab.until("document.querySelector('#thumbnails').textContent === '110'")  # above 50%
    assert tab.run("document.querySelector('#image').alt") == "1.jpg"
    for way, name in (("Right", "2"), ("Right", "3"), ("Right", "3"), ("Left", "2")):
        tab.press(f"Arrow{way}")
        assert tab.run("document.querySelector('#image').alt") == f"{name}.jpg"
    assert are_close(drawn_boxes(tab), to_pixels(tab, detected_boxes(url, files[1].read_bytes())))
    label = "document.querySelector('#thumbnails [aria-current=true]').getAttribute('aria-label')"
    assert tab.run(label) == "2.jpg: 1 detected"
    tab.press("Delete")
    assert tab.run("document.querySelector('#image').alt") == "3.jpg"
    tab.press("ArrowLeft", "Delete")
    assert tab.run("document.querySelector('#thumbnails').hidden")
    tab.press("Delete")
    assert tab.run("document.body.classList.contains('empty')")
    assert tab.requests("/invocations") == 3


def test_a_click_survives_an_image_added_meanwhile(tab: Tab, spotted: Path) -> None:
    tab.choose("#files", spotted, spotted)  # equal, so that the layout stays
    tab.until("document.querySelector('#thumbnails').textContent === '22'")
    current = "document.querySelector('#thumbnails [aria-current=true]').parentElement"
    place = f"[...document.querySelectorAll('#thumbnails li')].indexOf({current})"
    with tab.mouse_down("#thumbnails li:first-child button"):
        tab.choose("#files", spotted)
        tab.until("document.querySelector('#thumbnails').textContent === '222'")
        assert tab.run(place) == 2
    assert tab.run(place) == 0


def test_the_keyboard_reaches_every_control(tab: Tab) -> None:
    reached = tab_order(tab)
    assert reached[:3] == ["choose", "use-camera", "shrink"]
    first = next(i for i, name in enumerate(reached) if name.endswith(".jpg"))
    tab.run("document.querySelector('#choose').focus()")
    tab.press(*["Tab"] * first, "Enter")
    tab.until(DONE)
    assert {"min-score", "format-json", "copy", "code", "remove"} <= set(tab_order(tab))
    tab.run("document.querySelector('#format-json').focus()")
    tab.press("ArrowRight")
    assert "curl --silent" in text(tab, "#code")
    tab.run("document.querySelector('#copy').focus()")
    tab.press(" ")
    tab.until("document.querySelector('#copy').textContent === 'Copied'")


def tab_order(tab: Tab) -> list[str]:
    """What the Tab key reaches, in order; each has a focus ring."""
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
def test_a_phone_does_not_scroll_horizontally(tab: Tab, spotted: Path, width: int) -> None:
    tab.resize(width, 700, mobile=True)
    sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert tab.run(sideways) == 0
    tab.choose("#files", spotted, *(PAGE / "samples").iterdir())
    tab.until("document.querySelector('#thumbnails').textContent.match(/^[0-9]{6}$/)")
    show_all(tab)
    for snippet in ("json", "curl", "boto3"):
        tab.click(f"label[for=format-{snippet}]")
        assert tab.run(sideways) == 0
    assert tab.run("document.documentElement.clientWidth") == width


CONTRASTS = """(() => {
    const channel = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const weights = [0.2126, 0.7152, 0.0722];
    const light = (c) => weights.reduce((sum, w, i) => sum + w * channel(c[i] / 255), 0);
    const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const found = rgb(getComputedStyle(e).backgroundColor);
            if (found.length === 3 || found[3] > 0.5) return found;
        }
        return [255, 255, 255];
    };
    const low = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !element.checkVisibility({opacityProperty: true})) continue;
        const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) low.push(`${element.textContent}: ${ratio.toFixed(1)}`);
    }
    return low;
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast(tab: Tab, spotted: Path, tmp_path: Path, dark: bool) -> None:
    tab.dark(dark)
    assert tab.run(CONTRASTS) == []
    notes = tmp_path / "notes.txt"
    notes.write_text("not an image")
    tab.choose("#files", spotted, notes)
    tab.until("document.querySelector('#thumbnails').textContent === '2!'")
    show_all(tab)
    assert tab.run(CONTRASTS) == []
    paper = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(22, 21, 20)") == dark
    tab.press("Tab")
    tab.run("document.querySelectorAll('#thumbnails button')[1].click()")
    error_text(tab)
    assert tab.run(CONTRASTS) == []


def test_every_control_has_an_accessible_name(tab: Tab, spotted: Path) -> None:
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
