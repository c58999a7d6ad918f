"""A trained detector with fewer proposals: accuracy, operations and speed.

    python bench/proposals.py RUN=RECORDS
    python bench/proposals.py build/bench-pets/run=build/bench-pets/records

Nothing is trained again: the same weights evaluate and are exported with fewer proposals. The
exports are called alternately with a 4:3 photo.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import export_speed
import report
from flops import of_products, products
from presets import spent

OUT = report.CHECKOUT / "build" / "bench-proposals"
COUNTS = (100, 64, 50, 32, 16)  # the others are compared with the first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("pair", metavar="RUN=RECORDS")
    parser.add_argument("--requests", type=int, default=40, help="of each")
    options = parser.parse_args()
    run, records = map(Path, options.pair.split("="))
    told = [made(run, records, count) for count in COUNTS]
    wall, cpu = spent([OUT / str(count) / "model" / "1" for count in COUNTS], options.requests)
    rows = [
        [
            str(count),
            f"{one['mAP']:.4f}",
            f"{one['mAP'] - told[0]['mAP']:+.4f}",
            f"{one['mAP@0.5']:.4f}",
            f"{one['AR@100']:.4f}",
            f"{one['flops'] / 1e9:.3f}",
            f"{1000 * wall[at]:.1f}",
            f"{wall[at] / wall[0]:.2f}",
            f"{1000 * cpu[at]:.1f}",
        ]
        for at, (count, one) in enumerate(zip(COUNTS, told, strict=True))
    ]
    head = ["proposals", "mAP", "difference", "mAP@0.5", "AR@100", "GFLOP", "p50, ms", "ratio"]
    typed = " ".join(["python bench/proposals.py", *sys.argv[1:]])
    print(report.write_table("proposals", typed, [*head, "CPU, ms"], rows))


def made(run: Path, records: Path, count: int) -> Any:
    """Evaluates and exports the run with so many proposals; unless it has been done."""
    folder = OUT / str(count)
    record = folder / "told.json"
    origin = [str(run.absolute()), report.commit()]
    if record.exists() and json.loads(record.read_text())["origin"] == origin:
        return json.loads(record.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    told = {**evaluated(run, records, folder / "run", count), "origin": origin}
    export_speed.export(folder / "run", folder / "model" / "1", "ours")
    record.write_text(json.dumps(told))
    return told


def evaluated(run: Path, records: Path, copy: Path, count: int) -> dict[str, Any]:
    from petbox.data import records as all_records
    from petbox.evaluation import coco_metrics, predictions
    from petbox.training import config as training_config
    from petbox.training import runs
    from petbox.training.tfvision import tf

    config = training_config.load_config(runs.read(run))
    config.task.model.roi_generator.test_num_proposals = count
    copy.mkdir(parents=True, exist_ok=True)
    for path in run.iterdir():
        link = copy / path.name
        if not link.exists():
            link.symlink_to(path.absolute())
    (copy / runs.PARAMS).unlink()
    training_config.save_config(config, copy)
    images = list(predictions.of_run(runs.read(copy))(records, "test"))
    names = all_records.read_info(records).labels
    model = training_config.task(config).build_model()

    @tf.function
    def call(pixels: Any) -> Any:
        shape = tf.constant([config.task.model.input_size[:2]], tf.float32)
        return model(pixels, image_shape=shape, training=False)["cls_outputs"]

    graph = call.get_concrete_function(tf.TensorSpec([1, *config.task.model.input_size])).graph
    found = coco_metrics.measure(images, names).overall
    return {**found, "flops": of_products(products(graph))}


if __name__ == "__main__":
    main()
