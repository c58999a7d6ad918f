"""Lists every error message of the project, so that all can be read at once.

    python scripts/errors.py                  path, line and message of each
    python scripts/errors.py --no-advice      those without a part that says what to do

Python: what exceptions are made with, sys.exit and argparse's error(). Lua: what clients get.
Shell: what goes to stderr. `{...}` is filled in when the program runs.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDERS = ("petbox", "train", "export", "serverless", "scripts", "container")
CALLS = {"exit", "error", "fail"}  # sys.exit, parser.error and the like
BUILT_IN = {
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
FILLED_IN = re.compile(r"\{[^{}]*\}|\$\S*")
WORDS = re.compile(r"[a-z]{2,}.* .*|.* [a-z]{2,}")  # else it is a name
NOT_WORDS = re.compile(r"[*\\]|^# |petbox_|^[a-z]+( [a-z0-9]+){5,}$")  # C, patterns, metrics, lists
QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'")
SHELL = re.compile(r"(?:\b(?:fail|say|misuse)|echo >&2) +((?:[\s\\]*\"(?:[^\"\\]|\\.)*\")+)")
ADVICE = re.compile(r"; |, or |: (give|expected|choose|use)\b")


class Message(NamedTuple):
    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(CHECKOUT)}:{self.line}: {self.text}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-advice", action="store_true", help="only those that advise nothing")
    options = parser.parse_args()
    for message in messages():
        if not (options.no_advice and ADVICE.search(message.text)):
            print(message)


def messages() -> Iterator[Message]:
    files = [
        path
        for folder in FOLDERS
        for path in sorted((CHECKOUT / folder).rglob("*"))
        if path.is_file() and not path.is_symlink() and "page" not in path.parts
    ]
    trees = {path: ast.parse(path.read_text()) for path in files if path.suffix == ".py"}
    classes = BUILT_IN | exception_names(trees.values())
    for path in files:
        if path in trees:
            yield from of_python(path, trees[path], classes)
        elif path.suffix == ".lua":
            yield from of_lua(path)
        elif path.suffix == ".sh" or path.name == "serve":
            yield from of_shell(path)


def exception_names(trees: Iterable[ast.Module]) -> set[str]:
    """Classes of the project that derive from an exception."""
    bases = {
        node.name: {last_name(base) for base in node.bases}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found: set[str] = set()
    while new := {name for name, of in bases.items() if of & (found | BUILT_IN)} - found:
        found |= new
    return found


def of_python(path: Path, tree: ast.Module, classes: set[str]) -> Iterator[Message]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = last_name(node.func)
            if name in classes or name in CALLS:
                texts = map(template, node.args)
                if text := next(filter(has_words, texts), ""):
                    yield Message(path, node.lineno, text)


def has_words(text: str) -> bool:
    """Of its own, beside what is filled in."""
    return bool(WORDS.search(FILLED_IN.sub("", text)))


def last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def template(node: ast.expr) -> str:
    """The text of a string, with what is filled in between braces."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return f"{{{ast.unparse(node.value)}}}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    if isinstance(node, ast.IfExp):
        return f"{template(node.body)} | {template(node.orelse)}"
    return f"{{{ast.unparse(node)}}}"


def of_lua(path: Path) -> Iterator[Message]:
    """Strings of several words, in code that reports something."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        code = line.split(" -- ")[0]
        if not code.lstrip().startswith("--"):
            texts = [double or single for double, single in QUOTED.findall(code)]
            yield from (
                Message(path, number, text)
                for text in texts
                if has_words(text) and not NOT_WORDS.search(text)
            )


def of_shell(path: Path) -> Iterator[Message]:
    script = path.read_text()
    for found in SHELL.finditer(script):
        text = " ".join(part for part, _ in QUOTED.findall(found[1]))
        if has_words(text):
            yield Message(path, script.count("\n", 0, found.start()) + 1, text)


if __name__ == "__main__":
    main()
