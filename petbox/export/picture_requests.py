"""A request for one picture, as a client of an exported model makes it of the picture's file."""

from __future__ import annotations

from typing import Any

from petbox.tf import tf


def request(input_type: str, file: bytes) -> Any:
    """What goes to `inputs` of a model of that input type; `petbox.export.inputs` has them all."""
    if input_type == "image_tensor":
        return tf.io.decode_image(file, channels=3, expand_animations=False)[None]
    if input_type == "tf_example":
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[file]))
        features = tf.train.Features(feature={"image/encoded": feature})
        file = tf.train.Example(features=features).SerializeToString()
    return tf.constant([file])
