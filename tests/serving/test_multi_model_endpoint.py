"""SageMaker's part of a multi-model endpoint with petbox's own gateway and model server."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from support.multi_model import Endpoint, multi_model_endpoint
from support.saved_models import adder, corrupt

from petbox.serving.http_client import Address
from petbox.serving.multi_model.endpoint import endpoint
from petbox.serving.multi_model.library import library
from petbox.serving.multi_model.loaded import LoadedModels

ONE = b'{"instances": [1.0]}'


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with multi_model_endpoint(tmp_path_factory.mktemp("container")) as container:
        yield container


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that adds 1, one with a name of its own that adds 2, a folder that adds 3."""
    folder = tmp_path_factory.mktemp("models")
    for number, name in enumerate(("a.tar.gz", "Bär, 猫 & co.tar.gz", ""), start=1):
        version = adder(folder / "plain" / "1", number)
        if name:
            with tarfile.open(folder / name, "w:gz") as tar:
                tar.add(version, "1")
            version.rename(folder.parent / f"adder-{number}")
    corrupt(folder / "broken" / "1")
    return folder


@contextmanager
def invoking(container: Endpoint, models: Path, **options: Any) -> Iterator[Callable[..., Any]]:
    at = Address("127.0.0.1", container.port)
    with (
        library(models, None) as found,
        endpoint(0, at, LoadedModels(at, found, **options)) as served,
    ):
        secrets = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        client = boto3.client(
            "sagemaker-runtime", endpoint_url=str(served), region_name="us-east-1", **secrets
        )

        def invoke(name: str) -> Any:
            response = client.invoke_endpoint(
                EndpointName="many", TargetModel=name, ContentType="application/json", Body=ONE
            )
            return json.loads(response["Body"].read())["predictions"]

        yield invoke


def test_models_are_loaded_and_evicted(container: Endpoint, models: Path) -> None:
    with invoking(container, models, most=1) as invoke:
        names = ("a.tar.gz", "Bär, 猫 & co.tar.gz", "plain", "a.tar.gz")
        for name, answer in zip(names, (2.0, 3.0, 4.0, 2.0), strict=True):
            assert invoke(name) == [answer]
            assert len(container.names()) == 1
        container.unload(container.names()[0])


def test_a_model_is_invoked_while_others_are_loaded(container: Endpoint, models: Path) -> None:
    with invoking(container, models) as invoke, ThreadPoolExecutor(2) as pool:
        assert invoke("a.tar.gz") == [2.0]
        loading = [pool.submit(invoke, name) for name in ("plain", "broken")]
        while not all(one.done() for one in loading):
            assert invoke("a.tar.gz") == [2.0]
        assert loading[0].result() == [4.0]
        error = loading[1].exception()
        assert isinstance(error, ClientError)
        assert error.response["Error"]["Code"] == "ModelError"
        assert "cannot be loaded" in error.response["OriginalMessage"]
        assert len(container.names()) == 2, "nothing is left of the broken one"
        for name in container.names():
            container.unload(name)
