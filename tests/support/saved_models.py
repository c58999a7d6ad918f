"""Tiny SavedModels for the model server's tests, made in a moment."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from petbox.export.warmup import write as write_warmup


def adder(
    folder: Path, number: float, warmup: Iterable[object] = (), batches: bool = False
) -> Path:
    """A version in `folder` whose `y` is `x` plus `number`; it appears whole, as a copy should.

    `warmup` are inputs to be warmed up with. A second signature, `slow`, turns a while. With
    `batches`, requests are gathered.
    """
    from petbox.tf import tf

    v1 = tf.compat.v1
    unfinished = folder.with_name(f"{folder.name}.tmp")
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        added = (lambda x: x + number) if not batches else _gathered(lambda x: x + number)
        signatures = {
            "serving_default": _signature({"x": x}, {"y": added(x)}),
            "slow": _slow(),
            "classify": _signature(*_parsed(), method="tensorflow/serving/classify"),
        }
        builder = v1.saved_model.Builder(str(unfinished))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    if warmup:
        write_warmup(unfinished, [("", {"x": value}) for value in warmup])
    return unfinished.rename(folder)


def hasher(folder: Path) -> Path:
    """A version in `folder` that takes texts, and says of each what it alone hashes to.

    The signature `number` reads each as a number. Its error has the text.
    """
    from petbox.tf import tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def hashes(text):  # type: ignore[no-untyped-def]
        return {"hash": tf.strings.to_hash_bucket_fast(text, 1 << 30)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def number(text):  # type: ignore[no-untyped-def]
        return {"number": tf.strings.to_number(text)}

    signatures = {"serving_default": hashes, "number": number}
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    return folder


def weighted(folder: Path) -> Path:
    """A version in `folder` that takes rows of two numbers: `y` is the sum and the difference."""
    from petbox.tf import tf

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def weigh(x):  # type: ignore[no-untyped-def]
        return {"y": tf.linalg.matmul(x, tf.constant([[1.0, 1.0], [1.0, -1.0]]))}

    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": weigh})
    return folder


def decoder(folder: Path) -> Path:
    """A version in `folder` that decodes images as exported detectors do, and says their sizes."""
    from petbox.export.decode import files
    from petbox.tf import tf

    def size(given):  # type: ignore[no-untyped-def]
        return tf.shape(files.decode(*given))[:2]

    specification = [tf.TensorSpec([None], tf.string, "inputs")]

    @tf.function(input_signature=specification, autograph=False)
    def sizes(inputs):  # type: ignore[no-untyped-def]
        given = (tf.range(tf.size(inputs)), inputs)
        return {"size": tf.map_fn(size, given, fn_output_signature=tf.int32)}

    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": sizes})
    return folder


def labelled(folder: Path) -> Path:
    """A version in `folder` with several inputs and outputs: a text for a number, and its half."""
    from petbox.tf import tf

    specification = [
        tf.TensorSpec([None], tf.int64, "n"),
        tf.TensorSpec([None, 1], tf.string, "text"),
    ]

    @tf.function(input_signature=specification)
    def label(n, text):  # type: ignore[no-untyped-def]
        texts = tf.strings.join([text[:, 0], tf.strings.as_string(n)], ", ")
        return {"label": texts, "half": tf.cast(n, tf.float32) / 2}

    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": label})
    return folder


def corrupt(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"this is not a protobuf\xff\xff\xff")
    return folder


def removed(folder: Path) -> None:
    """Gone in one step, so that no half of it is ever seen."""
    shutil.rmtree(folder.rename(folder.with_name(f"{folder.name}.gone")))


def _signature(inputs, outputs, method="tensorflow/serving/predict"):  # type: ignore[no-untyped-def]
    from petbox.tf import tf

    module = tf.compat.v1.saved_model
    given, got = (
        {name: module.build_tensor_info(tensor) for name, tensor in tensors.items()}
        for tensors in (inputs, outputs)
    )
    return module.build_signature_def(given, got, method)


def _gathered(function):  # type: ignore[no-untyped-def]
    from petbox.tf import tf

    return tf.nondifferentiable_batch_function(1, 8, 0)(function)


def _slow():  # type: ignore[no-untyped-def]
    """As many products of matrices as `n` says."""
    from petbox.tf import tf

    n = tf.compat.v1.placeholder(tf.int64, [None], "n")
    turned = tf.while_loop(
        lambda i, _: i < n[0],
        lambda i, a: (i + 1, tf.linalg.matmul(a, tf.eye(64))),
        [tf.constant(0, tf.int64), tf.ones([64, 64])],
    )
    return _signature({"n": n}, {"y": turned[1][:1, 0]})


def _parsed():  # type: ignore[no-untyped-def]
    """Of each Example: the label is its `tag`, the score its `x`."""
    from petbox.tf import tf

    v1 = tf.compat.v1
    texts = v1.placeholder(tf.string, [None], "examples")
    features = {
        "x": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.5]),
        "tag": tf.io.FixedLenFeature([1], tf.string, default_value=["none"]),
    }
    parsed = tf.io.parse_example(texts, features)
    return {"inputs": texts}, {"classes": parsed["tag"], "scores": parsed["x"]}
