"""Compares an exported model with its source before anyone uses it.

The images are from the run's records if those still exist, else drawn. On one side they go through
the Model Garden's input pipeline and the model in memory, on the other through the SavedModel as
it is on disk.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from petbox.cli.program import silent
from petbox.data.records import files as record_files
from petbox.errors import DataError, ModelError
from petbox.export.canvases import Canvas, first_fitting
from petbox.export.inputs import KEY, example, request
from petbox.export.model_folder import SIGNATURE
from petbox.images import exif
from petbox.tf import as_written
from petbox.training.tfvision import tf

TOLERANCE = 1e-3  # of boxes in fractions of the image, and of scores
DRAWN = "drawn scenes"
SEED = 7


@dataclass(frozen=True)
class Found:
    boxes: npt.NDArray[np.float32]  # [n,4]
    classes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """The largest differences between the two sides."""

    pictures: int
    source: str
    detections: int
    box_difference: float
    score_difference: float


@dataclass(frozen=True)
class Images:
    """Serialized tf.Examples, and where they are from."""

    source: str
    examples: list[bytes]


def images(records: Path | None, count: int, own: Sequence[str] = ()) -> Images:
    """Images of `records`, of the run's `own` records if those still exist, or drawn."""
    if records:
        paths = [str(path) for path in record_files(records, "test")]
        return Images(str(records), _some(paths, count))
    if files := sorted(tf.io.gfile.glob(list(own))):
        return Images("the run's validation records", _some(files, count))
    return Images(DRAWN, [_drawn(number) for number in range(count)])


def own_records(data: Any) -> list[str]:
    """The records that a run was trained or validated with, if on this machine."""
    paths = data.input_path
    patterns = paths.split(",") if isinstance(paths, str) else paths
    return [pattern for pattern in patterns if "://" not in pattern]


def check(
    folder: Path,
    input_type: str,
    images: Images,
    results: Iterable[Found],
    source: str,
    turns: bool = False,
) -> Agreement:
    """Compares the SavedModel in `folder` with the `results` of its `source`.

    It is loaded as a model server does, into a session, and once more as Python programs do. If it
    `turns` images as their EXIF says, also on a sideways copy of one of them.
    """
    boxes, scores, detections = 0.0, 0.0, 0
    with _served(folder, input_type) as found:
        for number, (serialized, expected) in enumerate(zip(images.examples, results, strict=True)):
            actual = found(file(serialized))
            box, score, difference = compared(expected, actual)
            if difference:
                name = tf.train.Example.FromString(serialized).features.feature["image/filename"]
                named = b"".join(name.bytes_list.value).decode() or f"image {number}"
                raise ModelError(
                    f"the exported model differs from {source} on {named} of {images.source}: "
                    f"{difference}; nothing was written"
                )
            boxes, scores = max(boxes, box), max(scores, score)
            detections += len(expected.scores)
        first = file(images.examples[0])
        served = found(first)
        if turns:
            _check_sideways(found, first, images.source)
    loaded = tf.saved_model.load(str(folder)).signatures[SIGNATURE]
    in_python = _detections(loaded(**{KEY: request(input_type, first)}))
    if difference := compared(served, in_python)[2]:
        raise ModelError(
            f"the exported model differs in Python and in a model server on an image of "
            f"{images.source}: {difference}; nothing was written"
        )
    return Agreement(len(images.examples), images.source, detections, boxes, scores)


@contextmanager
def _served(folder: Path, input_type: str) -> Iterator[Callable[[bytes], Found]]:
    """The model's detections in an image file, by a session that was loaded as servers do it."""
    graph = tf.Graph()
    with closing(tf.compat.v1.Session(graph=graph)) as session:
        with graph.as_default(), silent():
            meta = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(folder))
        signature = meta.signature_def[SIGNATURE]
        outputs = {name: info.name for name, info in signature.outputs.items()}
        call = session.make_callable(outputs, [signature.inputs[KEY].name])

        def found(image: bytes) -> Found:
            with silent():
                return _detections(call(request(input_type, image).numpy()))

        yield found


def _check_sideways(found: Callable[[bytes], Found], image: bytes, source: str) -> None:
    upright = tf.io.decode_image(image, channels=3, expand_animations=False)
    stored = exif.turned(upright.numpy(), exif.COUNTERCLOCKWISE)
    turned = exif.sideways(tf.io.encode_png(stored, compression=0).numpy())
    if difference := compared(found(image), found(turned))[2]:
        raise ModelError(
            f"the exported model differs on a sideways copy of an image of {source}: "
            f"{difference}; nothing was written"
        )


def compared(expected: Found, actual: Found) -> tuple[float, float, str]:
    """The largest differences of boxes and scores, and the first detection that only one has.

    Detections of the same score may be in either order. One at the end of a list may just have
    missed the other list.
    """
    lowest = min([*expected.scores, *actual.scores], default=0.0) + TOLERANCE
    left = [*range(len(actual.scores))]
    most_box, most_score = 0.0, 0.0
    for at, score in enumerate(expected.scores):
        boxes = np.abs(actual.boxes[left] - expected.boxes[at]).max(axis=1, initial=0.0)
        scores = np.abs(actual.scores[left] - score)
        alike = (actual.classes[left] == expected.classes[at]) & (scores <= TOLERANCE)
        alike &= boxes <= TOLERANCE
        if alike.any():
            best = int(np.argmin(np.where(alike, boxes, np.inf)))
            most_box = max(most_box, float(boxes[best]))
            most_score = max(most_score, float(scores[best]))
            del left[best]
        elif score > lowest:
            instead = _described(actual, left[np.argmin(boxes)]) if left else "nothing"
            difference = f"{_described(expected, at)} in the evaluation, {instead} in the export"
            return most_box, most_score, difference
    for at in left:
        if actual.scores[at] > lowest:
            return most_box, most_score, f"{_described(actual, at)} in the export only"
    return most_box, most_score, ""


def _described(actual: Found, at: int) -> str:
    box = ", ".join(f"{edge:.4f}" for edge in actual.boxes[at])
    return f"class {actual.classes[at]:.0f} with {actual.scores[at]:.4f} at [{box}]"


def validation_files(records: Path | None, own: Sequence[str]) -> list[str]:
    """The validation images of `records`, or of the run's `own`, if there are any."""
    if records:
        paths = record_files(records, "validation") or record_files(records, "test")
        return [str(path) for path in paths]
    return sorted(tf.io.gfile.glob(list(own)))


def caller(model: Any) -> Any:
    """The model as one function of images on their canvas and its size."""
    return tf.function(
        as_written(lambda images, shape: model(images, image_shape=shape, training=False))
    )


def detected(
    task: Any, call: Any, files: Sequence[str], canvases: Sequence[Canvas]
) -> Iterator[tuple[Any, Any]]:
    """The labels of each image and its detections, on the first canvas that fits it."""
    data = copy.deepcopy(task.task_config.validation_data)
    data.global_batch_size, data.input_path = 1, list(files)
    for images, labels in task.build_inputs(data):
        info = labels["image_info"]
        canvas = canvases[int(first_fitting(canvases, info[:, 0] * info[:, 2])[0])]
        yield labels, call(images[:, : canvas.height, : canvas.width], info[:, 1, :])


def evaluated(
    task: Any, call: Any, examples: list[bytes], canvases: Sequence[Canvas]
) -> Iterator[Found]:
    """The detections of the evaluation in each image, on the first canvas that fits it."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "verified.record"))
        with tf.io.TFRecordWriter(path) as file:
            for serialized in examples:
                file.write(serialized)
        for labels, actual in detected(task, call, [path], canvases):
            info = labels["image_info"]
            # Pixels of the canvas to fractions of the image, as its metrics do.
            scaled = tf.tile(info[:, 0] * info[:, 2], [1, 2])[:, None]
            boxes = tf.clip_by_value(actual["detection_boxes"] / scaled, 0.0, 1.0)
            yield _detections({**actual, "detection_boxes": boxes})


def _detections(actual: Any) -> Found:
    count = int(actual["num_detections"][0])
    boxes, classes, scores = (
        np.asarray(actual[f"detection_{name}"][0, :count], np.float32)
        for name in ("boxes", "classes", "scores")
    )
    return Found(boxes, classes, scores)


def file(serialized: bytes) -> bytes:
    """The image's file, whose pixels count as they are stored."""
    feature = tf.train.Example.FromString(serialized).features.feature["image/encoded"]
    return exif.as_stored(bytes(feature.bytes_list.value[0]))


def _some(files: list[str], count: int) -> list[bytes]:
    try:
        actual = [*tf.data.TFRecordDataset(files).take(count).as_numpy_iterator()]
    except tf.errors.DataLossError as error:
        raise DataError(f"{files[0]}: a shard is damaged; make the records again") from error
    if not actual:
        raise DataError(f"{files[0]}: contains no images to compare on; name other records")
    return [bytes(one) for one in actual]


def _drawn(number: int) -> bytes:
    """A scene; every other one is much larger."""
    from petbox.data.toy.breeds import BREEDS
    from petbox.data.toy.scenes import scene

    image, _ = scene(BREEDS[number % len(BREEDS)], np.random.default_rng([SEED, number]))
    if number % 2:
        image = image.resize((image.width * 3, image.height * 3))
    jpeg = BytesIO()
    image.save(jpeg, "JPEG", quality=90)
    return example(
        {
            "image/encoded": jpeg.getvalue(),
            "image/filename": f"scene_{number}.jpg".encode(),
            "image/source_id": str(number).encode(),
            "image/height": image.height,
            "image/width": image.width,
        }
    )


def drawn_request(input_type: str, edge: int) -> Any:
    """An input of one square image, as a client may send."""
    pixels = tf.image.resize(tf.io.decode_jpeg(file(_drawn(0))), (edge, edge))
    jpeg = tf.io.encode_jpeg(tf.cast(pixels, tf.uint8)).numpy()
    return request(input_type, jpeg).numpy()
