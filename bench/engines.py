"""The same weights on TensorFlow, LiteRT, OpenVINO and ONNX Runtime: accuracy, speed, memory.

    python bench/engines.py RUN[=RECORDS] ...
    python bench/engines.py runs/toy=data/toy-records build/bench-pets/run=build/bench-pets/records

Every engine has a process of its own, and they are asked in turns. Each decodes image files as its
clients would: TensorFlow inside its export, the others with Pillow and numpy. Installs nothing: an
engine whose packages are missing is listed with the command that installs them. The finished parts
of an interrupted run at the same commit are used again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matrix_product
import report

OUT = report.CHECKOUT / "build" / "bench-engines"
FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
FASTER, LOSS = 1.3, 0.005  # of mAP: what is as good becomes a choice
SLOW = 0.25  # seconds: such a network is asked less often
MANY = (4, 16)  # callers at once
PHOTOS_WITHOUT_RECORDS = 8


@dataclass(frozen=True)
class Engine:
    name: str
    kind: str  # of engine_process.py
    folder: str  # of engine_models.py
    packages: Sequence[str] = ()
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def missing(self) -> list[str]:
        return [name for name in self.packages if not find_spec(name.replace("-", "_"))]


SAME_PIXELS = "TensorFlow, prepared by numpy"
BFLOAT16 = {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}
ENGINES = (
    Engine("TensorFlow, as exported", "saved_model", "saved_model"),  # the others against it
    Engine(SAME_PIXELS, "tensorflow", "graph"),
    Engine("TensorFlow, oneDNN in bfloat16", "tensorflow", "graph", environment=BFLOAT16),
    Engine("LiteRT float32", "litert", "litert_float32"),
    Engine("LiteRT float16", "litert", "litert_float16"),
    Engine("LiteRT int8, dynamic", "litert", "litert_int8"),
    Engine("LiteRT int8, full", "litert", "litert_int8_full"),
    Engine("OpenVINO float32", "openvino", "openvino_float32", ["openvino"]),
    Engine(
        "OpenVINO bfloat16", "openvino", "openvino_float32", ["openvino"], {"precision": "bf16"}
    ),
    Engine("OpenVINO int8", "openvino", "openvino_int8", ["openvino", "nncf"]),
    Engine("ONNX Runtime float32", "onnx", "onnx_float32", ["onnxruntime", "onnx", "tf2onnx"]),
)
HEAD = (
    *("", "mAP", "against the first", "on the same pixels", "p50, ms", "faster", "CPU, ms"),
    *("network, ms", "GFLOP/s", "share", "images/s at 1", "at 4", "at 16", "memory, MB"),
    *("start, s", "file, MB", "choice"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("pairs", nargs="+", metavar="RUN[=RECORDS]")
    parser.add_argument("--turns", type=int, default=8, help="of each engine")
    options = parser.parse_args()
    rows = [[f"instructions: {instructions()}"]]
    for pair in options.pairs:
        run, _, records = pair.partition("=")
        rows += network(Path(run), Path(records) if records else None, options.turns)
    rows = [[*row, *[""] * (len(HEAD) - len(row))] for row in rows]
    typed = " ".join(["python bench/engines.py", *sys.argv[1:]])
    print(report.write_table("engines", typed, HEAD, rows))


def instructions() -> str:
    found = re.search(r"flags\s*: (.*)", Path("/proc/cpuinfo").read_text())
    have = found[1].split() if found else []
    return " ".join(name for name in FLAGS if name in have) or "no flags"


def network(run: Path, records: Path | None, turns: int) -> Iterator[list[str]]:
    """The rows of one network."""
    title = "-".join(run.absolute().parts[-2:])
    folder = made(run, records, OUT / title)
    photos = sorted(folder.joinpath("photos").iterdir())
    found = Found(folder / "measured.json")
    there = [
        one for one in ENGINES if not one.missing() and (folder / one.folder / "done").exists()
    ]
    for one in there:
        if one.name not in found.values:
            try:
                found.put(one.name, alone(one, folder, photos, records))
            except EndedError as error:
                found.put(one.name, {"failed": str(error)})
    there = [one for one in there if "failed" not in found.values[one.name]]
    if "turns" not in found.values:
        libraries = matrix_product.LIBRARIES
        found.put("products", {name: matrix_product.best_of(name) for name in libraries})
        found.put("turns", in_turns(there, folder, photos, turns, found.values))
    gflop = json.loads((folder / "graph" / "flops.json").read_text()) / 1e9
    speeds = {matrix_product.LIBRARIES[name]: of for name, of in found.values["products"].items()}
    said = ", ".join(f"{name} {of:.0f}" for name, of in speeds.items())
    yield [f"{title}: {gflop:.2f} GFLOP; best matrix product, GFLOP/s: {said}"]
    limit = max(of for name, of in speeds.items() if name.endswith("float32"))
    for one in ENGINES:
        if one in there:
            yield row(one, found.values, folder, gflop, limit)
        elif missing := one.missing():
            yield [f"{one.name}: missing; pip install {' '.join(missing)}"]
        else:
            reason = folder / one.folder / "failed.txt"
            ended = found.values.get(one.name, {}).get("failed", "not made")
            yield [f"{one.name}: {reason.read_text() if reason.exists() else ended}"]


class EndedError(Exception):
    """An engine's process ended on its own."""


class Found:
    """What has been measured, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def put(self, name: str, value: Any) -> None:
        self.values[name] = value
        self.path.write_text(json.dumps(self.values))


def made(run: Path, records: Path | None, folder: Path) -> Path:
    """The folder with the network for each engine, and the photos."""
    commit = folder / "commit"
    if commit.exists() and commit.read_text() != report.commit():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    commit.write_text(report.commit())
    words = [run, folder, *([records] if records else [])]
    command = [sys.executable, report.CHECKOUT / "bench" / "engine_models.py", *words]
    subprocess.run(list(map(str, command)), check=True, stdout=sys.stderr)
    if not (folder / "photos").exists():
        (folder / "photos").mkdir()
        for at, file in enumerate(files(records)):
            (folder / "photos" / f"{at:04}").write_bytes(file)
    return folder


def files(records: Path | None) -> list[bytes]:
    if not records:
        from petbox.export import verify

        return list(map(verify.file, verify.images(None, PHOTOS_WITHOUT_RECORDS).examples))
    from petbox.data import records as all_records

    return [one.encoded for one in all_records.examples(records, "test")]


# Asking


@contextmanager
def process(engine: Engine, folder: Path, copies: int = 1) -> Iterator[Any]:
    """A function of (what, files, ...) that asks a new process of the engine."""
    options = json.dumps({"copies": copies, **engine.options})
    program = report.CHECKOUT / "bench" / "engine_process.py"
    started = subprocess.Popen(
        [sys.executable, str(program), engine.kind, str(folder / engine.folder), options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **engine.environment},
    )
    assert started.stdin and started.stdout
    questions, answers = started.stdin, started.stdout

    def ask(what: str, files: Sequence[Path], *words: Any) -> Any:
        print(json.dumps([what, list(map(str, files)), *words]), file=questions, flush=True)
        for line in answers:
            if line.startswith("{"):
                return json.loads(line)
        raise EndedError(f"its process ended with {started.wait()}")

    try:
        yield ask
    finally:
        with suppress(BrokenPipeError):
            questions.close()
        started.wait()


def alone(engine: Engine, folder: Path, photos: Sequence[Path], records: Path | None) -> Any:
    """Start, memory and accuracy, with no other engine in memory."""
    begin = time.time()
    with process(engine, folder) as ask:
        first = ask("files", photos[:1])
        told: dict[str, Any] = {"start": first["at"] - begin}
        told["seconds"] = ask("files", photos[:2])["seconds"]
        rows = ask("detections", photos if records else photos[:2])
        told["memory"] = rows["memory"]
    if records:
        told["mAP"] = accuracy(rows["rows"], records)
    return told


def accuracy(rows: Any, folder: Path) -> float:
    from petbox.data import records
    from petbox.evaluation import coco_metrics
    from petbox.evaluation.coco_metrics import EvaluatedImage
    from petbox.wire import Detection

    images = []
    for at, (example, found) in enumerate(zip(records.examples(folder, "test"), rows, strict=True)):
        detections = (Detection(*one[:2], tuple(one[2])) for one in found)
        images.append(EvaluatedImage.of(at, example, detections))
    found = coco_metrics.measure(images, records.read_info(folder).labels).overall["mAP"]
    return found or 0.0


def in_turns(
    engines: Sequence[Engine], folder: Path, photos: Sequence[Path], turns: int, known: Any
) -> Any:
    """The times of each engine: one request after the other, then several at once."""
    told: dict[str, Any] = {one.name: {"files": [], "network": []} for one in engines}
    cores = len(os.sched_getaffinity(0))
    slow = min(known[one.name]["seconds"] for one in engines) > SLOW
    each = photos[:1] if slow else photos[:5]
    with ExitStack() as stack:
        asks = {one.name: stack.enter_context(process(one, folder)) for one in engines}
        for ask in asks.values():
            ask("files", each)
        for _ in range(max(turns // 2, 1) if slow else turns):
            for name, ask in asks.items():
                for what in ("files", "network"):
                    told[name][what].append(ask(what, each))
    for one in engines:  # not all in memory at once, which has two of each
        with process(one, folder, copies=cores) as ask:
            ask("callers", photos[:2], 2)
            for count in MANY:
                shared = (list(photos) * 16)[: count if slow else 4 * max(MANY)]
                times = [ask("callers", shared, count)["seconds"] for _ in range(1 if slow else 2)]
                told[one.name][str(count)] = min(times)
    return told


# The table


def row(engine: Engine, found: Any, folder: Path, gflop: float, limit: float) -> list[str]:
    told, times, first = found[engine.name], found["turns"][engine.name], ENGINES[0].name

    def p50(name: str, what: str = "files", of: str = "seconds") -> float:
        values = [one[of] for one in found["turns"][name][what] if one.get(of)]
        return statistics.median(values) if values else 0.0

    whole, alone = p50(engine.name), p50(engine.name, "network")
    faster = p50(first) / whole
    loss = found[first].get("mAP", 0.0) - told.get("mAP", 0.0)
    size = sum(
        path.stat().st_size for path in (folder / engine.folder).rglob("*") if path.is_file()
    )
    is_prepared = engine.name not in (first, SAME_PIXELS)
    good = faster >= FASTER and loss <= LOSS
    return [
        engine.name,
        f"{told['mAP']:.4f}" if "mAP" in told else "",
        f"{-loss:+.4f}" if "mAP" in told and engine.name != first else "",
        f"{told['mAP'] - found[SAME_PIXELS]['mAP']:+.4f}" if is_prepared and "mAP" in told else "",
        f"{1000 * whole:.1f}",
        f"{faster:.2f}x",
        f"{1000 * p50(engine.name, of='cpu'):.1f}",
        f"{1000 * alone:.1f}" if alone else "",
        f"{gflop / alone:.0f}" if alone else "",
        f"{gflop / alone / limit:.2f}" if alone else "",
        f"{1 / whole:.0f}" if whole < 1 else f"{1 / whole:.2f}",
        *(f"{1 / times[str(count)]:.1f}" for count in MANY),
        f"{told['memory'] / 1e6:.0f}",
        f"{told['start']:.2f}",
        f"{size / 1e6:.1f}",
        "yes" if good and engine.name != first else "",
    ]


if __name__ == "__main__":
    main()
