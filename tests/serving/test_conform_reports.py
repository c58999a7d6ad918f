"""The reports in docs/conform-reports: `petbox conform` on three containers for one detector.

    PETBOX_REPORTS=1 python -m pytest tests/serving/test_conform_reports.py

makes them again. Otherwise their lines are compared with those of today.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from support.conforming import CONFORM
from support.docker_engine import MINE, Engine
from support.serving import tiny_detector
from support.serving_image import MOUNTS

from petbox.serving.conform.contract import CONTRACT, TITLES

REPORTS = CHECKOUT / "docs/conform-reports"
CONTAINERS = {
    "petbox": "petbox's image, `container/Dockerfile`",
    "blog": "the container from blogs, [blog/](blog)",
    "flask": "a minimal Flask server, [flask/](flask)",
}
SHOWN = {"holds": "holds", "fails": "**fails**", "not tried": "not tried"}
MADE = "made.json"
# The stand-in for TensorFlow Serving's image has a package source that nobody can reach.
REACHABLE = "RUN rm /etc/apt/sources.list.d/cuda.list\n"

remaking = pytest.mark.skipif(
    not os.environ.get("PETBOX_REPORTS"), reason="PETBOX_REPORTS=1 makes the reports again"
)


def lines_of(name: str) -> list[dict[str, str]]:
    lines: list[dict[str, str]] = json.loads((REPORTS / f"{name}.json").read_text())["lines"]
    return lines


@pytest.fixture(scope="module")
def images(
    engine: Engine, debian: str, base: str, image: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("images")
    (folder / "reachable").mkdir()
    (folder / "reachable/Dockerfile").write_text(f"FROM {base}\n{REACHABLE}")
    for name in ("blog", "flask"):
        shutil.copytree(REPORTS / name, folder / name)
    tiny_detector(folder / "blog/model/1", named=True)
    for name, words in {
        "reachable": (),
        "blog": (f"--build-arg=BASE={MINE}-reachable", "--network=host"),
        "flask": (f"--build-arg=BASE={debian}", "--build-arg=PACKAGES="),
    }.items():
        engine("build", *words, "--tag", f"{MINE}-{name}", folder / name)
    return {"petbox": image, "blog": f"{MINE}-blog", "flask": f"{MINE}-flask"}


@remaking
@pytest.mark.parametrize("name", CONTAINERS)
def test_a_report_is_made(
    name: str,
    images: dict[str, str],
    engine: Engine,
    run: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    mounts = [*MOUNTS]
    if name == "flask":
        mounts.append("--env=PYTHONPATH=/opt/packages")
    words: list[Any] = [images[name], f"--docker={' '.join(mounts)}"]
    if name != "blog":  # which has its model in the image only
        words += ["--model", tiny_detector(tmp_path / "model" / "1", named=True).parent]
    done = run(*CONFORM, *words, "--json", env=engine.env)
    assert done.stdout, done.stderr
    text = done.stdout.replace(images[name], name)
    (REPORTS / f"{name}.json").write_text(text)
    commit = ["git", "merge-base", "HEAD", "main"]
    made = {
        "commit": subprocess.check_output(commit, cwd=CHECKOUT, text=True).strip()[:12],
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    (REPORTS / MADE).write_text(json.dumps(made, indent=2) + "\n")
    (REPORTS / "README.md").write_text(page())


def page() -> str:
    made = json.loads((REPORTS / MADE).read_text())
    reports = {
        name: {line["name"]: line for line in lines_of(name)}
        for name in CONTAINERS
        if (REPORTS / f"{name}.json").exists()
    }
    parts = [
        "# Three containers, checked by `petbox conform`",
        "",
        *(f"- **{name}**: {about}" for name, about in CONTAINERS.items()),
        "",
        f"Made at commit {made['commit']} on {made['date']} ({made['machine']}) by",
        "",
        "<!-- needs Docker -->",
        "```console",
        "$ PETBOX_REPORTS=1 python -m pytest tests/serving/test_conform_reports.py",
        "```",
        "",
        "All serve the same small detector: blog from its image, the others from `/opt/ml/model`.",
        "All stand on Debian, and petbox's embedded model server stands in for TensorFlow Serving,",
        "which could not be downloaded. Nginx, start scripts, signals and formats are those of",
        "each container; times are those of the machine, which was busy.",
        "",
    ]
    for level, title in TITLES.items():
        lines = [line for line in CONTRACT if line.level == level and not line.multi_model]
        counts = {
            name: [found[line.name]["outcome"] for line in lines].count("holds")
            for name, found in reports.items()
        }
        parts += [
            f"## {title}",
            "",
            f"| line | says | {' | '.join(reports)} |",
            f"|---|---|{'---|' * len(reports)}",
            *(
                f"| [`{line.name}`]({link(line.reference)}) | {line.says} | "
                f"{' | '.join(SHOWN[found[line.name]['outcome']] for found in reports.values())} |"
                for line in lines
            ),
            f"| **hold** | of {len(lines)} | {' | '.join(map(str, counts.values()))} |",
            "",
        ]
    parts += ["## What was seen", ""]
    for name, found in reports.items():
        bad = [line for line in found.values() if line["outcome"] != "holds"]
        parts += [
            f"### {name}",
            "",
            "| line | | seen |",
            "|---|---|---|",
            *(
                f"| `{line['name']}` | {SHOWN[line['outcome']]} | {cell(line['seen'])} |"
                for line in bad
            ),
            "",
            f"Also what was seen of the lines that hold: [{name}.json]({name}.json).",
            "",
        ]
    return "\n".join(parts)


def link(reference: str) -> str:
    return reference.replace("docs/", "../") if reference.startswith("docs/") else reference


def cell(text: str) -> str:
    for plain, escaped in {"&": "&amp;", "<": "&lt;", "|": "\\|", "\n": " "}.items():
        text = text.replace(plain, escaped)
    return text


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_report_has_the_lines_of_today(name: str) -> None:
    expected = [
        (line.level, line.name, line.says, line.reference)
        for line in CONTRACT
        if not line.multi_model
    ]
    keys = ("level", "name", "says", "reference")
    assert [tuple(line[key] for key in keys) for line in lines_of(name)] == expected


def test_the_page_says_what_the_reports_say() -> None:
    assert (REPORTS / "README.md").read_text() == page()
