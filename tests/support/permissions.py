"""The documents' tables of permissions, compared with the calls that each command really made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("endpoint.md", "account.md")
# IAM's names of what S3 does, by method and query: of a bucket, and of an object.
OF_BUCKETS = {
    "HEAD": "ListBucket",
    "PUT": "CreateBucket",
    "GET encryption": "GetEncryptionConfiguration",
    "PUT encryption": "PutEncryptionConfiguration",
    "GET policy": "GetBucketPolicy",
    "PUT policy": "PutBucketPolicy",
    "GET publicAccessBlock": "GetBucketPublicAccessBlock",
    "PUT publicAccessBlock": "PutBucketPublicAccessBlock",
}
OF_OBJECTS = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}

_typed: list[str] = []  # the command that runs in this process


@contextmanager
def typing(words: Sequence[str]) -> Iterator[None]:
    _typed[:] = words[1:2] if words[:1] == ["endpoint"] else words[:1]
    try:
        yield
    finally:
        _typed.clear()


class Seen:
    """The actions that petbox used, and the command that did, if it ran in this process."""

    def __init__(self) -> None:
        self._actions: set[tuple[str, str]] = set()

    def add(self, action: str) -> None:
        self._actions.add((_typed[0] if _typed else "", action))

    def check(self) -> None:
        """Raises for an action that the tables do not list for the command."""
        wrong = {one for one in self._actions if one[1] not in allowed(one[0])}
        assert not wrong, f"the documents do not list {sorted(wrong)}"


def of_s3(method: str, path: str) -> str:
    url = urlsplit(path)
    _, _, key = url.path.strip("/").partition("/")
    if key:
        return OF_OBJECTS.get(method, "PutObject")  # a POST is of an upload in parts
    listed_or_deleted = "ListBucket" if method == "GET" else "DeleteObject"
    return OF_BUCKETS.get(f"{method} {url.query}".strip(), listed_or_deleted)


@cache
def allowed(command: str) -> frozenset[str]:
    """What the rows of a command and of all flags list; without a command, all of them."""
    found: set[str] = set()
    for names, actions, others in _rows():
        if not command or any(
            name == command or name.startswith(("--", f"{command} ")) for name in names
        ):
            found |= actions
            for other in others if command else ():
                found |= allowed(other)
    return frozenset(found)


@cache
def _rows() -> list[tuple[list[str], set[str], list[str]]]:
    """Of each row the commands or flags, the actions, and the commands whose rows it includes."""
    found = []
    for page in PAGES:
        section = (DOCS / page).read_text().split("## Permissions")[1].split("\n## ")[0]
        for first, second in re.findall(r"^\| (.+?) \| (.+) \|$", section, re.MULTILINE):
            names = re.findall(r"`(?:petbox |scripts/)?([^`]+)`", first)
            actions = re.findall(r"`(?:[\w-]+:)?([A-Z]\w+)`", second)
            others = [
                name
                for several in re.findall(r"those of ((?:(?:, | and )?`[^`]+`)+)", second)
                for name in re.findall(r"`(?:petbox |scripts/)?([^`]+)`", several)
            ]
            found.append((names, set(actions), others))
    return found
