"""Runs a model over a whole folder in S3, with SageMaker's Batch Transform.

The folder holds images, JSON Lines or requests; the response to FILE is
FILE.out. The job is followed until it ends, with its log on stderr; then the
address of the responses is printed. Ctrl-C leaves the job running. The model is
an endpoint's, or is made for the job from --image and --role.

examples:
  petbox transform s3://bucket/photos/ s3://bucket/found/ --endpoint pets
  petbox transform s3://bucket/photos/ s3://bucket/found/ --image URI --role ARN
  petbox transform --follow petbox-20261121-104500
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from functools import cache

from petbox.aws import session
from petbox.aws.session import Account
from petbox.aws.wait import outlived_by
from petbox.cli.program import say
from petbox.errors import PetboxError, ServiceError
from petbox.sagemaker.endpoint.apply import Apply
from petbox.sagemaker.endpoint.found import (
    Clients,
    describe_config,
    describe_endpoint,
    made_for,
    models,
)
from petbox.sagemaker.endpoint.plan import Call
from petbox.sagemaker.endpoint.up import refuse_other_region, show
from petbox.sagemaker.transform import watch as watching
from petbox.sagemaker.transform.input import count, look
from petbox.sagemaker.transform.options import TransformOptions
from petbox.sagemaker.transform.request import owner, plan

FOLLOW = "petbox transform --follow"
STOP = "petbox transform --stop"


def transform(options: TransformOptions) -> None:
    account = Account()
    clients: Clients = cache(account.client)
    if options.follow is not None:
        with outlived_by(options.follow, FOLLOW, STOP):
            _follow(clients, options.follow, options.every)
    elif options.stop is not None:
        _stop(clients, options.stop)
    else:
        _start(clients, options, account.region)


def _start(clients: Clients, wanted: TransformOptions, region: str | None) -> None:
    job = wanted.name or f"petbox-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
    if wanted.image is not None:
        refuse_other_region(wanted.image, region)
    if found := watching.find(clients("sagemaker"), job):
        raise ServiceError(
            f"transform job {job}: exists already ({found['TransformJobStatus']}); "
            f"follow it: {FOLLOW} {job}, or choose another --name"
        )
    model = None if wanted.endpoint is None else _model_of(clients, wanted.endpoint)
    given = look(clients("s3"), str(wanted.source))
    calls = plan(wanted, job, given.kind, model)
    say(f"{wanted.source}: {given}")
    if wanted.dry_run:
        show(list(calls))
        return
    apply = Apply(clients, job, lambda: None)
    try:
        apply.all(calls)
    except (PetboxError, KeyboardInterrupt):
        if len(apply.done) < len(calls):  # no job has come of it
            _remove_model(clients, job)
        raise
    with outlived_by(job, FOLLOW, STOP):
        _follow(clients, job, wanted.every)


def _model_of(clients: Clients, name: str) -> str:
    sagemaker = clients("sagemaker")
    endpoint = describe_endpoint(sagemaker, name)
    config = describe_config(sagemaker, endpoint.get("EndpointConfigName")) if endpoint else None
    if config is None:
        raise ServiceError(
            f"endpoint {name}: there is none in this account and region; see: petbox endpoint list"
        )
    return str(config["ProductionVariants"][0]["ModelName"])


def _follow(clients: Clients, name: str, seconds: float) -> None:
    """Prints where the answers lie, once they are there."""
    try:
        job = watching.watch(clients, name, lambda: time.sleep(seconds))
    except session.Trouble as error:
        raise ServiceError(f"{error}; the job itself goes on: {FOLLOW} {name}") from error
    _remove_model(clients, name)
    address = watching.result(job)
    say(f"{count(clients('s3'), address.rstrip('/') + '/')} files are in {address}/")
    print(address)


def _remove_model(clients: Clients, job: str) -> None:
    """That which was made for the job alone."""
    sagemaker = clients("sagemaker")
    made = made_for(owner(job), models(sagemaker, owner(job)))
    calls = [Call("sagemaker", "delete_model", {"ModelName": one}, f"model {one}") for one in made]
    Apply(clients, job, lambda: None).all(calls)


def _stop(clients: Clients, name: str) -> None:
    sagemaker = clients("sagemaker")
    status = watching.must_find(sagemaker, name)["TransformJobStatus"]
    if status in watching.ENDED:
        say(f"transform job {name}: has ended already ({status})")
    else:
        with session.calling(f"transform job {name}"):
            sagemaker.stop_transform_job(TransformJobName=name)
        say(f"stopping {name}; follow it: {FOLLOW} {name}")
