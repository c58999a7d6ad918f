"""`petbox.Detector`: every kind of image, every kind of detector, and what comes back."""

from __future__ import annotations

import base64
import copy
import io
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CHECKOUT
from PIL import Image
from support.aws import Aws, moto
from support.peer import GOLDEN, Peer, Request, Response, golden, named_detector, peer
from support.serving import embedded_engine, front, tiny_detector

import petbox
from petbox import Detections, Detector, errors, wire

CAT = GOLDEN / "picture.jpg"  # 24x16
JPEG = golden("picture.jpg")
ABYSSINIAN = (0.1, 0.2, 0.6, 0.7)  # what named_detector finds first


class Echo:
    """An engine that finds one thing in every image, and remembers the images."""

    def __init__(self, *found: wire.Detection) -> None:
        self.found = found or (wire.Detection(1, 0.9, ABYSSINIAN, "Abyssinian"),)
        self.images: list[bytes] = []

    def detect(self, image: bytes) -> list[wire.Detection]:
        self.images.append(image)
        return list(self.found)

    def last(self) -> Image.Image:
        return Image.open(io.BytesIO(self.images[-1]))


@pytest.fixture
def server() -> Iterator[Peer]:
    with peer(named_detector) as running:
        yield running


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_detector(folder / "1", named=True)
    return folder


@pytest.fixture(scope="module")
def in_process(model: Path) -> Detector:
    return Detector(model=model, min_score=0)


# The package


def test_importing_petbox_loads_the_standard_library_only() -> None:
    code = (
        "import sys; before = set(sys.modules); import petbox; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.split(".")[0] == "petbox"} == {"petbox"}
    assert {name.split(".")[0] for name in loaded} - {"petbox"} <= sys.stdlib_module_names


def test_importing_petbox_takes_no_time() -> None:
    command = [sys.executable, "-X", "importtime", "-c", "import petbox"]
    times = []
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        (line,) = (one for one in done.stderr.splitlines() if one.endswith("| petbox"))
        times.append(int(line.split("|")[1]))
    assert min(times) < 30_000  # microseconds


def test_every_public_name_is_there_and_listed() -> None:
    assert dir(petbox) == sorted(petbox.__all__)
    for name in petbox.__all__:
        assert getattr(petbox, name)
    with pytest.raises(AttributeError, match="no attribute 'Detecter'"):
        petbox.Detecter  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_see_the_names(tmp_path: Path) -> None:
    use = tmp_path / "use.py"
    use.write_text(
        "import petbox\n"
        "found = petbox.Detector('http://x').detect('cat.jpg')\n"
        "reveal_type(found)\n"
        "reveal_type(found[0].box.pixels)\n"
        "reveal_type(found[0].name)\n"
    )
    # As `make check` does it, which has left what it knows of petbox in a cache.
    command = [sys.executable, "-m", "mypy", use]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert "petbox.client.detections.Detections" in done.stdout, done.stdout
    assert re.search(r"tuple\[(builtins\.)?int, ", done.stdout)
    assert re.search(r'type is "(builtins\.)?str"', done.stdout)
    assert "error:" not in done.stdout


# Which image


def an_image(size: tuple[int, int] = (24, 16), color: str = "red") -> Image.Image:
    return Image.new("RGB", size, color)


def test_a_path_and_bytes_are_sent_as_they_are() -> None:
    engine = Echo()
    detector = Detector(engine=engine)
    found = [detector.detect(image) for image in (str(CAT), CAT, JPEG, bytearray(JPEG))]
    assert engine.images == [JPEG] * 4
    assert [one.name for one in found] == [str(CAT), str(CAT), "image", "image"]
    assert detector.detect(JPEG, name="my cat").name == "my cat"
    assert detector.detect(CAT, name="my cat").name == "my cat"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16"])
def test_a_pillow_image_of_any_mode_is_sent(mode: str) -> None:
    engine = Echo()
    found = Detector(engine=engine).detect(an_image().convert(mode))
    assert (engine.last().format, engine.last().mode, engine.last().size) == (
        "JPEG",
        "RGB",
        (24, 16),
    )
    assert (found.width, found.height) == (24, 16)


def test_a_pillow_image_on_its_side_is_turned() -> None:
    sideways = an_image((30, 20))
    sideways.getexif()[274] = 6
    engine = Echo()
    found = Detector(engine=engine).detect(sideways)
    assert (found.width, found.height) == engine.last().size == (20, 30)


@pytest.mark.parametrize(
    ("shape", "color"),
    [((16, 24), (128, 128, 128)), ((16, 24, 3), (255, 0, 0)), ((16, 24, 4), (255, 0, 0))],
)
def test_an_array_is_sent_in_its_colors(shape: tuple[int, ...], color: tuple[int, ...]) -> None:
    channels = shape[2] if len(shape) == 3 else 0
    value = {0: 128, 3: (255, 0, 0), 4: (255, 0, 0, 255)}[channels]
    engine = Echo()
    found = Detector(engine=engine).detect(np.full(shape, value, np.uint8))
    assert (found.width, found.height) == engine.last().size == (24, 16)
    seen = engine.last().getpixel((12, 8))
    assert max(abs(a - b) for a, b in zip(seen, color, strict=True)) < 3  # type: ignore[arg-type]


def test_an_array_that_is_a_view_is_sent_as_it_is_seen() -> None:
    array = np.zeros((16, 48, 3), np.uint8)
    array[:, 24:] = (0, 0, 255)
    engine = Echo()
    Detector(engine=engine).detect(array[:, ::-1][:, :24])
    red, _, blue = engine.last().getpixel((12, 8))  # type: ignore[misc]
    assert blue > 250 and red < 5


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros((16, 24, 3), np.float32), r"an array of float32 with shape \(16, 24, 3\)"),
        (np.zeros((3, 16, 24), np.uint8), r"uint8 with shape \(3, 16, 24\); make it uint8 with"),
        (np.zeros((1, 16, 24, 3), np.uint8), "with shape"),
        (np.zeros(16, np.uint8), "with shape"),
        (np.zeros((), np.uint8), "with shape"),
        (np.zeros((0, 24, 3), np.uint8), "send an image with pixels"),
        (Image.new("RGB", (0, 5)), "is 0x5; send an image with pixels"),
        (7, "has type int; give a path"),
        (None, "has type NoneType; give a path"),
        ("", "is a folder; give an image in it"),
        (b"", "is empty"),
        (b"GIF? no", "cannot be decoded"),
        (
            "nowhere.jpg",
            r"^nowhere.jpg: cannot be read \(no such file or directory\); check the path",
        ),
        ("https://", "not the address"),
        ("s3://bucket", "has no key; write it like s3://"),
    ],
)
def test_what_is_no_image_raises_one_clear_sentence(array: Any, why: str) -> None:
    engine = Echo()
    with pytest.raises(errors.DataError, match=why) as raised:
        Detector(engine=engine).detect(array)
    assert "\n" not in str(raised.value)
    assert not engine.images


def test_an_address_of_the_web_is_fetched() -> None:
    octets = {"Content-Type": "application/octet-stream"}  # as many stores of files say
    with peer(lambda _: Response(200, JPEG, octets)) as web:
        engine = Echo()
        found = Detector(engine=engine).detect(f"{web.url}/photos/cat.jpg?size=2")
        assert engine.images == [JPEG]
        assert found.name == f"{web.url}/photos/cat.jpg?size=2"
    with (
        peer(lambda _: Response(404, b"")) as web,
        pytest.raises(errors.DataError, match=r"/cat\.jpg: the server responds 404"),
    ):
        Detector(engine=engine).detect(f"{web.url}/cat.jpg")


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as server:
        yield server


def test_an_object_in_s3_is_fetched(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key="my cats/cat 1.jpg", Body=JPEG)
    engine = Echo()
    detector = Detector(engine=engine)
    assert detector.detect("s3://photos/my cats/cat 1.jpg").name == "s3://photos/my cats/cat 1.jpg"
    assert engine.images == [JPEG]
    with pytest.raises(errors.DataError, match=r"s3://photos/none\.jpg: NoSuchKey"):
        detector.detect("s3://photos/none.jpg")
    many = [f"s3://photos/{name}" for name in ("my cats/cat 1.jpg", "none.jpg") * 10]
    results = [found for _, found in detector.detect_many(many)]
    assert [bool(found.error) for found in results] == [False, True] * 10


def test_odd_files_of_the_wild_are_detected_or_rejected_by_name(
    data: Path, in_process: Detector
) -> None:
    folder = data / "odd_images"
    expected = json.loads((folder / "expected.json").read_text())
    for path, found in in_process.detect_many(folder / name for name in expected):
        about = expected[Path(str(path)).name]
        if found.error:
            assert str(found.error).startswith(f"{path}: ") and "\n" not in str(found.error)
            assert not about["pil_decodes"] or isinstance(found.error, errors.InvalidImage)
            continue
        width, height = about["size"]
        on_its_side = (about["orientation"] or 1) > 4
        assert (found.width, found.height) == ((height, width) if on_its_side else (width, height))
        assert found.draw().size == (found.width, found.height)
        (one,) = found
        ymin, xmin, ymax, xmax = one.box.pixels
        assert 0 <= ymin <= ymax <= found.height and 0 <= xmin <= xmax <= found.width


# Which detector


def test_two_detectors_in_one_are_rejected() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        Detector("http://localhost:8080", endpoint="pets")
    with pytest.raises(ValueError, match="exclude each other"):
        Detector(model="model/pets", engine=Echo())


@pytest.mark.parametrize(
    "wrong", [{"min_score": 2}, {"min_score": float("nan")}, {"parallel": 0}, {"limit": 0}]
)
def test_a_setting_that_makes_no_sense_is_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}="):
        Detector("http://localhost:8080", **wrong)


def test_a_model_gives_the_same_here_and_behind_a_server(
    model: Path, in_process: Detector, tmp_path: Path
) -> None:
    sizes = [(24, 16), (33, 77), (640, 480)]
    images = [np.full((height, width, 3), 99, np.uint8) for width, height in sizes]
    with (
        embedded_engine(tmp_path / "engine", model=model) as engine,
        front(tmp_path / "nginx", engine.port) as port,
        Detector(f"http://127.0.0.1:{port}", min_score=0) as served,
    ):
        for image in [*images, CAT, GOLDEN / "picture.png"]:
            there, here = served.detect(image), in_process.detect(image)
            assert len(here) == 1 and here[0].name == "Abyssinian"
            assert (there, there.to_dict()["detections"]) == (here, here.to_dict()["detections"])


def test_a_lite_model_is_loaded_too(lite_model: Path) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="pip install './[litert]'")
    (one,) = Detector(model=lite_model).detect(CAT)
    assert (one.label, one.name, one.score) == (3, "Abyssinian", 0.875)


def test_a_model_is_loaded_without_chatter(model: Path) -> None:
    code = (
        "import petbox, sys\n"
        "found = petbox.Detector(model=sys.argv[1], min_score=0).detect(sys.argv[2])\n"
        "print(len(found))"
    )
    command = [sys.executable, "-c", code, model, CAT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.ModelError, match=f"^{tmp_path}: no model"):
        Detector(model=tmp_path)


def test_names_of_the_caller_win(server: Peer, tmp_path: Path) -> None:
    (tmp_path / "names.pbtxt").write_text("item { id: 1 name: 'my cat' }")
    for names in ({1: "my cat"}, tmp_path / "names.pbtxt", str(tmp_path / "names.pbtxt")):
        found = Detector(server.url, names=names, min_score=0).detect(CAT)
        assert [one.name for one in found] == ["my cat", "class 37", "class 2"]
    assert b"signature_name" not in server.requests[0].body, "everything is requested"


def test_the_score_can_be_set_for_one_image(server: Peer) -> None:
    detector = Detector(server.url, min_score=0.9)
    assert [len(detector.detect(CAT, min_score=score)) for score in (0, 0.5, 1)] == [3, 2, 0]
    assert len(detector.detect(CAT)) == 1


def test_the_models_own_thresholds_decide_unless_a_score_is_given() -> None:
    cat = wire.Detection(1, 0.3, ABYSSINIAN, "cat", threshold=0.25)
    dog = wire.Detection(2, 0.6, ABYSSINIAN, "dog", threshold=0.7)
    other = wire.Detection(3, 0.45, ABYSSINIAN, "other")
    detector = Detector(engine=Echo(cat, dog, other))
    assert [one.name for one in detector.detect(CAT)] == ["cat"]
    assert [one.name for one in detector.detect(CAT, min_score=0.4)] == ["dog", "other"]
    always = Detector(engine=Echo(cat, dog, other), min_score=0)
    assert [one.name for one in always.detect(CAT)] == ["dog", "other", "cat"]


def test_detections_come_with_the_highest_score_first() -> None:
    low, high = (wire.Detection(1, score, ABYSSINIAN) for score in (0.6, 0.8))
    assert [one.score for one in Detector(engine=Echo(low, high)).detect(CAT)] == [0.8, 0.6]


def test_what_is_over_the_limit_is_rejected_or_made_to_fit(server: Peer) -> None:
    noise = Image.effect_noise((600, 400), 90).convert("RGB")
    with pytest.raises(
        errors.DataError,
        match=r"and the server, by --limit \(in Python limit\), takes 0\.0625",
    ):
        Detector(server.url, limit=1 / 16).detect(noise)
    assert not server.requests
    found = Detector(server.url, limit=1 / 16, fit=True).detect(noise)
    assert len(server.requests[-1].body) <= 2**16
    assert (found.width, found.height) == (600, 400)


def test_a_busy_server_is_retried_until_it_is_not(caplog: pytest.LogCaptureFixture) -> None:
    busy = iter([Response(429, b'{"error": "too many"}')] * 2)
    with peer(lambda asked: next(busy, None) or named_detector(asked)) as server:
        assert len(Detector(server.url).detect(CAT)) == 2
        assert len(server.requests) == 3
    assert [record.message.split("; ")[-1] for record in caplog.records] == ["waiting"]


def test_retries_can_be_turned_off() -> None:
    with peer(lambda _: Response(429, b'{"error": "too many"}')) as server:
        with pytest.raises(errors.Busy, match="too many"):
            Detector(server.url, retry_for=0).detect(CAT)
        assert len(server.requests) == 1


def test_a_slow_server_is_left_after_the_timeout() -> None:
    done = threading.Event()
    with peer(lambda asked: (done.wait(30), named_detector(asked))[1]) as server:
        with pytest.raises(errors.ServiceError, match=r"no response within 0\.2 s"):
            Detector(server.url, timeout=0.2).detect(CAT)
        done.set()


def test_one_detector_serves_many_threads_and_keeps_its_connections(server: Peer) -> None:
    with Detector(server.url) as detector, ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: detector.detect(CAT), range(64)))
        assert len(set(results)) == 1
        assert len({asked.connection for asked in server.requests}) <= 8
        before = len({asked.connection for asked in server.requests})
        detector.close()
        assert detector.detect(CAT) == results[0], "and it can be used on"
        assert len({asked.connection for asked in server.requests}) == before + 1


def test_a_fork_makes_connections_of_its_own(server: Peer) -> None:
    detector = Detector(server.url)
    detector.detect(CAT)
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if len(detector.detect(CAT)) == 2 else 1
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    detector.detect(CAT)
    ours, forked, still_ours = (asked.connection for asked in server.requests)
    assert ours == still_ours != forked


# What comes back


@pytest.fixture
def found(server: Peer) -> Detections:
    return Detector(server.url).detect(CAT)


def test_it_is_a_sequence(found: Detections) -> None:
    first, second = found
    assert (
        len(found) == 2 and found[0] is first and found[-1] is second and list(found[:1]) == [first]
    )
    assert first in found and found.index(second) == 1
    assert (first.name, first.label, first.score) == ("Abyssinian", 1, 0.987654328)
    assert found.error is None


def test_boxes_are_fractions_and_pixels_of_the_image(found: Detections) -> None:
    box = found[0].box
    assert box == box.fractions == ABYSSINIAN
    assert box.pixels == (2, 5, 10, 17)  # of 24x16
    assert all(type(edge) is int for edge in box.pixels)
    beyond = Detector(engine=Echo(wire.Detection(1, 1.0, (-0.1, -1.0, 1.5, 2.0)))).detect(CAT)
    assert beyond[0].box.pixels == (0, 0, 16, 24)


def test_pixels_are_those_of_the_upright_photo() -> None:
    file = io.BytesIO()
    stored = an_image((40, 20))
    exif = stored.getexif()
    exif[274] = 6
    stored.save(file, "JPEG", exif=exif)
    found = Detector(engine=Echo(wire.Detection(1, 1.0, (0.0, 0.0, 0.5, 1.0)))).detect(
        file.getvalue()
    )
    assert found[0].box.pixels == (0, 0, 20, 20)
    assert found.image.size == (20, 40)


def test_equal_results_are_equal_and_others_are_not(server: Peer, found: Detections) -> None:
    same = Detector(server.url).detect(JPEG)
    assert found == same and hash(found) == hash(same)
    assert found != Detector(server.url, min_score=0.9).detect(CAT)
    assert found != Detector(server.url).detect(GOLDEN / "picture.png"), "of another size"
    assert found != "a text"


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))]
)
def test_it_survives_copies_and_pickles_with_its_image(again: Any, found: Detections) -> None:
    other = again(found)
    assert other == found and other.name == found.name
    assert [one.box.pixels for one in other] == [one.box.pixels for one in found]
    assert other.draw().tobytes() == found.draw().tobytes()


def test_a_failure_survives_a_pickle() -> None:
    ((_, failed),) = Detector(engine=Echo()).detect_many([b"no image"])
    other = pickle.loads(pickle.dumps(failed))
    assert other == failed and type(other.error) is errors.DataError


def test_it_is_drawn(found: Detections, tmp_path: Path) -> None:
    for name, form in (("a.jpg", "JPEG"), ("b.PNG", "PNG")):
        image = found.draw(tmp_path / name)
        assert image.size == (24, 16) and image.tobytes() != found.image.tobytes()
        with Image.open(tmp_path / name) as written:
            assert (written.format, written.size) == (form, (24, 16))
    with pytest.raises(errors.DataError, match="not the name of an image"):
        found.draw(tmp_path / "c.gif")


def test_a_notebook_shows_it_with_its_boxes(found: Detections) -> None:
    with Image.open(io.BytesIO(found._repr_png_() or b"")) as shown:
        assert shown.tobytes() == found.draw().tobytes()
    large = Detector(engine=Echo()).detect(an_image((4000, 1000)))
    with Image.open(io.BytesIO(large._repr_png_() or b"")) as shown:
        assert shown.size == (1000, 250)
    assert found.without_image()._repr_png_() is None


def test_its_text_says_what_was_found(found: Detections) -> None:
    assert repr(found) == (
        f"<Detections in {CAT} (24x16): "
        "Abyssinian 0.99 (2, 5, 10, 17); yorkshire_terrier 0.50 (0, 0, 16, 24)>"
    )
    none = Detector(engine=Echo(), min_score=1).detect(CAT)
    assert repr(none) == f"<Detections in {CAT} (24x16): nothing found>"
    many = Detector(engine=Echo(*[wire.Detection(1, 0.9, ABYSSINIAN)] * 5)).detect(CAT)
    assert repr(many).endswith("; 2 more>")


def test_it_becomes_a_table_of_pandas(found: Detections) -> None:
    table = found.to_pandas()
    assert ",".join(table.columns) == "picture,width,height,label,id,score,ymin,xmin,ymax,xmax"
    assert table["label"].tolist() == ["Abyssinian", "yorkshire_terrier"]
    assert table.iloc[0].tolist() == [str(CAT), 24, 16, "Abyssinian", 1, 0.987654328, *ABYSSINIAN]
    assert Detector(engine=Echo(), min_score=1).detect(CAT).to_pandas().empty


def test_it_becomes_results_of_coco(found: Detections) -> None:
    first, second = found.to_coco(image_id=7)
    assert first == {
        "image_id": 7,
        "category_id": 1,
        "bbox": pytest.approx([4.8, 1.6, 12.0, 8.0]),  # left, top, width, height
        "score": 0.987654328,
    }
    assert second["bbox"] == [0, 0, 24, 16]
    assert found.to_coco()[0]["image_id"] == str(CAT)
    assert json.loads(json.dumps(found.to_coco())) == found.to_coco()


def test_it_becomes_detections_of_supervision(found: Detections) -> None:
    supervision = pytest.importorskip("supervision", reason="pip install supervision")
    made = found.to_supervision()
    assert made.xyxy.tolist() == pytest.approx(np.array([[4.8, 1.6, 16.8, 9.6], [0, 0, 24, 16]]))
    assert made.class_id.tolist() == [1, 37]
    assert made["class_name"].tolist() == ["Abyssinian", "yorkshire_terrier"]
    scene = supervision.BoxAnnotator().annotate(np.array(found.image), made)
    assert scene.shape == (16, 24, 3)
    assert len(Detector(engine=Echo(), min_score=1).detect(CAT).to_supervision()) == 0


def test_a_missing_library_is_named_with_its_pip_line(tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("raise ModuleNotFoundError('no pandas', name='pandas')")
    code = "import petbox; petbox.Detections('x').to_pandas()"
    env = {"PYTHONPATH": f"{tmp_path}:{Path(petbox.__file__).parents[1]}"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "MissingExtra: pandas is not installed; type: pip install pandas" in done.stderr


# Many images


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for n in range(12):
        an_image((40 + n, 30)).save(folder / f"{n:02}.png")
    return folder


@pytest.mark.parametrize("parallel", [1, 4, 50])
def test_a_folder_a_pattern_and_an_iterable_keep_their_order(
    server: Peer, album: Path, parallel: int
) -> None:
    detector = Detector(server.url)
    paths = sorted(album.iterdir())
    for given in (album, str(album), f"{album}/*.png", paths, (path for path in paths)):
        results = list(detector.detect_many(given, parallel=parallel))
        assert [Path(str(path)) for path, _ in results] == paths
        assert [found.width for _, found in results] == [40 + n for n in range(12)]


def test_several_are_processed_at_once_and_no_more(album: Path) -> None:
    pair, lock, running, most = threading.Barrier(2), threading.Lock(), 0, 0

    def answer(asked: Request) -> Response:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        pair.wait(30)
        with lock:
            running -= 1
        return named_detector(asked)

    with peer(answer) as server:
        assert len(list(Detector(server.url, parallel=2).detect_many(album))) == 12
    assert most == 2


def test_an_image_that_fails_has_its_reason_and_the_others_go_on(server: Peer, album: Path) -> None:
    mixed: list[Any] = [album / "00.png", b"no image", "nowhere.jpg", 7, JPEG, an_image()]
    results = list(Detector(server.url).detect_many(mixed))
    assert [given is image for given, (image, _) in zip(mixed, results, strict=True)] == [True] * 6
    reasons = [str(found.error or "") for _, found in results]
    assert [bool(reason) for reason in reasons] == [False, True, True, True, False, False]
    assert reasons[1].startswith("image 1: cannot be decoded")
    assert reasons[2].startswith("nowhere.jpg: cannot be read")
    failed = results[1][1]
    assert len(failed) == 0 and not failed and "cannot be decoded" in repr(failed)
    assert failed.to_dict() == {"picture": "image 1", "error": reasons[1]}
    with pytest.raises(errors.DataError, match="cannot be decoded"):
        failed.draw()


def test_an_image_that_the_server_rejects_has_its_reason(album: Path) -> None:
    def answer(asked: Request) -> Response:
        (instance,) = json.loads(asked.body)["instances"]
        with Image.open(io.BytesIO(base64.b64decode(instance["b64"]))) as image:
            return Response(400, b'{"error": "no"}') if image.width == 45 else named_detector(asked)

    with peer(answer) as server:
        results = [found for _, found in Detector(server.url).detect_many(album)]
    assert [n for n, found in enumerate(results) if found.error] == [5]
    assert type(results[5].error) is errors.InvalidImage
    assert str(results[5].error) == f"{album}/05.png: the server rejected it (400): no"


def test_a_server_that_fails_raises_after_what_is_known(album: Path) -> None:
    def answer(asked: Request) -> Response:
        return (
            named_detector(asked)
            if len(server.requests) < 6
            else Response(502, b'{"error": "gone"}')
        )

    with peer(answer) as server:
        results = Detector(server.url, parallel=1).detect_many(album)
        assert len([next(results) for _ in range(5)]) == 5
        with pytest.raises(errors.ServiceError, match="gone"):
            next(results)


def test_a_stream_is_read_as_it_is_needed(server: Peer) -> None:
    taken = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield JPEG

    results = Detector(server.url, parallel=2).detect_many(endless())
    for _ in range(3):
        next(results)
    results.close()
    assert len(taken) < 100


@pytest.mark.parametrize("parallel", [1, 3])
def test_an_error_of_the_stream_itself_is_raised(server: Peer, parallel: int) -> None:
    def breaking() -> Iterator[bytes]:
        yield JPEG
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        list(Detector(server.url, parallel=parallel).detect_many(breaking()))


@pytest.mark.parametrize("many", [[], (), iter(())])
def test_nothing_gives_nothing(many: Any) -> None:
    assert list(Detector(engine=Echo()).detect_many(many)) == []


def test_a_folder_without_images_is_named_before_anything_is_done(tmp_path: Path) -> None:
    detector = Detector(engine=Echo())
    with pytest.raises(errors.DataError, match=f"^{tmp_path}: no image in this folder"):
        detector.detect_many(tmp_path)
    for single in (JPEG, np.zeros((16, 24, 3), np.uint8), np.zeros((16, 24), np.uint8)):
        with pytest.raises(TypeError, match="put a single one into a list"):
            detector.detect_many(single)  # type: ignore[arg-type]


def test_a_stack_of_arrays_is_several_images() -> None:
    engine = Echo()
    frames = np.zeros((3, 16, 24, 3), np.uint8)
    results = [found for _, found in Detector(engine=engine).detect_many(frames)]
    assert [(found.width, found.height) for found in results] == [(24, 16)] * 3


def test_copies_are_drawn_into_a_folder(server: Peer, album: Path, tmp_path: Path) -> None:
    mixed = [*sorted(album.iterdir())[:2], JPEG, b"no image"]
    results = list(Detector(server.url).detect_many(mixed, draw=tmp_path / "drawn"))
    assert [bool(found.error) for _, found in results] == [False, False, False, True]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [
        "00.png",
        "01.png",
        "image 2.jpg",
    ]


def test_results_without_images_are_small_and_cannot_be_drawn(server: Peer, album: Path) -> None:
    detector = Detector(server.url)
    kept = [found for _, found in detector.detect_many(album)]
    bare = [found for _, found in detector.detect_many(album, keep_images=False)]
    assert bare == kept
    assert len(pickle.dumps(bare)) < len(pickle.dumps(kept))
    with pytest.raises(errors.DataError, match="its image was not kept; use keep_images=True"):
        bare[0].draw()


def test_warnings_of_pillow_are_silent_and_the_filters_stay(
    in_process: Detector, data: Path
) -> None:
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(in_process.detect_many(data / "odd_images", parallel=8))
    assert not [one for one in caught if "PIL" in str(one.filename)]
    assert warnings.filters == before
