"""Latency by load: the toy detector behind `petbox serve`, by 1 to 128 connections.

    python bench/load_curve.py [--model model/toy] [--run runs/toy]

Each connection sends the next request after the response (a closed loop). The model as it is, and
the same run exported with --batch 1, are served side by side and called alternately, so that the
load of the machine affects both. It also writes the curves to bench/load-curve.png. With
--requests, --model or --run it only writes under build/.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import report
from front import caller, jpeg, predict
from matplotlib.figure import Figure
from model_server import free_port
from timing import Call, seconds

from petbox.cli import program

WORK = report.CHECKOUT / "build" / "bench-load-curve"
PLOT = "load-curve.png"
TOY, TOY_RUN = Path("model/toy"), Path("runs/toy")
REQUESTS = 2000
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128)
MARKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)  # ms, of the plot
TURNS = 10
BATCH = 1
JSON = "application/json"


@dataclass(frozen=True)
class Options:
    model: Annotated[Path, "a SavedModel, or a folder of its versions"] = TOY
    run: Annotated[Path | None, "its run, for a --batch 1 export (default: runs/toy)", "DIR"] = None
    requests: Annotated[int, "at each number of connections"] = REQUESTS


@dataclass(frozen=True)
class Level:
    """What so many connections saw."""

    connections: int
    rate: float  # pictures a second
    p50: float  # ms
    p99: float


def main(options: Options) -> None:
    run = options.run or (TOY_RUN if options.model == TOY else None)
    models = {"as exported": options.model}
    if run:
        models[f"--batch {BATCH}"] = exported(run)
    body = predict(jpeg(100_000))
    with ExitStack() as stack:
        ports = {name: stack.enter_context(served(model)) for name, model in models.items()}
        curves = measured(ports, body, options.requests)
    kept = options == Options()
    plot(curves, report.RESULTS.parent if kept else WORK)
    head = ["connections"]
    for name in curves:
        head += [f"{name}: images/s", "p50, ms", "p99, ms"]
    head += ["images/s, ratio"] * (len(curves) == 2)
    rows = [table_row(levels) for levels in zip(*curves.values(), strict=True)]
    if kept:
        print(report.write_table("load-curve", "python bench/load_curve.py", head, rows))
    else:
        print(*(" | ".join(row) for row in (head, *rows)), WORK / PLOT, sep="\n")


def exported(run: Path) -> Path:
    """The run exported once more; kept for the next time."""
    out = WORK / f"{run.name}-batch-{BATCH}" / "1"
    if not out.exists():
        words = ["--run", str(run), "--out", str(out), "--batch", str(BATCH)]
        command = [sys.executable, "export/exporter_savedmodel.py", *words]
        subprocess.run(command, cwd=report.CHECKOUT, check=True, stdout=sys.stderr)
    return out.parent


@contextmanager
def served(model: Path) -> Iterator[int]:
    """The port of `petbox serve`, once it says that it is ready."""
    port = free_port()
    words = ["serve", str(model), "--port", str(port), "--no-open"]
    command = [sys.executable, "-m", "petbox", *words]
    with (WORK / f"serve-{port}.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=report.CHECKOUT, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert server.stdout
    try:
        if not server.stdout.readline():
            raise SystemExit(f"{model}: was not served; {log.name} says why")
        yield port
    finally:
        server.terminate()
        server.wait()


def measured(ports: dict[str, int], body: bytes, requests: int) -> dict[str, list[Level]]:
    curves: dict[str, list[Level]] = {name: [] for name in ports}
    for connections in CONNECTIONS:
        times: dict[str, list[float]] = {name: [] for name in ports}
        rates: dict[str, list[float]] = {name: [] for name in ports}
        each = max(round(requests / TURNS / connections), 1)
        for _ in range(TURNS):
            for name, port in ports.items():  # new ones, for nginx closes what is idle for long
                calls = [caller(port, "/invocations", body, JSON) for _ in range(connections)]
                taken, rate = loop(calls, each)
                times[name] += taken
                rates[name].append(rate)
        for name, curve in curves.items():
            p50, p99 = percentiles(times[name])
            curve.append(Level(connections, statistics.median(rates[name]), p50, p99))
            program.say(f"{name}: {curve[-1]}")
    return curves


def loop(calls: Sequence[Call], each: int) -> tuple[list[float], float]:
    """The seconds of every call, and how many were answered a second; a thread for each caller."""
    taken: list[list[float]] = [[] for _ in calls]

    def work(call: Call, times: list[float]) -> None:
        times += [seconds(call) for _ in range(each)]

    threads = [threading.Thread(target=work, args=pair) for pair in zip(calls, taken, strict=True)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = each * len(calls) / (time.perf_counter() - begin)
    return [one for times in taken for one in times], rate


def percentiles(times: Sequence[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    ordered = sorted(times)
    return 1000 * statistics.median(ordered), 1000 * ordered[int(0.99 * (len(ordered) - 1))]


def table_row(levels: Sequence[Level]) -> list[str]:
    cells = [str(levels[0].connections)]
    for level in levels:
        cells += [f"{level.rate:.1f}", f"{level.p50:.1f}", f"{level.p99:.1f}"]
    if len(levels) == 2:
        cells.append(f"{levels[0].rate / levels[1].rate:.2f}")
    return cells


def plot(curves: dict[str, list[Level]], folder: Path) -> None:
    figure = Figure((8, 3.4), dpi=110, layout="constrained")
    latency, throughput = figure.subplots(1, 2)
    for (name, curve), color in zip(curves.items(), ("black", "tab:red"), strict=False):
        at = [level.connections for level in curve]
        latency.plot(at, [one.p50 for one in curve], marker="o", color=color, label=f"{name}, p50")
        latency.plot(
            at, [one.p99 for one in curve], marker="o", color=color, linestyle="--",
            label=f"{name}, p99",
        )  # fmt: skip
        throughput.plot(at, [one.rate for one in curve], marker="o", color=color, label=name)
    latency.set(ylabel="milliseconds", yscale="log")
    least, most = latency.get_ylim()
    marks = [mark for mark in MARKS if least <= mark <= most]
    latency.set_yticks(marks, [str(mark) for mark in marks])
    throughput.set(ylabel="pictures a second", ylim=(0, None))
    for axes in (latency, throughput):
        axes.set(xlabel="connections", xscale="log")
        axes.set_xticks(CONNECTIONS, [str(one) for one in CONNECTIONS])
        axes.minorticks_off()
        axes.grid(color="0.93")
        axes.legend(fontsize=8)
    figure.savefig(folder / PLOT, metadata={"Software": None})


if __name__ == "__main__":
    WORK.mkdir(parents=True, exist_ok=True)
    program.run(Options, main, about=__doc__)
