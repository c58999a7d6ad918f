"""The documents: what they say to type is typed, what they quote is looked up, links are followed.

A command in a console block of README.md or docs/ is run as it stands, in a scratch copy of the
checkout; or another test runs it (`ELSEWHERE`); or its block is marked with `<!-- needs AWS -->`,
`<!-- needs Docker -->` or `<!-- needs PyPI -->`. A command of no kind fails by file and line. Of
what is not run here, the options are looked up: ours in `--help`, those of `aws` in botocore's
description of its services.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import get_session
from conftest import CHECKOUT
from PIL import Image
from support.hooks import HANDLERS
from support.ports import free_port
from support.serving import LONG, tiny_detector
from support.serving_image import VERY_LONG
from support.videos import write_clip
from support.warm_python import programs

from petbox.serving.demo.command import MODEL

AT_THE_TOP = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = [*AT_THE_TOP, *sorted((CHECKOUT / "docs").glob("*.md"))]
BESIDE = ("CHANGELOG.md", "bench/RESULTS.md", "docs/petbox.ipynb")
LINKING = [*PAGES, *(CHECKOUT / name for name in BESIDE)]
INDEX = CHECKOUT / "docs" / "README.md"

SERVED = "tests/serving/test_serve.py::test_a_model_is_found"

# Commands that are too dear to be run once more, and who runs them: a test, or a file.
ELSEWHERE = {
    "make demo": "Makefile",
    "make lock": "Makefile",
    "make test": ".ci/run",
    "python scripts/licenses.py": "tests/scripts/test_locks.py::test_the_licenses_of_all"
    "_are_listed",
    "sed -i": "tests/scripts/test_upgrade.py::test_its_commands_raise_every_stated_version",
    "petbox train photos/": "tests/cli/test_train_photos.py",
    "petbox serve model/mine": f"{SERVED}_however_it_is_named",
    "petbox serve model/zoo": f"{SERVED}_however_it_is_named",
    "petbox tune model/toy": "tests/serving/test_tune.py::test_what_is_written_is_what_was_chosen",
    "petbox-model-server --rest_api_port": "tests/serving/test_model_server"
    "_program.py::test_the_port_opens_when_every_model_is_available",
    "python train/train.py": "tests/training/test_training.py::test_a_run_that_is"
    "_killed_and_stopped_ends_by_the_same_schedule",
    "python train/evaluate.py": "tests/evaluation/test_evaluation.py::test_the_evaluation"
    "_is_kept_for_programs",
    "petbox export --run runs/mine": "tests/test_chain.py::test_a_model_holds_its_label_map",
    "python export/exporter_savedmodel.py --run runs/mine": "tests/export/test_exporter.py::test_a"
    "_plain_export_is_as_tensorflow_saves_it_and_says_the_same",
    "python export/exporter_savedmodel.py --run runs/toy --out model/batched": "tests/export/test"
    "_exporter.py::test_an_invalid_image_in_a_batch_fails_only_its_own_request",
    "petbox export --from-saved-model": "tests/export/test_wrapped.py::test_its_signatures"
    "_are_ours",
    "python3 -m venv .venv": "scripts/install_python.sh",
    "pip install './[serve]'": "tests/serving/test_demo.py::test_tensorflow_is_not_needed",
    "petbox demo": "tests/serving/test_demo.py::test_boxes_appear_on_all_samples",
    "petbox convert": "tests/litert/test_litert.py::test_the_folder_says_what_it_is",
    "python train/make_toy_pets.py --out data/toy": "tests/data/test_toy_pets.py::test_the_layout"
    "_is_oxford_iiit_pets",
    "cd data/toy/images && cp": "tests/container/test_page.py::test_a_sample_is_small",
    "scripts/package_lambda.sh": "tests/lambdas/test_lambda_zips.py::test_a_zip_has_every_module"
    "_that_its_function_imports_and_no_other_room",
    "python3 -m venv sdk": "tests/sagemaker/test_sagemaker_sdk.py::test_version_3_trains",
    "PETBOX_SAGEMAKER_SDK=": "tests/sagemaker/test_sagemaker_sdk.py::test_version_3_trains",
}
PYTHON_ELSEWHERE = {
    "cdk-terraform.md": "tests/lambdas/test_cdk_terraform.py::test_the_cdk_example_deploys"
    "_the_function_of_the_template",
    "README.md": "tests/test_chain.py::test_the_readmes_python_is_run_as_it_is_written",
    "litert.md": "tests/litert/test_litert.py::test_neither_tensorflow_nor_boto3_is_imported",
    "sagemaker-sdk.md": "tests/sagemaker/test_sagemaker_sdk.py::test_version_3_trains",
}
# What may be run here: nothing that could reach an account, or more than the scratch copy.
RUNNABLE = re.compile(
    r"([A-Z_]+=\S+ )*(\.venv/bin/)?"
    r"(petbox (serve|detect|records|endpoint package .*--dry-run)|python (train|export)/"
    r"|container/serve\b|curl .*localhost:8080|(cp|mkdir|tar) )"
    r"|AWS_ENDPOINT_URL=http://localhost:8080 ",
    re.DOTALL,
)
OURS = ("train", "export", "container", "docs/workflows")  # what a reader types of
HOSTS = re.compile(r"\b(localhost|127\.0\.0\.1):8080\b")


@dataclass(frozen=True)
class Block:
    """What stands between two fences, and what the line before them says it needs."""

    page: Path
    line: int
    language: str
    needs: str
    text: str


@dataclass(frozen=True)
class Command:
    page: Path
    line: int
    text: str  # without the prompt, with its continued lines
    output: tuple[str, ...]  # what the page shows of it

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(CHECKOUT)}:{self.line}: {self.text}"


FENCED = re.compile(
    r"^(?:<!-- needs (?P<needs>\w+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in FENCED.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        yield Block(page, line, found["language"], found["needs"] or "", found["text"])


def commands(block: Block) -> Iterator[Command]:
    lines = block.text.splitlines()
    at = 0
    while at < len(lines):
        begin = at
        assert lines[at].startswith("$ "), f"{block.page}:{block.line + at}: begin with a prompt"
        typed = [lines[at][2:]]
        while typed[-1].endswith("\\"):
            at += 1
            typed.append(lines[at])
        at += 1
        shown = []
        while at < len(lines) and not lines[at].startswith("$ "):
            shown.append(lines[at])
            at += 1
        yield Command(block.page, block.line + begin, "\n".join(typed), tuple(shown))


def kind(command: Command, block: Block) -> str:
    """help, run, elsewhere or needs; "" is none, and wrong."""
    if command.text.endswith("--help"):
        return "help"
    if block.needs:
        return "needs" if block.needs in ("AWS", "Docker", "PyPI") else ""
    if elsewhere(command):
        return "elsewhere"
    return "run" if RUNNABLE.match(command.text) else ""


def elsewhere(command: Command) -> str:
    text = command.text.removeprefix(".venv/bin/")
    return next((test for start, test in ELSEWHERE.items() if text.startswith(start)), "")


def all_commands(page: Path) -> Iterator[tuple[Command, str]]:
    for block in blocks(page):
        if block.language == "console":
            for command in commands(block):
                yield command, kind(command, block)


def name(page: Path) -> str:
    return page.name if page.parent.name == "docs" else "README.md"


each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))


# Typed


class Reader:
    """Somebody who types what a page says, in a checkout with a small model in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers: list[subprocess.Popen[str]] = []
        self._ports: dict[str, int] = {}  # of the servers that run, by what was typed
        self.printed: dict[str, str] = {}  # by each server when it had started
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PETBOX_"))}
        path = f"{folder / '.venv/bin'}:{os.environ['PATH']}:/usr/sbin"
        self.env = {**kept, "PATH": path, "HOME": str(folder), "CI": "1"}

    def port(self, page_server: str) -> int:
        """That of the page's own server, or else of the one that README.md starts."""
        typed = page_server or "petbox serve model/toy"
        if typed not in self._ports:
            self._ports[typed] = self._serve(typed)
        return self._ports[typed]

    def run(self, text: str, page_server: str) -> str:
        """All that is printed by a command."""
        if HOSTS.search(text):
            text = HOSTS.sub(lambda host: f"{host[1]}:{self.port(page_server)}", text)
        elif "petbox detect" in text:  # which asks port 8080 where nothing is said
            text = f"{text} --url http://localhost:{self.port(page_server)}"
        done = subprocess.run(
            ["bash", "-ec", text],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=VERY_LONG,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return f"{done.stdout}\n{done.stderr}"

    def python(self, code: str) -> None:
        code = HOSTS.sub(lambda host: f"{host[1]}:{self.port('')}", code)
        (self.folder / "typed.py").write_text(code)
        self.run("python typed.py", "")

    def _serve(self, typed: str) -> int:
        """Starts it on a free port; one that prints its address has done so."""
        port = free_port()
        env = {**self.env, "SAGEMAKER_BIND_TO_PORT": str(port)}
        text = typed if "container/serve" in typed else f"{typed} --port {port}"
        with (self.folder / f"server-{port}.log").open("w") as log:
            server = subprocess.Popen(
                ["bash", "-c", f"exec env {text}"],
                cwd=self.folder,
                env=env,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._servers.append(server)
        assert server.stdout
        if "petbox serve" in typed:
            self.printed[typed] = server.stdout.readline()
            assert self.printed[typed], Path(log.name).read_text()
        threading.Thread(target=server.stdout.read, daemon=True).start()  # the log of requests
        return port

    def stop(self) -> None:
        for server in self._servers:  # all at once: each waits for requests that may still come
            server.terminate()
        for server in self._servers:
            server.wait(LONG)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("checkout")
    for part in OURS:
        skipped = shutil.ignore_patterns("__pycache__", "*.unfinished")
        shutil.copytree(CHECKOUT / part, folder / part, ignore=skipped)
    programs(folder / ".venv" / "bin")
    picture = CHECKOUT / "tests" / "golden" / "picture.jpg"
    shutil.copy(picture, folder / "cat.jpg")
    write_clip(folder / "clip.mp4")
    photo = folder / "data" / "toy" / "images" / "Midnight_121.jpg"
    photo.parent.mkdir(parents=True)
    shutil.copy(picture, photo)
    tiny_detector(folder / "model" / "toy" / "1", named=True)
    shutil.copytree(MODEL, folder / "model" / "toy-litert")
    old_models_and_data(folder)
    typing = Reader(folder)
    yield typing
    typing.stop()


def old_models_and_data(folder: Path) -> None:
    """What docs/migrate.md starts from: AWS's archive, the data of Object Detection - MXNet."""
    with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
        archive.add(folder / "model" / "toy" / "1", "1")
        archive.add(HANDLERS / "bare_image.py", "code/inference.py")
    with Image.open(folder / "cat.jpg") as image:
        width, height = image.size
    annotation = {"class_id": 0, "left": 2, "top": 3, "width": width - 4, "height": height - 4}
    for split, count in ("train", 3), ("validation", 2):
        photos, annotations = (folder / "shop" / f"{split}{end}" for end in ("", "_annotation"))
        photos.mkdir(parents=True)
        annotations.mkdir()
        for name in (f"{split}_{number}" for number in range(count)):
            shutil.copy(folder / "cat.jpg", photos / f"{name}.jpg")
            described = {
                "file": f"{split}/{name}.jpg",
                "image_size": [{"width": width, "height": height, "depth": 3}],
                "annotations": [annotation],
                "categories": [{"class_id": 0, "name": "cat"}],
            }
            (annotations / f"{name}.json").write_text(json.dumps(described))


@each_page
def test_what_a_page_says_to_type_works(page: Path, request: pytest.FixtureRequest) -> None:
    server = ""
    for block in blocks(page):
        makes_model = "import keras" in block.text  # for the commands that follow
        if block.language == "python" and (makes_model or name(page) not in PYTHON_ELSEWHERE):
            request.getfixturevalue("reader").python(block.text)
        if block.language != "console":
            continue
        for command in commands(block):
            if kind(command, block) != "run":
                continue
            reader = request.getfixturevalue("reader")
            if command.text.endswith(" &"):
                server = command.text.removesuffix(" &").removeprefix(".venv/bin/")
                port = reader.port(server)
                shown = tuple(line.replace(":8080", f":{port}") for line in command.output)
                printed = reader.printed.get(server, "")
                assert not missing(shown, printed), f"{command.place}\n{printed}"
            else:
                printed = reader.run(command.text, server)
                assert not missing(command.output, printed), f"{command.place}\n{printed}"


def missing(shown: tuple[str, ...], printed: str) -> list[str]:
    """What a page shows of an output and is not printed; … stands for anything.

    Except for a terminal's table, which has other tests: here the output goes to a pipe.
    """
    lines = [line.rstrip() for line in printed.splitlines()]
    return [
        line
        for line in shown
        if not line.startswith(TABLE)
        and not any(re.fullmatch(".*".join(map(re.escape, line.split("…"))), one) for one in lines)
    ]


@each_page
def test_every_command_is_run_or_says_what_it_needs(page: Path) -> None:
    assert [command.place for command, how in all_commands(page) if not how] == []


def test_whoever_runs_commands_elsewhere_is_there() -> None:
    for place in [*ELSEWHERE.values(), *PYTHON_ELSEWHERE.values()]:
        file, _, test = place.partition("::")
        text = (CHECKOUT / file).read_text()
        assert f"def {test}(" in text if test else True, place


def test_nothing_is_said_to_run_elsewhere_that_no_page_has() -> None:
    typed = [c.text.removeprefix(".venv/bin/") for page in PAGES for c, _ in all_commands(page)]
    assert [start for start in ELSEWHERE if not any(t.startswith(start) for t in typed)] == []


# Looked up


def spans(page: Path) -> Iterator[str]:
    """The commands that stand in a sentence or a table."""
    for _, text in re.findall(r"(`+)(.+?)\1", FENCED.sub("", page.read_text()), re.S):
        yield text.replace("\n", " ")


def typed_on(page: Path) -> Iterator[tuple[str, str]]:
    """Every command of a page, and where it stands; but those that are run."""
    for command, how in all_commands(page):
        if how in ("needs", "elsewhere"):
            yield command.text, command.place
    for span in spans(page):
        yield span, f"{page.relative_to(CHECKOUT)}: {span}"


@each_page
def test_our_programs_have_the_options_that_are_named(page: Path) -> None:
    for text, place in typed_on(page):
        if program := program_of(words(text)):
            for flag in flags(words(text)):
                known = options_of(program)
                assert flag.replace("_", "-") in known, f"{place}: {program[-1]} has no {flag}"


def words(text: str) -> list[str]:
    """Of a command, up to its end; variables before it are passed over."""
    try:
        found = shlex.split(text.replace("\\\n", " "))
    except ValueError:  # no command
        return []
    while found and re.match(r"[A-Z_]+=", found[0]):
        found.pop(0)
    ends = [at for at, word in enumerate(found) if word in ("&&", "|", "&", ";", ">", "<")]
    return found[: ends[0]] if ends else found


def flags(found: list[str]) -> list[str]:
    named = [word.partition("=")[0] for word in found if re.match(r"--[a-z]", word)]
    return [flag for flag in named if flag != "--help"]


def program_of(found: list[str]) -> tuple[str, ...]:
    """What to ask for its --help; () where it is not ours."""
    first = found[0].removeprefix(".venv/bin/") if found else ""
    if first == "petbox" and found[1:] and re.fullmatch("[a-z-]+", found[1]):
        more = found[1:3] if found[1] in ("endpoint", "zoo") else found[1:2]
        return ("-m", "petbox", *(word for word in more if re.fullmatch("[a-z]+[a-z-]*", word)))
    if first == "python" and found[1:] and re.match(r"(train|export)/\w+\.py$", found[1]):
        return (found[1],)
    if re.fullmatch(r"scripts/\w+\.sh", first):
        return (first,)
    return ()


@cache
def options_of(program: tuple[str, ...]) -> frozenset[str]:
    command = list(program) if program[0].endswith(".sh") else [sys.executable, *program]
    done = subprocess.run(
        [*command, "--help"], cwd=CHECKOUT, capture_output=True, text=True, timeout=LONG
    )
    assert done.returncode == 0, f"{program}: {done.stderr}"
    return frozenset(re.findall(r"--[a-z][a-z-]*", done.stdout))


@each_page
def test_aws_has_the_calls_and_options_that_are_named(page: Path) -> None:
    for text, place in typed_on(page):
        typed = re.search(r"(?:^|\$\()(aws [a-z].*)", text, re.S)
        if typed:
            assert not rotten(words(typed[1].removesuffix(")"))), place


# Of the aws program itself: botocore knows nothing of them.
OF_THE_CLI = {"--output", "--query", "--region", "--profile", "--cli-input-json", "--no-cli-pager"}
RENAMED = {
    "--endpoint": "--notification-endpoint",  # sns subscribe's
    "--invalidation-batch": "--paths",  # cloudfront create-invalidation's
}
S3 = {
    "cp": {"--recursive", "--checksum-algorithm"},
    "rm": {"--recursive"},
    "rb": {"--force"},
    "mb": set(),
    "ls": {"--recursive"},
    "sync": {"--delete"},
}


def rotten(typed: list[str]) -> str:
    """What is wrong with a call of `aws`."""
    _, service, *rest = typed
    if not rest:
        return ""  # `aws logs`, in a sentence
    if service == "s3":
        return "" if set(flags(rest)) <= S3[rest[0]] | OF_THE_CLI else f"{flags(rest)}"
    model = service_model(service)
    names = {xform_name(operation, "-"): operation for operation in model.operation_names}
    if rest[0] not in names:
        return f"{service} has no {rest[0]}"
    shape = model.operation_model(names[rest[0]]).input_shape
    members = {
        RENAMED.get(at := f"--{xform_name(member, '-')}", at): of
        for member, of in shape.members.items()
    }
    for flag in flags(rest):
        if flag not in members and flag not in OF_THE_CLI:
            return f"{rest[0]} has no {flag}"
    given = {**dict.fromkeys(flags(rest))}
    needed = [
        RENAMED.get(at := f"--{xform_name(member, '-')}", at) for member in shape.required_members
    ]
    if "--cli-input-json" not in given and (absent := [one for one in needed if one not in given]):
        return f"{rest[0]} needs {absent}"
    for flag, value in pairwise(rest):
        choices = getattr(members.get(flag), "enum", [])
        if choices and value not in choices:
            return f"{flag} {value}: {choices}"
    return ""


@cache
def service_model(service: str) -> Any:
    return get_session().get_service_model(service)


TABLE = tuple("┏┃┡│└")
AS_PRINTED = re.compile(r"^<!-- as printed -->\n(?P<table>(?:\|.*\n)+)", re.M)


@each_page
def test_what_is_quoted_is_printed_by_the_code(page: Path) -> None:
    for table in AS_PRINTED.finditer(page.read_text()):
        for row in table["table"].splitlines()[2:]:
            first = re.split(r"(?<!\\) \| ", row.removeprefix("| "))[0]
            quoted = [text.strip() for _, text in re.findall(r"(`+)(.+?)\1(?!`)", first)]
            assert quoted, row
            for line in quoted:
                assert is_said(line), f"{page.relative_to(CHECKOUT)}: nothing prints: {line}"


def is_said(line: str) -> bool:
    pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
    return any(pattern.search(sentence) for sentence in sentences())


@cache
def sentences() -> tuple[str, ...]:
    """What the sources may print, with … for what is filled in."""
    found: list[str] = []
    container = CHECKOUT / "container"
    ours = [*(CHECKOUT / "petbox").glob("**/*.py"), *container.glob("hooks/**/*.py")]
    for path in sorted(ours):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [one.value if isinstance(one, ast.Constant) else "…" for one in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    for path in sorted([*container.iterdir(), *(container / "gateway").iterdir()]):
        if path.suffix in (".lua", ".sh", ".conf") or path.name == "serve":
            text = re.sub(r"""['"] \.\.\s+['"]""", "", path.read_text())
            filled = r"\$\{[^}]*\}|\$\(.*?\)|\$[a-z0-9_]+|%[sd]|\" \.\. [^\"]* \.\. \""
            found += re.sub(filled, "…", text, flags=re.I).splitlines()
    return tuple(found)


# Logs Insights: the fields that its queries name are those of the front's log.
QUERY = re.compile(r"(fields|filter|stats) ")
INSIGHTS = {"fields", "filter", "stats", "sort", "limit", "count", "pct", "bin"}
INSIGHTS |= {"by", "as", "asc", "desc", "like", "and", "or"}


@each_page
def test_queries_ask_for_fields_that_the_log_has(page: Path) -> None:
    source = (CHECKOUT / "container/gateway/log.lua").read_text()
    logged = set(re.findall(r'"(\w+)":', source))
    assert {"status", "waited_ms", "error"} <= logged
    for block in blocks(page):
        queries = [block.text] if QUERY.match(block.text) else []
        queries += re.findall(r"--query-string '(.*?)'", block.text)
        for query in queries:
            bare = re.sub(r'"[^"]*"|/[^/\n]*/', "", query)
            own = set(re.findall(r"\bas (\w+)", bare))
            asked = set(re.findall(r"\b[a-z_]\w*", bare))
            assert asked - own - INSIGHTS <= logged, f"{page.name}:{block.line}"


@each_page
def test_json_can_be_read(page: Path) -> None:
    for block in blocks(page):
        if block.language == "json":
            json.loads(block.text)


# Links


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{page.relative_to(CHECKOUT)}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.relative_to(CHECKOUT)}: {target}"


@each_page
def test_our_files_that_are_named_exist(page: Path) -> None:
    for text in spans(page):
        if re.fullmatch(r"(bench|container|docs|locks|petbox|scripts|tests)/[\w./-]+", text):
            assert (CHECKOUT / text).exists(), f"{page.relative_to(CHECKOUT)}: {text}"


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


def test_every_document_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)", INDEX.read_text()))
    documents = {path.name for path in INDEX.parent.iterdir() if path.suffix in (".md", ".yaml")}
    assert documents - {INDEX.name} <= linked


def test_the_figures_of_the_readme_are_those_that_were_measured() -> None:
    sys.path.insert(0, str(CHECKOUT / "bench"))
    import report

    text = (CHECKOUT / "README.md").read_text()
    rows = re.findall(r"^\| .* \| (.*) \| `bench/(\w+)\.py` \|$", text, re.MULTILINE)
    assert len(rows) == 5
    for cell, script in rows:
        measured = "".join(table.rows for table in report.tables() if table.script == script)
        figures = re.findall(r"[\d.]+", cell)
        assert figures and all(re.search(rf"\b{one}\b", measured) for one in figures), (
            cell,
            script,
        )
