"""Many clients at once: each is served, none is favored, and one that leaves costs nothing.

How many follows from the model's speed, so that no container has a reason to reject one.
"""

from __future__ import annotations

import itertools
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import NamedTuple

from petbox.serving.conform import metrics
from petbox.serving.conform.contract import (
    NotTried,
    Result,
    Results,
    holds,
    not_tried,
    require,
    result_of,
)
from petbox.serving.conform.invocations import invoke, succeeded
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.stop import complete, half_sent
from petbox.serving.http_client import Address, NoResponse, Response

CLIENTS = 96
FEWEST_CLIENTS = 8
QUEUE_SECONDS = 5.0  # of the model's time that one request of each client may take
FEWEST_ROUNDS, ROUNDS = 6, 24  # requests of each client, on average; more if they are fast
FAIR = 4  # times as many responses as the least served client has
FAIR_ATTEMPTS = 2  # a busy machine stops some clients; an unfair queue starves some each time
SCRAPE_PAUSE = 0.1
ATTEMPTS = 6
SLOW_ENOUGH = 0.003  # seconds per request, so that sending it is cheap beside computing it


class Served(NamedTuple):
    counts: list[int]  # responses with 200, by client
    failed: list[Response | NoResponse]
    scrapes: list[Result]

    @property
    def fair(self) -> bool:
        return max(self.counts) <= FAIR * min(self.counts)


def clients_and_rounds(at: Address, payload: Payload) -> tuple[int, int]:
    """As many clients as the model answers in QUEUE_SECONDS, and the requests of each of them."""
    response = invoke(at, payload)
    if not isinstance(response, Response) or response.status != 200:
        raise NotTried(f"/invocations does not work: {response}")
    if response.seconds * FEWEST_CLIENTS > QUEUE_SECONDS:
        raise NotTried(f"a request takes {response.seconds:.1f} s: too long to queue many")
    start = time.monotonic()
    send_together(at, payload, FEWEST_CLIENTS)
    each = (time.monotonic() - start) / FEWEST_CLIENTS
    affordable = int(QUEUE_SECONDS / each)
    clients = max(FEWEST_CLIENTS, min(CLIENTS, affordable))
    return clients, max(FEWEST_ROUNDS, min(ROUNDS, affordable // clients))


def send_together(at: Address, payload: Payload, clients: int, rounds: int = 1) -> Served:
    """Each client sends its next request when it has its response; /metrics is read meanwhile."""
    served = Served([0] * clients, [], [])
    tickets, start = itertools.count(), threading.Barrier(clients)

    def client(number: int) -> None:
        start.wait()
        while next(tickets) < clients * rounds:
            response = invoke(at, payload)
            if succeeded(response):
                served.counts[number] += 1
            else:
                served.failed.append(response)

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client, number) for number in range(clients)]
        while wait(running, SCRAPE_PAUSE).not_done:
            served.scrapes.append(result_of(metrics.scrape, at))
    return served


def served_together(at: Address, payload: Payload) -> Results:
    """What the same load shows of the queue and of /metrics."""
    try:
        clients, rounds = clients_and_rounds(at, payload)
        for _ in range(FAIR_ATTEMPTS):
            served = send_together(at, payload, clients, rounds)
            if served.failed or served.fair:
                break
    except NotTried as error:
        for name in ("queue-answered", "queue-fair", "metrics-under-load"):
            yield name, not_tried(str(error))
        return
    yield "queue-answered", result_of(_all_answered, served)
    yield "queue-fair", result_of(_fair, served)
    yield "metrics-under-load", _all_scraped(served.scrapes)


def _all_scraped(scrapes: list[Result]) -> Result:
    for scrape in scrapes:
        if scrape.outcome != "holds":
            return scrape
    if not scrapes:
        return not_tried("the model is too fast for a scrape meanwhile")
    return holds(f"{len(scrapes)} scrapes, the last with {scrapes[-1].detail}")


def _all_answered(served: Served) -> str:
    clients, failed = len(served.counts), served.failed
    detail = f"{sum(served.counts)} responses to {clients} clients, {len(failed) or 'none'} failed"
    return require(not failed, f"{detail}: {failed[0]}" if failed else detail)


def _fair(served: Served) -> str:
    if served.failed:
        raise NotTried("requests failed; see queue-answered")
    least, most = min(served.counts), max(served.counts)
    detail = f"each of {len(served.counts)} clients got {least} to {most} responses"
    return require(served.fair, detail)


def leavers_not_computed(at: Address, payload: Payload) -> str:
    """Whether clients that left the queue delay those that stay, as computing for them would.

    From outside only the model's slowness shows it: computing for as many leavers as others takes
    twice as long. It is compared with leavers whose requests lack the last byte, which cost as much
    otherwise. A busy machine delays everything, so the fastest of several runs counts.
    """
    request, (clients, _) = payload.raw_request(), clients_and_rounds(at, payload)
    incomplete = whole = float("inf")
    for attempt in range(ATTEMPTS):
        incomplete = min(incomplete, _seconds(at, payload, clients, request[:-1]))
        whole = min(whole, _seconds(at, payload, clients, request))
        if attempt and whole < 1.5 * incomplete:
            break
    if incomplete < clients * SLOW_ENOUGH:
        raise NotTried(
            f"the model is too fast to show it: {clients} responses in {incomplete:.2f} s"
        )
    beside = f"beside as many that left, and {incomplete:.2f} s if their requests were incomplete"
    detail = f"{clients} clients took {whole:.2f} s {beside}"
    return require(whole < 1.5 * incomplete, detail)


def _seconds(at: Address, payload: Payload, clients: int, left: bytes) -> float:
    """Until `clients` have their responses, beside as many that sent `left` and were gone."""
    start = time.monotonic()
    with ExitStack() as stay:
        staying = [stay.enter_context(half_sent(at, payload.raw_request())) for _ in range(clients)]
        with ExitStack() as leave:
            leaving = [leave.enter_context(half_sent(at, left)) for _ in range(clients)]
            sockets = [one for one in leaving if isinstance(one, socket.socket)]
            if len(sockets) < clients or select.select(sockets, [], [], 0)[0]:
                raise NotTried("no queue forms: the model is too fast, or requests are rejected")
        responses = [*complete(staying, b""), invoke(at, payload)]
    if not all(map(succeeded, responses)):
        raise NotTried("requests failed; see queue-answered")
    return time.monotonic() - start


def leavers_free_slots(at: Address, payload: Payload) -> str:
    clients, _ = clients_and_rounds(at, payload)
    for _ in range(2):
        with ExitStack() as leave:
            for _ in range(clients):
                leave.enter_context(half_sent(at, payload.raw_request()))
    return f"after {2 * clients} left: {_all_answered(send_together(at, payload, clients))}"
