"""TensorFlow's C library as an engine: what goes in and out, what fails, and what is freed."""

from __future__ import annotations

import _ctypes
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.ports import free_port
from support.saved_models import adder, corrupt, hasher
from support.serving import CHECKOUT, LONG, await_port, empty_model, started

from petbox.serving.model_server import background, tensor_proto, tensorflow_engine
from petbox.serving.model_server.engine import EngineOptions
from petbox.serving.model_server.records import CorruptRecord, records
from petbox.serving.model_server.signature_def import dtype_name
from petbox.serving.model_server.status import StatusError
from petbox.serving.model_server.tensorflow_engine import SavedModel, TensorFlow
from petbox.tf import tf

v1 = tf.compat.v1
KINDS = {dtype_name(number): dtype for number, dtype in tensor_proto.numpy_types().items()}
SHAPES = ((), (0,), (3,), (2, 0, 4), (2, 3))


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    """A signature for each type, which returns what it is given; and some that cannot run."""
    folder = tmp_path_factory.mktemp("identity") / "1"
    build, describe = v1.saved_model.build_tensor_info, v1.saved_model.build_signature_def
    with tf.Graph().as_default(), v1.Session() as session:
        signatures = {}
        for kind in (*KINDS, "qint8"):
            x = v1.placeholder(kind, None, kind)
            signatures[kind] = describe({"x": build(x)}, {"y": build(tf.identity(x))})
        for place, name in (("inputs", "gone:0"), ("outputs", "gone:0"), ("outputs", "float:7")):
            lost = signatures[f"{place} {name}"] = type(signatures["float"])()
            lost.CopyFrom(signatures["float"])
            (info,) = getattr(lost, place).values()
            info.name = name
        signatures["sparse"] = describe({"x": build(v1.sparse_placeholder("float"))}, {})
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return TensorFlow().load(folder)


def some(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> tensor_proto.Array:
    size = int(np.prod(shape))
    if dtype.kind != "O":
        return np.arange(size).astype(dtype).reshape(shape)
    array = np.empty(size, object)
    array[:] = [b"\0\xff" * 9 * number for number in range(size)]  # short and long
    return array.reshape(shape)


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_of_every_type_and_shape_go_in_and_out(identity: SavedModel, kind: str) -> None:
    for shape in SHAPES:
        given = some(KINDS[kind], shape)
        found = identity.run(kind, {"x": given})["y"]
        assert (found.dtype, found.shape) == (given.dtype, shape)
        assert (found == given).all()
        assert (identity.run(kind, {"x": given.T})["y"] == given.T).all()  # in another order


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_of_warm_up_requests_are_those_of_tensorflow(kind: str) -> None:
    for shape in SHAPES:
        given = some(KINDS[kind], shape)
        proto = tf.make_tensor_proto(given.tolist() if kind == "string" else given, kind, shape)
        found = tensor_proto.from_proto(proto.SerializeToString())
        assert (found.dtype, found.shape) == (given.dtype, shape)
        assert (found == given).all()
    value = b"a" if kind == "string" else np.ones([], KINDS[kind])
    one = tf.make_tensor_proto(value, kind)  # the value in a field of its type, for three alike
    one.tensor_shape.dim.add(size=3)
    assert tensor_proto.from_proto(one.SerializeToString()).tolist() == [value] * 3


@pytest.mark.parametrize(
    ("signature", "given", "why"),
    [
        ("float", np.zeros(3), "INVALID_ARGUMENT: Expects arg.0. to be float but double"),
        ("float", some(np.dtype(object), (2,)), "Expects arg.0. to be float but string"),
        ("string", np.zeros(3), "Expects arg.0. to be string but double"),
        ("string", np.array(["text"]), "UNIMPLEMENTED: unsupported tensor type: str128"),
        ("qint8", np.zeros(3, np.int8), "Expects arg.0. to be qint8 but int8"),
        ("inputs gone:0", np.zeros(3), "NOT_FOUND: FeedInputs: unable to find feed output gone:0"),
        ("outputs gone:0", np.zeros(3), "NOT_FOUND: FetchOutputs node gone:0: not found"),
        ("outputs float:7", np.zeros(3, np.float32), "OUT_OF_RANGE: Node .float."),
        ("sparse", np.zeros(3), "NOT_FOUND: FeedInputs: unable to find feed output "),
    ],
)
def test_what_does_not_fit_the_graph_is_an_error(
    identity: SavedModel, signature: str, given: tensor_proto.Array, why: str
) -> None:
    with pytest.raises(StatusError, match=why):
        identity.run(signature, {"x": given})


def test_values_that_do_not_fit_their_shape_are_rejected() -> None:
    for shape, field in (([2, 2], {}), ([-1], {}), ([3], {"tensor_content": b"12345"})):
        proto = tf.make_tensor_proto([1.5, 2.5, 3.5])
        proto.tensor_shape.CopyFrom(tf.TensorShape(None).as_proto())
        for size in shape:
            proto.tensor_shape.dim.add(size=size)
        proto.MergeFrom(type(proto)(**field))
        with pytest.raises(StatusError, match="do not fit its shape"):
            tensor_proto.from_proto(proto.SerializeToString())


def test_bytes_that_are_no_text_are_quoted_with_their_status(tmp_path: Path) -> None:
    model = TensorFlow().load(hasher(tmp_path / "1"))  # with functions, as TensorFlow 2 has them
    given = np.array([b"a", b"\xff"], object)
    assert model.run("serving_default", {"text": given})["hash"].shape == (2,)
    with pytest.raises(StatusError, match="StringToNumberOp could not correctly convert") as raised:
        model.run("number", {"text": given[1:]})
    assert raised.value.code == "INVALID_ARGUMENT"
    assert "\udcff" in raised.value.message


def test_a_node_whose_op_is_a_function_is_loaded(tmp_path: Path) -> None:
    """As TensorFlow 1 writes calls."""
    from tensorflow.python.framework import function

    @function.Defun(tf.float32)
    def twice(x):  # type: ignore[no-untyped-def]
        return x * 2.0

    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": twice(x)})
    model = TensorFlow().load(tmp_path / "1")
    found = model.run("serving_default", {"x": np.array([1.5], np.float32)})
    assert found["y"].tolist() == [3.0]


def test_a_model_is_freed_after_the_last_run_of_it(tmp_path: Path) -> None:
    """Not before: its session would be used after it is gone. Without the garbage collector."""
    folder = adder(tmp_path / "1", 1.0)
    given = {"n": np.array([10**9])}  # turns until it is cut
    gc.disable()
    try:
        model = TensorFlow(EngineOptions(timeout_ms=300)).load(folder)
        ended, freed = [], threading.Event()
        weakref.finalize(model, freed.set)

        def turn(model: SavedModel) -> None:
            with pytest.raises(StatusError) as raised:
                model.run("slow", given)
            ended.append((raised.value.code, freed.is_set()))
            raised.value.__traceback__ = None

        threads = [threading.Thread(target=turn, args=(model,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        del model
        for thread in threads:
            thread.join(LONG)
        threads.clear()
        assert ended == [("DEADLINE_EXCEEDED", False)] * 3
    finally:
        gc.enable()


def test_a_server_imports_no_tensorflow_and_runs_no_python_of_a_model(tmp_path: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def by_python(x):  # type: ignore[no-untyped-def]
        return {"y": tf.py_function(lambda x: x, [x], tf.float32)}

    tf.saved_model.save(tf.Module(), str(tmp_path / "2"), signatures={"by_python": by_python})
    code = f"""
import sys, numpy, pathlib
from petbox.serving.model_server import __main__
from petbox.serving.model_server.tensorflow_engine import SavedModel, TensorFlow
load = TensorFlow().load
print(load(pathlib.Path({str(adder(tmp_path / "1", 1.0))!r})).run(
    "serving_default", {{"x": numpy.zeros(1, numpy.float32)}})["y"])
print("tensorflow" in sys.modules)
try:
    model = load(pathlib.Path({str(tmp_path / "2")!r}))
    model.run("by_python", {{"x": numpy.zeros(1, numpy.float32)}})
except Exception as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG, check=False
    )
    assert done.stdout.startswith("[1.]\nFalse\n"), done.stderr
    assert "EagerPyFunc" in done.stdout


@pytest.mark.parametrize(
    ("library", "why"),
    [
        (None, "libtensorflow_cc.so.2: cannot be loaded"),
        (Path(_ctypes.__file__), "has no TF_Version; install tensorflow 2.20"),
    ],
)
def test_a_library_that_does_not_fit_ends_the_start(
    tmp_path: Path, library: Path | None, why: str
) -> None:
    package = tmp_path / "tensorflow"
    package.mkdir()
    (package / "__init__.py").touch()
    file = package / "libtensorflow_cc.so.2"
    if library:
        file.symlink_to(library)
    empty_model(tmp_path / "models" / "1")
    flags = [f"--rest_api_port={free_port()}", f"--model_base_path={tmp_path}/models"]
    done = subprocess.run(
        [sys.executable, "-m", "petbox.serving.model_server", *flags],
        env={"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 255
    last = done.stderr.splitlines()[-1]
    assert "Failed to start server. Error: " in last and f"INTERNAL: {file}: " in last, done.stderr
    assert why in last and "Traceback" not in done.stderr


@pytest.mark.parametrize("path", [[], ["broken"]])
def test_the_library_is_read_before_a_port_without_models_opens(
    tmp_path: Path, path: list[str]
) -> None:
    """Or cannot be, which is said to whoever loads a SavedModel."""
    (package := tmp_path / "broken" / "tensorflow").mkdir(parents=True)
    (package / "__init__.py").touch()
    (config := tmp_path / "models.config").write_text("model_config_list {}")
    port = free_port()
    flags = [f"--rest_api_port={port}", f"--model_config_file={config}"]
    command = [sys.executable, "-m", "petbox.serving.model_server", *flags]
    folders = [*(str(tmp_path / one) for one in path), str(CHECKOUT)]
    with started(command, tmp_path / "run", PYTHONPATH=":".join(folders)) as program:
        await_port(port)
        mapped = Path(f"/proc/{program.process.pid}/maps").read_text()
    assert ("/libtensorflow_cc.so" in mapped) == (not path)


def test_which_threads_run_a_graph(tmp_path: Path) -> None:
    """A pool; in the background, and of many that gather for a batch, the thread that calls."""
    model = TensorFlow().load(adder(tmp_path / "1", 1.0))
    gathers = TensorFlow().load(adder(tmp_path / "2", 1.0, batches=True))

    def spent(model: SavedModel = model, rows: int = 1) -> tuple[float, int]:
        begin = time.thread_time()
        model.run("slow", {"n": np.array([20_000] * rows)})
        return time.thread_time() - begin, os.getpriority(os.PRIO_PROCESS, 0)

    for one in (model, gathers):
        spent(one)  # the first run builds the graph
    shared, usual_nice = spent()
    assert spent(gathers)[0] < 10 * shared
    for one, rows, itself in ((gathers, 1, True), (gathers, 2, False), (model, 1, False)):
        with crowded(one):
            often = [spent(one, rows)[0] > 10 * shared for _ in range(2)]
        assert any(often) == itself
    [(alone, nice)] = background.run([spent], at_once=1)
    assert (spent()[1], nice) == (usual_nice, min(usual_nice + background.STEP, 19))
    assert alone > 10 * shared


@contextmanager
def crowded(model: SavedModel) -> Iterator[None]:
    """As many other requests to the model as there are cores, and one more, all of the time."""
    over, begun = threading.Event(), threading.Barrier(tensorflow_engine.CORES + 2)

    def ask() -> None:
        begun.wait()
        while not over.is_set():
            model.run("slow", {"n": np.array([2_000, 2_000])})

    threads = [threading.Thread(target=ask) for _ in range(tensorflow_engine.CORES + 1)]
    for thread in threads:
        thread.start()
    begun.wait()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_an_error_in_the_background_is_raised(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match="NOT_FOUND"):
        background.run([int, lambda: TensorFlow().load(tmp_path), lambda: 1 / 0], at_once=1)


def test_some_run_at_once_in_the_background() -> None:
    met = threading.Barrier(2, timeout=60)
    assert sorted(background.run([met.wait] * 4, at_once=2)) == [0, 0, 1, 1]


def test_damaged_records_are_reported_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "records"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in (b"one", b"", b"three" * 100):
            writer.write(record)
    whole = path.read_bytes()
    assert [*records(path)] == [b"one", b"", b"three" * 100]
    for content, why in (
        (whole[:-1], "truncated record at 35"),
        (whole[:40], "truncated record at 35"),
        (b"x" + whole, "corrupted record at 0"),
        (b"junk", "truncated record at 0"),
    ):
        path.write_bytes(content)
        with pytest.raises(CorruptRecord, match=why):
            [*records(path)]


def test_a_model_that_cannot_be_loaded_has_tensorflows_error(tmp_path: Path) -> None:
    for folder, why in (
        (corrupt(tmp_path / "1"), f"DATA_LOSS: Can't parse {tmp_path}/1/saved_model.pb as binary"),
        (tmp_path / "2", "NOT_FOUND: Specified file path does not appear to contain a SavedModel"),
    ):
        with pytest.raises(StatusError) as raised:
            TensorFlow().load(folder)
        assert str(raised.value).startswith(why)
