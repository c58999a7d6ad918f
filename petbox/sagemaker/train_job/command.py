"""Starts a training job on SageMaker and follows it, or stops it.

Prints the model's address in S3 when the job is done. Until then the job's
status, log and metrics are printed to stderr. Ctrl-C leaves the job running.
Account and region come from AWS's own settings (AWS_PROFILE, AWS_REGION). To
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
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from petbox.aws import names as aws_names
from petbox.aws import session
from petbox.aws.s3_upload import Upload, send, upload
from petbox.aws.session import Account
from petbox.aws.wait import outlived_by
from petbox.cli.program import say
from petbox.data.records import read_info
from petbox.errors import DataError, ServiceError
from petbox.sagemaker.train_job import watch as watching
from petbox.sagemaker.train_job.request import TrainJobOptions, is_s3, plan

FOLLOW = "petbox train-job --follow"
STOP = "petbox train-job --stop"


def train_job(options: TrainJobOptions) -> None:
    if options.follow is not None:
        with outlived_by(options.follow, FOLLOW, STOP):
            _follow(options.follow, Account(), options.every)
    elif options.stop is not None:
        _stop(options.stop, dry_run=options.dry_run)
    else:
        _start(options)


def _start(wanted: TrainJobOptions) -> None:
    name = wanted.name or f"petbox-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
    _check_local(wanted)
    if wanted.dry_run:
        request, uploads = _planned(wanted, name)
        for planned in uploads:
            say(f"would upload {planned}")
        print(json.dumps(request, indent=2))
        return
    account = Account()
    jobs = account.client("sagemaker")
    _refuse_other_region(str(wanted.image), account)
    if job := watching.find(jobs, name):
        raise _taken(name, job["TrainingJobStatus"])
    request, uploads = _planned(wanted, name)  # reads all of the data: not before it makes sense
    for planned in uploads:
        send(planned, account.client("s3"))
    with outlived_by(name, FOLLOW, STOP):
        _create(jobs, name, request)
        if wanted.detach:
            say(f"started; follow it: {FOLLOW} {name}, stop it: {STOP} {name}")
            print(name)
        else:
            _follow(name, account, wanted.every)


def _check_local(wanted: TrainJobOptions) -> None:
    """Refuses a folder that is not records, and weights that are not there."""
    assert wanted.data is not None  # the options see to it
    if not is_s3(wanted.data):
        read_info(Path(wanted.data))
    if wanted.init is not None and not is_s3(wanted.init) and not Path(wanted.init).exists():
        raise DataError(f"{wanted.init}: no such file or folder; name one, or its s3:// address")


def _planned(wanted: TrainJobOptions, name: str) -> tuple[dict[str, Any], list[Upload]]:
    """The request, and what must be uploaded before it is made."""
    assert wanted.data is not None and wanted.output is not None  # the options see to it
    output = wanted.output.rstrip("/")
    uploads = []

    def place(source: str, kind: str) -> str:
        if is_s3(source):
            return source
        uploads.append(upload(Path(source), f"{output}/{kind}"))
        return uploads[-1].address

    data = place(wanted.data, "data")
    init = None if wanted.init is None else place(wanted.init, "init")
    return plan(wanted, name, data, init), uploads


def _refuse_other_region(image: str, account: Account) -> None:
    lies_in = aws_names.region_of_image(image)
    if account.region != lies_in:
        raise ServiceError(
            f"{image}: lies in {lies_in}, and the job would run in {account.region}; "
            f"set AWS_REGION={lies_in}, or push the image there as well"
        )


def _taken(name: str, status: str) -> ServiceError:
    return ServiceError(
        f"training job {name}: exists already ({status}); "
        f"follow it: {FOLLOW} {name}, or choose another --name"
    )


def _create(jobs: Any, name: str, request: dict[str, Any]) -> None:
    resources = request["ResourceConfig"]
    say(f"starting {name} on {resources['InstanceCount']} of {resources['InstanceType']}")
    try:
        with session.calling(f"training job {name}"):
            jobs.create_training_job(**request)
    except session.Refused as error:
        if error.code == "ResourceInUse":
            raise _taken(name, "since a moment ago") from error
        raise


def _follow(name: str, account: Account, seconds: float) -> None:
    """Prints where the model lies, once the job has made it."""
    jobs, logs = account.client("sagemaker"), account.client("logs")
    try:
        job = watching.watch(jobs, logs, name, lambda: time.sleep(seconds))
    except session.Trouble as error:
        raise ServiceError(f"{error}; the job itself goes on: {FOLLOW} {name}") from error
    for line in watching.summary(job):
        say(line)
    print(watching.result(job))


def _stop(name: str, *, dry_run: bool) -> None:
    if dry_run:
        print(json.dumps({"TrainingJobName": name}, indent=2))
        return
    jobs = Account().client("sagemaker")
    status = watching.must_find(jobs, name)["TrainingJobStatus"]
    if status in watching.ENDED:
        say(f"training job {name}: has ended already ({status})")
        return
    with session.calling(f"training job {name}"):
        jobs.stop_training_job(TrainingJobName=name)
    say(f"stopping {name}, which may take two minutes; follow it: {FOLLOW} {name}")
