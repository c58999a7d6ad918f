"""The Model Garden's tasks, of Faster R-CNN and of RetinaNet, with three changes.

Those are the input pipelines, checked initial weights, and a MobileNet that keeps
its batch normalization.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from petbox.tf import as_written
from petbox.training import (
    acceleration,
    families,
    fine_tuning,
    initial_weights,
    keras_mobilenet,
    runs,
)
from petbox.training import inputs as training_inputs
from petbox.training.families import Family
from petbox.training.tfvision import (
    MaskRCNNTask,
    RetinaNetTask,
    backbones,
    base_task,
    decoders,
    factory,
    tf,
    tf_keras,
)

NOT_FINITE = "the loss is not finite"

# About MobileNet's last features, which no decoder uses.
warnings.filterwarnings("ignore", message=r"Input dict contained keys \['6'\]")


class Task(base_task.Task):
    """The changes, before the Model Garden's class in the order of a family's bases."""

    family: Family
    build: Any  # the Model Garden's function that builds the model
    augmented: str | None = None  # a level of petbox/training/augment.py
    _image: Any = None  # the traced preparation of evaluation images

    def build_model(self) -> Any:
        model = as_written(self._built)()
        # Pretrained statistics beat those of small batches. The Model Garden has a setting for that
        # for a ResNet (bn_trainable), but not for a MobileNet.
        if self.task_config.init_checkpoint and self.task_config.model.backbone.type == "mobilenet":
            for layer in model.backbone.submodules:
                if isinstance(layer, tf_keras.layers.BatchNormalization):
                    layer.trainable = False
        return model

    def _built(self) -> Any:
        """As the Model Garden's `build_model`, whose boxes cannot be computed in 16 bits."""
        config = self.task_config
        pixels = tf_keras.layers.InputSpec(shape=[None, *config.model.input_size])
        decay = config.losses.l2_weight_decay
        regularizer = tf_keras.regularizers.l2(decay / 2.0) if decay else None
        backbone = backbones.factory.build_backbone(
            pixels, config.model.backbone, config.model.norm_activation, regularizer
        )
        decoder = decoders.factory.build_decoder(backbone.output_specs, config.model, regularizer)
        with _not_called_again(backbone, decoder):
            model = self.build(pixels, config.model, regularizer, backbone, decoder)
        if config.freeze_backbone:
            model.backbone.trainable = False
        acceleration.boxes_in_float32(model, self.family.heads)
        self.create_heads(model)
        model.built = True
        return model

    def create_heads(self, model: Any) -> None:
        """Creates what the Model Garden does at the first call, which takes a second to trace."""

    def initialize(self, model: Any) -> None:
        """Loads initial weights; called for a run without a checkpoint."""
        weights, parts = self.task_config.init_checkpoint, self.task_config.init_checkpoint_modules
        if not weights:
            return
        if weights.endswith(initial_weights.KERAS):
            keras_mobilenet.load(model.backbone, Path(weights))
        elif parts == "all":
            initial_weights.load({"model": model}, Path(weights))
        else:
            names = [parts] if isinstance(parts, str) else parts
            if names == [fine_tuning.FIT]:
                label_map = Path(self.logging_dir) / runs.LABEL_MAP
                fine_tuning.load(model, Path(weights), label_map)
                return
            initial_weights.load({name: getattr(model, name) for name in names}, Path(weights))

    def train_step(self, inputs: Any, model: Any, optimizer: Any, metrics: Any = None) -> Any:
        """The Model Garden's step; fails with the names of the images if the loss is not finite."""
        logs = as_written(super().train_step)(inputs, model, optimizer, metrics)
        _, labels = inputs
        loss, step, names = logs[self.loss], optimizer.iterations, tf.unstack(labels["name"])
        what = [NOT_FINITE, loss, "at step", step, "with the images", *names]
        tf.debugging.Assert(tf.math.is_finite(loss), what)
        return logs

    def validation_step(self, inputs: Any, model: Any, metrics: Any = None) -> Any:
        return as_written(super().validation_step)(inputs, model, metrics)

    def build_inputs(self, params: Any, input_context: Any = None) -> Any:
        if params.is_training:
            model = self.task_config.model
            return training_inputs.training_batches(model, params, input_context, self.augmented)
        if input_context and input_context.num_input_pipelines > 1:
            input_context = None  # every host evaluates on all validation images
        if self._image is None:
            self._image = training_inputs.evaluation_image(self.task_config.model, params)
        return training_inputs.evaluation_batches(self._image, params, input_context)


@contextmanager
def _not_called_again(*networks: Any) -> Iterator[None]:
    """Lets Keras networks return placeholders of their outputs.

    The Model Garden calls both to tell the heads the shapes, which takes half as long as building
    them.
    """
    called = [network for network in networks if isinstance(network, tf_keras.Model)]
    for network in called:
        object.__setattr__(network, "call", partial(_placeholders, network.output))
    try:
        yield
    finally:
        for network in called:
            object.__delattr__(network, "call")


def _placeholders(outputs: Any, *_: Any, **__: Any) -> Any:
    return tf.nest.map_structure(
        lambda one: tf.compat.v1.placeholder(one.dtype, one.shape), outputs
    )


class FasterRCNN(Task, MaskRCNNTask):
    family = families.FASTER_RCNN
    build = staticmethod(factory.build_maskrcnn)

    def create_heads(self, model: Any) -> None:
        edge = self.task_config.model.roi_aligner.crop_size
        *_, channels = next(iter(model.decoder.output_specs.values()))
        for head in acceleration.each(model.detection_head):
            head(tf_keras.Input([1, edge, edge, channels]))


class RetinaNet(Task, RetinaNetTask):
    family = families.RETINANET
    build = staticmethod(factory.build_retinanet)


TASKS = {one.family: one for one in (FasterRCNN, RetinaNet)}
