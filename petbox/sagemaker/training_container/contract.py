"""SageMaker's training contract: the files under /opt/ml.

    input/config/hyperparameters.json     every value a string
    input/config/inputdataconfig.json     the channels, and how they are given
    input/config/resourceconfig.json      this host and the others (`hosts.py`)
    input/data/NAME/                      a channel's files
    checkpoints/                          kept by SageMaker while the job is interrupted
    model/                                becomes model.tar.gz
    output/data/                          becomes output.tar.gz
    output/failure                        why the job failed

A plain `docker run` has no configuration; its channels are the mounted folders.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_type_hints

from petbox.errors import DataError

LONGEST_FAILURE = 1024  # characters that SageMaker shows
# Written by SageMaker's SDK and by its tuning, for containers of another kind.
NOT_OURS = re.compile(r"sagemaker_\w+|_tuning_objective_metric|model_dir")
YES, NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class JobPaths:
    """The contract's files and folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "input/data"
        self.checkpoints = root / "checkpoints"
        self.model = root / "model"
        self.results = root / "output/data"

    def config(self, name: str) -> dict[str, Any] | None:
        """One of the configuration files; None where there is none."""
        path = self.root / "input/config" / f"{name}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DataError(f"{path}: not JSON ({error}); SageMaker writes an object") from error
        if not isinstance(found, dict):
            raise DataError(f"{path}: not a JSON object; SageMaker writes one")
        return found

    def fail(self, reason: str) -> None:
        """Writes `reason` where SageMaker reads it, if the disk can be written to."""
        path = self.root / "output/failure"
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(" ".join(reason.split())[:LONGEST_FAILURE], encoding="utf-8")


# Hyperparameters


def arguments(given: Mapping[str, Any], *configs: type[Any]) -> list[str]:
    """Hyperparameters as command-line flags of the options in `configs`."""
    known = {f.name.rstrip("_"): (f, config) for config in configs for f in fields(config)}
    found: list[str] = []
    for name, text in given.items():
        if NOT_OURS.fullmatch(name):
            continue
        field, config = known.get(name.replace("-", "_"), (None, None))
        if field is None or config is None:
            raise DataError(f"hyperparameter {name}: unknown; known are {', '.join(sorted(known))}")
        found += _flag(name.replace("_", "-"), _decoded(text), field, get_type_hints(config))
    return found


def _decoded(text: object) -> object:
    """SageMaker's SDK writes each value as JSON in a string; people write it without quotes."""
    if not isinstance(text, str):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if value is None or isinstance(value, (bool, list, str)) else text


def _flag(name: str, value: object, field: Field[Any], hints: Mapping[str, Any]) -> list[str]:
    if value is None:
        return []
    if hints[field.name] is bool:
        return _switch(name, str(value), field.default)
    if isinstance(field.default, tuple):
        several = value if isinstance(value, list) else _split(str(value))
        return [f"--{name}={one}" for one in several]
    return [f"--{name}={value}"]


def _switch(name: str, value: str, default: object) -> list[str]:
    if value.lower() not in (*YES, *NO):
        written = name.replace("-", "_")
        raise DataError(f"hyperparameter {written}: {value!r} is neither true nor false")
    on = value.lower() in YES
    return [] if on == default else [f"--{name}" if on else f"--no-{name}"]


def _split(text: str) -> list[str]:
    """Splits `A=1 B=2` or `A=1,B=2`; a comma inside a value does not split."""
    return [part for part in re.split(r"\s+|,(?=[\w.]+=)", text) if part]


# Channels


def channels(paths: JobPaths) -> dict[str, Path]:
    stated = paths.config("inputdataconfig")
    if stated is None:
        folders = paths.data.iterdir() if paths.data.is_dir() else ()
        return {folder.name: folder for folder in sorted(folders) if folder.is_dir()}
    for name, channel in stated.items():
        mode = channel.get("TrainingInputMode", "File")
        if mode not in ("File", "FastFile"):
            raise DataError(f"channel {name}: is in {mode} mode, but petbox reads files; use File")
        if channel.get("S3DistributionType") == "ShardedByS3Key":
            raise DataError(
                f"channel {name}: ShardedByS3Key gives each host a part of the files, but petbox "
                "divides the images itself; use FullyReplicated"
            )
        if channel.get("RecordWrapperType", "None") not in ("None", None):
            raise DataError(
                f"channel {name}: RecordIO is not supported; use RecordWrapperType None"
            )
    return {name: paths.data / name for name in stated}


def channel(found: Mapping[str, Path], names: Sequence[str]) -> Path | None:
    given = [name for name in names if name in found]
    if len(given) > 1:
        raise DataError(f"channels {' and '.join(given)} mean the same; give one of them")
    return found[given[0]] if given else None
