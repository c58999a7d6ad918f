"""A SavedModel's functions, which are added to the graph after the nodes that call them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.saved_models import hasher

from petbox.serving.model_server.model import load
from petbox.serving.model_server.tensorflow_engine import TensorFlow
from petbox.tf import tf


def test_functions_that_nodes_call_are_loaded(tmp_path: Path) -> None:
    """As TensorFlow 2 writes calls."""
    model = load("model", 1, hasher(tmp_path / "1"), TensorFlow())
    given = {"text": np.array([b"a", b"b"], object)}
    assert model.run("serving_default", given)["hash"].shape == (2,)


def test_a_node_whose_op_is_a_function_is_loaded(tmp_path: Path) -> None:
    """As TensorFlow 1 writes calls."""
    from tensorflow.python.framework import function

    v1 = tf.compat.v1

    @function.Defun(tf.float32)
    def twice(x):  # type: ignore[no-untyped-def]
        return x * 2.0

    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": twice(x)})
    model = load("model", 1, tmp_path / "1", TensorFlow())
    given = {"x": np.array([1.5], np.float32)}
    assert model.run("serving_default", given)["y"].tolist() == [3.0]
