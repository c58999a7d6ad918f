"""Presets: the Faster R-CNNs that petbox trains, each a few changes to the Model Garden's own.

What is not said here is `fasterrcnn_resnetfpn_coco` as `tf-models-official` defines it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def toy(config: Any) -> None:
    """Learns drawn pets on two CPU cores in about two minutes.

    Wide margins were measured for this shape: a quarter of ResNet-10's width, three pyramid
    levels, 64 proposals. Batched NMS replaces a while loop that costs half a step on a CPU.
    """
    model = config.task.model
    model.input_size = [128, 128, 3]
    model.min_level, model.max_level = 3, 5
    model.anchor.anchor_size = 4.0
    model.backbone.resnet.model_id = 10
    model.backbone.resnet.depth_multiplier = 0.25
    model.decoder.fpn.num_filters = 32
    model.rpn_head.num_filters = 32
    model.detection_head.num_convs = 0
    model.detection_head.fc_dims = 64
    model.roi_generator.use_batched_nms = True
    model.roi_generator.pre_nms_top_k = 256
    model.roi_generator.num_proposals = 64
    model.roi_generator.test_num_proposals = 64
    model.roi_sampler.num_sampled_rois = 32
    model.detection_generator.nms_version = "batched"
    # The default of 0.997 needs thousands of steps before the running averages mean anything.
    model.norm_activation.norm_momentum = 0.9
    model.norm_activation.use_sync_bn = False

    parser = config.task.train_data.parser
    parser.aug_scale_min, parser.aug_scale_max = 1.0, 1.0
    # The pictures fit in memory many times over, so decoding and anchor labelling are done once.
    parser.aug_rand_hflip = False
    config.task.train_data.cache = True
    config.task.train_data.global_batch_size = 8
    config.task.validation_data.global_batch_size = 10

    config.trainer.train_steps = 600
    cosine_learning_rate(config, 0.03)


def cosine_learning_rate(config: Any, peak: float) -> None:
    """SGD whose learning rate warms up and then falls to nothing by the last step."""
    steps = config.trainer.train_steps
    config.trainer.optimizer_config.override(
        {
            "optimizer": {"type": "sgd", "sgd": {"momentum": 0.9}},
            "learning_rate": {
                "type": "cosine",
                "cosine": {"initial_learning_rate": peak, "decay_steps": steps},
            },
            "warmup": {
                "type": "linear",
                "linear": {"warmup_steps": max(1, min(40, steps // 10)), "warmup_learning_rate": 0},
            },
        },
        is_strict=False,
    )


PRESETS: dict[str, Callable[[Any], None]] = {"toy": toy}
