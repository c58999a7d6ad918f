"""Slow work that starts at once, and whose result is needed later."""

from __future__ import annotations

import threading

import pytest

from petbox.lambdas.eager import Eager, seconds_to_start


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [("", 8), ("on-demand", 8), ("provisioned-concurrency", 120), ("snap-start", 120)],
)
def test_a_snapshot_is_taken_of_the_whole_model(
    monkeypatch: pytest.MonkeyPatch, kind: str, seconds: float
) -> None:
    """Lambda's limit of ten seconds is for containers that start on demand."""
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    assert seconds_to_start() == seconds


def test_quick_work_is_done_at_once() -> None:
    eager = Eager(lambda: 7)
    eager.wait(30)
    assert eager.result() == eager.result() == 7


def test_slow_work_is_awaited_only_when_needed() -> None:
    go_on = threading.Event()
    eager = Eager(go_on.wait)
    eager.wait(0.01)
    assert not go_on.is_set(), "it came back before the work was done"
    go_on.set()
    assert eager.result() is True


def test_a_failure_is_raised_by_result_and_not_by_wait() -> None:
    def fail() -> None:
        raise ValueError("no model")

    eager = Eager(fail)
    eager.wait(30)
    with pytest.raises(ValueError, match="no model"):
        eager.result()


def test_failed_work_is_not_restarted_before_the_next_call() -> None:
    """Lambda would stop it in the middle."""
    tries, again = [], threading.Event()

    def fail_once() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise TimeoutError("S3 is away")
        again.set()
        return len(tries)

    eager = Eager(fail_once)
    with pytest.raises(TimeoutError, match="S3 is away"):
        eager.result()
    assert not again.wait(0.2)
    eager.wait(30)  # for nothing
    assert eager.result() == 2


def test_a_later_failure_is_raised_once_and_retried_for_the_next_caller() -> None:
    go_on, tries = threading.Event(), []

    def at_second() -> int:
        go_on.wait()
        tries.append(1)
        if len(tries) == 1:
            raise TimeoutError("S3 is away")
        return len(tries)

    eager = Eager(at_second)
    eager.wait(0.01)
    go_on.set()
    with pytest.raises(TimeoutError, match="S3 is away"):
        eager.result()
    assert eager.result() == 2
