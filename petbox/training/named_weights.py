"""Trained weights that are public, by name: `--init imagenet`, `--init coco`.

The addresses are those that the Model Garden and Keras state themselves: the Model Garden in its
page of models (official/vision/MODEL_GARDEN.md) and in its configurations, as gs://BUCKET/…, which
is https://storage.googleapis.com/BUCKET/…; Keras in its source. There are no others for the
presets' networks. Neither states checksums, so each is recorded at the first download.
"""

from __future__ import annotations

from petbox.errors import DataError

IMAGENET, COCO, NONE = NAMES = ("imagenet", "coco", "none")
_GOOGLE = "https://storage.googleapis.com/"
_MOBILENET = {
    IMAGENET: _GOOGLE + "tensorflow/keras-applications/mobilenet_v2/"
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5",
}
_RESNET50 = {
    IMAGENET: _GOOGLE + "cloud-tpu-checkpoints/vision-2.0/resnet50_imagenet/ckpt-28080",
    COCO: _GOOGLE + "tf_model_garden/vision/retinanet/retinanet-resnet50fpn.tar.gz",
}
ADDRESSES = {  # by preset and name
    "faster_rcnn_mobilenet_v2_pets": _MOBILENET,
    "faster_rcnn_resnet50_fast_pets": _RESNET50,
    "faster_rcnn_resnet50_light_pets": _RESNET50,
    "faster_rcnn_resnet50_pets": _RESNET50,
    "retinanet_mobilenet_v2_pets": _MOBILENET,
    "retinanet_resnet50_pets": _RESNET50,
}


def choices(preset: str) -> list[str]:
    return sorted(ADDRESSES.get(preset, {}), key=NAMES.index)


def address(name: str, preset: str) -> str:
    """Where the weights `name` for the network of `preset` are."""
    found = ADDRESSES.get(preset, {}).get(name)
    if found:
        return found
    others = ", ".join(one for one, named in ADDRESSES.items() if name in named)
    raise DataError(
        f"--init {name}: no public weights for {preset} are known; they are for --preset {others}; "
        "give a PLACE with weights instead, or none for random initialization"
    )
