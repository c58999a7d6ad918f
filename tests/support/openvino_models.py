"""Detectors for OpenVINO, made in no time."""

from __future__ import annotations

import json
from pathlib import Path

from petbox.litert import bundle

EDGE = 32


def constant(folder: Path) -> Path:
    """One that finds one Abyssinian in every image."""
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    image = ops.parameter([1, EDGE, EDGE, 3], np.float32)
    corners = ops.parameter([1, 4], np.float32)
    nothing = ops.multiply(ops.reduce_sum(image, [0, 1, 2, 3]), np.float32(0))
    outputs = {
        bundle.BOXES: [[[0.1, 0.2, 0.6, 0.7]]],
        bundle.CLASSES: [[3.0]],
        bundle.SCORES: [[0.875]],
        bundle.COUNT: [1.0],
    }
    made = [ops.add(ops.constant(value, np.float32), nothing) for value in outputs.values()]
    model = openvino.Model(made, [image, corners])
    for given, name in zip(model.inputs, (bundle.IMAGE, bundle.CORNERS), strict=True):
        given.get_tensor().set_names({name})
    for output, name in zip(model.outputs, outputs, strict=True):
        output.get_tensor().set_names({name})
    folder.mkdir(parents=True)
    openvino.save_model(model, folder / bundle.OPENVINO)
    half = [0.5, 0.5, 0.5]
    about = {"form": "float32", "canvas": [EDGE, EDGE], "padded": [EDGE, EDGE], "mean": half}
    about |= {"deviation": half, "min_score": 0.05, "most_pixels": 40_000_000}
    (folder / bundle.ABOUT).write_text(json.dumps(about))
    (folder / "label_map.pbtxt").write_text("item {\n  id: 3\n  name: 'Abyssinian'\n}\n")
    return folder
