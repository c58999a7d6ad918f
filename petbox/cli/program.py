"""What every program shares: options in, exit code out, messages on stderr.

Exit code 0: done. 1: failed, with one line that says why and what to do. 2: wrong usage (argparse).
130 and 143: interrupted. Bugs of ours keep their traceback.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

from petbox.cli import options
from petbox.errors import PetboxError, ServiceError

T = TypeVar("T")

# The user's disk or path is the cause; other numbers may be bugs of ours.
OUTSIDE = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)


def run(
    config: type[T], main: Callable[[T], object], argv: Sequence[str] | None = None, about: str = ""
) -> NoReturn:
    """Runs `main` with the options on the command line and leaves the process."""
    sys.exit(guarded(lambda: main(options.parse(config, argv, about=about))))


def guarded(act: Callable[[], object]) -> int:
    """The exit code of `act`; an error that the user can fix becomes one line on stderr."""
    signal.signal(signal.SIGTERM, _leave)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    try:
        act()
        sys.stdout.flush()  # so that a closed pipe is noticed here
        return 0
    except PetboxError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; the same command continues where it can")
        return 130
    except BrokenPipeError:  # the reader has exited, as `head` does
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # or the interpreter flushes into the pipe again
        return 1
    except OSError as error:
        if error.errno not in OUTSIDE:
            raise
        say(f"error: {error.filename or 'writing'}: {os.strerror(error.errno).lower()}")
        return 1


def say_loading() -> None:
    """For programs that import TensorFlow and trace graphs.

    That makes so many objects, and hardly any garbage, that looking for it takes a second.
    """
    say("loading TensorFlow ...")
    gc.set_threshold(50_000, 20, 20)


@contextmanager
def silent() -> Iterator[None]:
    """For converters and sessions, which log in C++ whatever the settings are."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def report(made: Path, as_json: bool, /, **facts: object) -> None:
    """Prints the product on stdout: its path, or with --json one object with more facts."""
    print(json.dumps({"path": str(made), **facts}, ensure_ascii=False) if as_json else made)


def say(text: str) -> None:
    """Prints one line for the user; stdout is for the product."""
    print(text, file=sys.stderr, flush=True)


def confirm(subject: str, question: str, why: str = "stdin is not a terminal") -> None:
    """Returns after a yes at the terminal."""
    if not sys.stdin.isatty():
        raise ServiceError(f"{subject}: {why}; pass --yes to confirm")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ServiceError(f"{subject}: nothing was changed")


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """TERM unwinds the stack as Ctrl-C does, so that nothing half-written is left."""
    sys.exit(143)
