"""One engine with one network in a process of its own; engines.py asks it line by line.

    python bench/engine_process.py KIND FOLDER OPTIONS

With `copies` 1 a request has all threads; with more, as many requests run at once, each on one.
"""

from __future__ import annotations

import json
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from petbox.images import exif
from petbox.litert import bundle, preprocess
from petbox.litert import decode as litert_decode

WARM = 3  # calls
INPUTS = ("image:0", "corners:0")
Network = Callable[[Any, Any], Any]  # boxes, classes, count and scores of one image on its canvas
Rows = list[tuple[int, float, list[float]]]  # class, score and box


def about(folder: Path) -> bundle.LiteModel:
    return bundle.LiteModel(**json.loads((folder / bundle.ABOUT).read_text(encoding="utf-8")))


# The engines


def litert(folder: Path, threads: int) -> Network:
    from ai_edge_litert.interpreter import Interpreter

    loaded = Interpreter(model_path=str(folder / bundle.NETWORK), num_threads=threads)
    return _by_names(loaded.get_signature_runner(bundle.SIGNATURE))


def openvino(folder: Path, threads: int, precision: str = "f32") -> Network:
    import openvino as ov

    model = ov.Core().compile_model(
        folder / bundle.OPENVINO,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        },
    )
    request = model.create_infer_request()
    return _by_names(lambda **given: request.infer(given))


def _by_names(run: Callable[..., Any]) -> Network:
    names = (bundle.BOXES, bundle.CLASSES, bundle.COUNT, bundle.SCORES)

    def call(image: Any, corners: Any) -> Any:
        found = run(**{bundle.IMAGE: image, bundle.CORNERS: corners})
        return [found[name] for name in names]

    return call


def onnx(folder: Path, threads: int) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    return lambda *given: session.run(None, dict(zip(INPUTS, given, strict=True)))


def tensorflow(folder: Path, threads: int) -> Network:
    from petbox.tf import tf

    v1 = tf.compat.v1
    graph = v1.GraphDef.FromString((folder / "network.pb").read_bytes())
    with tf.Graph().as_default():
        names = [*INPUTS, "Identity:0", "Identity_1:0", "Identity_2:0", "Identity_3:0"]
        tensors = tf.graph_util.import_graph_def(graph, return_elements=names, name="")
        call: Network = v1.Session(config=_config(threads)).make_callable(tensors[2:], tensors[:2])
    return call


def _config(threads: int) -> Any:
    from petbox.tf import tf

    return tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=_cores()
    )


def saved_model(folder: Path, threads: int) -> Callable[[bytes], Rows]:
    """The export, loaded as a model server does; it decodes images itself."""
    from petbox.tf import tf

    v1 = tf.compat.v1
    session = v1.Session(graph=tf.Graph(), config=_config(threads))
    with session.graph.as_default():
        meta = v1.saved_model.load(session, ["serve"], str(folder / "1"))
    signature = meta.signature_def["serving_default"]
    names = [f"detection_{name}" for name in ("boxes", "classes")]
    outputs = [*names, "num_detections", "detection_scores"]
    call = session.make_callable(
        [signature.outputs[name].name for name in outputs], [signature.inputs["inputs"].name]
    )
    return lambda file: _rows(*call([file]))


KINDS: dict[str, Callable[..., Network]] = {
    "litert": litert,
    "openvino": openvino,
    "onnx": onnx,
    "tensorflow": tensorflow,
}


# What is asked


class Engine:
    def __init__(self, kind: str, folder: Path, copies: int, **options: Any) -> None:
        threads = 1 if copies > 1 else _cores()
        self._networks: queue.SimpleQueue[Network] = queue.SimpleQueue()
        self._settings = about(folder.parent)
        if kind == "saved_model":
            self.detect = saved_model(folder, threads)
            return
        for _ in range(copies):
            self._networks.put(KINDS[kind](folder, threads, **options))
        self.detect = self._detect

    def _detect(self, file: bytes) -> Rows:
        prepared = self.prepared(file)
        with self._network() as network:
            return _rows(*network(*prepared))

    def prepared(self, file: bytes) -> Any:
        pixels = litert_decode.stored(file, self._settings.most_pixels)
        return preprocess.fitted(pixels, self._settings, exif.orientation(file))

    @contextmanager
    def _network(self) -> Iterator[Network]:
        one = self._networks.get()
        try:
            yield one
        finally:
            self._networks.put(one)

    # Each answers one command

    def files(self, files: list[bytes]) -> dict[str, Any]:
        return _timed(lambda: [self.detect(one) for one in files], len(files))

    def network(self, files: list[bytes]) -> dict[str, Any]:
        """The network alone, without decoding and scaling."""
        if self._networks.empty():
            return {}
        prepared = self.prepared(files[0])
        with self._network() as network:
            return _timed(lambda: [network(*prepared) for _ in files], len(files))

    def callers(self, files: list[bytes], count: int) -> dict[str, Any]:
        """`count` callers share the files."""
        waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        for one in files:
            waiting.put(one)

        def work() -> None:
            while True:
                try:
                    file = waiting.get_nowait()
                except queue.Empty:
                    return
                self.detect(file)

        def together() -> None:
            threads = [threading.Thread(target=work) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return _timed(together, len(files))

    def detections(self, files: list[bytes]) -> dict[str, Any]:
        return {"rows": [self.detect(one) for one in files]}


def _timed(call: Callable[[], object], times: int) -> dict[str, Any]:
    """Seconds of one of `times` that `call` does, on the clock and of the processor."""
    begin, cpu = time.perf_counter(), time.process_time()
    call()
    return {
        "seconds": (time.perf_counter() - begin) / times,
        "cpu": (time.process_time() - cpu) / times,
    }


def _rows(boxes: Any, classes: Any, count: Any, scores: Any) -> Rows:
    kept = int(np.asarray(count).reshape(-1)[0])
    columns = (np.asarray(one)[0, :kept].tolist() for one in (classes, scores, boxes))
    return [(int(label), score, box) for label, score, box in zip(*columns, strict=True)]


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _memory() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(r"VmRSS:\s+(\d+)", status)[0])


def main() -> None:
    kind, folder, options = sys.argv[1:]
    engine = Engine(kind, Path(folder), **json.loads(options))
    for line in sys.stdin:
        what, files, *words = json.loads(line)
        answer = getattr(engine, what)([Path(one).read_bytes() for one in files], *words)
        print(json.dumps({**answer, "memory": _memory(), "at": time.time()}), flush=True)


if __name__ == "__main__":
    main()
