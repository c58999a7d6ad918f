"""A slimmed SavedModel does the same as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

GIVEN = np.array([1.0, 2.0, 3.0], np.float32)


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    """Saves a module and returns its folder."""
    from petbox.tf import tf

    def save(module: Any, call: Any) -> Path:
        signature = tf.function(call, [tf.TensorSpec([None], tf.float32, "x")])
        tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": signature})
        return tmp_path / "1"

    return save


def answers(folder: Path) -> list[Any]:
    """Results by a session, as in TensorFlow Serving, and by the objects that Python loads."""
    from petbox.tf import tf

    second = tf.saved_model.load(str(folder)).signatures["serving_default"](x=tf.constant(GIVEN))
    return [of_session(folder), {name: value.numpy() for name, value in second.items()}]


def of_session(folder: Path) -> Any:
    from petbox.tf import tf

    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        meta = v1.saved_model.load(session, ["serve"], str(folder))
        signature = meta.signature_def["serving_default"]
        outputs = {name: info.name for name, info in signature.outputs.items()}
        return session.run(outputs, {signature.inputs["x"].name: GIVEN})


def graph(folder: Path) -> Any:
    from petbox.tf import tf

    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel  # isort: skip

    file = folder / tf.saved_model.SAVED_MODEL_FILENAME_PB
    (meta,) = SavedModel.FromString(file.read_bytes()).meta_graphs
    return meta


def test_branches_loops_and_variables_work_with_short_names(saved: Any) -> None:
    from petbox.export.rewrite.slim import slim
    from petbox.tf import tf

    module = tf.Module()
    module.factor = tf.Variable(2.0)

    def call(x: Any) -> dict[str, Any]:
        with tf.name_scope("a_long_name_for_what_is_done"):
            large = tf.cond(tf.reduce_sum(x) > 5.0, lambda: x + 1.0, lambda: x - 1.0)
            _, grown = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 2.0), (0, large))
            return {"y": grown * module.factor, "z": large}

    folder = saved(module, call)
    before, size = answers(folder), graph(folder).ByteSize()
    fingerprint = (folder / "fingerprint.pb").read_bytes()
    names = slim(folder)
    functions = graph(folder).graph_def.library.function
    assert not [node for one in functions for node in one.node_def if "_output_shapes" in node.attr]
    for expected, found in zip(before, answers(folder), strict=True):
        assert found.keys() == expected.keys() == {"y", "z"}
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
    np.testing.assert_array_equal(before[0]["y"], (GIVEN + 1) * 8 * 2)
    meta = graph(folder)
    assert meta.ByteSize() < size
    assert (folder / "fingerprint.pb").read_bytes() != fingerprint
    short = [
        node.name
        for function in meta.graph_def.library.function
        for node in function.node_def
        if node.name.startswith("n")
    ]
    assert len(short) == len(set(short)) == len(names)
    assert {names[int(name[1:])] for name in short} == set(names)
    assert any(name.startswith("a_long_name_for_what_is_done/") for name in names)


def test_what_would_save_and_what_starts_nothing_is_left_out(saved: Any, tmp_path: Path) -> None:
    from petbox.export.rewrite.slim import INIT_OP, INIT_SIGNATURE, slim
    from petbox.tf import tf

    (tmp_path / "names.txt").write_text("cat\n")
    module = tf.Module()
    module.factor, module.names = (
        tf.Variable(2.0),
        tf.saved_model.Asset(str(tmp_path / "names.txt")),
    )
    folder = saved(module, lambda x: {"y": x * module.factor})
    slim(folder)
    meta = graph(folder)
    assert INIT_SIGNATURE not in meta.signature_def and INIT_OP not in meta.collection_def
    names = [one.signature.name for one in meta.graph_def.library.function]
    assert not [name for name in names if "save" in name]
    assert [name for name in names if "restore" in name]
    for found in answers(folder):
        np.testing.assert_array_equal(found["y"], GIVEN * 2)
    loaded = tf.saved_model.load(str(folder))
    assert Path(loaded.names.asset_path.numpy().decode()).read_text() == "cat\n"


def test_tables_are_still_filled_when_the_model_starts(saved: Any) -> None:
    """As in third-party models."""
    from petbox.export.rewrite.slim import INIT_SIGNATURE, slim
    from petbox.tf import tf

    pairs = tf.lookup.KeyValueTensorInitializer([1, 2], ["cat", "dog"], tf.int64, tf.string)
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(pairs, "none")
    folder = saved(module, lambda x: {"y": module.table.lookup(tf.cast(x, tf.int64))})
    slim(folder)
    assert INIT_SIGNATURE in graph(folder).signature_def
    for found in answers(folder):
        assert found["y"].tolist() == [b"cat", b"dog", b"none"]


def test_a_session_asks_calls_that_find_their_variables(saved: Any) -> None:
    """All on one device, because a variable is on one."""
    from petbox.export.rewrite.grappler import Sealed
    from petbox.export.rewrite.slim import slim
    from petbox.tf import tf

    module = tf.Module()
    module.factor, module.more = tf.Variable(2.0), tf.Variable([1.0, 1.0, 1.0])
    spec = tf.TensorSpec([None], tf.float32)

    def find(x: Any) -> tuple[Any, ...]:
        return x * module.factor, x + module.more

    sealed = Sealed(tf.function(find).get_concrete_function(spec))

    def call(x: Any) -> dict[str, Any]:
        first, second = sealed(x)
        return {"y": first, "z": second}

    folder = saved(module, call)
    slim(folder)
    nodes = graph(folder).graph_def.node
    assert {node.op for node in nodes} == {"Placeholder", "StatefulPartitionedCall"}
    calls = [node for node in nodes if node.op == "StatefulPartitionedCall"]
    assert [len(node.input) for node in calls] == [1, 1]  # the input; the name of a file
    assert len({node.attr["_class"].list.s[0] for node in calls}) == 1
    for found in answers(folder):
        np.testing.assert_array_equal(found["y"], GIVEN * 2)
        np.testing.assert_array_equal(found["z"], GIVEN + 1)
    loaded = tf.saved_model.load(str(folder))
    loaded.factor.assign(3.0)
    found = loaded.signatures["serving_default"](x=tf.constant(GIVEN))
    np.testing.assert_array_equal(found["y"], GIVEN * 3)


def test_what_is_checked_around_a_call_stays(saved: Any) -> None:
    from petbox.export.rewrite.grappler import Sealed
    from petbox.export.rewrite.slim import slim
    from petbox.tf import tf

    spec = tf.TensorSpec([None], tf.float32)
    sealed = Sealed(tf.function(lambda x: (x * 2.0,)).get_concrete_function(spec))

    def call(x: Any) -> dict[str, Any]:
        (found,) = sealed(x)
        tf.debugging.Assert(tf.reduce_sum(x) > 6.5, ["too little"])
        return {"y": found}

    folder = saved(tf.Module(), call)
    slim(folder)
    with pytest.raises(tf.errors.InvalidArgumentError, match="too little"):
        of_session(folder)


def test_a_function_has_the_variables_of_each_call(saved: Any) -> None:
    from petbox.export.rewrite.slim import slim
    from petbox.tf import tf

    module = tf.Module()
    module.one, module.two = tf.Variable(2.0), tf.Variable(3.0)

    @tf.function
    def times(x: Any, variable: Any) -> Any:
        return x * variable.read_value()

    folder = saved(
        module, lambda x: {"y": times(x, module.one), "z": times(times(x, module.two), module.two)}
    )
    slim(folder)
    for found in answers(folder):
        np.testing.assert_array_equal(found["y"], GIVEN * 2)
        np.testing.assert_array_equal(found["z"], GIVEN * 9)


def test_what_orders_steps_stays(saved: Any) -> None:
    """An Identity is removed only without control dependencies."""
    from petbox.export.rewrite.slim import slim
    from petbox.tf import tf

    module = tf.Module()
    module.count = tf.Variable(0.0)

    def call(x: Any) -> dict[str, Any]:
        before = tf.identity(tf.identity(module.count.read_value()) + 0.0)
        with tf.control_dependencies([tf.identity(before, name="anchor")]):
            module.count.assign_add(1.0)
        with tf.control_dependencies([tf.debugging.Assert(tf.size(x) < 4, ["too many"])]):
            return {"y": tf.identity(x * 2.0), "z": tf.identity(before + module.count)}

    folder = saved(module, call)
    slim(folder)
    for found in answers(folder):
        np.testing.assert_array_equal(found["y"], GIVEN * 2)
        assert found["z"] == 1.0
    loaded = tf.saved_model.load(str(folder)).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many"):
        loaded(x=tf.zeros([4]))


def test_equal_constants_are_one(saved: Any) -> None:
    from petbox.export.rewrite.slim import slim
    from petbox.tf import tf

    def call(x: Any) -> dict[str, Any]:
        return {"y": x * tf.constant(3.0) + tf.constant(3.0), "z": x + tf.constant([3.0])}

    folder = saved(tf.Module(), call)

    def constants() -> int:
        functions = graph(folder).graph_def.library.function
        return max(sum(node.op == "Const" for node in one.node_def) for one in functions)

    before = answers(folder)
    assert constants() >= 3
    slim(folder)
    assert constants() == 2
    for expected, found in zip(before, answers(folder), strict=True):
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)


def test_names_stay_where_a_function_has_such_already(saved: Any) -> None:
    from petbox.export.rewrite.slim import slim
    from petbox.tf import tf

    state = tf.Variable(0.0)
    module = tf.Module()
    module.state = state

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "n1")])
    def inner(n1: Any) -> Any:
        return tf.identity(n1 * 2.0, name="n0") + 1.0

    folder = saved(module, lambda x: {"y": inner(x) + state})
    slim(folder)
    for found in answers(folder):
        np.testing.assert_array_equal(found["y"], GIVEN * 2 + 1)
