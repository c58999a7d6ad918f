"""RESULTS.md: which tables are of this commit and machine, and which bars they miss."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.serving import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "bench"))
import report


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with an empty RESULTS.md."""
    path = tmp_path / "RESULTS.md"
    names = ("summary", "front", "a-b")
    path.write_text("".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in names))
    monkeypatch.setattr(report, "CHECKOUT", tmp_path)
    monkeypatch.setattr(report, "RESULTS", path)
    git("init", "-q")
    commit("code.py")
    return path


def git(*words: str) -> None:
    who = ("-c", "user.name=Jo", "-c", "user.email=jo@example.org")
    subprocess.run(["git", *who, *words], cwd=report.CHECKOUT, check=True)


def commit(name: str) -> None:
    with (report.CHECKOUT / name).open("a") as file:
        file.write("more\n")
    git("add", ".")
    git("commit", "-qm", name)


def write(name: str, script: str, *bars: str) -> None:
    rows = [[f"row {place}", bar] for place, bar in enumerate(bars)]
    report.write_table(name, f"python bench/{script}.py --turns 3", ["", "bar"], rows)


def test_a_benchmark_is_done_until_what_it_measures_changes() -> None:
    assert not report.is_done("front")
    write("front", "front", "")
    assert report.is_done("front")
    commit("README.md")  # the table is committed, too
    assert report.is_done("front")
    (report.CHECKOUT / "tests").mkdir()
    commit("tests/test_code.py")
    assert report.is_done("front")
    write("a-b", "front", "")
    (report.CHECKOUT / "code.py").write_text("changed")
    assert not report.is_done("front")
    write("front", "front", "")
    assert not report.is_done("front"), "its second table is of another commit"
    write("a-b", "front", "")
    assert report.is_done("front")
    commit("code.py")
    assert not report.is_done("front")


def test_tables_of_one_commit_are_of_one_machine(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("front", "front", "")
    assert not report.others()
    results.write_text(results.read_text().replace(" cores of ", " cores of another "))
    assert len(report.others()) == 1
    assert not report.is_done("front")
    monkeypatch.setattr(sys, "argv", ["report.py", "check"])
    with pytest.raises(SystemExit, match=r"cores of another .* this is "):
        report.main()
    commit("code.py")
    assert not report.others()


def test_missed_bars_are_listed() -> None:
    assert report.at_most(1.5, 1.5, "x") == "≤ 1.5x"
    assert report.at_least(0.5, 0.5) == "≥ 0.5"
    over, under = report.at_most(1.6, 1.5, "x"), report.at_least(0.4, 0.5)
    write("front", "front", over, report.at_most(1, 2), under)
    write("a-b", "pets", report.at_most(1, 2, others_hold=False), "")
    assert [*report.missed()] == [
        "front: row 0, ≤ 1.5x, missed",
        "front: row 2, ≥ 0.5, missed",
        "pets: row 0, ≤ 2, missed",
    ]


def test_the_summary_has_each_bar_with_what_was_measured(results: Path) -> None:
    head = ["preset", "mAP", "minutes", "bar"]
    rows = [["small", "0.7", "18", "≤ 2, missed"], ["bar", "≥ 0.6", "≤ 25", ""]]
    report.write_table("front", "python bench/front.py", head, rows)
    text = results.read_text()
    assert text.startswith(
        f"<!-- summary -->\n2 of 3 bars hold. Measured on {report.machine()}, commit"
    )
    assert [line for line in text.splitlines() if line.startswith("| `front`")] == [
        "| `front` | small | 0.7 · 18 | ≤ 2 | **missed** |",
        "| `front` | small | mAP · 0.7 | ≥ 0.6 | held |",
        "| `front` | small | minutes · 18 | ≤ 25 | held |",
    ]
