"""How often results are looked for that appear about in order."""

from __future__ import annotations

from petbox.client.response_polling import Polling

MANY = 1000


def test_few_requests_are_spent_on_what_is_not_there_yet() -> None:
    ready: set[int] = set()
    looks: list[tuple[int, bool]] = []

    def look(n: int, late: bool) -> int | None:
        looks.append((n, late))
        return n if n in ready else None

    polling = Polling({n: n for n in range(MANY)}, look, parallel=8, seconds=60)
    assert polling.poll() == {} and len(looks) == 2
    assert not any(late for _, late in looks)  # nothing says that a failure is to be looked for
    assert polling.poll() == {} and len(looks) == 4
    assert all(late for _, late in looks[2:])  # but now it may be

    ready |= set(range(MANY)) - {7}
    looks.clear()
    came: set[int] = set()
    while len(came) < MANY - 1:
        came |= polling.poll().keys()
    assert len(looks) < 1.1 * MANY  # and one failed
    assert polling.waiting == {7: 7}
    ready.add(7)
    assert polling.poll() == {7: 7}
