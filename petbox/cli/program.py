"""The one frame around every program: options in, exit code out, talk on stderr.

Exit 0 is done, 1 failed (one line says what and what to do), 2 misused (argparse), 130 and 143
interrupted. What is ours to mend keeps its traceback.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

from petbox.cli import options
from petbox.errors import PetboxError

T = TypeVar("T")

# What the system says of a disk or a path of the user's; other numbers may be our own mistakes.
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
    """The exit code of `act`, whose mendable errors become one line on stderr."""
    signal.signal(signal.SIGTERM, _leave)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    try:
        act()
        sys.stdout.flush()  # while a reader that left can still be told from a mistake
        return 0
    except PetboxError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; the same command goes on where it can")
        return 130
    except BrokenPipeError:  # the reader of our output left, as `head` does
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # or the interpreter flushes into the pipe again
        return 1
    except OSError as error:
        if error.errno not in OUTSIDE:
            raise
        say(f"error: {error.filename or 'writing'}: {os.strerror(error.errno).lower()}")
        return 1


def report(made: Path, as_json: bool, /, **facts: object) -> None:
    """Prints on stdout what was made: its path, or all that a program may want to know."""
    print(json.dumps({"path": str(made), **facts}, ensure_ascii=False) if as_json else made)


def say(text: str) -> None:
    """One line for the person at the terminal; stdout is kept for the product."""
    print(text, file=sys.stderr, flush=True)


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """TERM unwinds the stack as Ctrl-C does, so that nothing half-written stays."""
    sys.exit(143)
