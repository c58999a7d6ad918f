"""The size of a response and the time of its JSON: classic, serving_default, detect.

    python bench/answer_size.py

A Faster R-CNN for the 37 breeds runs on a photo. Classic is the output of the Object Detection
API's exporter: the raw tensors of 300 proposals with 100 detections. The weights are random, scaled
so that scores vary like a trained detector's; the size of a response does not depend on accuracy.
The JSON is the embedded server's, which is TensorFlow Serving's. Needs the photos in the folder
PETBOX_TEST_DATA.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import report

from petbox.data import labels
from petbox.export.signatures import Servable, Settings
from petbox.export.trained import TrainedNetwork
from petbox.serving.model_server import responses
from petbox.serving.model_server.model import load
from petbox.serving.model_server.tensorflow_engine import TensorFlow
from petbox.training import config as training_config
from petbox.training.tfvision import tf

DATA = Path(os.environ.get("PETBOX_TEST_DATA", report.CHECKOUT.parent / "shared")) / "data"
LABEL_MAP = DATA / "reference" / "pet_label_map.pbtxt"
PHOTO = DATA / "pets" / "images" / "Abyssinian_100.jpg"
FOLDER = report.CHECKOUT / "build" / "bench-answer-size"
PROPOSALS, DETECTIONS = 300, 100
ANIMALS = 3
SPREAD = 20_000.0
TIMES = 200


def main() -> None:
    if not LABEL_MAP.is_file():
        raise SystemExit(f"{LABEL_MAP}: not here; name the folder with it in PETBOX_TEST_DATA")
    names = labels.read(LABEL_MAP)
    config, model = network(names)
    everything = asked(config, model, names, Settings())
    scores = np.sort(everything["serving_default"]["detection_scores"][0])[::-1]
    three = float(scores[ANIMALS - 1 : ANIMALS + 1].mean())
    short = asked(config, model, names, Settings(min_score=three))["detect"]
    assert short["num_detections"].tolist() == [ANIMALS]
    whole = everything["serving_default"]
    classic = {**whole, **raw(config, model)}
    found = int(whole["num_detections"][0])
    table = [
        row("all raw tensors", classic),
        row(f"serving_default, {found} of {DETECTIONS} found", whole, classic, 25),
        row(f"detect, {ANIMALS} animals", short, classic, 300),
    ]
    head = ["response for an image", "bytes", "smaller by", "bar", "to write, ms", "to read, ms"]
    print(report.write_table("answer-size", "python bench/answer_size.py", head, table))


def network(names: dict[int, str]) -> tuple[Any, Any]:
    config = training_config.experiment("faster_rcnn_mobilenet_v2_pets")
    training_config.on_records(config, ["none"], ["none"], names)
    config.task.model.roi_generator.test_num_proposals = PROPOSALS
    config.task.model.detection_generator.max_num_detections = DETECTIONS
    tf.keras.utils.set_random_seed(3)
    model = training_config.task(config).build_model()
    for variable in model.detection_head.trainable_variables:
        if "classes" in variable.name or "scores" in variable.name:
            variable.assign(variable * SPREAD)
    return config, model


def asked(config: Any, model: Any, names: dict[int, str], settings: Settings) -> dict[str, Any]:
    """The exported model's outputs for the photo, by signature."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    servable = Servable(TrainedNetwork(config, model), names, settings)
    servable.save(FOLDER, LABEL_MAP.read_bytes())
    loaded = load("pets", 1, FOLDER, TensorFlow())
    request = {"inputs": np.array([PHOTO.read_bytes()], object)}
    said = {name: loaded.run(name, request) for name in ("serving_default", "detect")}
    shutil.rmtree(FOLDER)
    return said


def raw(config: Any, model: Any) -> dict[str, Any]:
    """The additional outputs of the Object Detection API's Faster R-CNN, in its shapes."""
    canvas = config.task.model.input_size[:2]
    pixels = tf.image.resize(tf.io.decode_jpeg(PHOTO.read_bytes(), 3), canvas)
    image = (pixels[None] / 255.0 - 0.45) / 0.225
    shape = tf.constant([canvas], tf.float32)
    found = model(image, image_shape=shape, training=False)
    scores = tf.nn.softmax(found["class_outputs"])
    boxes = tf.reshape(found["box_outputs"], [1, PROPOSALS, -1, 4])
    best = tf.argmax(scores, axis=-1)
    sure = tf.argsort(tf.reduce_max(scores[0], axis=-1), direction="DESCENDING")[:DETECTIONS]
    tensors = {
        "detection_anchor_indices": tf.cast(sure, tf.float32)[None],
        "detection_multiclass_scores": tf.gather(scores, sure, axis=1),
        "raw_detection_boxes": tf.gather(boxes, best, axis=2, batch_dims=2),
        "raw_detection_scores": scores,
    }
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def row(
    name: str, answer: dict[str, Any], classic: dict[str, Any] | None = None, bar: int = 0
) -> list[str]:
    text = responses.rows(answer)
    ratio = len(responses.rows(classic)) / len(text) if classic else 1.0
    smaller = [f"{ratio:.0f}x", report.at_least(ratio, bar, "x")] if classic else ["", ""]
    written = milliseconds(lambda: responses.rows(answer))
    read = milliseconds(lambda: json.loads(text))
    return [name, f"{len(text):,}", *smaller, f"{written:.2f}", f"{read:.2f}"]


def milliseconds(call: Callable[[], Any]) -> float:
    """The median of many runs."""
    taken = []
    for _ in range(TIMES):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)


if __name__ == "__main__":
    main()
