"""A SavedModel that detects red, green and blue spots.

It needs no training, its boxes are known beforehand, and they rotate with the image. It decodes
images as exported models do.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw

from petbox.data import labels

NAMES = {1: "<b>red</b> & 'co'", 2: "green", 3: "blue"}  # names may contain HTML
COLORS = {1: (220, 20, 20), 2: (20, 200, 20), 3: (20, 20, 220)}
SCORES = {1: 0.9, 2: 0.6, 3: 0.3}
Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom exclusive


def detector(folder: Path) -> Path:
    """Saves a version with `serving_default`, whose lists end in padding."""
    from petbox.export.decode import files as decode_files
    from petbox.tf import tf

    def span(mask, axis):  # type: ignore[no-untyped-def]
        there = tf.where(tf.reduce_any(mask, axis))[:, 0]
        size = tf.cast(tf.shape(mask)[1 - axis], tf.float32)
        return tf.cast(there[0], tf.float32) / size, tf.cast(there[-1] + 1, tf.float32) / size

    def box(pixels, label):  # type: ignore[no-untyped-def]
        bright = tf.constant(COLORS[label]) > 128
        mask = tf.reduce_all(tf.where(bright, pixels > 150, pixels < 110), 2)

        def detection():  # type: ignore[no-untyped-def]
            top, bottom = span(mask, 1)
            left, right = span(mask, 0)
            return tf.stack([top, left, bottom, right]), tf.constant(SCORES[label])

        return tf.cond(tf.reduce_any(mask), detection, lambda: (tf.zeros(4), tf.constant(-1.0)))

    def one(element):  # type: ignore[no-untyped-def]
        pixels = decode_files.decode(*element)
        boxes, scores = zip(*(box(pixels, label) for label in COLORS), strict=True)
        order = tf.argsort(tf.stack(scores), direction="DESCENDING")
        padding = [[0.0, 0.0, 1.0, 1.0]], [7.0], [0.99]
        return (
            tf.concat([tf.gather(tf.stack(boxes), order), padding[0]], 0),
            tf.concat([tf.gather(tf.constant([*map(float, COLORS)]), order), padding[1]], 0),
            tf.concat([tf.gather(tf.stack(scores), order), padding[2]], 0),
            tf.reduce_sum(tf.cast(tf.stack(scores) > 0, tf.float32)),
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classic(inputs):  # type: ignore[no-untyped-def]
        specs = tuple(tf.TensorSpec(shape, tf.float32) for shape in ([4, 4], [4], [4], []))
        elements = (tf.range(tf.size(inputs)), inputs)
        boxes, classes, scores, count = tf.map_fn(one, elements, fn_output_signature=specs)
        return {
            "detection_boxes": boxes,
            "detection_classes": classes,
            "detection_scores": scores,
            "num_detections": count,
        }

    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": classic})
    (folder / "assets").mkdir(exist_ok=True)
    labels.write(folder / "assets" / labels.FILE_NAME, NAMES)
    return folder


def image(width: int, height: int, spots: dict[int, Box]) -> Image.Image:
    drawn = Image.new("RGB", (width, height), (200, 200, 200))
    pen = ImageDraw.Draw(drawn)
    for label, (left, top, right, bottom) in spots.items():
        pen.rectangle((left, top, right - 1, bottom - 1), fill=COLORS[label])
    return drawn


def stored(upright: Image.Image, orientation: int) -> Image.Image:
    """The pixels that a rotated camera stores: upright only if EXIF is applied."""
    back = {  # each undoes itself, but for the quarter turns
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return upright.transpose(back[orientation]) if orientation in back else upright


def with_orientation(image: Image.Image, orientation: int, kind: str = "JPEG") -> bytes:
    """A file of a rotated camera."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
    stored(image, orientation).save(file, kind, exif=exif, **options.get(kind, {}))
    return file.getvalue()
