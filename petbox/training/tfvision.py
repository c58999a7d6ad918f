"""The parts of the TensorFlow Model Garden (`tf-models-official`) that petbox uses.

Imported only here, so that TensorFlow's logging is off before the Model Garden imports it.
"""

from __future__ import annotations

from petbox.errors import needs
from petbox.tf import tf

needs("official", "train")

# After the check for the extra, and after TensorFlow.
import orbit
import tf_keras
from official.core import base_trainer, exp_factory, train_lib, train_utils
from official.modeling import hyperparams
from official.vision.modeling.backbones import mobilenet
from official.vision.modeling.layers.roi_generator import (
    _multilevel_propose_rois as propose_rois,
)
from official.vision.ops import anchor, box_ops, preprocess_ops
from official.vision.tasks.maskrcnn import MaskRCNNTask
from official.vision.utils import summary_manager
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph
