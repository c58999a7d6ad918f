"""The classes of the data set COCO, in which the Model Garden's public detectors are trained."""

from __future__ import annotations

COUNT = 91  # with the background; ten of the ids are not used
_NAMES = """
1 person, bicycle, car, motorcycle, airplane, bus, train, truck, boat
10 traffic light, fire hydrant
13 stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow
22 elephant, bear, zebra, giraffe
27 backpack, umbrella
31 handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove
41 skateboard, surfboard, tennis racket, bottle
46 wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot
58 hot dog, pizza, donut, cake, chair, couch, potted plant, bed
67 dining table
70 toilet
72 tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator
84 book, clock, vase, scissors, teddy bear, hair drier, toothbrush
"""


def _numbered() -> dict[int, str]:
    found: dict[int, str] = {}
    for line in _NAMES.strip().splitlines():
        first, _, names = line.partition(" ")
        found |= dict(enumerate(names.split(", "), start=int(first)))
    return found


NAMES = _numbered()  # by id
