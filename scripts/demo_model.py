"""Makes the detector that `petbox demo` serves: trains on drawn images, converts, measures.

    python scripts/demo_model.py [--work build/demo-model]

Takes a few minutes on two CPU cores. Steps whose product exists in the work folder are skipped.
Replaces petbox/serving/demo/model, whose ABOUT.txt then has the checksum and the accuracy.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox.cli import program
from petbox.errors import PetboxError
from petbox.litert import bundle
from petbox.serving.demo.command import MODEL
from petbox.training import runs

LARGEST = 1_000_000  # bytes
ABOUT = """\
The detector of `petbox demo`: Faster R-CNN (preset toy), trained on the drawn pets of
`petbox toy` and converted to LiteRT. Made by scripts/demo_model.py.

file     {name}
bytes    {size}
sha256   {checksum}
weights  {form}
images   {images} held-out images, none of which was trained on
mAP      {mean:.4f}
mAP@0.5  {at_half:.4f}
made by  {versions}
"""


@dataclass(frozen=True)
class Options:
    work: Annotated[Path, "folder for the data and the run"] = Path("build/demo-model")


def main(options: Options) -> None:
    work = options.work
    data, records, run, model = (work / name for name in ("toy", "records", "run", "model"))
    step(data, "toy", f"--out={data}")
    step(records, "records", data, f"--out={records}")
    step(run, "train", f"--records={records}", f"--out={run}")
    # Chooses the thresholds of the classes.
    step(run / runs.evaluation(), "evaluate", f"--run={run}", f"--records={records}")
    step(model, "convert", f"--run={run}", f"--records={records}", f"--out={model}")
    content = (model / bundle.NETWORK).read_bytes()
    if len(content) > LARGEST:
        raise PetboxError(f"{model}: {len(content)} bytes, more than the {LARGEST} of a wheel")
    text = description(content, model, records)
    for name in (bundle.NETWORK, bundle.ABOUT, "label_map.pbtxt"):
        shutil.copyfile(model / name, MODEL / name)
    (MODEL / "ABOUT.txt").write_text(text)
    print(MODEL)


def step(product: Path, *words: str | Path) -> None:
    if not product.exists():
        command = [sys.executable, "-m", "petbox", *map(str, words)]
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            raise PetboxError(f"petbox {words[0]} failed; the lines above say why")


def description(content: bytes, model: Path, records: Path) -> str:
    from petbox.data.records import read_info
    from petbox.evaluation import coco_metrics

    images = list(evaluated(model, records))
    found = coco_metrics.measure(images, read_info(records).labels).overall
    about = json.loads((model / bundle.ABOUT).read_text())
    packages = ("ai-edge-litert", "tensorflow", "tf-models-official")
    return ABOUT.format(
        name=bundle.NETWORK,
        size=len(content),
        checksum=hashlib.sha256(content).hexdigest(),
        form=about["form"],
        images=len(images),
        mean=found["mAP"],
        at_half=found["mAP@0.5"],
        versions=", ".join(f"{name} {about['made'][name]}" for name in packages),
    )


def evaluated(model: Path, records: Path) -> Iterator[object]:
    """The detections in each test image, with its ground truth."""
    from petbox.data.records import examples
    from petbox.evaluation.coco_metrics import EvaluatedImage
    from petbox.litert.detector import LiteDetector

    detector = LiteDetector(model)
    for at, example in enumerate(examples(records, "test")):
        yield EvaluatedImage.of(at, example, detector.detect(example.encoded))


if __name__ == "__main__":
    program.run(Options, main, about=__doc__)
