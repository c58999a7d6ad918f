"""A service of BentoML's, with its defaults: one worker that takes a file."""

from pathlib import Path
from typing import Annotated, Any

import bentoml
import peer_model
from bentoml.validators import ContentType


@bentoml.service
class Detector:
    @bentoml.api
    def invocations(self, picture: Annotated[Path, ContentType("image/jpeg")], /) -> dict[str, Any]:
        return peer_model.detect(picture.read_bytes())
