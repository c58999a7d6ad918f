"""A custom runtime of MLServer's, its documented way for a model it has no runtime for."""

import json

import peer_model
from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Detector(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        return True  # the import has

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        [picture] = Base64Codec.decode_input(payload.inputs[0])
        answer = json.dumps(peer_model.detect(picture))
        output = StringCodec.encode_output("detections", [answer])
        return InferenceResponse(model_name=self.name, outputs=[output])
