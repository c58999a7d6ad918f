"""Output files and folders that are complete if they exist.

They are written under a temporary name beside the final one and renamed at the end, so that an
interrupted program leaves nothing that looks like an output.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from petbox.errors import DataError, PetboxError


@contextmanager
def product(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary name to write; on success it becomes `path`, else it is removed.

    Only a file can be replaced; a finished folder is never changed.
    """
    if not replace:
        reject_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in path.parent.glob(f".{glob.escape(path.name)}.partial-*"):
        pid = left_over.suffix.removeprefix(".partial-")
        if pid.isdecimal() and not _alive(int(pid)):
            remove(left_over)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        if not replace:
            reject_existing(path)  # another process may have made it
        partial.rename(path)
    finally:
        remove(partial)


def reject_existing(path: Path) -> None:
    if path.exists():
        raise DataError(f"{path}: exists already and is not overwritten; remove it or name another")


def cache(name: str) -> Path:
    """The folder `name` of this user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "petbox" / name


@contextmanager
def locked(folder: Path, busy: PetboxError | None = None) -> Iterator[None]:
    """Creates and locks `folder`; if another process has the lock, raises `busy`, or else waits."""
    import fcntl  # not on Windows, where nothing locks

    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            assert busy is not None
            raise busy from error
        yield
    finally:
        os.close(lock)


def remove(path: Path) -> None:
    """Removes a file or a whole folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's, but running
    return True
