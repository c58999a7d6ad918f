"""FastAPI as its tutorial has it: a plain function a route, which runs in a pool of threads."""

from typing import Annotated, Any

import peer_model
from fastapi import Body, FastAPI

app = FastAPI()


@app.get("/ping")
def ping() -> dict[str, str]:
    return {}


@app.post("/invocations")
def invocations(picture: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    return peer_model.detect(picture)
