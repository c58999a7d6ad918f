"""All models by name: configured, waited for at start, and looked up for requests."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from petbox.serving.model_server.config import ModelConfig
from petbox.serving.model_server.model_versions import Load, LoadOptions, ModelVersions
from petbox.serving.model_server.rest import Model, VersionStatus
from petbox.serving.model_server.status import StatusError


class ServedModels:
    def __init__(self, load: Load, options: LoadOptions) -> None:
        self._load = load
        self._options = options
        self._changed = threading.Condition()
        self._models: dict[str, ModelVersions] = {}  # never removed: the status END is kept
        self._stopping = False

    def configure(self, configs: Sequence[ModelConfig]) -> None:
        """Serves exactly these models; does not wait for them to load."""
        named = {config.name: config for config in configs}
        for name, model in self._models.items():
            model.configure(named.get(name))
        for name in named.keys() - self._models.keys():
            self._models[name] = ModelVersions(
                named[name], self._load, self._options, self._changed
            )

    def label(self, configs: Sequence[ModelConfig], allow_unavailable: bool = False) -> None:
        """Assigns all labels, or none if one of the versions is not available."""
        for config in configs:
            for version in config.labels.values():
                if not allow_unavailable and self._models[config.name].model(version) is None:
                    raise StatusError(
                        f"Request to assign label to version {version} of model {config.name}, "
                        "which is not currently available for inference",
                        "FAILED_PRECONDITION",
                    )
        labels = {config.name: dict(config.labels) for config in configs}
        for name, model in self._models.items():
            model.labels = labels.get(name, {})

    def wait(self, configs: Sequence[ModelConfig]) -> bool:
        """Returns True once every model has an available version, False when stopped.

        Also waits for versions with a label. A model whose versions all fail to load is an error;
        one without versions is not.
        """
        with self._changed:
            while not self._stopping:
                failed = [
                    failure for model in self._models.values() for failure in _load_failures(model)
                ]
                if failed:
                    raise StatusError(
                        f"{len(failed)} servable(s) did not become available: "
                        f"{{{''.join(failed)}}}",
                        "UNKNOWN",
                    )
                if all(_is_ready(self._models[config.name], config) for config in configs):
                    return True
                self._changed.wait()
        return False

    def stop(self) -> None:
        """Loads no further versions; loaded ones keep serving."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for model in list(self._models.values()):
            model.stop()

    def find(self, name: str, version: int | None, label: str | None) -> Model:
        versions = self._models.get(name)
        if label is not None:
            if versions is None or label not in versions.labels:
                raise StatusError(f"Unrecognized servable version label: {label}")
            version = versions.labels[label]
        model = versions.model(version) if versions else None
        if model is None:
            requested = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise StatusError(f"Servable not found for request: {requested}", "NOT_FOUND")
        return model

    def loaded(self) -> list[Model]:
        """All available versions of all models."""
        records = [record for one in self._models.values() for record in one.versions().values()]
        return [record.model for record in records if record.model is not None]

    def states(self, name: str, version: int | None) -> list[VersionStatus]:
        """The status of the model's versions, or of one, newest first."""
        model = self._models.get(name)
        known = model.versions() if model else {}
        numbers = [n for n in sorted(known, reverse=True) if version in (None, n)]
        if not numbers:
            versions = "any versions" if version is None else f"version {version}"
            raise StatusError(f"Could not find {versions} of model {name}", "NOT_FOUND")
        return [known[number].status(number) for number in numbers]


def _is_ready(model: ModelVersions, config: ModelConfig) -> bool:
    versions = model.versions()
    labelled = [versions[n].state for n in config.labels.values() if n in versions]
    return model.model(None) is not None and not {"START", "LOADING"} & set(labelled)


def _load_failures(model: ModelVersions) -> list[str]:
    """The errors of a model whose versions all failed to load."""
    versions = model.versions()
    if not versions or any(record.error is None for record in versions.values()):
        return []
    return [
        f"{{{{name: {model.name} version: {version}}} due to error: {record.error}}}, "
        for version, record in versions.items()
    ]
