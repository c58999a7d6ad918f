"""Presets: the detectors that petbox trains, as changes to the Model Garden's.

Everything else is as in the family's experiment of `tf-models-official`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from petbox.training import overrides
from petbox.training.families import FASTER_RCNN, RETINANET, Family

# For CPUs. Batched NMS replaces a while loop that costs half a step.
_SMALL = {
    "task.model.min_level": 3,
    "task.model.max_level": 5,
    "task.model.anchor.anchor_size": 4.0,
    "task.model.detection_generator.nms_version": "batched",
    # The default of 0.997 needs thousands of steps before the running averages are useful.
    "task.model.norm_activation.norm_momentum": 0.9,
    "task.model.norm_activation.use_sync_bn": False,
    "task.validation_data.global_batch_size": 10,
}
_SMALL_FASTER_RCNN = {
    **_SMALL,
    "task.model.detection_head.num_convs": 0,
    "task.model.roi_generator.use_batched_nms": True,
    "task.model.roi_generator.pre_nms_top_k": 256,
    "task.model.roi_sampler.num_sampled_rois": 32,
}

# Drawn pets, on two CPU cores in about two minutes.
_DRAWN = {
    "task.model.input_size": [128, 128, 3],
    "task.model.backbone.resnet.model_id": 10,
    "task.model.backbone.resnet.depth_multiplier": 0.25,
    "task.model.decoder.fpn.num_filters": 32,
    "task.train_data.parser.aug_scale_min": 1.0,
    "task.train_data.parser.aug_scale_max": 1.0,
    # The images easily fit in memory, so decoding and anchor labeling are done once.
    "task.train_data.parser.aug_rand_hflip": False,
    "task.train_data.cache": True,
    "task.train_data.global_batch_size": 8,
    "trainer.train_steps": 600,
}
_TOY = {
    **_SMALL_FASTER_RCNN,
    **_DRAWN,
    "task.model.rpn_head.num_filters": 32,
    "task.model.detection_head.fc_dims": 64,
    "task.model.roi_generator.num_proposals": 64,
    "task.model.roi_generator.test_num_proposals": 64,
}
_TOY_RETINANET = {
    **_SMALL,
    **_DRAWN,
    "task.model.anchor.num_scales": 2,
    "task.model.head.num_convs": 2,
    "task.model.head.num_filters": 32,
}

# Real photos on two CPU cores in a quarter of an hour, from ImageNet weights: a third of
# MobileNetV2's width, for which Keras has weights (`--init`). Objects are 20 to 200 pixels wide on
# this canvas, as a rule: anchors have six sizes, 32, 45, 64 … 181, and three shapes.
_MOBILENET = {
    "task.model.input_size": [256, 256, 3],
    "task.model.anchor.num_scales": 2,
    "task.model.backbone.type": "mobilenet",
    "task.model.backbone.mobilenet.model_id": "MobileNetV2",
    "task.model.backbone.mobilenet.filter_size_scale": 0.35,
    "task.model.decoder.fpn.num_filters": 64,
    "task.model.norm_activation.norm_epsilon": 0.001,  # MobileNetV2's own
    "task.train_data.parser.aug_scale_min": 0.6,
    "task.train_data.parser.aug_scale_max": 1.4,
    "task.train_data.global_batch_size": 16,
    "task.train_data.shuffle_buffer_size": 1000,  # records are shuffled when written
    "trainer.train_steps": 1500,
}
_FASTER_RCNN_MOBILENET = {
    **_SMALL_FASTER_RCNN,
    **_MOBILENET,
    "task.model.rpn_head.num_filters": 64,
    "task.model.detection_head.fc_dims": 256,
    "task.model.roi_generator.test_pre_nms_top_k": 256,
    "task.model.roi_generator.num_proposals": 100,
    "task.model.roi_generator.test_num_proposals": 100,
    "task.train_data.parser.rpn_batch_size_per_im": 64,
}
_RETINANET_MOBILENET = {
    **_SMALL,
    **_MOBILENET,
    "task.model.head.num_convs": 2,
    "task.model.head.num_filters": 64,
}

# The tutorial's detector on today's network: for a GPU, from ImageNet or COCO weights. Anchors of
# 64 to 512 pixels and 300 proposals are those of the Object Detection API's
# faster_rcnn_resnet101_pets.config. Photos of pets have about 500x375 pixels; a larger canvas would
# add no detail.
_RESNET = {
    "task.model.input_size": [640, 640, 3],
    "task.model.detection_generator.nms_version": "batched",
    # The default of 0.997 is for many more and larger batches.
    "task.model.norm_activation.norm_momentum": 0.99,
    "task.train_data.global_batch_size": 8,
    "task.train_data.shuffle_buffer_size": 1000,  # records are shuffled when written
    "task.validation_data.global_batch_size": 8,
    "trainer.train_steps": 10_000,
    "trainer.optimizer_config.optimizer.sgd.global_clipnorm": 10.0,
}
_RESNET101 = {
    **_RESNET,
    "task.model.min_level": 3,
    "task.model.max_level": 6,
    "task.model.backbone.resnet.model_id": 101,
    "task.model.roi_generator.use_batched_nms": True,
    "task.model.roi_generator.num_proposals": 300,
    "task.model.roi_generator.test_num_proposals": 300,
    "task.model.roi_sampler.num_sampled_rois": 128,
}
_RESNET50 = {**_RESNET101, "task.model.backbone.resnet.model_id": 50}  # faster, less accurate
# Half of the work above is a head of four convolutions over 300 proposals. The paper on feature
# pyramids has two dense layers instead.
_RESNET50_FAST = {
    **_RESNET50,
    "task.model.detection_head.num_convs": 0,
    "task.model.detection_head.num_fcs": 2,
    "task.model.roi_generator.test_num_proposals": 100,
}
_RESNET50_LIGHT = {
    **_RESNET50_FAST,
    "task.model.decoder.fpn.num_filters": 128,
    "task.model.rpn_head.num_filters": 128,
    "task.model.detection_head.fc_dims": 512,
}
# The Model Garden's own for COCO, whose levels, anchors and head its weights are of.
_RETINANET_RESNET50 = {**_RESNET, "task.model.backbone.resnet.model_id": 50}


@dataclass(frozen=True)
class Preset:
    family: Family
    changes: Mapping[str, Any]  # to the family's experiment
    peak: float  # learning rate
    warmup: int  # steps

    def configure(self, config: Any) -> None:
        for name, value in self.changes.items():
            overrides.put(config, name, value)
        cosine_learning_rate(config, self.peak, self.warmup)


PRESETS = {
    "faster_rcnn_mobilenet_v2_pets": Preset(FASTER_RCNN, _FASTER_RCNN_MOBILENET, 0.03, 40),
    "faster_rcnn_resnet101_pets": Preset(FASTER_RCNN, _RESNET101, 0.01, 500),
    "faster_rcnn_resnet50_fast_pets": Preset(FASTER_RCNN, _RESNET50_FAST, 0.01, 500),
    "faster_rcnn_resnet50_light_pets": Preset(FASTER_RCNN, _RESNET50_LIGHT, 0.01, 500),
    "faster_rcnn_resnet50_pets": Preset(FASTER_RCNN, _RESNET50, 0.01, 500),
    "retinanet_mobilenet_v2_pets": Preset(RETINANET, _RETINANET_MOBILENET, 0.03, 40),
    "retinanet_resnet50_pets": Preset(RETINANET, _RETINANET_RESNET50, 0.01, 500),
    "toy": Preset(FASTER_RCNN, _TOY, 0.03, 40),
    "toy_retinanet": Preset(RETINANET, _TOY_RETINANET, 0.03, 40),
}


def cosine_learning_rate(config: Any, peak: float, warmup: int) -> None:
    """SGD with a learning rate that warms up and then falls to zero at the last step."""
    steps = config.trainer.train_steps
    cosine = {"initial_learning_rate": peak, "decay_steps": steps}
    linear = {"warmup_steps": _share(warmup, steps), "warmup_learning_rate": 0}
    changes = {
        "optimizer": {"type": "sgd", "sgd": {"momentum": 0.9}},
        "learning_rate": {"type": "cosine", "cosine": cosine},
        "warmup": {"type": "linear", "linear": linear},
    }
    config.trainer.optimizer_config.override(changes, is_strict=False)


def train_for(config: Any, steps: int) -> None:
    """Changes the number of steps; a rate that is zero at the last one stays so."""
    rate, warmup = config.trainer.optimizer_config.learning_rate, _warmup(config)
    cosine = rate.cosine
    ends_at = cosine.offset + cosine.decay_steps if rate.type == "cosine" else None
    ends_with_the_last = ends_at == config.trainer.train_steps
    config.trainer.train_steps = steps
    if not ends_with_the_last:
        return
    if warmup:
        warmup.warmup_steps = _share(warmup.warmup_steps, steps)
    cosine.offset = min(cosine.offset, warmup.warmup_steps) if warmup else 0
    cosine.decay_steps = max(1, steps - cosine.offset)


def peak_at(config: Any, peak: float) -> None:
    """Scales the whole schedule so that its highest rate is `peak`."""
    rate = config.trainer.optimizer_config.learning_rate
    schedule, name = rate.get(), "initial_learning_rate"
    if rate.type == "stepwise":
        factor = peak / max(schedule.values)
        schedule.values = [value * factor for value in schedule.values]
    else:
        name = "learning_rate" if rate.type == "constant" else name
        factor = peak / getattr(schedule, name)
        setattr(schedule, name, peak)
    if warmup := _warmup(config):
        warmup.warmup_learning_rate *= factor


def _warmup(config: Any) -> Any:
    warmup = config.trainer.optimizer_config.warmup
    return warmup.linear if warmup.type == "linear" else None


def _share(warmup: int, steps: int) -> int:
    """The warm-up steps, limited to a tenth of a short training."""
    return max(1, min(warmup, steps // 10))
