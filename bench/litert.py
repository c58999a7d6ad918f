"""The detector converted to LiteRT compared with its SavedModel: accuracy, speed, size.

    python bench/litert.py RUN=RECORDS ...
    python bench/litert.py runs/toy=data/toy-records build/bench-pets/run=build/bench-pets/records

Each run is exported and converted again. All run on the held-out images of the records, file by
file, as clients send them. Times and memory are of new processes, alternating.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import report

OUT = report.CHECKOUT / "build" / "bench-litert"
FORMS = ("SavedModel", "float32", "int8")
STARTS = 3  # of a process for each
WARM = 40  # calls in each
BAR = 0.01  # of mAP, that a form may lose

# Processes like those in Lambda; each prints the time of its first result.
SAVED_MODEL = "from petbox.serving.saved_detector import SavedDetector as Detector"
LITERT = "from petbox.litert.detector import LiteDetector as Detector"
ASKING = """

import json, re, sys, time
from pathlib import Path
detect = Detector(Path(sys.argv[1])).detect
files = [path.read_bytes() for path in sorted(Path(sys.argv[2]).iterdir())]
detect(files[0])
first = time.time()
for file in files[:5]:
    detect(file)
times = []
for number in range(int(sys.argv[3])):
    begin = time.perf_counter()
    detect(files[number % len(files)])
    times.append(time.perf_counter() - begin)
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(json.dumps({"first": first, "times": times, "peak": int(peak) * 1024}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("pairs", nargs="+", metavar="RUN=RECORDS")
    parser.add_argument("--again", action="store_true", help="ask the models of the last time")
    options = parser.parse_args()
    rows: list[list[str]] = []
    for pair in options.pairs:
        run, records = map(Path, pair.split("="))
        rows += measured(run, records, options.again)
    head = ["", "mAP", "against it", "mAP@0.5", "p50, ms", "first response, s", "memory, MB", "MB"]
    typed = " ".join(["python bench/litert.py", *options.pairs])
    print(report.write_table("litert", typed, head, rows))


def measured(run: Path, records: Path, again: bool) -> Iterator[list[str]]:
    """A row for each form of one run."""
    folder = OUT / "-".join(run.absolute().parts[-2:])
    models = {form: folder / form / "1" for form in FORMS}
    if not again:
        shutil.rmtree(folder, ignore_errors=True)
        export(run, models)
    photos = folder / "photos"
    judged = {form: judgement(model, records, photos) for form, model in models.items()}
    asked = in_turns(models, photos)
    wanted = judged["SavedModel"]["mAP"]
    for form, model in models.items():
        found, starts = judged[form], asked[form]
        lost = wanted - found["mAP"]
        said = (
            "" if form == "SavedModel" else f"{-lost:+.4f} ({'ok' if lost <= BAR else 'too much'})"
        )
        times = [one for start in starts for one in start["times"]]
        size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
        yield [
            f"{run.name if run.name != 'run' else preset(run)}, {form}",
            f"{found['mAP']:.4f}",
            said,
            f"{found['mAP@0.5']:.4f}",
            f"{1000 * statistics.median(times):.1f}",
            f"{min(start['first'] for start in starts):.2f}",
            f"{max(start['peak'] for start in starts) / 1e6:.0f}",
            f"{size / 1e6:.1f}",
        ]


def preset(run: Path) -> str:
    stated: dict[str, Any] = json.loads((run / "options.json").read_text(encoding="utf-8"))
    return str(stated.get("preset", run.parent.name))


def export(run: Path, models: dict[str, Path]) -> None:
    for form, model in models.items():
        if form == "SavedModel":
            words = ["export/exporter_savedmodel.py"]
        else:
            words = ["export/to_litert.py", f"--form={form}"]
        command = [sys.executable, *words, f"--run={run.absolute()}", f"--out={model}"]
        subprocess.run(command, cwd=report.CHECKOUT, check=True, stdout=subprocess.DEVNULL)


def judgement(model: Path, folder: Path, photos: Path) -> dict[str, float]:
    """COCO's metrics on the held-out images, whose files are written to `photos`."""
    from petbox.data import records
    from petbox.evaluation import coco_metrics

    names = records.read_info(folder).labels
    found = coco_metrics.measure(list(compared(model, folder, photos)), names)
    return {name: value or 0.0 for name, value in found.overall.items()}


def compared(model: Path, folder: Path, photos: Path) -> Iterator[Any]:
    from petbox.data import records
    from petbox.evaluation import predictions
    from petbox.evaluation.coco_metrics import EvaluatedImage
    from petbox.export import model_folder
    from petbox.litert import bundle
    from petbox.litert.detector import LiteDetector

    if not bundle.is_there(model):
        yield from predictions.of_model(model_folder.read(model), folder, "test")
        return
    photos.mkdir(exist_ok=True)
    detector = LiteDetector(model)
    for at, example in enumerate(records.examples(folder, "test")):
        (photos / f"{at:04}").write_bytes(example.encoded)
        yield EvaluatedImage.of(at, example, detector.detect(example.encoded))


def in_turns(models: dict[str, Path], photos: Path) -> dict[str, list[dict[str, Any]]]:
    """The results of each form's processes, started one after the other."""
    said: dict[str, list[dict[str, Any]]] = {form: [] for form in models}
    for _ in range(STARTS):
        for form, model in models.items():
            loading = SAVED_MODEL if form == "SavedModel" else LITERT
            said[form].append(asked(loading + ASKING, [str(model), str(photos), str(WARM)]))
    return said


def asked(program: str, words: Sequence[str]) -> dict[str, Any]:
    begin = time.time()
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    said: dict[str, Any] = json.loads(done.stdout)
    said["first"] -= begin
    return said


if __name__ == "__main__":
    main()
