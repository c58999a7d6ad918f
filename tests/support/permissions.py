"""The documents' tables of permissions, compared with the calls that each run really made.

A run is recognized by an ID in its calls' User-Agent, which AWS's variable for that puts there. It
may do what the rows of its command and of its flags list, those of its pets.toml included, and of
the flags with which its endpoint was made.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from petbox.sagemaker.deploy.file import ALIASES
from petbox.sagemaker.endpoint.spec import EndpointSpec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("endpoint.md", "account.md")
RUN = "AWS_SDK_UA_APP_ID"
# IAM's names of what S3 does, by method and query: of a bucket, and of an object.
OF_BUCKETS = {
    "HEAD": "ListBucket",
    "PUT": "CreateBucket",
    "GET encryption": "GetEncryptionConfiguration",
    "PUT encryption": "PutEncryptionConfiguration",
    "GET notification": "GetBucketNotification",
    "GET policy": "GetBucketPolicy",
    "PUT policy": "PutBucketPolicy",
    "GET publicAccessBlock": "GetBucketPublicAccessBlock",
    "PUT publicAccessBlock": "PutBucketPublicAccessBlock",
}
OF_OBJECTS = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
INVOCATIONS = {"invocations": "InvokeEndpoint", "async-invocations": "InvokeEndpointAsync"}
SCHEDULES = {"GET": "Get", "POST": "Create", "PUT": "Update", "DELETE": "Delete"}
# Listed, although no run calls them. By action, or for one command.
UNUSED = {
    "PassRole": "AWS checks it when a call names the role",
    "CreateServiceLinkedRole": "Application Auto Scaling calls it",
    "CreateGrant": "SageMaker and ECR call it",
    "RetireGrant": "ECR calls it",
    "DescribeKey": "SageMaker and ECR call it",
    "Decrypt": "S3 calls it",
    "GenerateDataKey": "S3 calls it",
    "BatchCheckLayerAvailability": "Docker's push calls it in the registry",
    "InitiateLayerUpload": "Docker's push calls it in the registry",
    "UploadLayerPart": "Docker's push calls it in the registry",
    "CompleteLayerUpload": "Docker's push calls it in the registry",
    "TagRole": "AWS checks it when CreateRole has tags",
    "transform: AddTags": "AWS checks it when CreateModel and CreateTransformJob have tags",
    "train-job: AddTags": "AWS checks it when CreateTrainingJob has tags",
    "push_ecr.sh: GetDownloadUrlForLayer": "AWS lists it for those who push",
    "detect --endpoint: InvokeEndpoint": "the client writes the whole User-Agent itself",
    "--model-data: ListBucket": "without it S3 answers 403 for an archive that is not there",
    "doctor: ListRoles": "the tests of `up` look for a role of another --name",
    "upload: ListBucket": "without it S3 answers 403 for a result that is not there yet",
}


@dataclass(frozen=True)
class Run:
    """A command as in the tables, and its flags without `no-`."""

    command: str
    flags: frozenset[str] = frozenset()


def _flag(key: str) -> str:
    return f"--{key.rstrip('_').replace('_', '-')}"


STAYS = frozenset(_flag(one.name) for one in fields(EndpointSpec))
_runs: list[Run] = []
_made_with: dict[tuple[str | None, str], frozenset[str]] = defaultdict(frozenset)
used: set[tuple[str, str]] = set()  # the first cells' texts, and the actions that runs used


def begin(words: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    """The variable by which the calls of a command are recognized."""
    command, flags, endpoint = " ".join(words[:1]), _flags(words), ""
    if command == "endpoint":
        command, endpoint = " ".join(words[1:2]), " ".join(words[2:3])
    elif command == "zoo":
        command = " ".join(words[:2])
    if command in ("deploy", "export"):
        stated = _file(words)
        endpoint = str(stated.get("name", endpoint))
        flags |= {_flag(ALIASES.get(key, key)) for key in stated}
        if stated.get("image") == "build":
            flags |= {'image = "build"'}
    of_endpoint = env.get("AWS_ENDPOINT_URL"), endpoint
    if command in ("up", "deploy"):
        _made_with[of_endpoint] |= flags & STAYS
    _runs.append(Run(command, flags | (_made_with[of_endpoint] if endpoint else frozenset())))
    return {RUN: f"run-{len(_runs) - 1}"}


def _flags(words: Iterable[str]) -> frozenset[str]:
    typed = (word.partition("=")[0] for word in words if word.startswith("--"))
    return frozenset(re.sub("^--no-(?!env|tag|vpc)", "--", word) for word in typed)


def _file(words: Sequence[str]) -> dict[str, Any]:
    """What is in the command's pets.toml, if it is one."""
    for word in words:
        if Path(word).is_file():
            try:
                return tomllib.loads(Path(word).read_text())
            except (UnicodeDecodeError, tomllib.TOMLDecodeError):
                continue
    return {}


class Seen:
    """The actions that petbox used, and in which runs."""

    def __init__(self) -> None:
        self._actions: set[tuple[Run, str]] = set()

    def add(self, action: str, user_agent: str) -> None:
        if run := re.search(r"\bapp/run-(\d+)\b", user_agent):
            self._actions.add((_runs[int(run[1])], action))

    def check(self) -> None:
        """Raises for an action that the tables do not list for the run."""
        wrong = set()
        for run, action in self._actions:
            if action in allowed(run):
                used.update((cell, action) for cell in _cells(run) if action in tables()[cell][0])
            else:
                wrong.add(f"{run.command} {' '.join(sorted(run.flags))}: {action}")
        assert not wrong, "the documents do not list " + "; ".join(sorted(wrong))


def action(name: str, method: str, path: str, headers: Mapping[str, str]) -> str | None:
    """IAM's name of a call whose operation is `name`, or a method and a path."""
    if "/s3/aws4_request" in headers.get("Authorization", ""):
        return of_s3(method, path)
    name = INVOCATIONS.get(name.rpartition("/")[2], name)
    return None if not name or " " in name else name


def of_s3(method: str, path: str) -> str:
    url = urlsplit(path)
    _, _, key = url.path.strip("/").partition("/")
    if key:
        return OF_OBJECTS.get(method, "PutObject")  # a POST is of an upload in parts
    listed_or_deleted = "ListBucket" if method == "GET" else "DeleteObject"
    return OF_BUCKETS.get(f"{method} {url.query}".strip(), listed_or_deleted)


@cache
def allowed(run: Run) -> frozenset[str]:
    found: set[str] = set()
    for cell in _cells(run):
        actions, others = tables()[cell]
        found |= actions
        for other in others:
            found |= allowed(Run(other, _flags(run.flags)))
    return frozenset(found)


def unused() -> list[str]:
    """What a row lists, and no run of its commands and flags did."""
    return [
        f"{', '.join(names)}: {action}"
        for names, actions, _ in _rows()
        for action in sorted(actions)
        if not UNUSED.keys() & {action, f"{names[0]}: {action}"}
        and not any((name, action) in used for name in names)
    ]


@cache
def _cells(run: Run) -> list[str]:
    return [cell for cell in tables() if _is_of(cell, run)]


def _is_of(cell: str, run: Run) -> bool:
    """Of a command, with a flag or without; of a flag of any command; of a key in pets.toml."""
    if cell in run.flags:
        return True
    command, _, needed = cell.partition(" --")
    flags = {f"--{needed.split()[0]}"} if needed else set()
    return command == run.command and flags <= run.flags


@cache
def _rows() -> list[tuple[list[str], frozenset[str], list[str]]]:
    """Of each row the commands or flags, the actions, and the commands whose rows it includes."""
    found = []
    for page in PAGES:
        section = (DOCS / page).read_text().split("## Permissions")[1].split("\n## ")[0]
        for first, second in re.findall(r"^\| (.+?) \| (.+) \|$", section, re.MULTILINE):
            actions = re.findall(r"`(?:[\w-]+:)?([A-Z]\w+)`", second)
            several = re.findall(r"those of ((?:(?:, | and )?`[^`]+`)+)", second)
            others = [name for one in several for name in _names(one)]
            if names := _names(first):
                found.append((names, frozenset(actions), others))
    return found


@cache
def tables() -> dict[str, tuple[frozenset[str], tuple[str, ...]]]:
    """The same by command or flag."""
    found: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {}
    for names, actions, others in _rows():
        for name in names:
            before = found.get(name, (frozenset(), ()))
            found[name] = before[0] | actions, (*before[1], *others)
    return found


@cache
def iam_actions() -> dict[str, Any]:
    """cfn-lint's list of all actions, and the resources that each supports."""
    path = resources.files("cfnlint.data.AdditionalSpecs") / "Policies.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _names(text: str) -> list[str]:
    return re.findall(r"`(?:petbox |scripts/)?([^`]+)`", text)


# A plugin of pytest: after all tests, what none of them used


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    used.update(map(tuple, getattr(node, "workeroutput", {}).get("permissions", ())))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["permissions"] = sorted(used)
        return
    whole = config.args == config.getini("testpaths")
    chosen = config.option.keyword or config.option.markexpr
    if whole and not chosen and not session.exitstatus and (left := unused()):
        writer = config.pluginmanager.get_plugin("terminalreporter")
        writer.write_line("the documents list permissions that no test used:", red=True)
        for one in left:
            writer.write_line(f"  {one}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
