"""bench/peers.py: what it keeps of a run, and its bars."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.serving import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "bench"))
import peers


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(peers, "OUT", tmp_path)
    monkeypatch.setattr(peers.report, "commit", lambda: "first")
    (tmp_path / "toy" / "1").mkdir(parents=True)
    (tmp_path / "toy" / "1" / "saved_model.pb").touch()
    return tmp_path / "toy"


def turn(rate: float, p99: float) -> dict[str, peers.Measured]:
    """All servers alike, but petbox has this rate and p99 beside 100 images/s and 100 ms."""
    found = {peer.name: peers.Measured() for peer in peers.PEERS}
    for name, one in found.items():
        mine = name == peers.OURS
        for at in peers.CONNECTIONS:
            seconds = [p99 / 1000 if mine else 0.1]
            one.loads[at] = peers.Load([rate if mine else 100.0], seconds, [0.01])
    return found


def test_an_interrupted_run_continues_at_the_same_commit(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers.Kept("toy", model, 40).add(turn(98, 105))
    again = peers.Kept("toy", model, 40)
    again.add(turn(99, 104))
    once_more = peers.Kept("toy", model, 40)
    assert (once_more.turns, once_more.servers) == (2, again.servers)
    assert once_more.servers[peers.OURS].loads[16].rates == [98, 99]
    assert peers.Kept("toy", model, 41).turns == 0
    monkeypatch.setattr(peers.report, "commit", lambda: "second")
    assert peers.Kept("toy", model, 40).turns == 0


def test_a_request_that_others_pass_is_seen() -> None:
    # Two connections; on the second one a request waits for three of the first.
    begins, ends = [0.0, 1.0, 2.0, 0.5, 4.0, 4.5], [1.0, 2.0, 3.0, 3.5, 5.0, 6.0]
    assert peers.others_meanwhile(begins, ends) == [0, 0, 0, 3]


def test_each_number_of_connections_has_two_bars() -> None:
    held = [row[-1] for row in peers.bars(turn(98, 105))]
    assert held == ["≥ 0.98", "≤ 1.05"] * len(peers.CONNECTIONS)
    missed = [row[-1] for row in peers.bars(turn(97, 106))]
    assert missed == ["≥ 0.98, missed", "≤ 1.05, missed"] * len(peers.CONNECTIONS)
