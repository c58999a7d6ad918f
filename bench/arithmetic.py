"""The speed and error of other arithmetic: XLA, and 8 bits by TensorFlow's own quantizer.

    python bench/arithmetic.py

The feature network (ResNet-50 with its pyramid, random weights) on the canvas of a 4:3 photo, in
float32 as it is exported and in each other way, alternating. If TensorFlow rejects one, the table
has the reason. None of them is part of the exporter.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import report
from export_speed import timed

from petbox.training import config as training_config
from petbox.training.tfvision import tf

OUT = report.CHECKOUT / "build" / "bench-arithmetic"
CANVAS = (1, 512, 640, 3)
TOO_SLOW = 10.0  # seconds; what takes longer is asked once
LOOKED_AT = 8  # pictures from which the ranges of 8 bits are taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--requests", type=int, default=15, help="of each way")
    options = parser.parse_args()
    shutil.rmtree(OUT, ignore_errors=True)
    written = OUT / "float32"
    write(written)
    ways: dict[str, Callable[[], Callable[[Any], Any]]] = {
        "float32": lambda: loaded(written),
        "float32, XLA": lambda: tf.function(loaded(written), jit_compile=True),
        "8 bits, TensorFlow's operations": lambda: loaded(quantized(written, "TF")),
        "8 bits, XLA": lambda: loaded(quantized(written, "XLA")),
    }
    image = picture(0)
    wanted = loaded(written)(image)
    rows, calls = [], {}
    for name, way in ways.items():
        try:
            calls[name] = way()
            first = timed(lambda: calls[name](image))  # noqa: B023
        except Exception as error:  # whatever it is belongs into the table
            calls.pop(name, None)
            rows.append([name, "", "", "", " ".join(str(error).split())[:100]])
        else:
            rows.append(
                [name, "", "", f"{first:.1f}", f"{distance(wanted, calls[name](image)):.2g}"]
            )
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(options.requests):
        for name, call in calls.items():
            if not turn or times[name][0] < TOO_SLOW:
                times[name].append(timed(lambda: call(image)))  # noqa: B023
    p50 = {name: statistics.median(taken) for name, taken in times.items()}
    for row in rows:
        if row[0] in p50:
            row[1:3] = [f"{1000 * p50[row[0]]:.0f}", f"{p50['float32'] / p50[row[0]]:.2f}x"]
    typed = " ".join(["python bench/arithmetic.py", *sys.argv[1:]])
    head = ["", "p50, ms", "faster", "first call, s", "largest relative error of a feature map"]
    print(report.write_table("arithmetic", typed, head, rows))


def picture(number: int) -> Any:
    return tf.random.stateless_normal(CANVAS, [number, 1])


def write(folder: Path) -> None:
    """The feature network as a SavedModel, its normalizations folded as by the exporter."""
    from petbox.export.rewrite.fold_batchnorm import Weights, folded

    config = training_config.experiment("faster_rcnn_resnet50_pets")
    tf.keras.utils.set_random_seed(3)
    model = training_config.task(config).build_model()
    for part in (model.backbone, model.decoder):
        part.input_spec = None
    call = tf.function(lambda images: tuple(model.decoder(model.backbone(images)).values()))
    holder = tf.Module()
    weights = Weights()
    find = folded(call.get_concrete_function(tf.TensorSpec(CANVAS)), weights)
    holder.weights = weights.all
    named = tf.function(lambda images: {f"level{at}": one for at, one in enumerate(find(images))})
    signature = named.get_concrete_function(tf.TensorSpec(CANVAS, name="images"))
    tf.saved_model.save(holder, str(folder), {"serving_default": signature})


def loaded(folder: Path) -> Callable[[Any], Any]:
    model = tf.saved_model.load(str(folder))
    signature = model.signatures["serving_default"]

    def call(images: Any, _model: Any = model) -> Any:  # a signature does not keep its model
        return signature(images=images)

    return call


def quantized(source: Path, operations: str) -> Path:
    """The network with 8-bit weights and activations, made by TensorFlow's quantizer."""
    from tensorflow.compiler.mlir.quantization.tensorflow import quantization_options_pb2 as form

    experimental = tf.quantization.experimental
    method = form.QuantizationMethod(
        preset_method=form.QuantizationMethod.PresetMethod.METHOD_STATIC_RANGE_INT8
    )
    options = form.QuantizationOptions(
        quantization_method=method,
        op_set=form.OpSet.Value(operations),
        signature_keys=["serving_default"],
        tags=["serve"],
    )
    made = OUT / operations
    pictures = ({"images": picture(1 + number)} for number in range(LOOKED_AT))
    experimental.quantize_saved_model(
        str(source), str(made), options, representative_dataset=list(pictures)
    )
    return made


def distance(wanted: Any, found: Any) -> float:
    """The error of the worst feature map, relative to its standard deviation."""
    return max(
        float(tf.norm(found[name] - one) / tf.norm(one - tf.reduce_mean(one)))
        for name, one in wanted.items()
    )


if __name__ == "__main__":
    main()
