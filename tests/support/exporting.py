"""Shared by the export tests: a run with random weights, made in seconds instead of trained.

Its scores are spread like a trained detector's, so that the order of its detections does not depend
on rounding.
"""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from petbox.data import labels

NAMES = {1: "Abyssinian", 2: "beagle", 3: "pug"}


def random_run(folder: Path) -> Path:
    from petbox.training import config as training_config
    from petbox.training.tfvision import tf

    config = training_config.experiment("toy")
    training_config.on_records(config, ["gone.record"], ["gone.record"], NAMES)
    training_config.set_seed(3)
    model = training_config.task(config).build_model()
    for variable in model.detection_head.trainable_variables:
        if "classes" in variable.name or "scores" in variable.name:
            variable.assign(variable * 60.0)
    folder.mkdir(parents=True)
    training_config.save_config(config, folder)
    labels.write(folder / labels.FILE_NAME, NAMES)
    checkpoint = tf.train.Checkpoint(model=model, global_step=tf.Variable(5, dtype=tf.int64))
    checkpoint.save(str(folder / "ckpt"))
    return folder


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """An image of soft blots, which any codec takes well."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    return Image.fromarray(small).resize((width, height))


def file(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


@contextmanager
def counted_opens() -> Iterator[Counter[str]]:
    """How often each file is opened by Python; the hook stays, and does nothing afterwards."""
    counted: Counter[str] = Counter()
    active = [True]

    def hook(event: str, arguments: Any) -> None:
        if active and event == "open" and isinstance(arguments[0], (str, os.PathLike)):
            counted[os.fspath(arguments[0])] += 1

    sys.addaudithook(hook)
    try:
        yield counted
    finally:
        active.clear()


class Exported:
    """A SavedModel on the disk, and its signatures as a server calls them: in a session."""

    def __init__(self, folder: Path) -> None:
        from petbox.tf import tf

        self.folder = folder
        self._errors = tf.errors
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            meta = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        self.signatures = meta.signature_def
        self._calls = {name: self._callable(name) for name in ("serving_default", "detect", "draw")}

    def _callable(self, name: str) -> Any:
        signature = self.signatures[name]
        outputs = {key: info.name for key, info in signature.outputs.items()}
        return self._session.make_callable(outputs, [signature.inputs["inputs"].name])

    def __call__(self, *images: Any, signature: str = "serving_default") -> dict[str, Any]:
        pixels = bool(images) and isinstance(images[0], np.ndarray)
        return self._calls[signature](np.array(images, None if pixels else object))  # type: ignore[no-any-return]

    def graphs(self, *images: bytes, signature: str = "serving_default") -> Any:
        """What the session made of the model's graph to answer a request."""
        return self._observed(images, signature, output_partition_graphs=True).partition_graphs

    def ran(self, *images: bytes) -> set[str]:
        """The ops that a request ran."""
        from petbox.tf import tf

        trace = tf.compat.v1.RunOptions.FULL_TRACE
        found = self._observed(images, "serving_default", trace_level=trace).step_stats
        labels = [node.timeline_label for device in found.dev_stats for node in device.node_stats]
        return {label.partition(" = ")[2].partition("(")[0] for label in labels}

    def _observed(self, images: Sequence[bytes], signature: str, **options: Any) -> Any:
        from petbox.tf import tf

        info = self.signatures[signature]
        metadata = tf.compat.v1.RunMetadata()
        outputs = {key: one.name for key, one in info.outputs.items()}
        given = {info.inputs["inputs"].name: np.array(images, object)}
        self._session.run(outputs, given, tf.compat.v1.RunOptions(**options), metadata)
        return metadata

    def rejection(self, *images: Any, signature: str = "serving_default") -> str:
        """The error message of a request that is rejected."""
        try:
            self(*images, signature=signature)
        except self._errors.InvalidArgumentError as error:
            return str(error.message)
        raise AssertionError("it was answered")
