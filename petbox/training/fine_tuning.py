"""Starts a training from a whole detector: takes every tensor that fits, and reports the others.

The last layers have numbers for each class. Those of a class that the other detector knows by the
same name are taken; other classes start fresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbox.cli.program import say
from petbox.data import labels
from petbox.errors import ModelError
from petbox.training import coco_classes, families, feature_pyramid, initial_weights, runs
from petbox.training.families import Family

FIT = "fit"
# The last head's last layers, and how many numbers they have for each class.
OF_CLASSES = {"/_classifier/": 1, "/_box_regressor/": 4}
OF_ANCHORS = {"/_classifier/": 1}  # of a family that classifies anchors: for each one of a place


@dataclass(frozen=True)
class Classes:
    same: Mapping[int, int]  # theirs by ours, if of the same name
    ours: int  # with the background
    theirs: int


def load(model: Any, prefix: Path, label_map: Path) -> None:
    """Loads what fits of the checkpoint into a detector of the classes in `label_map`."""
    names, family = labels.parse(label_map.read_bytes(), str(label_map)), families.of(model)
    reader, graph = initial_weights.opened(prefix)
    other = next((one for one in families.ALL if one.dense in graph.children(0)), family)
    shapes = reader.get_variable_to_shape_map()
    of_other = _names(prefix, shapes, family) if other == family else {}
    known = {name: number for number, name in of_other.items()}
    same = {number: known[name] for number, name in names.items() if name in known}
    classes = Classes(same, max(names) + 1, max(known.values(), default=0) + 1)
    pyramid = feature_pyramid.found(model.decoder, graph, shapes)
    total, reports = 0, []
    for part in family.parts:
        root, node = getattr(model, part), graph.children(0).get(part, -1)
        places = pyramid.places(part, root, node, graph) if pyramid else {}
        loaded, fresh = 0, []
        for path, variable, at in initial_weights.variables(part, root, node, graph, places):
            tensor = graph.tensor(at) if at >= 0 else None
            theirs = reader.get_tensor(tensor) if tensor else None
            value = None if tensor is None else _fitting(family, path, variable, theirs, classes)
            if value is None:
                fresh.append(path.removeprefix(f"{part}/"))
            else:
                variable.assign(value)
                loaded += 1
        total += loaded
        layers = [*dict.fromkeys(path.rpartition("/")[0] for path in fresh)] if loaded else ["all"]
        left = f" (fresh: {', '.join(layers)})" if fresh else ""
        reports.append(f"{part} {loaded} of {loaded + len(fresh)}{left}")
    if not total:
        raise ModelError(f"{prefix}: none of its tensors fits; train with the --preset that it has")
    if "_classifier" in layers or layers == ["all"]:  # of the last head
        same = {}
    new = [name for number, name in names.items() if number not in same]
    say(f"{prefix}: loaded {', '.join(reports)}")
    if other != family:
        say(f"{prefix}: is of a {other.name}, so the heads of the {family.name} start fresh")
    say(
        f"classes with trained weights: {', '.join(names[n] for n in same) or 'none'}; "
        f"fresh: {', '.join(new) or 'none'}"
    )


def _names(prefix: Path, shapes: Mapping[str, Sequence[int]], family: Family) -> Mapping[int, str]:
    """The classes of the detector: a run's own, or COCO's if it has as many."""
    if runs.of_checkpoint(prefix):
        return runs.read(prefix).names
    scores = f"{family.heads[-1]}/_classifier/bias/"
    count = next((shape[0] for name, shape in shapes.items() if name.startswith(scores)), 1)
    return {} if count % coco_classes.COUNT else coco_classes.NAMES


def _fitting(family: Family, path: str, variable: Any, value: Any, classes: Classes) -> Any:
    """The variable's new value from the other detector's; None if it does not fit."""
    from petbox.training.tfvision import tf

    numbers = OF_ANCHORS if family.classifies_anchors else OF_CLASSES
    each = next((n for layer, n in numbers.items() if layer in path), None)
    if each is None or not path.startswith(f"{family.heads[-1]}/"):
        return value if value.shape == tuple(variable.shape) else None
    if not classes.same or value.shape[:-1] != tuple(variable.shape)[:-1]:
        return None
    own = tf.distribute.get_strategy().experimental_local_results(variable)[0].numpy()
    if own.shape[-1] == value.shape[-1] == each == 4:  # the same box for all classes
        return value
    if family.classifies_anchors:
        anchors = own.shape[-1] // classes.ours
        if anchors * classes.theirs != value.shape[-1]:
            return None
    else:
        anchors = 1
    result = own.reshape(*own.shape[:-1], anchors, -1, each)
    old = value.reshape(*value.shape[:-1], anchors, -1, each)
    for ours, theirs in {0: 0, **classes.same}.items():  # 0 is the background
        result[..., ours, :] = old[..., theirs, :]
    return result.reshape(own.shape)
