"""All that is served: models by name, their versions and labels, and which of them answers.

The name is TensorFlow Serving's. Each model is kept by its shelf; here they are told apart,
waited for, and configured anew.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from petbox.serving.model_server.config import ModelConfig
from petbox.serving.model_server.refusal import Refusal
from petbox.serving.model_server.rest import Model, VersionStatus
from petbox.serving.model_server.shelf import Load, Patience, Shelf


class Servables:
    def __init__(self, load: Load, patience: Patience) -> None:
        self._load = load
        self._patience = patience
        self._changed = threading.Condition()
        self._shelves: dict[str, Shelf] = {}  # grows only: END is told of for good
        self._stopping = False

    def configure(self, configs: Sequence[ModelConfig]) -> None:
        """Serves these models and no others; does not wait for them."""
        named = {config.name: config for config in configs}
        for name, shelf in self._shelves.items():
            shelf.configure(named.get(name))
        for name in named.keys() - self._shelves.keys():
            self._shelves[name] = Shelf(named[name], self._load, self._patience, self._changed)

    def label(self, configs: Sequence[ModelConfig], unavailable_too: bool = False) -> None:
        """Gives the versions their labels, all or, if one version does not serve, none."""
        for config in configs:
            for version in config.labels.values():
                if not unavailable_too and self._shelves[config.name].model(version) is None:
                    raise Refusal(
                        f"Request to assign label to version {version} of model {config.name}, "
                        "which is not currently available for inference",
                        "FAILED_PRECONDITION",
                    )
        labels = {config.name: dict(config.labels) for config in configs}
        for name, shelf in self._shelves.items():
            shelf.labels = labels.get(name, {})

    def wait(self, configs: Sequence[ModelConfig]) -> bool:
        """Returns when each model has a version that serves, or with False when told to stop.

        Versions that are to have a label are waited for as well. A model none of whose versions
        can be loaded is an error; one without versions is not.
        """
        with self._changed:
            while not self._stopping:
                failed = [failure for shelf in self._shelves.values() for failure in _lost(shelf)]
                if failed:
                    raise Refusal(
                        f"{len(failed)} servable(s) did not become available: "
                        f"{{{''.join(failed)}}}",
                        "UNKNOWN",
                    )
                if all(_is_ready(self._shelves[config.name], config) for config in configs):
                    return True
                self._changed.wait()
        return False

    def stop(self) -> None:
        """No version is loaded any more; what serves goes on serving."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for shelf in list(self._shelves.values()):
            shelf.stop()

    def find(self, name: str, version: int | None, label: str | None) -> Model:
        """The model that is to answer."""
        shelf = self._shelves.get(name)
        if label is not None:
            if shelf is None or label not in shelf.labels:
                raise Refusal(f"Unrecognized servable version label: {label}")
            version = shelf.labels[label]
        model = shelf.model(version) if shelf else None
        if model is None:
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refusal(f"Servable not found for request: {wanted}", "NOT_FOUND")
        return model

    def states(self, name: str, version: int | None) -> list[VersionStatus]:
        """What is known of the model's versions, or of one, newest first."""
        shelf = self._shelves.get(name)
        known = shelf.versions() if shelf else {}
        asked = [version] if version is not None and version in known else []
        if version is None:
            asked = sorted(known, reverse=True)
        if not asked:
            versions = "any versions" if version is None else f"version {version}"
            raise Refusal(f"Could not find {versions} of model {name}", "NOT_FOUND")
        return [
            VersionStatus(
                number,
                known[number].state,
                error.code if (error := known[number].error) else "OK",
                error.message if error else "",
            )
            for number in asked
        ]


def _is_ready(shelf: Shelf, config: ModelConfig) -> bool:
    versions = shelf.versions()
    labelled = [versions[n].state for n in config.labels.values() if n in versions]
    return shelf.model(None) is not None and not {"START", "LOADING"} & set(labelled)


def _lost(shelf: Shelf) -> list[str]:
    """Why a model has no hope left: every version of it failed to load."""
    versions = shelf.versions()
    if not versions or any(standing.error is None for standing in versions.values()):
        return []
    return [
        f"{{{{name: {shelf.name} version: {version}}} due to error: {standing.error}}}, "
        for version, standing in versions.items()
    ]
