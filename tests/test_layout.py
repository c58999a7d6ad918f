"""The law of the layout, read off the files: what imports what, and what is stated twice agrees."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import petbox

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

CHECKOUT = Path(__file__).resolve().parent.parent
STAGES = ("train", "export", "container", "scripts", "serverless", "bench")
STAGE_FILES = [path for stage in STAGES for path in sorted((CHECKOUT / stage).glob("**/*.py"))]
PACKAGE = CHECKOUT / "petbox"

STANDARD_LIBRARY_ONLY = ("petbox", "petbox.wire", "petbox.data.labels", "petbox.errors")

# The rooms, from the top floor down, and what each may import. Every room may also use the ground
# and `cli`; the ground uses no room.
ROOMS: dict[str, frozenset[str]] = {
    room: frozenset(others.split())
    for room, others in {
        "lambdas": "serving litert export client aws data images",
        "sagemaker": "training evaluation export client aws data",
        "serving": "litert export client data images",
        "litert": "export training data images",
        "evaluation": "export training data images",
        "export": "training data images",
        "client": "aws data images",
        "training": "aws data",
        "aws": "",
        "data": "images",
        "images": "",
        "cli": "",
    }.items()
}
GROUND = {"", "__main__", "errors", "outputs", "tf", "wire"}  # "" is petbox/__init__.py
LAZY = {"petbox", "petbox.__main__", "petbox.cli.main"}  # name any room in functions
ANY_ROOM = {*LAZY, "petbox.cli.train_photos"}  # the last is itself imported when it is typed
MOST_LINES = 350
TOO_LONG: set[str] = {}

# What may import more than the standard library when it is itself imported, and why. All else
# does it in the function that needs it, so that commands start fast and extras stay optional.
HEAVY = {
    "petbox.tf": "is TensorFlow",
    "petbox.training.tfvision": "is the Model Garden",
    "petbox.training.acceleration": "configures TensorFlow",
    "petbox.training.anchors": "computes with numpy",
    "petbox.training.augment": "a piece of a TensorFlow graph",
    "petbox.training.checkpoints": "restores a model of the Model Garden",
    "petbox.training.config": "a model of the Model Garden",
    "petbox.training.inputs": "a piece of a TensorFlow graph",
    "petbox.training.keras_mobilenet": "fills a model of the Model Garden",
    "petbox.training.proposal_targets": "a piece of a TensorFlow graph",
    "petbox.training.resize": "a piece of a TensorFlow graph",
    "petbox.training.sheets": "runs a piece of a TensorFlow graph",
    "petbox.training.targets": "a piece of a TensorFlow graph",
    "petbox.training.task": "a task of the Model Garden",
    "petbox.training.trainer": "a runner of the Model Garden",
    "petbox.export.batching": "a piece of a TensorFlow graph",
    "petbox.export.canvas_choice": "evaluates with the Model Garden",
    "petbox.export.canvases": "a piece of a TensorFlow graph",
    "petbox.export.decode": "pieces of a TensorFlow graph",
    "petbox.export.drawing": "a piece of a TensorFlow graph",
    "petbox.export.exporter": "saves a model of the Model Garden",
    "petbox.export.inputs": "a piece of a TensorFlow graph",
    "petbox.export.rewrite": "rewrites a TensorFlow graph",
    "petbox.export.messages": "declares protobuf messages",
    "petbox.export.signatures": "a piece of a TensorFlow graph",
    "petbox.export.source": "restores a model of the Model Garden",
    "petbox.export.trained": "a piece of a TensorFlow graph",
    "petbox.export.verify": "runs a model of the Model Garden",
    "petbox.export.warmup": "writes TFRecords",
    "petbox.export.wrapped": "a piece of a TensorFlow graph",
    "petbox.evaluation.predictions": "runs a model of the Model Garden",
    "petbox.litert.calibration": "reads TFRecords",
    "petbox.litert.convert": "converts a model of the Model Garden",
    "petbox.litert.decode": "opens images",
    "petbox.litert.detector": "opens images",
    "petbox.litert.nms": "a piece of a TensorFlow graph",
    "petbox.litert.openvino": "freezes a TensorFlow graph",
    "petbox.evaluation.bootstrap": "computes with numpy",
    "petbox.litert.preprocess": "computes with numpy",
    "petbox.data.image_files": "opens images",
    "petbox.data.toy": "draws images",
    "petbox.client.async_endpoint": "opens images",
    "petbox.client.sources": "opens images",
    "petbox.images.draw": "draws on images",
    "petbox.images.drawn_copies": "writes images",
    "petbox.images.photos": "opens images",
    "petbox.lambdas.http_events": "part of a Lambda function, with Powertools",
    "petbox.lambdas.s3_events": "part of a Lambda function, with Powertools",
    "petbox.serving.model_server": "a program of its own",
    "petbox.serving.reduced_gateway": "a program of its own",
    "petbox.serving.saved_detector": "runs a SavedModel",
    "petbox.training.zoo.folds": "computes with numpy",
    "petbox.training.zoo.table": "computes with numpy",
    "petbox.training.zoo.training": "computes with numpy",
}


# Imports, by `ast`


def module_name(path: Path) -> str:
    parts = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PETBOX = {module_name(path): path for path in sorted(PACKAGE.glob("**/*.py"))}


@cache
def everywhere(path: Path) -> frozenset[str]:
    """All that the file imports, in functions too."""
    return frozenset(_imports(ast.walk(ast.parse(path.read_text()))))


@cache
def at_import(path: Path) -> frozenset[str]:
    """What the file imports when it is imported itself."""
    return frozenset(_imports(_run_at_import(ast.parse(path.read_text()))))


def _run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _run_at_import(child)


def _imports(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "needs":
            yield ast.literal_eval(node.args[0])


def test_contributing_has_the_table_of_rooms() -> None:
    page = (CHECKOUT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE)
    bare = {name: re.sub(r"\(.*?\)", "", imports) for name, imports in rows}
    assert {name: frozenset(re.findall(r"[a-z]+", text)) for name, text in bare.items()} == ROOMS


def tops(names: frozenset[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def foreign(module: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """The packages of others that come in with `module`, by whatever way."""
    if module in seen or module not in PETBOX:
        return set()
    names = at_import(PETBOX[module])
    found = tops(names) - sys.stdlib_module_names - {"petbox"}
    for name in names:
        found |= foreign(name, seen | {module})
    return found


def test_there_is_something_to_check() -> None:
    assert STAGE_FILES
    assert {"petbox.wire", "petbox.errors", "petbox.cli.main"} <= set(PETBOX)


@pytest.mark.parametrize("path", STAGE_FILES, ids=lambda p: str(p.relative_to(CHECKOUT)))
def test_a_stage_never_imports_another(path: Path) -> None:
    stage = path.relative_to(CHECKOUT).parts[0]
    others = {p.stem for p in STAGE_FILES if p.relative_to(CHECKOUT).parts[0] != stage}
    assert not tops(everywhere(path)) & (others | set(STAGES))


@pytest.mark.parametrize("path", PETBOX.values(), ids=PETBOX)
def test_the_package_never_imports_a_stage(path: Path) -> None:
    assert not tops(everywhere(path)) & ({p.stem for p in STAGE_FILES} | {*STAGES, "tests"})


def room(module: str) -> str:
    """The room that a module is in; "" is the ground."""
    first = module.split(".")[1:2]
    return first[0] if first and first[0] in ROOMS else ""


def modules_imported(module: str) -> set[str]:
    return {name for name in everywhere(PETBOX[module]) if name in PETBOX} - {module}


def test_the_rooms_are_these() -> None:
    tops = {module.split(".")[1] for module in PETBOX if "." in module}
    assert tops == set(ROOMS) | GROUND - {""}


@pytest.mark.parametrize("module", sorted(set(PETBOX) - ANY_ROOM))
def test_arrows_run_downward(module: str) -> None:
    here = room(module)
    allowed = ROOMS[here] | {here, "", "cli"} if here else {""}
    wrong = {name for name in modules_imported(module) if room(name) not in allowed}
    assert not wrong, f"{module} may import {sorted(allowed)}"


def test_each_floor_stands_on_lower_ones() -> None:
    order = list(ROOMS)
    for here, others in ROOMS.items():
        assert all(order.index(other) > order.index(here) for other in others), here


def test_those_that_name_any_room_do_it_lazily() -> None:
    for module in LAZY:
        wrong = {name for name in at_import(PETBOX[module]) if room(name) not in ("", "cli")}
        assert not wrong, module


def test_no_two_files_import_each_other_in_a_circle() -> None:
    arrows = {module: modules_imported(module) for module in PETBOX if module not in ANY_ROOM}
    while leaves := {module for module, names in arrows.items() if not names & arrows.keys()}:
        arrows = {module: names for module, names in arrows.items() if module not in leaves}
    assert not arrows, "in a circle, or above one"


@pytest.mark.parametrize("path", PETBOX.values(), ids=PETBOX)
def test_no_file_is_long(path: Path) -> None:
    if module_name(path) not in TOO_LONG:
        assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", STAGE_FILES, ids=lambda p: str(p.relative_to(CHECKOUT)))
def test_a_stage_file_takes_no_librarys_name(path: Path) -> None:
    taken = {name for module in PETBOX.values() for name in tops(everywhere(module))}
    assert path.stem not in taken | sys.stdlib_module_names


@cache
def names_in(module: str) -> set[str]:
    """What a module of petbox defines or imports, and the modules below it."""
    found = {name.rpartition(".")[2] for name in PETBOX if name.rpartition(".")[0] == module}
    found.add("__doc__")
    for node in ast.parse(PETBOX[module].read_text()).body:
        found.add(getattr(node, "name", ""))
        for child in ast.walk(node):
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                found.add(child.id)
            elif isinstance(child, ast.alias):
                found.add(child.asname or child.name)
    return found


@pytest.mark.parametrize("path", STAGE_FILES, ids=lambda p: str(p.relative_to(CHECKOUT)))
def test_a_stage_names_only_what_the_package_has(path: Path) -> None:
    """mypy reads the package alone, and most benchmarks are run by no test."""
    tree = list(ast.walk(ast.parse(path.read_text())))
    modules = {}
    for node in tree:
        if isinstance(node, ast.ImportFrom) and node.module in PETBOX:
            for alias in node.names:
                assert alias.name in names_in(node.module), f"{node.module} has no {alias.name}"
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in tree:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            if module in PETBOX:
                assert node.attr in names_in(module), f"{module} has no {node.attr}"


@pytest.mark.parametrize("module", STANDARD_LIBRARY_ONLY)
def test_what_runs_in_lambda_needs_the_standard_library_only(module: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import {module}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=60)
    assert not foreign(module)


def test_heavy_imports_are_where_they_have_a_reason() -> None:
    heavy = {module for module in PETBOX if foreign(module)}
    excused = {module: excuse for module in heavy for excuse in HEAVY if _in(module, excuse)}
    assert not heavy - excused.keys(), "import in the function that needs it, or say why in HEAVY"
    assert not HEAVY.keys() - set(excused.values()), "no longer needed in HEAVY"


def _in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


# The distribution


@cache
def project() -> dict[str, Any]:
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def test_only_petbox_is_packaged(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    information = f"petbox-{petbox.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"petbox", information}
    # The front that `petbox serve` runs, and the mark of a typed package.
    front = {f"petbox/container/{name}" for name in ("nginx.conf", "gateway/json.lua")}
    demo = {f"petbox/serving/demo/model/{name}" for name in ("model.tflite", "ABOUT.txt")}
    assert front | demo | {"petbox/py.typed", "petbox/wire.py"} <= names


def test_stage_folders_are_no_packages() -> None:
    assert not [stage for stage in STAGES if (CHECKOUT / stage / "__init__.py").exists()]


def test_a_plain_install_needs_nothing() -> None:
    assert project()["project"]["dependencies"] == []


# What is stated twice


def test_the_version_is_the_same_everywhere() -> None:
    changelog = (CHECKOUT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[?v?([0-9][^\s\]]*)", changelog, re.MULTILINE)
    assert newest, "CHANGELOG.md has no heading with a version"
    stated = {project()["project"]["version"], petbox.__version__, newest[1]}
    assert len(stated) == 1, stated


def test_tensorflow_is_of_one_minor_version() -> None:
    found: dict[str, str] = {}
    extras = project()["project"]["optional-dependencies"]
    for requirement in (*extras["tf"], *extras["train"]):
        if match := re.match(r"(tensorflow|tf-models-official)>=(\d+\.\d+)", requirement):
            found[f"pyproject.toml: {match[1]}"] = match[2]
    locked = (CHECKOUT / "locks/dev.txt").read_text()
    for name, minor in re.findall(
        r"^(tensorflow|tf-models-official)==(\d+\.\d+)", locked, re.MULTILINE
    ):
        found[f"locks/dev.txt: {name}"] = minor
    folders = (CHECKOUT / "container", CHECKOUT / "serverless")
    for path in sorted(path for folder in folders for path in folder.glob("**/*Dockerfile")):
        for image, minor in re.findall(
            r"(tensorflow/(?:serving|tensorflow)):(\d+\.\d+)", path.read_text()
        ):
            found[f"{path.relative_to(CHECKOUT)}: {image}"] = minor
    assert {
        "pyproject.toml: tensorflow",
        "pyproject.toml: tf-models-official",
        "locks/dev.txt: tensorflow",
        "locks/dev.txt: tf-models-official",
        "container/Dockerfile: tensorflow/serving",
        "container/train.Dockerfile: tensorflow/tensorflow",
        "serverless/zoo/Dockerfile: tensorflow/tensorflow",
    } <= found.keys()
    assert len(set(found.values())) == 1, found


def help_texts() -> dict[str, str]:
    """What README.md shows of `$ petbox … --help`, by its words."""
    readme = (CHECKOUT / "README.md").read_text()
    shown: dict[str, str] = {}
    for block in re.findall(r"^```console\n(.*?)^```", readme, re.MULTILINE | re.DOTALL):
        for line, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            if re.match(r"(\S*/)?petbox\b.*--help$", line):
                shown[line] = output
    return shown


def test_the_help_text_in_the_readme_is_the_real_one() -> None:
    shown = help_texts()
    assert shown, "README.md shows no `$ petbox … --help`"
    env = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(CHECKOUT)}
    for line, text in shown.items():
        command = [sys.executable, "-m", "petbox", *shlex.split(line)[1:]]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        assert done.stdout.rstrip("\n") == text.rstrip("\n"), f"{line} prints:\n{done.stdout}"
