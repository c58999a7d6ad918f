"""The parts of the TensorFlow Model Garden (`tf-models-official`) that petbox uses.

Imported only here, so that TensorFlow's logging is off before the Model Garden imports it.
"""

from __future__ import annotations

from petbox.errors import needs
from petbox.tf import tf

needs("official", "train")

# After the check for the extra, and after TensorFlow.
import orbit  # noqa: E402
import tf_keras  # noqa: E402
from official.core import base_trainer, exp_factory, train_lib, train_utils  # noqa: E402
from official.modeling import hyperparams  # noqa: E402
from official.vision.modeling.backbones import mobilenet  # noqa: E402
from official.vision.modeling.layers.roi_generator import (  # noqa: E402
    _multilevel_propose_rois as propose_rois,
)
from official.vision.ops import anchor, box_ops, preprocess_ops  # noqa: E402
from official.vision.tasks.maskrcnn import MaskRCNNTask  # noqa: E402
from official.vision.utils import summary_manager  # noqa: E402
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph  # noqa: E402

__all__ = [
    "MaskRCNNTask",
    "TrackableObjectGraph",
    "anchor",
    "base_trainer",
    "box_ops",
    "exp_factory",
    "hyperparams",
    "mobilenet",
    "orbit",
    "preprocess_ops",
    "propose_rois",
    "summary_manager",
    "tf",
    "tf_keras",
    "train_lib",
    "train_utils",
]
