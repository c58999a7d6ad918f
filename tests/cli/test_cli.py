"""The command line as it is typed, against a real server."""

from __future__ import annotations

import gc
import io
import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from support.command_line import IMAGE, MODULE, Done, failed, petbox
from support.peer import (
    GOLDEN,
    Peer,
    Request,
    Response,
    classic_detector,
    golden,
    named_detector,
    peer,
)

from petbox import __version__
from petbox.cli import program
from petbox.cli.main import parser
from petbox.data import labels

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = Path(sys.executable).with_name("petbox")
COMMANDS = [MODULE, *([(str(SCRIPT),)] if SCRIPT.exists() else [])]


@pytest.fixture
def server() -> Iterator[Peer]:
    with peer(named_detector) as running:
        yield running


@pytest.fixture
def ask(server: Peer) -> Callable[..., Done]:
    """`petbox detect` with the server's address."""
    return lambda *words, **settings: petbox("detect", "--url", server.url, *words, **settings)


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_the_version_is_printed(command: tuple[str, ...]) -> None:
    done = petbox("--version", command=command)
    assert (done.returncode, done.stdout) == (0, f"petbox {__version__}\n".encode())


def every_command() -> Iterator[tuple[str, ...]]:
    yield ()
    for name, command in parser().commands.items():
        yield (name,)
        yield from ((name, under) for under in command.commands)


@pytest.mark.parametrize("command", list(every_command()), ids=" ".join)
def test_help_fits_the_terminal_and_has_examples(command: tuple[str, ...]) -> None:
    done = petbox(*command, "--help", command=(sys.executable, "-X", "importtime", *MODULE[1:]))
    text = done.stdout.decode()
    assert done.returncode == 0
    assert "examples:\n  petbox " in text
    assert max(map(len, text.splitlines())) <= 80
    imported = {line.split("|")[-1].strip() for line in done.stderr.decode().splitlines()}
    assert "petbox.cli.options" in imported
    assert not imported & {"tensorflow", "official", "boto3", "botocore", "PIL", "rich", "numpy"}


@pytest.mark.parametrize("words", [(), ("endpoint",)])
def test_a_command_that_is_not_finished_prints_its_help(words: tuple[str, ...]) -> None:
    bare, with_flag = petbox(*words), petbox(*words, "--help")
    assert (bare.returncode, bare.stdout, bare.stderr) == (0, with_flag.stdout, b"")
    assert b"examples:" in bare.stdout


RUN = ("--run", "runs/toy", "--out", "model/toy")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("detcet",), "no such command: detcet; did you mean `petbox detect`?"),
        (("endpoint", "dwn", "pets"), "no such command: dwn; did you mean `petbox endpoint down`?"),
        (("xyzzy",), "no such command: xyzzy\n"),
        (("detect",), "IMAGE"),
        (("detect", IMAGE, "--nonsense"), "petbox detect: error: unrecognized arguments: --nons"),
        (("detect", IMAGE, "--jsno"), "unrecognized arguments: --jsno; did you mean --json?"),
        (("serve", "--lod"), "unrecognized arguments: --lod; did you mean --load?"),
        (("serve", "model", "--load"), "argument --load: needs --check"),
        (("evaluate", "--recrods=data"), "--recrods=data; did you mean --records?"),
        (("detect", IMAGE, "--min-score", "much"), "argument --min-score: invalid float"),
        (("detect", IMAGE, "--min-score", "1.5"), "--min-score: 1.5 is not between 0 and 1"),
        (("detect", IMAGE, "--min-score", "nan"), "--min-score: nan is not between 0 and 1"),
        (("detect", IMAGE, "--url", "x", "--endpoint", "y"), "exclude each other"),
        (("detect", IMAGE, "--json", "--csv"), "exclude each other"),
        (("detect", IMAGE, "--parallel", "0"), "--parallel: 0 is not between 1 and 256"),
        (("detect", IMAGE, "--limit", "-1"), "argument --limit: -1 is not between 0.001"),
        (("detect", IMAGE, "--limit", "nan"), "argument --limit: nan is not between"),
        (("export", "--batch", "0"), "argument --batch: 0 is less than 1"),
        (("export", "--max_megapixels", "0"), "argument --max-megapixels: 0 is not between"),
        (("convert", *RUN, "--min-score", "2"), "argument --min-score: 2 is not between 0 and 1"),
        (("convert", *RUN, "--max-megapixels", "0"), "argument --max-megapixels: 0 is not"),
    ],
)
def test_wrong_usage_exits_with_2(words: tuple[str, ...], message: str) -> None:
    done = petbox(*words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()


# Output


@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_gets_a_line_a_detection(server: Peer, command: tuple[str, ...]) -> None:
    done = petbox("detect", IMAGE, "--url", server.url, command=command)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == (
        f"{IMAGE}\tAbyssinian\t0.9877\t0.1000\t0.2000\t0.6000\t0.7000\n"
        f"{IMAGE}\tyorkshire_terrier\t0.5000\t0.0000\t0.0000\t1.0000\t1.0000\n"
    )


def test_json_is_one_line_per_image(ask: Callable[..., Done]) -> None:
    done = ask(IMAGE, GOLDEN / "picture.png", "--json", "--min-score", "0.9")
    one, two = map(json.loads, done.stdout.decode().splitlines())
    found = {
        "label": "Abyssinian",
        "id": 1,
        "score": 0.987654328,
        "box": [0.1, 0.2, 0.6, 0.7],
    }
    assert one == {"picture": IMAGE, "width": 24, "height": 16, "detections": [found]}
    assert (two["width"], two["height"]) == (10, 14)


def test_detections_with_the_lowest_score_are_shown_on_request(ask: Callable[..., Done]) -> None:
    assert ask(IMAGE, "--min-score", "0").stdout.count(b"\n") == 3


def test_an_image_without_detections_is_a_json_line_too(server: Peer) -> None:
    done = petbox("detect", IMAGE, "--url", server.url, "--json", "--min-score", "1")
    assert json.loads(done.stdout)["detections"] == []


def on_a_terminal(*words: str, cwd: Path = CHECKOUT) -> str:
    """What a command writes to a terminal of 100 columns without colors."""
    master, slave = pty.openpty()
    env = {"COLUMNS": "100", "TERM": "xterm", "NO_COLOR": "1", "PYTHONPATH": str(CHECKOUT)}
    try:
        done = subprocess.run(
            [*MODULE, *words],
            stdout=slave,
            stderr=subprocess.PIPE,
            timeout=60,
            env={**os.environ, **env},
            cwd=cwd,
        )
        assert done.returncode == 0, done.stderr
        os.set_blocking(master, False)
        return os.read(master, 1 << 20).decode().replace("\r\n", "\n")
    finally:
        os.close(master)
        os.close(slave)


def test_a_terminal_gets_a_table_with_names(server: Peer) -> None:
    shown = on_a_terminal("detect", IMAGE, "--url", server.url)
    (row,) = (line for line in shown.splitlines() if "Abyssinian" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[1:] == ["Abyssinian", "99%", "20%", "10%", "70%", "60%"]
    assert "yorkshire_terrier" in shown
    assert "american_bulldog" not in shown


def test_a_table_says_where_nothing_was_found(server: Peer) -> None:
    words = ("detect", IMAGE, "--url", server.url, "--min-score", "1")
    assert "nothing found" in on_a_terminal(*words)


def test_the_names_of_files_are_no_markup(server: Peer, tmp_path: Path) -> None:
    (tmp_path / "[red]:cat:.jpg").write_bytes(golden("picture.jpg"))
    words = ("detect", "[red]:cat:.jpg", "--url", server.url)
    assert "[red]:cat:.jpg" in on_a_terminal(*words, cwd=tmp_path)


def test_a_tab_in_a_name_does_not_break_the_line(ask: Callable[..., Done], tmp_path: Path) -> None:
    path = tmp_path / "a\tb\nc.jpg"
    path.write_bytes(golden("picture.jpg"))
    lines = ask(path).stdout.decode().splitlines()
    assert [line.split("\t")[0] for line in lines] == [f"{tmp_path}/a\\tb\\nc.jpg"] * 2


def test_a_name_that_is_not_utf8_is_shown_somehow(ask: Callable[..., Done]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(os.fsencode(folder), b"caf\xe9.jpg")  # noqa: PTH118  # bytes
        Path(os.fsdecode(path)).write_bytes(golden("picture.jpg"))
        for words in ((folder,), (folder, "--json")):
            done = ask(*words)
            assert (done.returncode, done.stderr) == (0, b"")
            assert b"caf\\udce9.jpg" in done.stdout


def test_a_reader_that_leaves_early_is_no_error_of_ours(server: Peer, tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / f"{n}.jpg").write_bytes(golden("picture.jpg"))
    words = " ".join([*MODULE, "detect", "--url", server.url, str(tmp_path)])
    done = petbox(f"{words} | head -n 1", command=("bash", "-c"))
    assert done.stdout.count(b"\n") == 1
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


# Names


def shown_names(done: Done) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [line.split("\t")[1] for line in done.stdout.decode().splitlines()]


@pytest.mark.parametrize(
    "place", ["map.pbtxt", "label_map.pbtxt", "assets/label_map.pbtxt", "12/assets/label_map.pbtxt"]
)
def test_names_are_taken_from_a_label_map_or_a_model(
    ask: Callable[..., Done], tmp_path: Path, place: str
) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    labels.write(path, {1: "my cat"})
    if place.startswith("12/"):
        (tmp_path / "9" / "assets").mkdir(parents=True)
        labels.write(tmp_path / "9" / "assets" / "label_map.pbtxt", {1: "an older cat"})
    given = path if place == "map.pbtxt" else tmp_path
    assert shown_names(ask(IMAGE, "--labels", given)) == ["my cat", "class 37"]


def test_a_model_without_names_is_shown_with_numbers() -> None:
    with peer(classic_detector) as server:
        done = petbox("detect", IMAGE, GOLDEN / "picture.png", "--url", server.url)
    assert shown_names(done) == ["class 1", "class 37"] * 2


def test_a_folder_without_a_label_map_is_named(ask: Callable[..., Done], tmp_path: Path) -> None:
    message = failed(ask(IMAGE, "--labels", tmp_path))
    assert message.startswith(f"error: {tmp_path}: no label_map.pbtxt in it")


def test_a_label_map_that_is_missing_is_named(ask: Callable[..., Done]) -> None:
    assert failed(ask(IMAGE, "--labels", "no.pbtxt")).startswith("error: no.pbtxt: ")


# Which images


def test_folders_patterns_and_stdin_are_taken(ask: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.jpg", "deep/b.jpg"):
        (tmp_path / name).write_bytes(golden("picture.jpg"))
    words = (tmp_path, f"{tmp_path}/**/b.*", "-")
    done = ask(*words, "--json", input=golden("picture.png"))
    images = [json.loads(line)["picture"] for line in done.stdout.splitlines()]
    assert images == [f"{tmp_path}/a.jpg", f"{tmp_path}/deep/b.jpg", "-"]
    assert done.stderr.startswith(b"detect: 3/3 ")


def test_a_turned_photo_is_sent_upright(ask: Callable[..., Done], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (30, 20), "white").save(tmp_path / "turned.jpg", exif=exif)
    done = ask(tmp_path / "turned.jpg", "--json", "--draw", tmp_path / "found")
    message = json.loads(done.stdout)
    assert (message["width"], message["height"]) == (20, 30)
    with Image.open(tmp_path / "found" / "turned.jpg") as copy:
        assert copy.size == (20, 30)


# Copies with boxes


def test_copies_are_drawn_into_the_folder(ask: Callable[..., Done], tmp_path: Path) -> None:
    found = tmp_path / "new" / "found"
    for _ in range(2):  # a second time replaces them
        done = ask(IMAGE, GOLDEN / "picture.png", "-", "--draw", found, input=webp())
        assert done.returncode == 0, done.stderr
    kinds = {}
    for path in sorted(found.iterdir()):
        with Image.open(path) as copy:
            kinds[path.name] = (copy.format, copy.size)
    assert kinds == {
        "picture.jpg": ("JPEG", (24, 16)),
        "picture.png": ("PNG", (10, 14)),
        "stdin.jpg": ("JPEG", (32, 32)),
    }
    assert (found / "picture.png").read_bytes() != golden("picture.png")


def webp() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "gray").save(file, "WEBP")
    return file.getvalue()


def test_images_of_one_name_do_not_overwrite_each_other(
    ask: Callable[..., Done], tmp_path: Path
) -> None:
    paths = [tmp_path / name for name in ("a/cat.jpg", "b/cat.jpg", "b/cat.webp", "b/CAT-2.JPG")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(golden("picture.jpg"))
    assert ask(*paths, "--draw", tmp_path / "found").returncode == 0
    names = sorted(path.name for path in (tmp_path / "found").iterdir())
    assert names == ["CAT-2-2.JPG", "cat-2.jpg", "cat-3.jpg", "cat.jpg"]


def test_an_image_is_never_overwritten_by_its_copy(
    ask: Callable[..., Done], server: Peer, tmp_path: Path
) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(golden("picture.jpg"))
    message = failed(ask(path, "--draw", tmp_path))
    assert message.startswith(f"error: {path}: would be overwritten by its copy")
    assert path.read_bytes() == golden("picture.jpg")
    assert server.requests == []


def test_a_folder_to_draw_into_that_is_a_file_is_named(
    ask: Callable[..., Done], tmp_path: Path
) -> None:
    (tmp_path / "taken").touch()
    message = failed(ask(IMAGE, "--draw", tmp_path / "taken"))
    assert f"{tmp_path}/taken" in message
    assert "draw to another path" in message


# What goes wrong


def test_a_broken_image_is_named(ask: Callable[..., Done], tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(golden("picture.jpg")[:200])
    assert failed(ask(path)).startswith(f"error: {path}: cannot be decoded (")


def test_an_empty_file_is_named(ask: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    assert (
        failed(ask(tmp_path / "empty.jpg"))
        == f"error: {tmp_path}/empty.jpg: is empty; send an image\n"
    )


def test_empty_stdin_is_named(ask: Callable[..., Done]) -> None:
    assert failed(ask("-", input=b"")).startswith("error: -: is empty")


def test_a_missing_image_is_named(ask: Callable[..., Done]) -> None:
    assert failed(ask("no.jpg")).startswith("error: no.jpg: no such file")


def test_a_folder_without_images_is_named(ask: Callable[..., Done], tmp_path: Path) -> None:
    assert failed(ask(tmp_path)).startswith(f"error: {tmp_path}: no image in this folder")


def test_a_pattern_without_a_match_is_named(ask: Callable[..., Done]) -> None:
    assert failed(ask("nowhere/*.jpg")).startswith("error: nowhere/*.jpg: no file matches")


def test_one_bad_image_does_not_stop_the_others(ask: Callable[..., Done], tmp_path: Path) -> None:
    for name, content in {
        "a.jpg": golden("picture.jpg"),
        "b.jpg": b"no",
        "c.jpg": golden("picture.png"),
    }.items():
        (tmp_path / name).write_bytes(content)
    done = ask(tmp_path, "--json", "--draw", tmp_path / "found")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert ["error" in line for line in lines] == [False, True, False]
    assert [Path(line["picture"]).name for line in lines] == ["a.jpg", "b.jpg", "c.jpg"]
    message = done.stderr.decode()
    assert f"error: {tmp_path}/b.jpg: cannot be decoded" in message
    assert message.endswith("error: 1 of 3 images failed; see the errors above\n")
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == ["a.jpg", "c.jpg"]


def test_an_image_that_the_server_rejects_is_named() -> None:
    with peer(lambda _: Response(400, golden("answer_error.json"))) as server:
        done = petbox("detect", IMAGE, "--url", server.url)
    assert failed(done).startswith(f"error: {IMAGE}: the server rejected it (400): assertion")


def test_a_server_that_fails_stops_the_work_and_keeps_what_is_known() -> None:
    def dying(asked: Request) -> Response:
        return (
            named_detector(asked)
            if len(server.requests) == 1
            else Response(503, b'{"error": "gone"}')
        )

    with peer(dying) as server:
        words = (IMAGE, GOLDEN / "picture.png", "-", "--parallel", "1", "--url", server.url)
        done = petbox("detect", *words, input=golden("picture.jpg"))
    assert failed(done) == f"error: {server.url}: responded 503: gone\n"
    assert done.stdout.count(b"\n") == 2
    assert len(server.requests) == 2


def test_no_server_is_reported_with_the_command_that_starts_one() -> None:
    done = petbox("detect", IMAGE, "--url", "http://127.0.0.1:9")  # the discard service
    assert "http://127.0.0.1:9: no server responds there" in failed(done)
    assert "petbox serve MODEL" in failed(done)


@pytest.mark.parametrize("answer", [b"<html>hello</html>", b'{"predictions": [[0.1, 0.9]]}'])
def test_an_answer_of_another_server_is_reported(answer: bytes) -> None:
    with peer(lambda _: Response(200, answer)) as server:
        done = petbox("detect", IMAGE, "--url", server.url)
    assert f"{IMAGE}: not a response of TensorFlow Serving's predict API" in failed(done)


def test_a_model_that_answers_nan_is_reported() -> None:
    with peer(lambda _: Response(200, golden("answer_nan.json"))) as server:
        done = petbox("detect", IMAGE, "--url", server.url)
    assert "the model returns NaN or Infinity" in failed(done)


# SageMaker, and what may not be installed


def test_an_endpoint_is_invoked_by_its_name(server: Peer, tmp_path: Path) -> None:
    env = {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }
    done = petbox("detect", IMAGE, "--endpoint", "pets", env=env)
    assert shown_names(done) == ["Abyssinian", "yorkshire_terrier"]
    assert [asked.path for asked in server.requests] == ["/endpoints/pets/invocations"]


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        ("PIL", ("--url", "http://localhost:1"), "Pillow is not installed; .*[client]"),
        ("boto3", ("--endpoint", "pets"), "boto3 is not installed; .*[aws]"),
    ],
)
def test_a_missing_extra_is_answered_with_the_pip_line(
    tmp_path: Path, module: str, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / module).mkdir()
    missing = f"raise ModuleNotFoundError('No module named {module}', name='{module}')"
    (tmp_path / module / "__init__.py").write_text(missing)
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(CHECKOUT)])}
    line = failed(petbox("detect", IMAGE, *words, env=env))
    first, last = message.split(".*")
    assert line.startswith(f"error: {first}")
    assert f"pip install './{last}'" in line
    assert petbox("detect", "--help", env=env).returncode == 0


def test_a_plain_install_without_rich_is_enough_for_a_pipe(server: Peer, tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "petbox", tmp_path / "site" / "petbox")
    (tmp_path / "site" / "rich").mkdir()
    (tmp_path / "site" / "rich" / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named rich', name='rich')"
    )
    env = {"PYTHONPATH": str(tmp_path / "site")}
    assert petbox("detect", IMAGE, "--url", server.url, env=env, cwd=tmp_path).returncode == 0


def test_a_program_that_traces_graphs_collects_garbage_seldom(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    try:
        program.say_loading()
        assert gc.get_threshold()[0] > 10_000
    finally:
        gc.set_threshold(*before)
    assert capsys.readouterr().err == "loading TensorFlow ...\n"
