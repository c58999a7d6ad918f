"""Preprocessing with Pillow and numpy, and CSV for those who accept it."""

import io
import json

import numpy as np
from PIL import Image

SIZE = (2, 2)


def input_handler(data, context):
    image = Image.open(io.BytesIO(data.read())).convert("RGB").resize(SIZE)
    pixels = np.asarray(image, dtype=np.float32)[np.newaxis]
    return json.dumps({"instances": pixels.tolist()})


def output_handler(response, context):
    rows = np.array(response.json()["predictions"]).reshape(len(response.json()["predictions"]), -1)
    if context.accept_header == "text/csv":
        return "\n".join(",".join(f"{value:g}" for value in row) for row in rows), "text/csv"
    return json.dumps({"sums": rows.sum(axis=1).tolist()}), "application/json"
