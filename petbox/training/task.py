"""What is trained: the Model Garden's Faster R-CNN task, three of its steps done otherwise.

Model, losses and metrics are its own. Ours are where the training pictures come from, the checked
first weights, and a MobileNet that keeps its batch normalisation.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from petbox.tf import as_written
from petbox.training import initial_weights, keras_mobilenet
from petbox.training import inputs as training_inputs
from petbox.training.tfvision import MaskRCNNTask, tf, tf_keras

NOT_FINITE = "the loss is not finite"

# MobileNet's last features, which no decoder takes.
warnings.filterwarnings("ignore", message=r"Input dict contained keys \['6'\]")


class Task(MaskRCNNTask):
    """`MaskRCNNTask` for records of pets."""

    def build_model(self) -> Any:
        model = as_written(super().build_model)()
        # A pretrained network's averages beat those of a few pictures. The Model Garden can say
        # so of a ResNet (bn_trainable), not of a MobileNet.
        if self.task_config.init_checkpoint and self.task_config.model.backbone.type == "mobilenet":
            for layer in model.backbone.submodules:
                if isinstance(layer, tf_keras.layers.BatchNormalization):
                    layer.trainable = False
        return model

    def initialize(self, model: Any) -> None:
        """Called for a run that has no checkpoint yet."""
        weights, parts = self.task_config.init_checkpoint, self.task_config.init_checkpoint_modules
        if not weights:
            return
        if weights.endswith(initial_weights.KERAS):
            keras_mobilenet.load(model.backbone, Path(weights))
        elif parts == "all":
            initial_weights.load({"model": model}, Path(weights))
        else:
            names = [parts] if isinstance(parts, str) else parts
            initial_weights.load({name: getattr(model, name) for name in names}, Path(weights))

    def train_step(self, inputs: Any, model: Any, optimizer: Any, metrics: Any = None) -> Any:
        """The Model Garden's step, which ends the run by name when the loss is not a number."""
        logs = as_written(super().train_step)(inputs, model, optimizer, metrics)
        _, labels = inputs
        loss, step, names = logs[self.loss], optimizer.iterations, tf.unstack(labels["name"])
        what = [NOT_FINITE, loss, "at step", step, "with the pictures", *names]
        tf.debugging.Assert(tf.math.is_finite(loss), what)
        return logs

    def validation_step(self, inputs: Any, model: Any, metrics: Any = None) -> Any:
        return as_written(super().validation_step)(inputs, model, metrics)

    def build_inputs(self, params: Any, input_context: Any = None, dataset_fn: Any = None) -> Any:
        if params.is_training:
            return training_inputs.training_batches(self.task_config.model, params, input_context)
        if input_context and input_context.num_input_pipelines > 1:
            input_context = None  # every host judges by all held-out pictures, not by its share
        return as_written(super().build_inputs)(params, input_context, dataset_fn)
