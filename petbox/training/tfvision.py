"""The parts of the TensorFlow Model Garden (`tf-models-official`) that petbox uses.

Imported only here, so that TensorFlow's logging is off before the Model Garden imports it.
"""

from __future__ import annotations

import os

from petbox.errors import needs
from petbox.tf import light_import, tf

# The Model Garden is written for tf_keras, but its trainer names `tf.optimizers` in an annotation,
# for which TensorFlow would import Keras 3. That takes a second.
LEGACY = "TF_USE_LEGACY_KERAS"
# What it imports for datasets of others, for images that it draws, and for its text models.
UNUSED = (
    "official.vision.utils.object_detection.visualization_utils",
    "pandas",
    "requests",
    "scipy.linalg",
    "scipy.ndimage",
    "tensorflow_datasets",
)
before = os.environ.get(LEGACY)
os.environ[LEGACY] = "1"
try:
    # After the check for the extra, and after TensorFlow.
    with light_import(("tensorflow_text", "scipy.sparse"), UNUSED):
        needs("official", "train")

        import orbit
        import tf_keras
        from official.core import base_task, base_trainer, exp_factory, train_lib, train_utils
        from official.modeling import hyperparams
        from official.vision.dataloaders import (
            maskrcnn_input,
            retinanet_input,
            tf_example_decoder,
        )
        from official.vision.evaluation import coco_evaluator
        from official.vision.modeling import backbones, decoders, factory
        from official.vision.modeling.backbones import mobilenet
        from official.vision.modeling.decoders import fpn
        from official.vision.modeling.layers.roi_generator import (
            _multilevel_propose_rois as propose_rois,
        )
        from official.vision.ops import anchor, box_ops, preprocess_ops
        from official.vision.ops.augment import RandAugment
        from official.vision.tasks.maskrcnn import MaskRCNNTask
        from official.vision.tasks.retinanet import RetinaNetTask
        from official.vision.utils import summary_manager
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph
finally:
    if before is None:
        del os.environ[LEGACY]
    else:
        os.environ[LEGACY] = before
