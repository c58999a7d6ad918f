"""Starts a training job on SageMaker and follows it, or stops it.

Prints the model's address in S3 when the job is done. Until then the job's
status, log and metrics are printed to stderr. Ctrl-C leaves the job running.
Account and region come from --profile and --region, or AWS's own settings. To
start a job, --image, --data, --output and --role are required.

examples:
  petbox train-job --image 123456789012.dkr.ecr.us-east-1.amazonaws.com/pets:1 \\
      --role arn:aws:iam::123456789012:role/SageMaker --data data/records \\
      --output s3://bucket/jobs --hyperparameter steps=2000 --spot
  petbox train-job --follow petbox-20261121-104500
  petbox train-job --stop petbox-20261121-104500
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from petbox.aws import request_check, session
from petbox.aws.names import is_s3
from petbox.aws.s3_upload import Upload, send, upload
from petbox.aws.session import Account
from petbox.cli.program import say
from petbox.data.records import read_info
from petbox.errors import DataError
from petbox.sagemaker.endpoint.actual import Clients
from petbox.sagemaker.jobs import named_by_time
from petbox.sagemaker.train_job.progress import JOBS, Progress, result, summary
from petbox.sagemaker.train_job.request import TrainJobOptions, plan


def train_job(options: TrainJobOptions) -> None:
    if options.follow is not None:
        with JOBS.left_running(options.follow):
            _follow(Account().client, options.follow, options)
    elif options.stop is None:
        _start(options)
    elif options.dry_run:
        print(json.dumps({"TrainingJobName": options.stop}, indent=2))
    else:
        JOBS.stop(Account().client, options.stop)


def _start(options: TrainJobOptions) -> None:
    name = options.name or named_by_time()
    _check_local(options)
    if options.dry_run:
        request, uploads = _planned(options, name)
        for planned in uploads:
            say(f"would upload {planned}")
        print(json.dumps(request, indent=2))
        return
    account = Account()
    clients = account.client
    sagemaker = clients("sagemaker")  # fails if there is no region
    account.check_image_region(str(options.image))
    if options.kms_key:
        account.check_key_region(options.kms_key)
    if job := JOBS.find(clients, name):
        raise JOBS.exists(name, JOBS.status(job))
    request, uploads = _planned(options, name)  # reads all data, so only once the checks passed
    request_check.check(sagemaker, "create_training_job", request, f"training job {name}")
    for planned in uploads:
        send(planned, clients("s3"))
    with JOBS.left_running(name):
        _create(sagemaker, name, request)
        if options.detach:
            say(f"started; follow it: {JOBS.command} --follow {name}")
            facts = {"job": name, "status": "InProgress"}
            print(json.dumps(facts) if options.json else name)
        else:
            _follow(clients, name, options)


def _check_local(options: TrainJobOptions) -> None:
    assert options.data is not None  # checked by the options
    if not is_s3(options.data):
        read_info(Path(options.data))
    if options.init is not None and not is_s3(options.init) and not Path(options.init).exists():
        raise DataError(
            f"{options.init}: no such file or directory; check the path, or give an s3:// address"
        )


def _planned(options: TrainJobOptions, name: str) -> tuple[dict[str, Any], list[Upload]]:
    """The request, and what must be uploaded before it is sent."""
    assert options.data is not None and options.output is not None  # checked by the options
    output = options.output.rstrip("/")
    uploads = []

    def address_of(source: str, kind: str) -> str:
        if is_s3(source):
            return source
        uploads.append(upload(Path(source), f"{output}/{kind}"))
        return uploads[-1].address

    data = address_of(options.data, "data")
    init = None if options.init is None else address_of(options.init, "init")
    return plan(options, name, data, init), uploads


def _create(sagemaker: Any, name: str, request: dict[str, Any]) -> None:
    resources = request["ResourceConfig"]
    say(f"starting {name} on {resources['InstanceCount']} of {resources['InstanceType']}")
    try:
        with session.calling(f"training job {name}"):
            sagemaker.create_training_job(**request)
    except session.Rejected as error:
        if error.code == "ResourceInUse":
            raise JOBS.exists(name, "created a moment ago") from error
        raise


def _follow(clients: Clients, name: str, options: TrainJobOptions) -> None:
    job = JOBS.follow(clients, name, options.every, Progress().show)
    for line in summary(job):
        say(line)
    facts = result(job)
    print(json.dumps(facts) if options.json else facts["model"])
