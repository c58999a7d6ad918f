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


def faster_rcnn_mobilenet_v2_pets(config: Any) -> None:
    """Learns real photos on two CPU cores in a quarter of an hour, from ImageNet weights.

    A third of MobileNetV2's width, for which Keras has weights (`--init`). Faces of pets are
    about square and 20 to 200 pixels wide on this canvas, so six sizes of one shape do for
    anchors: 32, 45, 64 … 181.
    """
    model = config.task.model
    model.input_size = [256, 256, 3]
    model.min_level, model.max_level = 3, 5
    model.anchor.anchor_size = 4.0
    model.anchor.num_scales = 2
    model.anchor.aspect_ratios = [1.0]
    model.backbone.type = "mobilenet"
    model.backbone.mobilenet.model_id = "MobileNetV2"
    model.backbone.mobilenet.filter_size_scale = 0.35
    model.decoder.fpn.num_filters = 64
    model.rpn_head.num_filters = 64
    model.detection_head.num_convs = 0
    model.detection_head.fc_dims = 256
    model.roi_generator.use_batched_nms = True
    model.roi_generator.pre_nms_top_k = 256
    model.roi_generator.test_pre_nms_top_k = 256
    model.roi_generator.num_proposals = 100
    model.roi_generator.test_num_proposals = 100
    model.roi_sampler.num_sampled_rois = 32
    model.detection_generator.nms_version = "batched"
    model.norm_activation.norm_momentum = 0.9
    model.norm_activation.norm_epsilon = 0.001  # MobileNetV2's own
    model.norm_activation.use_sync_bn = False

    parser = config.task.train_data.parser
    parser.aug_scale_min, parser.aug_scale_max = 0.6, 1.4
    parser.rpn_batch_size_per_im = 64
    parser.max_num_instances = 20
    config.task.train_data.global_batch_size = 16
    config.task.train_data.shuffle_buffer_size = 1000  # records are shuffled when written
    config.task.validation_data.global_batch_size = 10

    config.trainer.train_steps = 1500
    cosine_learning_rate(config, 0.03)


def faster_rcnn_resnet101_pets(config: Any) -> None:
    """The tutorial's detector on today's network: for a GPU, from ImageNet or COCO weights.

    Anchors of 64 to 512 pixels and 300 proposals are those of the Object Detection API's
    faster_rcnn_resnet101_pets.config. Photos of pets are about 500x375 pixels; on this canvas
    they are as large as they can be without inventing much.
    """
    _resnet_for_photos(config, 101)


def faster_rcnn_resnet50_pets(config: Any) -> None:
    """`faster_rcnn_resnet101_pets` with half the layers: faster, and a little less exact."""
    _resnet_for_photos(config, 50)


def _resnet_for_photos(config: Any, layers: int) -> None:
    model = config.task.model
    model.input_size = [640, 640, 3]
    model.min_level, model.max_level = 3, 6
    model.backbone.resnet.model_id = layers
    model.roi_generator.use_batched_nms = True
    model.roi_generator.num_proposals = 300
    model.roi_generator.test_num_proposals = 300
    model.roi_sampler.num_sampled_rois = 128
    model.detection_generator.nms_version = "batched"
    # The default of 0.997 is for many more and larger batches.
    model.norm_activation.norm_momentum = 0.99
    config.task.train_data.global_batch_size = 8
    config.task.train_data.shuffle_buffer_size = 1000  # records are shuffled when written
    config.task.validation_data.global_batch_size = 8

    config.trainer.train_steps = 10_000
    cosine_learning_rate(config, 0.01, warmup=500)
    config.trainer.optimizer_config.optimizer.sgd.global_clipnorm = 10.0


def cosine_learning_rate(config: Any, peak: float, warmup: int = 40) -> None:
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
                "linear": {"warmup_steps": _share(warmup, steps), "warmup_learning_rate": 0},
            },
        },
        is_strict=False,
    )


def train_for(config: Any, steps: int) -> None:
    """Another number of steps: a rate that was to be nothing by the last one still will be."""
    rate, warmup = config.trainer.optimizer_config.learning_rate, _warmup(config)
    cosine = rate.cosine
    to_the_end = rate.type == "cosine" and (
        cosine.offset + cosine.decay_steps == config.trainer.train_steps
    )
    config.trainer.train_steps = steps
    if not to_the_end:
        return
    if warmup:
        warmup.warmup_steps = _share(warmup.warmup_steps, steps)
    cosine.offset = min(cosine.offset, warmup.warmup_steps) if warmup else 0
    cosine.decay_steps = max(1, steps - cosine.offset)


def peak_at(config: Any, peak: float) -> None:
    """The same schedule, all of it so much higher or lower that its highest rate is `peak`."""
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
    """The linear warm-up, if there is one."""
    warmup = config.trainer.optimizer_config.warmup
    return warmup.linear if warmup.type == "linear" else None


def _share(warmup: int, steps: int) -> int:
    """A warm-up that leaves nine tenths of a short training to the training."""
    return max(1, min(warmup, steps // 10))


PRESETS: dict[str, Callable[[Any], None]] = {
    "faster_rcnn_mobilenet_v2_pets": faster_rcnn_mobilenet_v2_pets,
    "faster_rcnn_resnet101_pets": faster_rcnn_resnet101_pets,
    "faster_rcnn_resnet50_pets": faster_rcnn_resnet50_pets,
    "toy": toy,
}
