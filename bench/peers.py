"""petbox compared with other servers for a TensorFlow detector, alternating on one machine.

    python bench/peers.py                                    both models, half an hour
    python bench/peers.py --models toy --pictures 40         a first look

Each peer is installed from its public package into its own environment under build/peers, and set
up as documented (bench/peer_servers); all use the same installation of TensorFlow with its default
number of threads. All run at once and are called in turns by `hey` (Debian's package) with the same
image, a few requests at a time: a shared host is fast in one half minute and slow in the next. The
responses contain all of `serving_default`. Each turn is kept: an interrupted run at the same commit
continues with the next.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import signal
import statistics
import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import export_speed
import report
from model_server import TOY, jpeg
from peer_process import OUT, PEERS, Running, cpu_seconds, install, megabytes, running

from petbox import outputs

LARGER = export_speed.OUT / export_speed.BARRED
CONNECTIONS = (1, 4, 16)
BLOCKS = 5  # that the requests of a turn come in, or as many as have two of each connection
OURS = "petbox"
THROUGHPUT, P99 = 0.98, 1.05  # times the best peer's
HEAD = ["server", "connections", "images/s", "p50, ms", "p99, ms", "CPU, ms an image"]
HEAD += ["others meanwhile, p99", "errors", "memory, MB", "first response, s"]
BARS = ["connections", "", OURS, "best of the others", "ratio", "bar"]


@dataclass
class Load:
    """What `hey` saw in all turns, at one number of connections."""

    rates: list[float] = field(default_factory=list)  # of each block, as `cpu` is
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # seconds an image
    others: list[int] = field(default_factory=list)  # that had a response while a request waited
    errors: int = 0

    def add(self, more: Load) -> None:
        self.rates += more.rates
        self.seconds += more.seconds
        self.cpu += more.cpu
        self.others += more.others
        self.errors += more.errors

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def milliseconds(self, percent: int) -> float:
        return 1000 * quantile(self.seconds, percent)


@dataclass
class Measured:
    """All of one server."""

    loads: dict[int, Load] = field(default_factory=lambda: {at: Load() for at in CONNECTIONS})
    started: float = 0.0  # seconds to the first response
    idle: int = 0  # megabytes
    after: int = 0


class Kept:
    """The turns that have been measured, kept in a file."""

    def __init__(self, name: str, model: Path, pictures: int) -> None:
        self._path = OUT / f"{name}.json"
        size = (model / "1" / "saved_model.pb").stat().st_mtime_ns
        self._of = [report.commit(), report.machine(), pictures, size]
        self.turns = 0
        self.servers = {peer.name: Measured() for peer in PEERS}
        if self._path.exists() and (kept := json.loads(self._path.read_text()))["of"] == self._of:
            self.turns = kept["turns"]
            for peer, values in kept["servers"].items():
                loads = {int(at): Load(**load) for at, load in values.pop("loads").items()}
                self.servers[peer] = Measured(loads, **values)

    def add(self, turn: dict[str, Measured]) -> None:
        for peer, new in turn.items():
            for at, load in self.servers[peer].loads.items():
                load.add(new.loads[at])
                new.loads[at] = load
            self.servers[peer] = new
        self.turns += 1
        servers = {peer: asdict(one) for peer, one in self.servers.items()}
        with outputs.product(self._path, replace=True) as partial:
            partial.write_text(
                json.dumps({"of": self._of, "turns": self.turns, "servers": servers})
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--models", nargs="+", choices=("toy", "larger"), default=["toy", "larger"])
    parser.add_argument("--pictures", type=int, default=200, help="a peer and turn, of the toy's")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # the servers too
    models = {"toy": TOY, "larger": LARGER}
    if not TOY.is_dir() and "toy" in options.models:
        raise SystemExit(f"{TOY}: not here; type: make demo")
    if not shutil.which("hey"):
        raise SystemExit("hey: not here; apt-get install hey")
    if not LARGER.is_dir() and "larger" in options.models:
        export_speed.made_models(export_speed.BARRED, again=True)
    for peer in PEERS:
        install(peer)
    for name in options.models:
        pictures = options.pictures if name == "toy" else max(options.pictures // 8, 4)
        kept = Kept(name, models[name], pictures)
        if kept.turns < options.turns:
            measure(models[name], pictures, options.turns, kept)
        plot(name, {peer: one.loads for peer, one in kept.servers.items()})
        typed = f"python bench/peers.py --models {name} --pictures {options.pictures}"
        typed += f" --turns {kept.turns}"
        rows = [row(peer, one) for peer, one in kept.servers.items()]
        print(report.write_table(f"peers-{name}", typed, HEAD, rows))
        print(report.write_table(f"peers-{name}-bars", typed, BARS, bars(kept.servers)))


def measure(model: Path, pictures: int, turns: int, kept: Kept) -> None:
    """Every peer under every load, in turns."""
    with ExitStack() as stack:
        up = []
        for peer in PEERS:
            print(f"{model.name}: starting {peer.name}", file=sys.stderr)
            up.append(stack.enter_context(running(peer, model, jpeg(100_000))))
        idle = [megabytes(one.process.pid) for one in up]
        for one in up:  # the first of each worker, and of many at once, sets things up
            hey(one, 4, 8)
        while (turn := kept.turns) < turns:
            new = {
                one.peer.name: Measured(started=one.started, idle=before)
                for one, before in zip(up, idle, strict=True)
            }
            for connections in CONNECTIONS:
                requests = max(pictures // BLOCKS, 2 * connections)
                for block in range(max(pictures // requests, 1)):
                    # The order changes: what follows a heavy one finds the machine hot.
                    at = (turn + block) % len(up)
                    for one in up[at:] + up[:at]:
                        load = hey(one, connections, requests)
                        new[one.peer.name].loads[connections].add(load)
                for name, measured in new.items():
                    rate = measured.loads[connections].rate
                    print(f"{name}, {connections}: {rate:.2f}/s", file=sys.stderr)
            for one in up:
                new[one.peer.name].after = megabytes(one.process.pid)
            kept.add(new)


def hey(one: Running, connections: int, requests: int) -> Load:
    """What it sees of so many requests."""
    each = requests // connections
    words = f"hey -n {each * connections} -c {connections} -t 120 -m POST -T {one.peer.kind}"
    url = f"http://127.0.0.1:{one.port}{one.peer.ask}"
    before = cpu_seconds(one.process.pid)
    done = subprocess.run(
        [*words.split(), "-D", one.body, "-o", "csv", url],
        capture_output=True,
        text=True,
        check=True,
    )
    used = cpu_seconds(one.process.pid) - before
    seen = list(csv.DictReader(done.stdout.splitlines()))
    good = [line for line in seen if line["status-code"] == "200"]
    begins = [float(line["offset"]) for line in good]
    seconds = [float(line["response-time"]) for line in good]
    ends = [begin + taken for begin, taken in zip(begins, seconds, strict=True)]
    return Load(
        rates=[len(good) / max(ends, default=1.0)],
        seconds=seconds,
        cpu=[used / max(len(good), 1)],
        others=others_meanwhile(begins, ends),
        errors=each * connections - len(good),
    )


def others_meanwhile(begins: Sequence[float], ends: Sequence[float]) -> list[int]:
    """How many responses others had while each request waited.

    In order it is one less than the connections, however busy the machine is. The last requests,
    with fewer beside them, are left out.
    """
    done, last = sorted(ends), max(begins, default=0.0)
    pairs = zip(begins, ends, strict=True)
    return [bisect_left(done, b) - bisect_right(done, a) for a, b in pairs if b <= last]


def quantile(values: Sequence[float], percent: int) -> float:
    at = min(len(values) * percent // 100, len(values) - 1)
    return sorted(values)[at] if values else float("inf")


def row(name: str, one: Measured) -> list[str]:
    loads = [one.loads[at] for at in CONNECTIONS]

    def each(values: Sequence[float], form: str) -> str:
        return " / ".join(format(value, form) for value in values)

    return [
        name,
        each(CONNECTIONS, "d"),
        each([load.rate for load in loads], ".1f"),
        each([load.milliseconds(50) for load in loads], ".0f"),
        each([load.milliseconds(99) for load in loads], ".0f"),
        each([1000 * statistics.median(load.cpu) for load in loads], ".1f"),
        each([quantile(load.others, 99) for load in loads], ".0f"),
        str(sum(load.errors for load in loads)),
        f"{one.idle}, after the load {one.after}",
        f"{one.started:.1f}",
    ]


def bars(servers: dict[str, Measured]) -> list[list[str]]:
    """petbox beside the best of the others, at each number of connections."""
    rows = []
    for at in CONNECTIONS:
        loads = {name: one.loads[at] for name, one in servers.items()}
        ours = loads.pop(OURS)
        best = max(loads, key=lambda name: loads[name].rate)
        ratio, values = ours.rate / loads[best].rate, (ours.rate, loads[best].rate)
        bar = report.at_least(ratio, THROUGHPUT)
        rows.append(_bar(at, "images/s", ".1f", best, values, ratio, bar))
        best = min(loads, key=lambda name: loads[name].milliseconds(99))
        values = ours.milliseconds(99), loads[best].milliseconds(99)
        ratio = values[0] / values[1]
        rows.append(_bar(at, "p99, ms", ".0f", best, values, ratio, report.at_most(ratio, P99)))
    return rows


def _bar(at: int, what: str, form: str, best: str, values: tuple[float, float], ratio: float,
         bar: str) -> list[str]:  # fmt: skip
    ours, other = (format(value, form) for value in values)
    return [str(at), what, ours, f"{other}, {best}", f"{ratio:.2f}", bar]


def plot(model: str, peers: dict[str, dict[int, Load]]) -> None:
    """Throughput on the left, p99 on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9.4, 3.6), layout="constrained")
    for name, loads in peers.items():
        style = {"linewidth": 2.6, "zorder": 3} if name == OURS else {"linewidth": 1.3}
        rates = [loads[at].rate for at in CONNECTIONS]
        slowest = [loads[at].milliseconds(99) for at in CONNECTIONS]
        for values, axis in zip((rates, slowest), axes, strict=True):
            axis.plot(CONNECTIONS, values, marker="o", label=name, **style)
    for title, axis in zip(("images/s", "p99, ms"), axes, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xscale("log", base=2)
        axis.set_xticks(CONNECTIONS, map(str, CONNECTIONS))
        axis.set_xlabel("connections")
        axis.grid(alpha=0.3)
        axis.set_ylim(bottom=0)
    axes[1].legend(fontsize=8)
    figure.savefig(report.CHECKOUT / "bench" / f"peers-{model}.png", dpi=110)


if __name__ == "__main__":
    main()
