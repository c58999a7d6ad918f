"""LitServe with its defaults: one worker, which takes the image as FastAPI reads it.

usage: python litserve_server.py PORT
"""

import sys
from typing import Annotated, Any

import litserve
from fastapi import Body


class Detector(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, _device: str) -> None:
        import peer_model  # in the worker, which is a process of its own

        self.detect = peer_model.detect

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        return request

    def predict(self, picture: bytes) -> dict[str, Any]:
        return self.detect(picture)  # type: ignore[no-any-return]

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Detector(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
