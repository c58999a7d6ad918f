"""--model_config_file: TensorFlow Serving's ModelServerConfig in protobuf's text format.

    model_config_list { config { name: "pets" base_path: "/models/pets" model_platform: "tensorflow"
      model_version_policy { specific { versions: 3 versions: 4 } }
      version_labels { key: "stable" value: 3 } } }

Unknown fields are rejected with their line, as are settings that this server does not support.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from petbox.data.text_proto import Field, parse
from petbox.errors import DataError
from petbox.serving.model_server.status import StatusError
from petbox.serving.model_server.version_policy import LATEST, Policy


@dataclass(frozen=True)
class ModelConfig:
    name: str
    base_path: Path
    policy: Policy = LATEST
    labels: dict[str, int] = field(default_factory=dict)


def read(file: Path) -> list[ModelConfig]:
    try:
        text = file.read_text()
    except OSError as error:
        raise StatusError(f"{file}; {error.strerror}", "NOT_FOUND") from error
    except UnicodeDecodeError as error:
        raise _invalid(file, "not text") from error
    if not text:
        raise StatusError(f"{file}; Invalid argument")  # the original cannot map an empty file
    try:
        fields = parse(text, str(file))
        configs = [
            _model(config, file)
            for entry in _messages(fields, file, ("model_config_list",))
            for config in _messages(_inside(entry), file, ("config",))
        ]
    except DataError as error:
        raise _invalid(file, str(error).removeprefix(f"{file}: ")) from error
    check(configs)
    return configs


def check(configs: Iterable[ModelConfig]) -> None:
    names: set[str] = set()
    for config in configs:
        if config.name in names:
            raise StatusError(f"Illegal to list model {config.name} multiple times in config list")
        names.add(config.name)
        if not config.base_path.is_absolute():
            raise StatusError(
                f"Expected model {config.name} to have an absolute path or URI; "
                f"got base_path()={config.base_path}"
            )


def _model(entry: Field, file: Path) -> ModelConfig:
    values: dict[str, str] = {}
    policy, labels = LATEST, {}
    for item in _inside(entry):
        if item.name in ("name", "base_path", "model_platform", "model_type"):
            values[item.name] = item.text
        elif item.name == "model_version_policy":
            policy = _policy(item, file)
        elif item.name == "version_labels":
            pair = {part.name: part for part in _inside(item)}
            if not {"key", "value"} >= pair.keys() or "key" not in pair:
                raise _unknown(item, file)
            labels[pair["key"].text] = _number(pair["value"], file) if "value" in pair else 0
        elif item.name != "logging_config":  # this server does not log requests
            raise _unknown(item, file)
    name = values.get("name", "")
    if not values.get("model_platform") and not values.get("model_type"):
        raise StatusError(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {name}"
        )
    if values.get("model_platform", "tensorflow") != "tensorflow":
        raise StatusError(
            f"model {name}: model_platform {values['model_platform']}: only tensorflow"
        )
    return ModelConfig(name, Path(values.get("base_path", "")), policy, labels)


def _policy(entry: Field, file: Path) -> Policy:
    for choice in _messages(_inside(entry), file, ("latest", "all", "specific")):
        numbers = [_number(item, file) for item in _inside(choice)]
        if choice.name == "all":
            return Policy(latest=None)
        if choice.name == "specific":
            if not numbers:
                raise StatusError("specific: name at least one of versions")
            return Policy(latest=None, specific=frozenset(numbers))
        return Policy(latest=max(numbers[-1], 1) if numbers else 1)
    return LATEST


def _messages(fields: Iterable[Field], file: Path, names: tuple[str, ...]) -> list[Field]:
    """`fields`, which must all be messages with one of `names`."""
    kept = list(fields)
    for item in kept:
        if item.name not in names:
            raise _unknown(item, file)
        if item.message is None:
            raise DataError(f"{file}: line {item.line}: {item.name} needs braces")
    return kept


def _inside(item: Field) -> tuple[Field, ...]:
    return item.message or ()


def _number(item: Field, file: Path) -> int:
    try:
        return int(item.text, 0)
    except ValueError:
        raise DataError(
            f"{file}: line {item.line}: {item.name}: {item.text!r} is not a whole number"
        ) from None


def _unknown(item: Field, file: Path) -> DataError:
    return DataError(f"{file}: line {item.line}: no field named {item.name} here")


def _invalid(file: Path, why: str) -> StatusError:
    return StatusError(f"Invalid protobuf file: '{file}': {why}")
