"""The memory limits of control groups, and the line that a killed training leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from petbox.training import memory

GIB = 2**30
OF_VERSION = {  # the process's group, where its files are, and the names of the files
    1: ("4:memory:/job/7\n1:cpu:/\n", "sys/fs/cgroup/memory", "limit_in_bytes", "oom_control"),
    2: ("0::/job/7\n", "sys/fs/cgroup", "max", "events"),
}


def kernel(root: Path, version: int) -> Path:
    """The kernel's files below `root` for a process in the group /job/7; returns its folder."""
    groups, mount, limit, _ = OF_VERSION[version]
    own = root / mount / "job/7"
    own.mkdir(parents=True)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (own / f"memory.{limit}").write_text("max\n" if version == 2 else f"{2**63 - 4096}\n")
    (own.parent / f"memory.{limit}").write_text(f"{GIB // 2}\n")
    return own


@pytest.mark.parametrize("version", OF_VERSION)
def test_the_limit_of_a_group_above_counts(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "ROOT", tmp_path)
    machine = memory.total()
    assert memory.described() == f"this machine's {machine / GIB:.1f} GiB of memory"
    kernel(tmp_path, version)
    assert memory.total() == GIB // 2
    assert memory.described() == "the memory limit of 0.5 GiB (cgroup)"
    assert memory.fits([GIB // 16]) and not memory.fits([GIB // 16, 1])


KILLED = """
import os, signal, sys
from pathlib import Path
from petbox.training import memory
memory.ROOT = Path(sys.argv[1])
with memory.death_reported("pass a smaller --batch-size than 64"):
    for file in sys.argv[3:]:
        Path(file).write_text("under_oom 0\\noom_kill 1\\n")
    os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.mark.parametrize("version", OF_VERSION)
@pytest.mark.parametrize("for_memory", [True, False])
def test_a_training_that_is_killed_for_memory_says_so(
    version: int, for_memory: bool, tmp_path: Path
) -> None:
    events = kernel(tmp_path, version) / f"memory.{OF_VERSION[version][3]}"
    events.write_text("under_oom 0\noom_kill 0\n")
    words = [KILLED, str(tmp_path), str(int(signal.SIGKILL)), *([str(events)] * for_memory)]
    done = subprocess.run(
        [sys.executable, "-c", *words], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == -signal.SIGKILL
    said = (
        "error: killed out of memory, at the memory limit of 0.5 GiB (cgroup); "
        "pass a smaller --batch-size than 64\n"
    )
    assert done.stderr == (said if for_memory else "")
