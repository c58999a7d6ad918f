"""Writes one network for each engine of engines.py, each into its own folder.

    python bench/engine_models.py RUN FOLDER [RECORDS]

All are made from the same graph, which takes one image on the whole canvas; only the SavedModel is
the export. Integers are calibrated on training images of RECORDS. What exists is not made again;
what fails leaves its reason in `failed.txt`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from engine_process import about
from flops import of_products, products

from petbox.litert import bundle, preprocess
from petbox.litert import decode as litert_decode

CALIBRATED, FEWEST = 64, 4  # images
CALIBRATION = 200e9  # floating point operations; LiteRT calibrates with its slow kernels
QUANTIZED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "AVERAGE_POOL_2D"}
MOVES = ("ADD", "RESHAPE", "TILE")  # quantized in the pyramid only; elsewhere they are of boxes
# The quantizer does not find ops of several outputs by name.
SEVERAL_OUTPUTS = ("TOPK_V2", "SPLIT", "SPLIT_V", "UNPACK", "SLICE")
INPUTS = ("image:0", "corners:0")
OUTPUTS = ("Identity:0", "Identity_1:0", "Identity_2:0", "Identity_3:0")  # in order of their names


class Maker:
    def __init__(self, run: Path, folder: Path, records: Path | None) -> None:
        self.run, self.folder, self.records = run, folder, records

    # What the forms are made from, once it is needed

    @cached_property
    def network(self) -> Any:
        from petbox.export import source
        from petbox.training import runs

        return source.load(runs.read(self.run), self.records).build(True, False)

    @cached_property
    def for_one_image(self) -> Path:
        from petbox.litert import convert

        folder = self.folder / "for-one-image"
        convert.save_for_one_image(self.network, folder)
        return folder

    @cached_property
    def frozen(self) -> Any:
        """The graph with its weights as constants."""
        from tensorflow.python.framework import convert_to_constants

        from petbox.tf import tf

        model = tf.saved_model.load(str(self.for_one_image))
        signature = model.signatures[bundle.SIGNATURE]
        return convert_to_constants.convert_variables_to_constants_v2(signature).graph

    @cached_property
    def images(self) -> list[dict[str, Any]]:
        from petbox.data import records
        from petbox.export import verify

        settings = about(self.folder)
        flops = json.loads((self.folder / "graph" / "flops.json").read_text())
        count = min(CALIBRATED, max(FEWEST, int(CALIBRATION / flops)))
        if self.records:
            examples = islice(records.examples(self.records, "train"), count)
            files: Iterable[bytes] = (one.encoded for one in examples)
        else:
            files = map(verify.file, verify.images(None, count).examples)
        pixels = (litert_decode.stored(file, settings.most_pixels) for file in files)
        names = (bundle.IMAGE, bundle.CORNERS)
        return [dict(zip(names, preprocess.fitted(one, settings), strict=True)) for one in pixels]

    # The forms

    def settings(self) -> None:
        from petbox.export.signatures import Settings
        from petbox.litert import convert

        convert.about_network(self.network, "float32", Settings()).write(self.folder)

    def graph(self, out: Path) -> None:
        (out / "network.pb").write_bytes(self.frozen.as_graph_def().SerializeToString())
        (out / "flops.json").write_text(json.dumps(of_products(products(self.frozen))))

    def saved_model(self, out: Path) -> None:
        from petbox.export import exporter
        from petbox.export.signatures import Settings
        from petbox.training import runs

        exporter.export(runs.read(self.run), out / "1", Settings())

    def litert_float32(self, out: Path) -> None:
        self._litert(out)

    def litert_float16(self, out: Path) -> None:
        from petbox.tf import tf

        self._litert(out, optimizations=[tf.lite.Optimize.DEFAULT], types=[tf.float16])

    def litert_int8(self, out: Path) -> None:
        from petbox.tf import tf

        self._litert(out, optimizations=[tf.lite.Optimize.DEFAULT])

    def litert_int8_full(self, out: Path) -> None:
        from tensorflow.lite.python.convert import mlir_quantize

        from petbox.tf import tf

        converter = self._converter(optimizations=[tf.lite.Optimize.DEFAULT])
        converter.representative_dataset = lambda: (
            (bundle.SIGNATURE, image) for image in self.images
        )
        converter._experimental_calibrate_only = True
        calibrated = bytes(converter.convert())
        names = left_in_float(calibrated)
        made = mlir_quantize(
            calibrated, denylisted_nodes=names, denylisted_ops=list(SEVERAL_OUTPUTS)
        )
        (out / bundle.NETWORK).write_bytes(made)

    def _litert(self, out: Path, **settings: Any) -> None:
        (out / bundle.NETWORK).write_bytes(bytes(self._converter(**settings).convert()))

    def _converter(self, optimizations: Sequence[Any] = (), types: Sequence[Any] = ()) -> Any:
        from petbox.litert import convert

        converter = convert.converter(self.for_one_image)
        converter.optimizations = list(optimizations)
        converter.target_spec.supported_types = list(types)
        return converter

    def openvino_float32(self, out: Path) -> None:
        from petbox.litert import openvino

        openvino.write(openvino.converted(self.for_one_image), out / bundle.OPENVINO)

    def openvino_int8(self, out: Path) -> None:
        from petbox.litert import openvino

        network = openvino.converted(self.for_one_image)
        openvino.write(openvino.in_8_bits(network, self.images), out / bundle.OPENVINO)

    def onnx_float32(self, out: Path) -> None:
        import tf2onnx

        tf2onnx.convert.from_graph_def(
            self.frozen.as_graph_def(),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            opset=18,
            output_path=str(out / "model.onnx"),
        )


def left_in_float(network: bytes) -> list[str]:
    """Outputs of all ops but the convolutions, the dense layers and what lies between them."""
    from ai_edge_litert import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    model = schema.Model.GetRootAsModel(network, 0)
    graph = model.Subgraphs(0)
    left = []
    for at in range(graph.OperatorsLength()):
        op = graph.Operators(at)
        code = model.OperatorCodes(op.OpcodeIndex())
        kind = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        outputs = [graph.Tensors(op.Outputs(number)) for number in range(op.OutputsLength())]
        first = outputs[0].Name().decode()
        between = kind in MOVES and "/fpn/" in first
        between |= kind == "ADD" and outputs[0].ShapeLength() == 4  # of feature maps
        if kind not in QUANTIZED and not between:
            left += [one.Name().decode() for one in outputs]
    return left


def main() -> None:
    run, folder, *records = map(Path, sys.argv[1:])
    maker = Maker(run, folder, records[0] if records else None)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / bundle.ABOUT).exists():
        maker.settings()
    for name in (
        *("graph", "saved_model", "litert_float32", "litert_float16", "litert_int8"),
        *("litert_int8_full", "onnx_float32", "openvino_float32", "openvino_int8"),
    ):
        make_one(folder / name, getattr(maker, name))


def make_one(out: Path, make: Callable[[Path], None]) -> None:
    done = out / "done"
    if done.exists():
        return
    print(f"{out.name} ...", file=sys.stderr, flush=True)
    out.mkdir(exist_ok=True)
    try:
        make(out)
    except Exception as error:  # whatever it is belongs into the table
        cause = " ".join(str(error).split())[:150]
        (out / "failed.txt").write_text(f"{type(error).__name__}: {cause}")
        print(f"{out.name}: {cause}", file=sys.stderr)
    else:
        (out / "failed.txt").unlink(missing_ok=True)
        done.touch()


if __name__ == "__main__":
    main()
