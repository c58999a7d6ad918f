"""samconfig.toml, and what SAM's own command makes of the templates, where it is installed."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.aws import moto, settings
from support.templates import NESTED, SERVERLESS, of_kind, source

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

CONFIG = tomllib.loads((SERVERLESS / "samconfig.toml").read_text())
DEPLOYED = [name for name in CONFIG if name != "version"]
ROOT = SERVERLESS.parent


@pytest.mark.parametrize("name", DEPLOYED)
def test_samconfig_answers_what_sam_asks(name: str) -> None:
    stack, deploy = (CONFIG[name][command]["parameters"] for command in ("global", "deploy"))
    assert stack["template_file"] == f"{name}.yaml"
    assert re.fullmatch("[a-z][a-z0-9-]+", stack["stack_name"]), "it is part of a bucket's name"
    assert deploy["resolve_s3"] and deploy["confirm_changeset"]
    roles = any(name == "AWS::IAM::Role" for name in _kinds(name))
    nested = bool(of_kind(name, NESTED))
    expected = ["CAPABILITY_IAM"] * roles + ["CAPABILITY_AUTO_EXPAND"] * nested
    assert deploy.get("capabilities", []) == expected
    assert not deploy["fail_on_empty_changeset"], (
        "a second deployment of the same is none that fails"
    )
    assert CONFIG[name]["validate"]["parameters"]["lint"]


def _unanswered(name: str, given: set[str]) -> set[str]:
    known = source(name)["Parameters"]
    assert given <= known.keys(), f"{name}.yaml has no such parameters"
    return {key for key, one in known.items() if "Default" not in one} - given


TYPED = re.compile(
    r"sam deploy (?:--config-env |--template serverless/)(\w+)(.*?)(?=`|\n\$|\n +- name)", re.S
)


@pytest.mark.parametrize("name", DEPLOYED)
def test_every_parameter_has_an_answer_wherever_it_is_deployed(name: str) -> None:
    """In the file, or typed: what is typed replaces the file's list."""
    answers = CONFIG[name]["deploy"]["parameters"].get("parameter_overrides", [])
    there = {one.partition("=")[0] for one in answers}
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").rglob("*.yml")]
    commands = [
        found for page in pages for found in TYPED.findall(page.read_text()) if found[0] == name
    ]
    assert commands, "no page says how to deploy it"
    for _, words in commands:
        overrides = (
            set(re.findall(r"\s(\w+)=", words)) if "--parameter-overrides" in words else there
        )
        assert not _unanswered(name, overrides), words


def _kinds(name: str) -> list[str]:
    return [resource["Type"] for resource in source(name)["Resources"].values()]


# SAM takes a gigabyte, so it is not among the project's requirements.
needs_sam = pytest.mark.skipif(shutil.which("sam") is None, reason="sam: not installed")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The templates, and zips of nothing, which SAM does not look into."""
    root = tmp_path_factory.mktemp("sam")
    shutil.copytree(SERVERLESS, root / "serverless")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("handler.py", "")
    (root / "build/lambda").mkdir(parents=True)
    for uri in re.findall(r"CodeUri: \.\./(\S+)", "".join(map(_text, DEPLOYED))):
        (root / uri).write_bytes(content.getvalue())
    return root


def _text(name: str) -> str:
    return (SERVERLESS / f"{name}.yaml").read_text()


def sam(checkout: Path, *words: Any, **env: str) -> str:
    env = {**os.environ, "SAM_CLI_TELEMETRY": "0", "HOME": str(checkout), **env}
    done = subprocess.run(
        ["sam", *map(str, words)],
        cwd=checkout / "serverless",
        env={key: value for key, value in env.items() if not key.startswith("PYTHON")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_sam
@pytest.mark.parametrize("name", DEPLOYED)
def test_sam_accepts_and_builds_each_template(checkout: Path, tmp_path: Path, name: str) -> None:
    words = ("--config-env", name)
    assert "valid SAM" in sam(checkout, "validate", "--region", "us-east-1", *words)
    sam(checkout, "build", *words, "--build-dir", tmp_path / "built")
    built = (tmp_path / "built/template.yaml").read_text()
    assert built.count("TemplateURL") == len(of_kind(name, NESTED))


@needs_sam
def test_sam_uploads_the_zips_and_the_stacks_in_the_stack(checkout: Path, tmp_path: Path) -> None:
    with moto() as aws:
        aws.client("s3").create_bucket(Bucket="artifacts")
        words = ("--s3-bucket", "artifacts", "--output-template-file", tmp_path / "packaged.yaml")
        sam(checkout, "package", "--config-env", "front", *words, **settings(aws.url))
    packaged = (tmp_path / "packaged.yaml").read_text()
    assert len(re.findall(r"CodeUri: s3://artifacts/", packaged)) == 2
    nested = re.findall(r"TemplateURL: http\S+artifacts/\S+\.template", packaged)
    assert len(nested) == len(of_kind("front", NESTED))
