"""A model loaded into this process, as an engine for `petbox.Detector(model=...)`.

    saved_model.pb     run by TensorFlow, as `petbox export` writes it
    model.tflite       run by LiteRT, as `petbox convert` writes it
    model.xml          run by OpenVINO, as `petbox convert --to openvino` writes it

The model may lie in the folder itself or under the number of its version, as in SageMaker's
archives; the highest version counts.
"""

from __future__ import annotations

from pathlib import Path

from petbox.cli.program import silent
from petbox.export.model_folder import FILE, newest_version
from petbox.litert import bundle
from petbox.wire import Engine


def open_model(folder: str | Path) -> Engine:
    """The model in `folder`, ready to detect."""
    found = find_model(Path(folder))
    if bundle.is_there(found):
        from petbox.litert.detector import LiteDetector

        with silent():
            return LiteDetector(found)
    from petbox.serving import requirements

    requirements.check_tensorflow()
    from petbox.serving.saved_detector import SavedDetector

    return SavedDetector(found)


def find_model(place: Path) -> Path:
    """The folder of the only model under `place`, in its highest version."""
    return newest_version(place, (FILE, bundle.NETWORK, bundle.OPENVINO))
