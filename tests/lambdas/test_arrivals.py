"""Images by the thousand through the S3 front, while everything that can go wrong does."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import soak
from support.arrivals import Fleet, Trouble, arrivals


@pytest.mark.soak
def test_nothing_is_lost_and_no_result_is_written_twice(
    fronts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = soak.count(60, 10_000)
    with arrivals("arrivals", Trouble(), hidden=soak.count(8, 60)) as there:
        report = Fleet(there, fronts, tmp_path, endpoint_seconds=0.02).work(count, processes=2)
        results, given_up = there.results(), there.given_up()
    with capsys.disabled():
        print(f"\n{report}")
    assert len(there.expected) == count
    for name in vars(Trouble()):
        assert report.happened[name], f"{name} never happened"
    assert set(results) == set(there.expected)
    twice = {key for key, versions in results.items() if len(versions) > 1}
    assert twice <= there.replaced  # of these, each content has its result
    wrong = {key for key, good in there.expected.items() if good == ("error" in results[key][0])}
    assert not wrong
    broken = {key for key, good in there.expected.items() if not good}
    assert broken <= given_up <= broken | there.replaced
