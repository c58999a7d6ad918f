"""CSV and npy through the gateway beside the same rows as JSON at the model server's own port.

    python bench/tensors.py [--turns 5]

Two models: one takes a number per row, the other four. Clients, gateway and model server share the
machine, and take turns.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
from pathlib import Path

import front
import numpy as np
import report
from model_server import OUT, half_plus_two
from timing import Call, seconds

from petbox.tf import tf

ROWS = 100_000
LARGE = 20_000_000  # bytes of CSV
BAR = 1.3
CSV, NPY = "text/csv", "application/x-npy"


def four_columns() -> Path:
    base = OUT / "four_columns"
    if not base.exists():
        v1 = tf.compat.v1
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, 4], "x")
            outputs = {"y": tf.reduce_sum(x, axis=1)}
            v1.saved_model.simple_save(session, str(base / "1"), {"x": x}, outputs)
    return base


def table(rows: np.ndarray) -> list[str]:
    return [",".join(f"{x:.6g}" for x in row) for row in rows.reshape(len(rows), -1).tolist()]


def as_npy(rows: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def as_json(rows: np.ndarray) -> bytes:
    instances = table(rows) if rows.ndim == 1 else [f"[{row}]" for row in table(rows)]
    return f'{{"instances":[{",".join(instances)}]}}'.encode()


def as_csv(rows: np.ndarray) -> bytes:
    return "".join(row + "\n" for row in table(rows)).encode()


def compared(both: front.Served, model: str, shape: tuple[int, ...], turns: int) -> list[list[str]]:
    rows = np.random.default_rng(0).random(shape, np.float32).round(6)  # six digits as text, too
    calls: list[Call] = [
        both.at_engine(model, as_json(rows)),
        both.through(model, as_csv(rows), CSV),
        both.through(model, as_npy(rows), NPY),
    ]
    for call in calls:
        call()
    times = [[seconds(call) for call in calls] for _ in range(turns)]
    engine, *taken = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    # Of one turn, where all met the machine in the same mood.
    ratios = [statistics.median(turn[at] / turn[0] for turn in times) for at in (1, 2)]
    columns = shape[1] if len(shape) > 1 else 1
    title = f"{len(rows):,} rows of {columns} float{'s' * (columns > 1)}"
    table_rows = []
    for name, p50, ratio, call in zip(("CSV", "npy"), taken, ratios, calls[1:], strict=True):
        cells = [f"{engine:.0f}", f"{p50:.0f}", f"{ratio:.2f}", report.at_most(ratio, BAR)]
        before = cpu_milliseconds(both)
        for _ in range(turns):
            call()
        cpu = (cpu_milliseconds(both) - before) / turns
        table_rows.append([f"{title} as {name}, p50, ms", *cells, f"{cpu:.0f}"])
    return table_rows


def cpu_milliseconds(both: front.Served) -> float:
    """What nginx's worker has used: unlike the times, it does not depend on other work."""
    (worker,) = front.children(both.nginx)
    fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def large(both: front.Served, model: str, path: str) -> list[str]:
    some = as_csv(np.random.default_rng(1).random((10_000, 4), np.float32))
    call = both.through(model, some * (LARGE // len(some)), CSV)
    call()
    with front.at_work([call], once=True) as working:
        pings = [front.ping(both, path)]
        while not working.seconds:
            pings.append(front.ping(both, path))
    title = f"{path} while 20 MB of CSV take {working.seconds:.1f} s, p50 and slowest, ms"
    bar = report.at_most(max(pings), 200)
    return [title, "", f"{statistics.median(pings):.1f}, {max(pings):.0f}", "", bar, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--turns", type=int, default=15)
    turns = parser.parse_args().turns
    with front.served({"one": half_plus_two(), "four": four_columns()}) as both:
        rows = compared(both, "one", (ROWS,), turns)
        rows += compared(both, "four", (ROWS, 4), turns)
        rows += [large(both, "four", path) for path in ("/ping", "/execution-parameters")]
    head = [
        "",
        "JSON at the model server",
        "through the gateway",
        "ratio",
        "bar",
        "the gateway's CPU, ms",
    ]
    print(report.write_table("tensors", "python bench/tensors.py", head, rows))


if __name__ == "__main__":
    main()
