"""Starts a training from a whole detector: takes every tensor that fits, and reports the others.

The last layers have numbers for each class. Those of a class that the other detector knows by the
same name are taken; other classes start fresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from petbox.cli.program import say
from petbox.data import labels
from petbox.errors import ModelError
from petbox.training import initial_weights, runs

FIT = "fit"
PARTS = ("backbone", "decoder", "rpn_head", "detection_head")
OF_CLASSES = ("/_classifier/", "/_box_regressor/")  # the detection head's last layers
SHOWN = 3


def load(model: Any, prefix: Path, label_map: Path) -> None:
    """Loads what fits of the checkpoint into a detector of the classes in `label_map`."""
    names = labels.parse(label_map.read_bytes(), str(label_map))
    known = {name: number for number, name in _names(prefix).items()}
    same = {number: known[name] for number, name in names.items() if name in known}
    reader, graph = initial_weights.opened(prefix)
    total, reports = 0, []
    for part in PARTS:
        root, node = getattr(model, part), graph.children(0).get(part, -1)
        loaded, fresh = 0, []
        for path, variable, at in initial_weights.variables(part, root, node, graph):
            tensor = graph.tensor(at) if at >= 0 else None
            value = _fitting(path, variable, reader.get_tensor(tensor), same) if tensor else None
            if value is None:
                fresh.append(path.removeprefix(f"{part}/"))
            else:
                variable.assign(value)
                loaded += 1
        total += loaded
        more = ", …" if len(fresh) > SHOWN else ""
        left = f" (fresh: {', '.join(fresh[:SHOWN])}{more})" if fresh else ""
        reports.append(f"{part} {loaded} of {loaded + len(fresh)}{left}")
    if not total:
        raise ModelError(f"{prefix}: none of its tensors fits; train with the --preset that it has")
    new = [name for number, name in names.items() if number not in same]
    say(f"{prefix}: loaded {', '.join(reports)}")
    say(
        f"classes with trained weights: {', '.join(names[n] for n in same) or 'none'}; "
        f"fresh: {', '.join(new) or 'none'}"
    )


def _names(prefix: Path) -> Mapping[int, str]:
    """The classes of the detector, if its checkpoint lies in a run's folder."""
    return runs.read(prefix).names if runs.of_checkpoint(prefix) else {}


def _fitting(path: str, variable: Any, value: Any, same: Mapping[int, int]) -> Any:
    """The variable's new value from the other detector's; None if it does not fit."""
    from petbox.training.tfvision import tf

    if not (path.startswith("detection_head/") and any(layer in path for layer in OF_CLASSES)):
        return value if value.shape == tuple(variable.shape) else None
    if not same or value.shape[:-1] != tuple(variable.shape)[:-1]:
        return None
    each = 4 if "/_box_regressor/" in path else 1  # numbers for each class
    own = tf.distribute.get_strategy().experimental_local_results(variable)[0].numpy()
    if own.shape[-1] == value.shape[-1] == each == 4:  # the same box for all classes
        return value
    result = own.reshape(*own.shape[:-1], -1, each)
    old = value.reshape(*value.shape[:-1], -1, each)
    for ours, theirs in {0: 0, **same}.items():  # 0 is the background
        result[..., ours, :] = old[..., theirs, :]
    return result.reshape(own.shape)
