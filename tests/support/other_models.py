"""SavedModels that are no detectors."""

from __future__ import annotations

from pathlib import Path


def classifier(folder: Path) -> Path:
    """A Keras classifier of three classes, exported as docs/your-model.md does."""
    import keras  # tf.keras is the older Keras once the Model Garden is imported

    layers = [keras.Input([4], name="features"), keras.layers.Dense(3, "softmax", name="species")]
    keras.Sequential(layers).export(str(folder), verbose=False)
    return folder


def many_kinds(folder: Path) -> Path:
    """One model with a signature of each kind."""
    from petbox.tf import tf

    def spec(dtype, shape, name):  # type: ignore[no-untyped-def]
        return tf.TensorSpec(shape, dtype, name)

    def decoded(files):  # type: ignore[no-untyped-def]
        def size(file):  # type: ignore[no-untyped-def]
            return tf.shape(tf.io.decode_image(file, 3, expand_animations=False))

        return {"size": tf.map_fn(size, files, fn_output_signature=tf.int32)}

    def ragged(values, row_splits):  # type: ignore[no-untyped-def]
        rows = tf.RaggedTensor.from_row_splits(values, row_splits)
        return {"mean": tf.reduce_mean(rows, axis=1)}

    numbers, strings, whole = tf.float32, tf.string, tf.int64
    kinds = {
        "serving_default": (lambda x: {"y": x * 2.0}, [spec(numbers, [None, 2], "x")]),
        "text": (lambda s: {"length": tf.strings.length(s)}, [spec(strings, [None], "sentence")]),
        "files": (decoded, [spec(strings, [None], "inputs")]),
        "drawn": (lambda inputs: {"image_bytes": inputs}, [spec(strings, [None], "inputs")]),
        "pair": (
            lambda a, b: {"sum": a + tf.cast(b, numbers), "b": b},
            [spec(numbers, [None], "a"), spec(whole, [None], "b")],
        ),
        "total": (lambda x: {"total": tf.reduce_sum(x)}, [spec(numbers, [None], "x")]),
        "single": (lambda x: {"y": x + 1.0}, [spec(numbers, [], "x")]),
        "ragged": (
            ragged,
            [spec(numbers, [None], "values"), spec(whole, [None], "row_splits")],
        ),
        "pixels": (
            lambda x: {"mean": tf.reduce_mean(x, [1, 2])},
            [spec(numbers, [None, 40, 40, 3], "image")],
        ),
        "half": (lambda x: {"y": x}, [spec(tf.half, [None], "x")]),
    }
    signatures = {
        name: tf.function(function, input_signature=specs)
        for name, (function, specs) in kinds.items()
    }
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    return folder
