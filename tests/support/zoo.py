"""The zoo's Lambda function for tests: its zip, in a process that can import only boto3 beside."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.lambda_runtime import build

BUCKET = "zoo"
BOTO3 = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py")

# As Lambda calls it: an event in, a response out. Words of the handler's own go to stderr.
RUNTIME = """
import json, sys
sys.path[:0] = sys.argv[1:]
out, sys.stdout = sys.stdout, sys.stderr
import zoo_front
for line in sys.stdin:
    print(json.dumps(zoo_front.handler(json.loads(line), None)), file=out, flush=True)
"""


class Lambda:
    """The handler's zip in a process that can import nothing else but boto3."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.etag = ""  # of the last response

    def __call__(self, event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert self.process.stdin and self.process.stdout
        print(json.dumps(event), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line, "the function died"
        response = json.loads(line)
        assert response.keys() == {"statusCode", "headers", "body"}
        assert response["headers"].pop("Content-Type") == "application/json"
        self.etag = response["headers"].pop("ETag", "")
        assert not response["headers"]
        return response["statusCode"], json.loads(response["body"])


@pytest.fixture(scope="session")
def importable(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("lambda")
    boto3 = folder / "boto3"
    boto3.mkdir()
    for name in BOTO3:
        (boto3 / name).symlink_to(Path(sysconfig.get_path("purelib"), name))
    return [build(folder, "zoo")["zoo"], boto3]


@contextmanager
def function(env: dict[str, str], paths: list[Path], **variables: str) -> Iterator[Lambda]:
    variables = {"ZOO_WEIGHTS": f"s3://{BUCKET}/trained/weights.json", **variables}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", RUNTIME, *map(str, paths)],
        env={**env, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Lambda(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 0


def v1(*texts: str, path: str = "/zoo") -> dict[str, Any]:
    """As a REST API sends it."""
    return {
        "version": "1.0",
        "resource": path,
        "path": path,
        "httpMethod": "GET",
        "headers": {"Accept": "*/*"},
        "multiValueHeaders": {"Accept": ["*/*"]},
        "queryStringParameters": {"X": texts[-1]} if texts else None,
        "multiValueQueryStringParameters": {"X": list(texts)} if texts else None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {"httpMethod": "GET", "path": f"/Prod{path}", "stage": "Prod"},
        "body": None,
        "isBase64Encoded": False,
    }


def v2(*texts: str, path: str = "/zoo") -> dict[str, Any]:
    """As an HTTP API or a function URL sends it."""
    event = {
        "version": "2.0",
        "routeKey": f"GET {path}",
        "rawPath": path,
        "rawQueryString": "&".join(f"X={text}" for text in texts),
        "headers": {"accept": "*/*"},
        "requestContext": {"http": {"method": "GET", "path": path}, "stage": "$default"},
        "isBase64Encoded": False,
    }
    return event | ({"queryStringParameters": {"X": ",".join(texts)}} if texts else {})
