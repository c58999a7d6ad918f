"""`petbox conform` on images: what keeps each from conforming is found and named.

The images are a bare Debian with the small server of contract_server.py, or with one classic
mistake in how it is packed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CHECKOUT
from support.conforming import CONFORM, failing, outcomes
from support.docker_engine import MINE, Engine

from petbox.serving.conform.command import ConformOptions
from petbox.serving.conform.image import Target, later_run
from petbox.serving.conform.invocations import invoke, succeeded
from petbox.serving.conform.payload import payload
from petbox.serving.docker import find_image

Run = Callable[..., subprocess.CompletedProcess[str]]
Conform = Callable[..., subprocess.CompletedProcess[str]]
Build = Callable[[str, str], str]

GOOD = """\
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true
COPY serve /srv/serve
ENTRYPOINT ["/srv/serve"]
"""


@pytest.fixture(scope="module")
def build(engine: Engine, debian: str, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds an image of these lines on a bare Debian, with the server at hand as `serve`."""
    folder = tmp_path_factory.mktemp("context")
    serve = folder / "serve"
    serve.write_bytes((CHECKOUT / "tests/support/contract_server.py").read_bytes())
    serve.chmod(0o755)
    (folder / "windows").write_bytes(b"#!/usr/bin/env bash\r\nexec /srv/serve\r\n")
    (folder / "windows").chmod(0o755)
    # An ELF header that says AArch64, and s390x's where this is one.
    (folder / "foreign").write_bytes(
        b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x16\x00" + bytes(44)
    )
    (folder / "foreign").chmod(0o755)
    (folder / "lingering").write_text(
        '#!/bin/sh\n/bin/sh "$@"\ncase $2 in *KILL*) sleep 99; esac\n'
    )
    (folder / "lingering").chmod(0o755)
    (folder / "plain").write_bytes(serve.read_bytes())
    (folder / "plain").chmod(0o644)

    def build(name: str, lines: str) -> str:
        text = f"FROM {debian}\n{lines}"
        (folder / "Dockerfile").write_text(text)
        engine("build", "--tag", f"{MINE}-{name}", folder)
        return f"{MINE}-{name}"

    return build


@pytest.fixture(scope="module")
def good(build: Build) -> str:
    return build("good", GOOD)


@pytest.fixture
def conform(engine: Engine, run: Run) -> Conform:
    def conform(image: str, *words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        message = [f"--env={name}={value}" for name, value in env.items()]
        done = run(*CONFORM, image, "--json", "--sagemaker-only", *message, *words, env=engine.env)
        assert done.stdout, done.stderr
        left = engine("ps", "--all", "--quiet", "--filter", f"ancestor={image}").stdout
        assert left == "", "a container is left behind"
        return done

    return conform


def model(folder: Path, version: str = "1") -> Path:
    (folder / version).mkdir(parents=True)
    (folder / version / "saved_model.pb").touch()
    return folder


def test_a_container_that_keeps_the_contract_passes(
    good: str, conform: Conform, tmp_path: Path
) -> None:
    folder, archive = model(tmp_path / "model"), tmp_path / "model.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", folder, "."], check=True)
    done = conform(good, "--model", archive, BREAK="wants a numbered folder")
    assert set(outcomes(done).values()) == {"holds"}, done.stdout
    assert done.returncode == 0


def test_a_container_that_exits_before_the_shell_that_killed_has_been_tried(
    build: Build, conform: Conform
) -> None:
    done = conform(build("lingering", f"{GOOD}COPY lingering /usr/local/bin/sh\n"))
    assert outcomes(done)["ping-on-death"] == "holds", done.stdout


# Containers that come up, and break one rule


@pytest.mark.parametrize(
    ("rule", "lines", "seen"),
    [
        ("answers 200 before the model is loaded", ["ping-at-start"], "/invocations returned: 502"),
        (
            "answers 200 whatever the engine does",
            ["ping-at-start", "ping-on-hang", "ping-on-death"],
            "/invocations returned: 502",
        ),
        ("ignores the port it is told", ["bind-to-port"], "it listens on 8080"),
        ("wants a network", ["no-network"], "Network is unreachable"),
        ("drops requests at term", ["term-loses-none"], "1 in flight, 1 lost"),
    ],
)
def test_a_broken_rule_is_named_and_no_other(
    rule: str, lines: list[str], seen: str, good: str, conform: Conform
) -> None:
    done = conform(good, BREAK=rule, LOADING="1")
    bad = failing(done)
    assert list(bad) == lines
    assert seen in bad[lines[0]]
    assert done.returncode == 1


def test_later_runs_wait_for_the_model_whatever_ping_says(
    engine: Engine, good: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That /ping is 200 too early fails one line, and not all that are checked afterwards."""
    for name in ("PATH", "DOCKER_HOST"):
        if name in engine.env:
            monkeypatch.setenv(name, engine.env[name])
    rule = "BREAK=answers 200 before the model is loaded"
    options = ConformOptions(target=good, env=(rule, "LOADING=2"))
    drawn = payload(None, "application/json")
    with options.spec(good) as spec:
        target = Target(spec, find_image(good), drawn, limit=60)
        with later_run(target, spec, "running it again") as later:
            found = invoke(later.container.at, drawn)
    assert later.attempts[-1].status == 200
    assert succeeded(found), found


def test_an_image_for_one_model_is_none_for_many(
    good: str, conform: Conform, tmp_path: Path
) -> None:
    model(tmp_path / "a")
    done = conform(good, "--multi-model", tmp_path)
    assert list(failing(done)) == ["models-label", "models-load"]
    assert "404" in failing(done)["models-load"]
    done = conform(good, "--multi-model", tmp_path, LOADING="0", BREAK="leaves at once")
    assert list(failing(done)) == ["serve", "models-label", "models-ping"]


def test_a_shell_as_entrypoint_ignores_term(build: Build, conform: Conform) -> None:
    image = build("shell", "COPY serve /srv/serve\nENTRYPOINT /srv/serve & sleep 1000\n")
    done = conform(image)
    bad = failing(done)
    assert list(bad) == ["term"]
    assert "ENTRYPOINT runs in a shell" in bad["term"]
    # It lacks the label accept-bind-to-port, so SageMaker sets no port.
    assert outcomes(done)["bind-to-port"] == "not tried"


# Containers that do not pass the ping health check


@pytest.mark.parametrize(
    ("rule", "line", "seen"),
    [
        ("listens on another port", "port", "it listens on 9000, "),
        ("listens on loopback", "port", "loopback interface only"),
        ("is never ready", "ping", "503 the weights are still on their way"),
        ("answers the ping slowly", "ping-in-time", "/ping is slow: it took 2."),
        ("wants no argument", "serve", "rejects the argument `serve`"),
        (
            "leaves at once",
            "serve",
            "code 1; its log ends with: the configuration is not",
        ),
    ],
)
def test_the_cause_of_a_bad_start_is_named(
    rule: str, line: str, seen: str, good: str, conform: Conform
) -> None:
    done = conform(good, "--start-seconds", "2", BREAK=rule)
    bad = failing(done)
    assert set(bad) <= {line, "ping"}
    assert seen in bad[line]
    found = outcomes(done)
    assert found["invocations"] == found["term"] == "not tried"


def test_a_model_without_a_number_is_shown(good: str, conform: Conform, tmp_path: Path) -> None:
    folder = model(tmp_path / "model", "final")
    done = conform(good, "--model", folder, "--start-seconds", "2", BREAK="wants a numbered folder")
    seen = failing(done)["model-found"]
    assert "no folder whose name is a number" in seen
    assert "final/saved_model.pb" in seen


def test_a_model_folder_that_is_written_to_is_named(
    good: str, conform: Conform, tmp_path: Path
) -> None:
    folder = model(tmp_path / "model")
    done = conform(good, "--model", folder, BREAK="writes to the model's folder")
    assert "Read-only file system" in failing(done)["model-read-only"]
    assert [path.name for path in folder.iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("name", "lines", "line", "seen"),
    [
        ("no-serve", 'COPY serve /srv/app\nCMD ["/srv/app"]\n', "serve", "no ENTRYPOINT"),
        ("plain", 'COPY plain /srv/app\nENTRYPOINT ["/srv/app"]\n', "serve", "not executable"),
        ("windows", 'COPY windows /a\nENTRYPOINT ["/a"]\n', "serve", "Windows line endings"),
        ("foreign", 'COPY foreign /a\nENTRYPOINT ["/a"]\n', "architecture", "another architecture"),
        ("gone", 'ENTRYPOINT ["/not/there"]\n', "serve", "does not exist"),
    ],
)
def test_the_mistake_in_a_badly_packed_image_is_named(
    name: str, lines: str, line: str, seen: str, build: Build, conform: Conform
) -> None:
    bad = failing(conform(build(name, lines)))
    assert set(bad) == {line, "ping"}
    assert seen in bad[line]


def test_an_image_that_needs_root_and_is_not_is_named(build: Build, conform: Conform) -> None:
    done = conform(build("user", f"{GOOD}USER 1000\n"), BREAK="wants root")
    assert "it needs root, and the image has USER 1000" in failing(done)["serve"]


def test_an_image_that_is_not_there_is_reported_in_one_line(engine: Engine, run: Run) -> None:
    done = run(*CONFORM, f"{MINE}-absent", env=engine.env)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {MINE}-absent: no such image here")
