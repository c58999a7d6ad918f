"""`petbox deploy --dry-run` on an endpoint in service, in an account with 50 others.

    python bench/deploy_plan.py [--turns 7]

AWS is moto's server in another process. Turn by turn, a Python makes boto3's clients for the same
services and ends; what the plan takes beyond that counts.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import report

sys.path.insert(0, str(report.CHECKOUT / "tests"))

from support.endpoint_aws import IMAGE, ROLE, SOON, aws_proxy, command

BAR = 1.0  # seconds
OTHERS = 50
FILE = f"""\
name = "pets"
model = "model"
bucket = "s3://pets-bucket/models"
image = "{IMAGE}"
role = "{ROLE}"
ttl = "8h"
scaling = "1..4"
target = 100
"""
SERVICES = ("sagemaker", "ecr", "application-autoscaling", "cloudwatch", "scheduler", "pricing")
CLIENTS = f"""\
from petbox.aws.session import Account
for service in {SERVICES}:
    Account().client(service)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--turns", type=int, default=7)
    turns = parser.parse_args().turns
    plans, clients = [], []
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with aws_proxy() as aws, tempfile.TemporaryDirectory() as name:
        file = model_in(Path(name))
        aws.client("s3").create_bucket(Bucket="pets-bucket")
        deployed = command(aws.env, "deploy", file, "--yes", *SOON)
        subprocess.run(**deployed, check=True, capture_output=True)
        for number in range(OTHERS):
            add_endpoint(aws.client("sagemaker"), f"other-{number}")
        plan = command(aws.env, "deploy", file, "--dry-run")
        only_clients = {**plan, "args": [sys.executable, "-c", CLIENTS]}
        for _ in range(turns):
            plans.append(seconds(plan))
            clients.append(seconds(only_clients))
    beyond = statistics.median(plans) - statistics.median(clients)
    rows = [
        ["the plan, p50, s", f"{statistics.median(plans):.2f}", ""],
        ["boto3's clients alone, p50, s", f"{statistics.median(clients):.2f}", ""],
        ["the plan beyond them, s", f"{beyond:.2f}", report.at_most(beyond, BAR)],
    ]
    typed = " ".join(["python bench/deploy_plan.py", *sys.argv[1:]])
    print(report.write_table("deploy-plan", typed, ["", "", "bar"], rows))


def model_in(folder: Path) -> Path:
    """A model, and the file that deploys it."""
    version = folder / "model" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"a model")
    file = folder / "pets.toml"
    file.write_text(FILE, encoding="utf-8")
    return file


def add_endpoint(sagemaker: Any, name: str) -> None:
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE})
    variant = {"VariantName": "all", "ModelName": name, "InstanceType": "ml.m5.xlarge"}
    variant["InitialInstanceCount"] = 1  # type: ignore[assignment]
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


def seconds(started: dict[str, Any]) -> float:
    begin = time.perf_counter()
    subprocess.run(**started, check=True, capture_output=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
