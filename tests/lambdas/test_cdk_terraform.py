"""docs/cdk-terraform.md: its examples deploy what serverless/front.yaml does."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from typing import Any

import pytest
from conftest import CHECKOUT
from support.snippets import snippets
from support.templates import of_kind, source

PAGE = "docs/cdk-terraform.md"
ZIP = "build/lambda/http_front.zip"


@pytest.fixture
def front() -> dict[str, Any]:
    found: dict[str, Any] = of_kind("front", "AWS::Lambda::Function")["HttpFront"]
    return found


def check(front: dict[str, Any], found: dict[str, Any], variables: dict[str, str]) -> None:
    written = source("front")
    memory = written["Parameters"]["MemoryMegabytes"]["Default"]
    given = {"Runtime": front["Runtime"], "Handler": front["Handler"], "Timeout": front["Timeout"]}
    assert found == {**given, "MemorySize": memory}
    assert f"../{ZIP}" == written["Resources"]["HttpFront"]["Properties"]["CodeUri"]
    assert variables.keys() <= front["Environment"]["Variables"].keys()
    assert variables["REQUEST_MB"] == str(written["Parameters"]["RequestMegabytes"]["Default"])


def test_the_cdk_example_deploys_the_function_of_the_template(front: dict[str, Any]) -> None:
    (text,) = snippets(PAGE, "CDK")
    (call,) = (
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lambda_.Function"
    )
    said = {one.arg: ast.unparse(one.value) for one in call.keywords}
    runtime = said["runtime"].removeprefix("lambda_.Runtime.").lower()
    found = {
        "Runtime": re.sub(r"_(\d+)_(\d+)$", r"\1.\2", runtime),
        "Handler": ast.literal_eval(said["handler"]),
        "Timeout": int(said["timeout"].removeprefix("Duration.seconds(").removesuffix(")")),
        "MemorySize": int(said["memory_size"]),
    }
    assert said["code"] == f"lambda_.Code.from_asset('{ZIP}')"
    check(front, found, ast.literal_eval(said["environment"]))


def test_the_terraform_example_deploys_the_function_of_the_template(front: dict[str, Any]) -> None:
    text = terraform()
    body = text[text.index('resource "aws_lambda_function" "front"') :]
    said = dict(re.findall(r"^ +(\w+) += (.+)$", body, re.M))
    found = {
        "Runtime": json.loads(said["runtime"]),
        "Handler": json.loads(said["handler"]),
        "Timeout": int(said["timeout"]),
        "MemorySize": int(said["memory_size"]),
    }
    assert json.loads(said["filename"]) == ZIP
    assert said["source_code_hash"] == f'filebase64sha256("{ZIP}")'
    variables = {name: json.loads(value) for name, value in said.items() if name.isupper()}
    check(front, found, variables)


def terraform() -> str:
    text = (CHECKOUT / PAGE).read_text()
    (found,) = re.findall(r"^```hcl\n(.*?)^```", text, re.M | re.S)
    return str(found)


def test_terraform_reads_its_example() -> None:
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    command = ["terraform", "fmt", "-check", "-diff", "-"]
    done = subprocess.run(command, input=terraform(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_names_every_zip_with_its_handler() -> None:
    rows = re.findall(r"^\| `(\w+)\.zip` \| `(.+?)` \|", (CHECKOUT / PAGE).read_text(), re.M)
    functions = [source(name)["Resources"] for name in ("front", "detector", "zoo")]
    properties = [one["Properties"] for several in functions for one in several.values()]
    deployed = {(one["CodeUri"], one["Handler"]) for one in properties if "CodeUri" in one}
    assert {(f"../build/lambda/{name}.zip", handler) for name, handler in rows} == deployed
