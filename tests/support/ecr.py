"""ECR for tests: moto's server, and for the images Debian's docker-registry.

ECR's operations on images are answered from what the registry has, as at AWS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from support.docker_engine import REGISTRY_ADDRESS
from support.endpoint_aws import AwsProxy

from petbox.aws.image import DOCKER, LISTS, OCI

URL = f"http://{REGISTRY_ADDRESS}/v2"
CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/images}}, delete: {{enabled: true}}}}
http: {{addr: {address}:80}}
auth: {{htpasswd: {{realm: ECR, path: {folder}/htpasswd}}}}
"""


@contextmanager
def registry(aws: AwsProxy, folder: Path) -> Iterator[requests.Session]:
    """Asks it as ECR's user."""
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed; scripts/install_system.sh registry")
    token = aws.client("ecr").get_authorization_token()["authorizationData"][0]
    user, password = base64.b64decode(token["authorizationToken"]).decode().split(":", 1)
    (folder / "htpasswd").write_text(f"{user}:{hashed(password)}\n")
    (folder / "config.yml").write_text(CONFIG.format(folder=folder, address=REGISTRY_ADDRESS))
    session = requests.Session()
    session.auth = (user, password)
    session.headers["Accept"] = ", ".join((DOCKER, OCI, *LISTS))
    for operation, act in {"BatchGet": get, "Put": put, "BatchDelete": delete}.items():
        aws.instead[f"{operation}Image"] = partial(act, session)
    server = subprocess.Popen(["docker-registry", "serve", folder / "config.yml"])
    try:
        while not is_open():
            assert server.poll() is None, "docker-registry does not start"
        yield session
    finally:
        server.terminate()
        server.wait()


def hashed(password: str) -> str:
    """By bcrypt, which is all that the registry takes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import crypt

    return crypt.crypt(password, "$2b$04$" + "petboxpetboxpetboxpetb")


def is_open() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((REGISTRY_ADDRESS, 80)) == 0


def manifest(session: requests.Session, name: str, reference: str) -> requests.Response:
    """As it is stored, with its media type as Content-Type."""
    return session.get(f"{URL}/{name}/manifests/{reference}")


def get(session: requests.Session, request: dict[str, Any]) -> Any:
    name, (identity,) = request["repositoryName"], request["imageIds"]
    found = manifest(session, name, identity.get("imageDigest") or identity["imageTag"])
    if found.status_code != 200:
        return {"images": [], "failures": [{"failureCode": "ImageNotFound"}]}
    digest = found.headers["Docker-Content-Digest"]
    kind = found.headers["Content-Type"]
    image = {"imageManifest": found.text, "imageManifestMediaType": kind}
    return {"images": [{**image, "imageId": {**identity, "imageDigest": digest}}]}


def put(session: requests.Session, request: dict[str, Any]) -> Any:
    name, reference = request["repositoryName"], request.get("imageTag") or request["imageDigest"]
    kind, text = request["imageManifestMediaType"], request["imageManifest"]
    return {"image": {"imageId": {"imageDigest": store(session, name, reference, kind, text)}}}


def delete(session: requests.Session, request: dict[str, Any]) -> Any:
    """Unlike ECR, the registry cannot delete a tag alone: the next one takes it over."""
    return {"imageIds": request["imageIds"], "failures": []}


def make_oci(session: requests.Session, name: str, tag: str) -> None:
    """Puts an index under the tag, with the same image and an attestation, as Docker 29 does."""
    found = manifest(session, name, tag).json()
    layer = "application/vnd.oci.image.layer.v1.tar+gzip"
    config = found["config"] | {"mediaType": "application/vnd.oci.image.config.v1+json"}
    layers = [one | {"mediaType": layer} for one in found["layers"]]
    oci = {"schemaVersion": 2, "mediaType": OCI, "config": config}
    platforms = {"amd64": oci | {"layers": layers}, "unknown": oci | {"layers": layers[:1]}}
    index: dict[str, Any] = {"schemaVersion": 2, "mediaType": LISTS[1], "manifests": []}
    for architecture, one in platforms.items():
        text = json.dumps(one)
        digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        store(session, name, digest, OCI, text)
        platform = {"os": "linux", "architecture": architecture}
        entry = {"mediaType": OCI, "size": len(text), "digest": digest, "platform": platform}
        index["manifests"].append(entry)
    store(session, name, tag, LISTS[1], json.dumps(index))


def store(session: requests.Session, name: str, reference: str, kind: str, text: str) -> str:
    """Its digest."""
    headers = {"Content-Type": kind}
    done = session.put(f"{URL}/{name}/manifests/{reference}", text.encode(), headers=headers)
    done.raise_for_status()
    return done.headers["Docker-Content-Digest"]
