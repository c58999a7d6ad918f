"""What every peer does with a picture: the model's signature, and its answer as plain lists."""

import os
from typing import Any

import tensorflow as tf

MODEL = tf.saved_model.load(os.environ["PEER_MODEL"])
DETECT = MODEL.signatures["serving_default"]


def detect(picture: bytes) -> dict[str, Any]:
    found = DETECT(inputs=tf.constant([picture]))
    return {"predictions": [{name: value.numpy()[0].tolist() for name, value in found.items()}]}
