"""Makes OpenVINO's network of a detector: with floats as trained, or in 8 bits."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from petbox.cli import program
from petbox.cli.progress import progress
from petbox.errors import ModelError, needs
from petbox.export.rewrite import grappler
from petbox.litert import bundle
from petbox.litert.bundle import BOXES, CLASSES, CORNERS, COUNT, IMAGE, SCORES
from petbox.tf import tf

from tensorflow.python.framework import convert_to_constants  # isort: skip

# They stay floats: boxes are sums and products of their coordinates.
OF_BOXES = ".*(decode_boxes|clip_boxes|roi_aligner|generate_detections|propose_rois).*"


def check_installed() -> None:
    # With this package, where it is installed, both tell Intel about each conversion.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    needs("openvino", "convert")
    needs("nncf", "convert")


def converted(saved_model: Path) -> Any:
    """The network of a SavedModel of one image."""
    check_installed()
    openvino = needs("openvino", "convert")
    loaded = tf.saved_model.load(str(saved_model))  # its variables live as long as it does
    signature = loaded.signatures[bundle.SIGNATURE]
    with tempfile.TemporaryDirectory() as folder, program.silent():
        frozen = convert_to_constants.convert_variables_to_constants_v2(signature)
        path = Path(folder) / "network.pb"
        # OpenVINO rejects normalizations whose constants have to be computed first.
        path.write_bytes(grappler.simplified_graph(frozen).SerializeToString())
        try:
            model = openvino.convert_model(path)
        except Exception as error:  # its classes are not public
            cause = " ".join(str(error).split())
            raise ModelError(
                f"the network cannot be converted to OpenVINO ({cause}); train one of the presets"
            ) from error
    outputs = (BOXES, CLASSES, COUNT, SCORES)  # alphabetical, as a SavedModel keeps them
    for name, tensor in zip(outputs, frozen.outputs, strict=True):
        model.output(tensor.name).get_tensor().set_names({name})
    for given in model.inputs:
        given.get_tensor().set_names({IMAGE if len(given.shape) == 4 else CORNERS})
    return model


def in_8_bits(model: Any, inputs: Sequence[dict[str, Any]]) -> Any:
    """The network, calibrated on its inputs for some images."""
    check_installed()
    nncf = needs("nncf", "convert")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    of_boxes = nncf.IgnoredScope(patterns=[OF_BOXES], validate=False)
    with progress("calibrate", len(inputs)) as advance, Path(os.devnull).open("w") as nowhere:

        def counted(one: dict[str, Any]) -> dict[str, Any]:
            advance(1, "images")
            return one

        data = nncf.Dataset(inputs, counted)
        with redirect_stdout(nowhere):  # bars of its own
            return nncf.quantize(model, data, subset_size=len(inputs), ignored_scope=of_boxes)


def write(model: Any, path: Path) -> None:
    needs("openvino", "convert").save_model(model, path, compress_to_fp16=False)
