"""Truth and predictions as COCO's files, for pycocotools, FiftyOne and other tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from petbox.evaluation.coco_metrics import EvaluatedImage, annotation


def truth(images: Sequence[EvaluatedImage], names: Mapping[int, str], files: Sequence[str]) -> str:
    """The data set: `files` has the names of the images, by their numbers."""
    boxes = [
        {"iscrowd": int(one.crowd), **annotation(image, one.label, one.box)}
        for image in images
        for one in image.truth
    ]
    content = {
        "images": [
            {
                "id": one.number,
                "file_name": files[one.number],
                "width": one.width,
                "height": one.height,
            }
            for one in images
        ],
        "annotations": [{"id": at, **one} for at, one in enumerate(boxes, 1)],
        "categories": [{"id": label, "name": name} for label, name in sorted(names.items())],
    }
    return json.dumps(content, ensure_ascii=False)


def predictions(images: Sequence[EvaluatedImage]) -> str:
    """COCO results: every detection, whatever its score."""
    found = [
        {"score": one.score, **annotation(image, one.label, one.box)}
        for image in images
        for one in image.detections
    ]
    return json.dumps(found)
