"""Sets single fields of the Model Garden's configuration.

    --set task.model.roi_generator.num_proposals=300

A field must exist and its value must have its type: the configuration itself accepts anything, and
fails an hour later or never. Fields with flags of their own, and fields that are not used, are
rejected.
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from petbox.errors import DataError
from petbox.training import families

FLAGS = {
    "task.init_checkpoint": "--init",
    "task.model.num_classes": "the label map of --records",
    "task.model.norm_activation.use_sync_bn": "the number of workers",
    "task.train_data.global_batch_size": "--batch-size",
    "task.train_data.input_path": "--records",
    "task.train_data.seed": "--seed",
    "task.validation_data.input_path": "--records",
    "runtime.mixed_precision_dtype": "--precision",
    "trainer.checkpoint_interval": "--checkpoint-every",
    "trainer.steps_per_loop": "--report-every",
    "trainer.summary_interval": "--report-every",
    "trainer.train_steps": "--steps",
    "trainer.validation_interval": "--evaluate-every",
}
# Training images come from petbox/training/inputs.py, which reads only these fields, and those by
# which a family matches anchors with objects.
READ = (
    "dtype",
    "shuffle_buffer_size",
    "parser.aug_rand_hflip",
    "parser.aug_scale_max",
    "parser.aug_scale_min",
    "parser.max_num_instances",
    "parser.skip_crowd_during_training",
)
UNUSED = {"runtime.enable_xla": "the Model Garden's suppression of boxes has ops that XLA lacks"}
NOTHING = ("none", "null")
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def apply(config: Any, assignments: Iterable[str]) -> None:
    """Sets each `field=value` in `config`, in order."""
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise DataError(f"--set {assignment}: write it as field=value")
        _check(config, path, assignment)
        try:
            put(config, path, _parsed(_field(config, path)[1], text))
        except ValueError as error:
            raise DataError(f"--set {assignment}: {error}") from error


def put(config: Any, path: str, value: Any) -> None:
    """Sets the field at `path`; raises ValueError for an invalid path or value."""
    owner, kind = _field(config, path)
    if not _fits(kind, value):
        raise ValueError(f"{value!r} is not {_described(kind)}")
    name = path.split(".")[-1]
    if name == "type" and value is not None and value not in _fields(owner):
        options = ", ".join(field for field in _fields(owner) if field != "type")
        raise ValueError(f"choose one of {options}")
    setattr(owner, name, value)


def fields(config: Any, at: str = "") -> Iterator[str]:
    """The dotted names of all fields that have a value."""
    for name in _fields(config):
        value = getattr(config, name)
        if _is_group(value):
            yield from fields(value, f"{at}{name}.")
        else:
            yield f"{at}{name}"


def _check(config: Any, path: str, assignment: str) -> None:
    if path in FLAGS:
        raise DataError(f"--set {assignment}: use {FLAGS[path]} instead")
    if path in UNUSED:
        raise DataError(f"--set {assignment}: petbox does not use it, because {UNUSED[path]}")
    ours = "task.train_data."
    read = (*READ, *(f"parser.{name}" for name in families.of(config.task.model).matching))
    if path.startswith(ours) and path.removeprefix(ours) not in read:
        raise DataError(
            f"--set {assignment}: petbox's input pipeline does not use it; of {ours}* it uses "
            f"{', '.join(sorted(read))}"
        )


def _field(config: Any, path: str) -> tuple[Any, Any]:
    """The group that holds the field at `path`, and the field's type."""
    *groups, name = path.split(".")
    owner = config
    for group in groups:
        if group not in _fields(owner) or not _is_group(_entered(owner, group)):
            raise _unknown(config, path)
        owner = _entered(owner, group)
    if name not in _fields(owner):
        raise _unknown(config, path)
    value = getattr(owner, name)
    if _is_group(value):
        raise ValueError(f"this is a group; name one of its fields: {', '.join(_fields(value))}")
    return owner, typing.get_type_hints(type(owner)).get(name, type(value))


def _entered(owner: Any, name: str) -> Any:
    """The group `name` of `owner`, created if it is optional and missing."""
    value = getattr(owner, name)
    if value is None:
        for kind in typing.get_args(typing.get_type_hints(type(owner)).get(name)):
            if isinstance(kind, type) and hasattr(kind, "as_dict"):
                setattr(owner, name, kind())
                return getattr(owner, name)
    return value


def _unknown(config: Any, path: str) -> ValueError:
    known = list(fields(config))
    last = path.split(".")[-1]
    near = [field for field in known if field.split(".")[-1] == last]
    near = near or difflib.get_close_matches(path, known, n=2, cutoff=0.85)
    if not near:
        names = difflib.get_close_matches(last, {f.split(".")[-1] for f in known}, n=2, cutoff=0.7)
        near = [field for field in known if field.split(".")[-1] in names]
    hint = (
        f"did you mean {' or '.join(near[:3])}?" if near else "a run's params.yaml lists them all"
    )
    return ValueError(f"no such field; {hint}")


def _fields(config: Any) -> list[str]:
    return [name for name in vars(config) if not name.startswith("_")]


def _is_group(value: Any) -> bool:
    return hasattr(value, "as_dict")


def _choices(kind: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if is_union else (kind,)


def _parsed(kind: Any, text: str) -> Any:
    choices = _choices(kind)
    if types.NoneType in choices and text.lower() in NOTHING:
        return None
    if bool in choices and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.startswith("["):
        return _list(text)
    for number in (int, float):
        if number in choices:
            try:
                return number(text)
            except ValueError:
                continue
    if str in choices:
        return text
    raise ValueError(f"{text!r} is not {_described(kind)}")


def _list(text: str) -> list[Any]:
    try:
        return list(json.loads(text))
    except ValueError:
        raise ValueError(f"{text!r} is not a list, such as [0.5, 1, 2]") from None


def _fits(kind: Any, value: Any) -> bool:
    for choice in _choices(kind):
        origin = typing.get_origin(choice) or choice
        if choice is Any or (choice is float and type(value) is int):
            return True
        if isinstance(value, list):
            if isinstance(origin, type) and issubclass(list, origin):
                (item,) = typing.get_args(choice) or (Any,)
                return all(_fits(item, each) for each in value)
        elif isinstance(origin, type) and type(value) is origin:  # a bool is not an int
            return True
    return False


def _described(kind: Any) -> str:
    names = []
    for choice in _choices(kind):
        if choice is types.NoneType:
            names.append("none")
        elif args := typing.get_args(choice):
            names.append(f"a list, each {WORDS.get(args[0], 'a group')}")
        elif choice in WORDS:
            names.append(WORDS[choice])
    return " or ".join(names)
