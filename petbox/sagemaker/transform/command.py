"""Runs a model over a whole folder in S3, with SageMaker's Batch Transform.

The folder holds images, JSON Lines or requests; the response to FILE is
FILE.out. The job is followed until it ends, with its log on stderr; then the
address of the responses is printed. Ctrl-C leaves the job running. The model is
an endpoint's, or is made for the job from --image.

examples:
  petbox transform s3://bucket/photos/ s3://bucket/found/ --endpoint pets
  petbox transform s3://bucket/photos/ s3://bucket/found/ --image URI
  petbox transform --follow petbox-20261121-104500
"""

from __future__ import annotations

import json
from dataclasses import replace

from petbox.aws import image
from petbox.aws.session import Account
from petbox.cli.program import say
from petbox.errors import PetboxError
from petbox.sagemaker.endpoint import fit
from petbox.sagemaker.endpoint.actual import (
    Clients,
    Described,
    made_for,
    models,
)
from petbox.sagemaker.endpoint.apply import Apply, check_all
from petbox.sagemaker.endpoint.package import check_uploaded
from petbox.sagemaker.endpoint.steps import Call
from petbox.sagemaker.endpoint.up import show
from petbox.sagemaker.jobs import Kind, named_by_time
from petbox.sagemaker.setup import made
from petbox.sagemaker.transform.endpoint_model import use_endpoint
from petbox.sagemaker.transform.input import count, describe
from petbox.sagemaker.transform.options import TransformOptions
from petbox.sagemaker.transform.request import owner, plan

JOBS = Kind(
    "transform",
    "petbox transform",
    "/aws/sagemaker/TransformJobs",
    lambda line: line.stream.split("/")[-1],
)


def transform(options: TransformOptions) -> None:
    account = Account()
    clients = account.client
    if options.follow is not None:
        with JOBS.left_running(options.follow):
            _follow(clients, options.follow, options)
    elif options.stop is not None:
        JOBS.stop(clients, options.stop)
    else:
        if options.image is not None:
            account.check_image_region(options.image)
            if options.role is None:
                options = replace(options, role=made.role(account))
        if options.kms_key is not None:
            account.check_key_region(options.kms_key)
        _start(clients, options)


def _start(clients: Clients, options: TransformOptions) -> None:
    name = options.name or named_by_time()
    if job := JOBS.find(clients, name):
        raise JOBS.exists(name, JOBS.status(job))
    model = instance_type = None
    if options.endpoint is not None:
        options, model, instance_type = use_endpoint(clients("sagemaker"), options)
    if options.image is not None:
        found = image.read(clients("ecr"), options.image)
        instance_type = instance_type or fit.default_instance(found)
        fit.check(options.image, found, options.instance_type or instance_type)
    if options.model_data:
        check_uploaded(clients, options.model_data)
    options = replace(options, instance_type=options.instance_type or instance_type)
    given = describe(clients("s3"), str(options.source))
    calls = plan(options, name, given.kind, model)
    check_all(clients, calls)
    say(f"{options.source}: {given}")
    if options.dry_run:
        show(list(calls))
        return
    apply = Apply(clients, name, lambda: None)
    try:
        apply.all(calls)
    except (PetboxError, KeyboardInterrupt):
        if len(apply.done) < len(calls):  # the job was not created
            _delete_model(clients, name)
        raise
    with JOBS.left_running(name):
        _follow(clients, name, options)


def _follow(clients: Clients, name: str, options: TransformOptions) -> None:
    shown = ""

    def show_status(job: Described, _log_readable: bool) -> None:
        nonlocal shown
        if (status := JOBS.status(job)) != shown:
            shown = status
            say(f"[{status}] {name}")

    job = JOBS.follow(clients, name, options.every, show_status)
    _delete_model(clients, name)
    JOBS.check_completed(job)
    address = str(job["TransformOutput"]["S3OutputPath"])
    files = count(clients("s3"), f"{address.rstrip('/')}/")
    say(f"{files} files are in {address}/")
    facts = {"job": name, "status": JOBS.status(job), "output": address, "files": files}
    print(json.dumps(facts) if options.json else address)


def _delete_model(clients: Clients, job: str) -> None:
    sagemaker = clients("sagemaker")
    found = made_for(owner(job), models(sagemaker, owner(job)))
    calls = [Call("sagemaker", "delete_model", {"ModelName": one}, f"model {one}") for one in found]
    Apply(clients, job, lambda: None).all(calls)
