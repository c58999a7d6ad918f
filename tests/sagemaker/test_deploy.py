"""`petbox deploy`: from one file to an endpoint, with a plan that says what goes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from support.aws import no_credentials, rejection
from support.endpoint_aws import (
    IMAGE,
    REPOSITORY,
    ROLE,
    SOON,
    UP,
    AwsProxy,
    by_digest,
    done,
    failed,
    petbox,
)

from petbox.errors import DataError
from petbox.sagemaker.deploy import image_build
from petbox.sagemaker.deploy.file import read
from petbox.sagemaker.deploy.image_build import Build
from petbox.sagemaker.endpoint.spec import EndpointSpec

OF_SETUP = "arn:aws:iam::123456789012:role/dogs-endpoint-us-east-1"
BUILD = 'name = "pets"\nmodel = "model/toy"\nimage = "build"\n'
FILE = f"""\
name = "pets"
model = "model/toy"
bucket = "s3://pets-bucket/models"
image = "{IMAGE}"
role = "{ROLE}"
ttl = "8h"
scaling = "1..4"
target = 100
env = {{ LIMIT = 25, PETBOX_METADATA = true }}
tag = {{ team = "pets" }}
"""


@pytest.fixture(scope="module")
def aws(aws: AwsProxy) -> AwsProxy:
    aws.client("s3").create_bucket(Bucket="pets-bucket")
    return aws


@pytest.fixture
def folder(tmp_path: Path, forgotten: None) -> Path:
    """With an umlaut and a space, a model, and pets.toml."""
    folder = tmp_path / "Hündchen und Kätzchen"
    version = folder / "model" / "toy" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"a model")
    (folder / "pets.toml").write_text(FILE, encoding="utf-8")
    return folder


def plan(aws: AwsProxy, folder: Path, *words: str) -> str:
    text = done(petbox(aws.env, "deploy", folder / "pets.toml", "--dry-run", *words)).stdout
    return re.sub(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", "TIME", text)


CREATED = f"""\
endpoint pets: 11 to add, 0 to change, 0 to remove
  + image: {IMAGE}
  + role: {ROLE}
  + model_data: s3://pets-bucket/models/toy-DIGEST/model.tar.gz
  + env.LIMIT: 25
  + env.PETBOX_METADATA: true
  + instance_type: ml.m5.xlarge
  + autoscale: 1..4
  + target: 100.0
  + tag.team: pets
  + expires: TIME
  + ttl_role: {ROLE}
price: 0.23 USD an hour (1 x 0.23, AWS Price List), scaled 0.23 to 0.92; 1.84 until it expires
"""
CHANGED = f"""\
endpoint pets: 1 to add, 3 to change, 5 to remove
  ~ image: {IMAGE} -> {by_digest("2")}
  ~ env.LIMIT: 25 -> 50
  ~ instance_type: ml.m5.xlarge -> ml.g4dn.xlarge
  + alarms: 2000
  - env.PETBOX_METADATA: true
  - autoscale: 1..4
  - target: 100.0
  - expires: TIME
  - ttl_role: {ROLE}
price: unknown; pass --price-per-hour, or see https://aws.amazon.com/sagemaker/ai/pricing/
"""


def test_a_file_becomes_an_endpoint_and_removals_are_confirmed(aws: AwsProxy, folder: Path) -> None:
    assert len(FILE.splitlines()) <= 15
    first = re.sub("toy-[0-9a-f]{12}", "toy-DIGEST", plan(aws, folder))
    assert first == CREATED
    assert aws.changes() == []

    file = folder / "pets.toml"
    assert done(petbox(aws.env, "deploy", file, *SOON)).stdout == "pets\n"
    (model,) = aws.requests("CreateModel")
    key = model["PrimaryContainer"]["ModelDataUrl"].removeprefix("s3://pets-bucket/")
    (uploaded,) = aws.client("s3").list_objects_v2(Bucket="pets-bucket")["Contents"]
    assert uploaded["Key"] == key and uploaded["Size"]
    assert "CreateSchedule" in aws.changes() and "PutScalingPolicy" in aws.changes()

    aws.calls.clear()
    file.write_text('name = "pets"\n')
    nothing, _price = plan(aws, folder).splitlines()
    assert nothing == "endpoint pets: 0 to add, 0 to change, 0 to remove"
    unchanged = json.loads(plan(aws, folder, "--json"))
    assert (unchanged["changes"], unchanged["calls"]) == ([], [])

    file.write_text(
        f'name = "pets"\nimage = "{REPOSITORY}:2"\ninstance_type = "ml.g4dn.xlarge"\n'
        "scaling = false\nttl = false\nalarms = 2000\n"
        "env = { LIMIT = 50, PETBOX_METADATA = false }\n"
    )
    assert plan(aws, folder) == CHANGED
    line = failed(petbox(aws.env, "deploy", file, *SOON))
    removed = "env.PETBOX_METADATA, autoscale, target, expires, ttl_role"
    assert line == f"error: {file}: removes {removed}; pass --yes to confirm"
    assert aws.changes() == []
    shown = json.loads(plan(aws, folder, "--json"))
    calls = [one.get("call") for one in shown["calls"]]
    assert calls.index("scheduler.delete_schedule") > calls.index("sagemaker.update_endpoint")
    assert {"key": "autoscale", "before": "1..4", "after": None} in shown["changes"]

    file.write_text('name = "pets"\nttl = false\n')
    done(petbox(aws.env, "deploy", file, "--yes", *SOON))
    assert aws.changes() == ["DeleteSchedule", "DeleteTags"]


def test_an_image_to_be_built_is_in_the_plan(aws: AwsProxy, folder: Path) -> None:
    file = folder / "pets.toml"
    file.write_text(f'name = "new"\nmodel = "model/toy"\nimage = "build"\nrole = "{ROLE}"\n')
    text = plan(aws, folder)
    model = folder / "model/toy"
    assert f"+ image: (to be built with {model})\n" in text
    assert "+ instance_type: ml.m5.xlarge" in text
    command = [str(image_build.SCRIPT), "--model", str(model.resolve()), "--cpu"]
    assert text.endswith(f"\nbuild: {shlex.join(command)}\n")
    assert json.loads(plan(aws, folder, "--json"))["build"] == command
    assert "BatchGetImage" not in aws.names()


def test_the_image_has_the_model_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = Build(Path("model/toy")).command(EndpointSpec("new", role=ROLE))
    assert words[1:3] == ["--model", str(tmp_path.resolve() / "model/toy")]


def test_the_image_is_built_for_the_instance(tmp_path: Path) -> None:
    def words(**flags: str) -> list[str]:
        return Build(tmp_path, base=base).command(EndpointSpec("new", role=ROLE, **flags))

    base: str | None = None
    assert Path(words()[0]).is_file()
    assert words()[1:] == ["--model", str(tmp_path.resolve()), "--cpu"]
    assert "--cpu" in words(serverless="4096,5") and "--cpu" in words(instance_type="ml.m5.large")
    assert "--cpu" not in words(instance_type="ml.g5.xlarge")
    base = "mine"
    assert words(instance_type="ml.c7g.large")[3:] == ["--base", "mine", "--architecture", "arm64"]


SCRIPTS_OPTIONS = {
    "": ["--cpu"],
    "hooks = true": ["--cpu", "--hooks"],
    'hooks = true\ncode = "model/more"': ["--code", "{}/model/more", "--cpu", "--hooks"],
    'base = "mine:1"': ["--base", "mine:1"],
    'base = "mine:1"\narchitecture = "arm64"': ["--base", "mine:1", "--architecture", "arm64"],
    'repository = "cats"': ["--repository", "cats", "--cpu"],
    "allow_dirty = true": ["--cpu", "--allow-dirty"],
    f'role = "{OF_SETUP}"': ["--repository", "dogs", "--cpu"],
}


@pytest.mark.parametrize("keys", SCRIPTS_OPTIONS)
def test_each_key_of_the_build_is_an_option_of_the_script(folder: Path, keys: str) -> None:
    file, top = folder / "pets.toml", folder.resolve()
    file.write_text(f'name = "new"\nmodel = "model/toy"\nimage = "build"\n{keys}\n')
    stated = read(file)
    assert stated.build is not None
    words = stated.build.command(stated.options)
    expected = [word.format(top) for word in SCRIPTS_OPTIONS[keys]]
    assert words[1:] == ["--model", f"{top}/model/toy", *expected]


GPU = "tensorflow/serving:2.20.0-gpu@sha256:0"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (f'base = "{GPU}"\ninstance_type = "ml.m5.xlarge"', "needs a GPU, and ml.m5.xlarge has"),
        (f'base = "{GPU}"\nserverless = "4096,5"', "needs a GPU, and a serverless endpoint has"),
        ('architecture = "amd64"\ninstance_type = "ml.m6g.large"', "ml.m6g.large runs arm64"),
        (
            'base = "x"\narchitecture = "arm64"\ninstance_type = "ml.m5.large"',
            'or architecture = "amd64"',
        ),
        ('instance_type = "ml.m6g.large"', 'no image for arm64; add base = "IMAGE", one for arm64'),
    ],
)
def test_what_would_not_fit_is_rejected_before_the_build(
    aws: AwsProxy, folder: Path, keys: str, expected: str
) -> None:
    file = folder / "pets.toml"
    file.write_text(
        f'name = "new"\nmodel = "model/toy"\nimage = "build"\nrole = "{ROLE}"\n{keys}\n'
    )
    result = petbox({**aws.env, "PATH": "/nonexistent"}, "deploy", file)
    line = failed(result)
    assert line.startswith(f"error: {file}: image: ") and expected in line
    assert "--" not in line and "push_ecr" not in result.stderr and aws.changes() == []


def test_the_default_instance_is_that_of_the_image_to_be_built(aws: AwsProxy, folder: Path) -> None:
    file = folder / "pets.toml"
    stated = f'name = "new"\nmodel = "model/toy"\nimage = "build"\nrole = "{ROLE}"\nbase = '
    for keys, expected in ((f'"{GPU}"', "ml.g4dn"), ('"x"\narchitecture = "arm64"', "ml.m6g")):
        file.write_text(stated + keys)
        assert f"+ instance_type: {expected}.xlarge\n" in plan(aws, folder)
    file.write_text(f'{stated}"x"\ninstance_type = "ml.g5.xlarge"')
    warned = done(petbox(aws.env, "deploy", file, "--dry-run")).stderr
    assert "image: is for CPUs, so the GPU of ml.g5.xlarge stays idle; choose a base" in warned


def test_a_conflict_with_what_is_there_names_keys_and_the_file(aws: AwsProxy, folder: Path) -> None:
    done(petbox(aws.env, "endpoint", "up", "small", *UP, "--serverless", "4096,5"))
    file = folder / "pets.toml"
    for keys, expected in (
        ("instance_count = 2", "serverless and instance_count exclude each other; the endpoint "),
        ('scaling = "1..4"\ntarget = 5', "serverless and scaling exclude each other; the endpoi"),
        ("capture_percent = 5", "capture_percent requires capture"),
        ("provisioned_concurrency = 9", "provisioned_concurrency: 9 is more than the 5 concurre"),
    ):
        file.write_text(f'name = "small"\n{keys}\n')
        line = failed(petbox(aws.env, "deploy", file))
        assert line.startswith(f"error: {file}: endpoint small: ") and expected in line
        assert "--" not in line
    file.write_text('name = "small"\ninstance_count = 2\n')
    line = failed(petbox(aws.env, "deploy", file))
    assert line.endswith("; the endpoint has serverless: write serverless = false")
    file.write_text('name = "none"\n')
    line = failed(petbox(aws.env, "deploy", file))
    assert line == f"error: {file}: endpoint none: does not exist yet; give image to create it"
    elsewhere = {**aws.env, "AWS_REGION": "eu-west-1"}
    file.write_text(f'name = "none"\nimage = "{IMAGE}"\n')
    assert "pass --region us-east-1" in failed(petbox(elsewhere, "deploy", file)), "its own flag"


def test_an_image_that_cannot_be_built_changes_nothing(aws: AwsProxy, folder: Path) -> None:
    file = folder / "pets.toml"
    file.write_text(f'name = "new"\nmodel = "model/toy"\nimage = "build"\nrole = "{ROLE}"\n')
    env = {**aws.env, "DOCKER_HOST": f"unix://{folder}/no-docker"}
    assert failed(petbox(env, "deploy", file)) == (
        "error: image: was not pushed; see the lines above"
    )
    assert aws.changes() == []


def test_no_image_is_built_before_the_plan_is_confirmed(
    aws: AwsProxy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, script, builds = folder / "pets.toml", folder / "push.sh", folder / "builds"
    script.write_text(f'#!/bin/sh\necho "$*" >>"{builds}"\necho {REPOSITORY}:built\n')
    script.chmod(0o755)
    monkeypatch.setattr(image_build, "SCRIPT", script)
    done(petbox(aws.env, "endpoint", "up", "built", *UP, "--dashboard"))
    aws.calls.clear()
    file.write_text(
        f'name = "built"\nmodel = "model/toy"\nimage = "build"\nrole = "{ROLE}"\n'
        "dashboard = false\nhooks = true\n"
    )
    line = failed(petbox(aws.env, "deploy", file))
    assert line == f"error: {file}: removes dashboard; pass --yes to confirm"
    assert not builds.exists() and aws.changes() == []
    aws.instead["UpdateEndpoint"] = lambda _: rejection("ValidationException", "no")
    failed(petbox(aws.env, "deploy", file, "--yes", *SOON))
    assert builds.read_text() == f"--model {(folder / 'model/toy').resolve()} --cpu --hooks\n"
    (model,) = aws.requests("CreateModel")
    assert model["PrimaryContainer"]["Image"] == by_digest("built")


def test_a_litert_model_is_rejected(aws: AwsProxy, folder: Path) -> None:
    model = folder / "model" / "toy"
    (model / "model.tflite").write_bytes(b"lite")
    line = failed(petbox(aws.env, "deploy", folder / "pets.toml", "--dry-run"))
    assert f"{model}: is a LiteRT model" in line and "petbox export --run" in line
    assert aws.calls == []


def test_init_writes_a_file_that_has_a_plan(aws: AwsProxy, folder: Path) -> None:
    file = folder / "new.toml"
    words = ("--name", "first", "--model", "model/toy", "--image", IMAGE, "--role", ROLE)
    missing = failed(petbox(aws.env, "deploy", file, "--init", *words[2:]))
    assert "--name: missing, and stdin is not a terminal" in missing
    words = (*words, "--bucket", "s3://pets-bucket/models")
    done(petbox(aws.env, "deploy", file, "--init", *words))
    assert len(file.read_text().splitlines()) <= 15
    result = done(petbox(aws.env, "deploy", file, "--dry-run"))
    assert "endpoint first: " in result.stdout and aws.changes() == []
    assert "exists already" in failed(petbox(aws.env, "deploy", file, "--init", *words))
    other = folder / "bad.toml"
    line = failed(petbox(aws.env, "deploy", other, "--init", *words[:-1], "models"))
    assert "'models' is not an S3 address" in line and not other.exists()
    line = failed(petbox(aws.env, "deploy", other, "--init", *words, "--model", "m\udcff"))
    assert line.endswith(r"and 'm\udcff' is not; rename the model's folder") and not other.exists()
    line = failed(petbox(aws.env, "deploy", folder / "no" / "new.toml", "--init", *words))
    assert "new.toml: cannot be written (no such file or directory); name another" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = ", "is not TOML"),
        ('role = "x"', 'name: missing; write it like name = "pets"'),
        ('name = "my_pets"', "name: 'my_pets' is not a valid SageMaker name"),
        ('name = "pets"\nscalling = "1..4"', "scalling: no such key; did you mean scaling?"),
        ('name = "pets"\nevery = 3', "every: no such key"),
        ('name = "pets"\nttl = 2', "ttl: 2 is not a text"),
        ('name = "pets"\nttl = "2"', "ttl: '2' is not a duration"),
        ('name = "pets"\nalarms = "x"', "alarms: 'x' is not a whole number"),
        ('name = "pets"\nrole = false', "role: False is not a text"),
        ('name = "pets"\nenv = "A=b"', "env: is not a table"),
        ('name = "pets"\nenv = { A = [1] }', "env.A: is neither a text, a number nor false"),
        ('name = "pets"\nimage = "build"', "to build it needs a model"),
        ('name = "pets"\nhooks = true', 'hooks requires image = "build"'),
        (f'{BUILD}hooks = "yes"', "hooks: 'yes' is not true or false"),
        (f'{BUILD}code = "model/code"', "code requires hooks = true"),
        (f'{BUILD}architecture = "x86"', "architecture: 'x86' is not amd64 or arm64"),
        (f"{BUILD}base = 1", "base: 1 is not a text"),
        (f'{BUILD}base = ""', "base: is empty; leave the key out"),
        (f'{BUILD}repository = ""', "repository: is empty; leave the key out"),
        (f'{BUILD}hook = "a"', "hook: no such key; did you mean hooks?"),
        (
            'name = "pets"\nmodel = "m"\nbucket = "s3://b12/m"\nmulti_model = "s3://b12/all"',
            "model and multi_model exclude each other",
        ),
        ('name = "pets"\ncanary = "10%"\nlinear = "25%"', "canary and linear exclude each other"),
        (
            'name = "pets"\nserverless = "4096,5"\ninstance_count = 2',
            "serverless and instance_count exclude each other",
        ),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "pets.toml"
    file.write_text(text)
    with pytest.raises(DataError) as error:
        read(file)
    assert str(error.value).startswith(f"{file}: ") and expected in str(error.value)


def test_every_key_reaches_the_options(tmp_path: Path) -> None:
    file = tmp_path / "pets.toml"
    file.write_text(
        'name = "pets"\nasync = "s3://b12/out"\ntarget = 2\nscaling = "0..4"\ncapture = false\n'
        'subnet = ["subnet-1"]\nsecurity_group = "sg-1"\nrolling = "20%"\nalarm = ["theirs"]\n'
        "tag = { a = 1, b = false }\n"
    )
    found = read(file).options
    assert (found.async_, found.target, found.autoscale) == ("s3://b12/out", 2.0, "0..4")
    assert found.capture is False and found.ttl is None
    assert (found.subnet, found.security_group) == (("subnet-1",), ("sg-1",))
    assert (found.rolling, found.alarm) == ("20%", ("theirs",))
    assert (found.tag, found.no_tag) == (("a=1",), ("b",))


def test_no_region_is_one_line(folder: Path, tmp_path: Path) -> None:
    file = folder / "pets.toml"
    file.write_text(f'name = "new"\nmodel = "model/toy"\nimage = "build"\nrole = "{ROLE}"\n')
    line = failed(petbox(no_credentials(tmp_path), "deploy", file, "--dry-run"))
    assert line == "error: AWS: no AWS region is set; set AWS_REGION, for example to us-east-1"


def test_no_file_is_one_line(tmp_path: Path, aws: AwsProxy) -> None:
    line = failed(petbox(aws.env, "deploy", tmp_path / "none.toml"))
    assert "none.toml: no such file; write one: petbox deploy --init" in line
