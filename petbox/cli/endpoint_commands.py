"""`petbox endpoint …` and `petbox transform` for the command line: names and help.

Each is a name, a summary, its help, and where its options and the function that takes them are, as
`module:name`; a name of two words is a command of a group. Imports nothing, so that what is not
typed costs no time.
"""

from __future__ import annotations

Entry = tuple[str, str, str, str, str]

GROUP = "endpoint"
GROUP_SUMMARY = "serve a model on SageMaker"
GROUP_ABOUT = """\
Serves a model at a SageMaker endpoint, and takes the endpoint down again.

Account and region are AWS's own settings (AWS_PROFILE, AWS_REGION). Each
command has --help; those that change something have --dry-run.

examples:
  petbox endpoint package model/pets s3://bucket/models
  petbox endpoint up pets --image URI --role ARN --ttl 2h
  petbox endpoint status pets
  petbox endpoint down pets
  petbox endpoint list
"""

UP = """\
Makes an endpoint be as the options say, and waits until it is in service.

Typed again it changes what differs: SageMaker starts the new before it stops
the old, and what was replaced is removed. With the same options nothing is
done. After Ctrl-C or a failure the same command goes on. An endpoint costs
money until `petbox endpoint down`, or the end set by --ttl: an EventBridge
schedule, whose role (--ttl-role, or else --role) must trust
scheduler.amazonaws.com and allow sagemaker:DeleteEndpoint.

examples:
  petbox endpoint up pets --ttl 2h \\
      --image 123456789012.dkr.ecr.us-east-1.amazonaws.com/petbox@sha256:… \\
      --role arn:aws:iam::123456789012:role/SageMaker
  petbox endpoint up pets … --serverless 4096,5
  petbox endpoint up pets … --autoscale 1..4 --target 100
  petbox endpoint up pets … --async s3://bucket/answers --autoscale 0..4 --target 2
"""

DOWN = """\
Removes an endpoint and all that petbox made for it.

Its scaling, the endpoint, its configurations, its models and its schedule.
Shows them and asks first, or not with --yes. Says what is left: data in S3,
the log, the image.

examples:
  petbox endpoint down pets
  petbox endpoint down pets --yes
"""

STATUS = """\
Tells what an endpoint is doing, how it is used, and when it ends.

examples:
  petbox endpoint status pets
  petbox endpoint status pets --json
"""

LOGS = """\
Prints the last lines that an endpoint's containers wrote.

examples:
  petbox endpoint logs pets
  petbox endpoint logs pets --follow
"""

INVOKE = """\
Sends one file to an endpoint as it is, and prints the answer as it is.

A file in S3 is for endpoints with --async; printed is where its answer will
be.

examples:
  petbox endpoint invoke pets cat.jpg
  petbox endpoint invoke pets request.json
  petbox endpoint invoke pets cat.jpg --accept image/jpeg --out boxes.jpg
  petbox endpoint invoke pets s3://bucket/cat.jpg
"""

LIST = """\
Lists all that petbox made on SageMaker and that still exists.

One line an endpoint: name, status, what it runs on, when it is deleted. What
is left of an endpoint that is gone has a line as well.

examples:
  petbox endpoint list
  AWS_REGION=eu-west-1 petbox endpoint list --json
"""

PACKAGE = """\
Packs a model's folder into the model.tar.gz that SageMaker wants, in S3.

Prints its address, for `petbox endpoint up --model-data`. The same model gives
the same archive at the same address, and is sent once.

examples:
  petbox endpoint package model/pets s3://bucket/models
"""

TRANSFORM = """\
Asks a model about a whole folder in S3, by SageMaker's Batch Transform.

The folder holds pictures, JSON Lines or requests; FILE's answer is FILE.out.
The job is followed to its end, and its log told on stderr; then the address of
the answers is printed. Ctrl-C leaves the job running. The model is that of an
endpoint, or is made for the job from --image and --role.

examples:
  petbox transform s3://bucket/photos/ s3://bucket/found/ --endpoint pets
  petbox transform s3://bucket/photos/ s3://bucket/found/ --image URI --role ARN
  petbox transform --follow petbox-20261121-104500
"""

COMMANDS: tuple[Entry, ...] = (
    (
        f"{GROUP} package",
        "put a model into S3",
        PACKAGE,
        "petbox.sagemaker.endpoint.package:PackageOptions",
        "petbox.sagemaker.endpoint.package:package",
    ),
    (
        f"{GROUP} up",
        "make or change an endpoint",
        UP,
        "petbox.sagemaker.endpoint.options:UpOptions",
        "petbox.sagemaker.endpoint.up:up",
    ),
    (
        f"{GROUP} status",
        "how an endpoint is",
        STATUS,
        "petbox.sagemaker.endpoint.status:StatusOptions",
        "petbox.sagemaker.endpoint.status:status",
    ),
    (
        f"{GROUP} logs",
        "what its containers write",
        LOGS,
        "petbox.sagemaker.endpoint.logs:LogsOptions",
        "petbox.sagemaker.endpoint.logs:logs",
    ),
    (
        f"{GROUP} invoke",
        "send it a file",
        INVOKE,
        "petbox.sagemaker.endpoint.invoke:InvokeOptions",
        "petbox.sagemaker.endpoint.invoke:invoke",
    ),
    (
        f"{GROUP} down",
        "remove an endpoint",
        DOWN,
        "petbox.sagemaker.endpoint.down:DownOptions",
        "petbox.sagemaker.endpoint.down:down",
    ),
    (
        f"{GROUP} list",
        "all that petbox made",
        LIST,
        "petbox.sagemaker.endpoint.list:ListOptions",
        "petbox.sagemaker.endpoint.list:list_all",
    ),
    (
        "transform",
        "ask about a whole folder in S3",
        TRANSFORM,
        "petbox.sagemaker.transform.options:TransformOptions",
        "petbox.sagemaker.transform.command:transform",
    ),
)
