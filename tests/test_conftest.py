"""What conftest.py ensures for every test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT, LONGEST, TOGETHER
from support.warm_python import IMPORTS, PYTHON, WarmPython


def test_programs_that_tests_start_can_be_interrupted() -> None:
    command = ["grep", "SigIgn", "/proc/self/status"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ignored = int(shown.split()[1], 16)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        assert not ignored >> (number - 1) & 1, f"{number.name} is ignored: {shown}"


def test_every_file_that_is_scheduled_by_its_name_exists() -> None:
    files = [path.stem for path in (CHECKOUT / "tests").rglob("test_*.py")]
    for name in (*LONGEST, *sum(TOGETHER, ())):
        assert files.count(name) == 1, name


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="run pytest with -n2")
def test_workers_have_tensorflow_imported_and_start_other_programs_without() -> None:
    assert "petbox.training.trainer" in sys.modules
    code = "import sys; print('tensorflow' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


@pytest.mark.parametrize("workers", ["0", "1"])
def test_so_they_can_where_the_shell_ignores_ctrl_c(workers: str, tmp_path: Path) -> None:
    """As a shell does for a command in the background: `make test &`."""
    test = f"{Path(__file__)}::{test_programs_that_tests_start_can_be_interrupted.__name__}"
    words = [sys.executable, "-m", "pytest", "-q", "-n", workers, f"--basetemp={tmp_path / 't'}"]
    script = 'trap "" HUP INT QUIT; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "-", *words, test],
        cwd=CHECKOUT,
        env={**os.environ, IMPORTS: ""},  # TensorFlow takes seconds, and is not needed here
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


SCRIPT = """
import atexit, os, sys
atexit.register(print, "goodbye")
print(sys.argv, os.getcwd(), os.environ.get("PETBOX_TEST_WARM"), sys.stdin.read(), __name__)
print("tensorflow" in sys.modules, file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", ["0", "3"])
def test_a_warm_program_is_as_one_that_python_starts(
    warm: WarmPython, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETBOX_TEST_WARM", code)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = warm.run(str(script), code, "ä", cwd=tmp_path, timeout=120)
    assert done.stdout == f"{[str(script), code, 'ä']} {tmp_path} {code}  __main__\ngoodbye\n"
    assert (done.returncode, done.stderr) == (int(code), "True\n")


def test_a_warm_program_that_raises_shows_where_and_leaves_the_next_alone(
    warm: WarmPython, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import json\njson.loads('{')\n")
    done = warm.run(str(script), cwd=tmp_path, timeout=120)
    assert done.returncode == 1 and not done.stdout
    assert f'File "{script}", line 2' in done.stderr and "JSONDecodeError" in done.stderr
    script.write_text("import os; os.abort()")
    assert warm.run(str(script), cwd=tmp_path, timeout=120).returncode == -signal.SIGABRT
    script.write_text("print('next')")
    assert warm.run(str(script), cwd=tmp_path, timeout=120).stdout == "next\n"


def test_a_warm_program_that_takes_too_long_is_killed(warm: WarmPython, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import time\ntime.sleep(0)")
    assert warm.run(str(script), cwd=tmp_path, timeout=120).returncode == 0  # it is warm
    script.write_text("import time\ntime.sleep(60)")
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(str(script), cwd=tmp_path, timeout=2)
    script.write_text("print('next')")
    assert warm.run(str(script), cwd=tmp_path, timeout=120).stdout == "next\n"


def test_warm_programs_run_side_by_side_and_get_their_own_signals(
    warm: WarmPython, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, sys, time\nprint(os.environ['NAME'], flush=True)\ntime.sleep(60)")
    with (
        warm.start(str(script), cwd=tmp_path, NAME="one") as one,
        warm.start(str(script), cwd=tmp_path, NAME="two") as two,
    ):
        for process, name in ((one, "one"), (two, "two")):
            assert process.stderr and process.stderr.readline() == f"{name}\n"
        one.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in one.communicate(timeout=60)[1]
        with pytest.raises(subprocess.TimeoutExpired):
            two.wait(0)
        two.terminate()
        assert two.communicate(timeout=60)[1] == ""
    assert [one.returncode, two.returncode] == [-signal.SIGINT, -signal.SIGTERM]


STARTER = """
import signal, subprocess, sys
code = "import sys; print('cold', 'tensorflow' in sys.modules)"
print(subprocess.check_output([sys.executable, "-c", code], text=True), end="", flush=True)
child = subprocess.Popen([sys.executable, "-u", *sys.argv[1:]])
signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
sys.exit(child.wait() + 128)
"""
STARTED = """
import os, sys, time
print("warm", "tensorflow" in sys.modules, os.environ["NAME"], flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("script", "number", "code"),
    [("starter.py", signal.SIGTERM, 128 - 15), ("started.py", signal.SIGKILL, -9)],
)
def test_a_warm_program_starts_warm_ones(
    script: str, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """They get its signals, and do not outlive what stands for them."""
    for name, text in (("starter.py", STARTER), ("started.py", STARTED)):
        (tmp_path / name).write_text(text)
    words = [PYTHON, tmp_path / script, tmp_path / "started.py"]
    env = {**os.environ, "NAME": "one"}
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        if script == "starter.py":
            assert process.stdout.readline() == "cold False\n"
        assert process.stdout.readline().split() == ["warm", "True", "one"]
        process.send_signal(number)
        assert process.wait(60) == code
        assert not process.stdout.read(), "nobody has it open any more"
