"""Which images `--keep` deletes. Moto is ECR and SageMaker, but for inference components."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from support import permissions
from support.aws import rejection
from support.endpoint_aws import REPOSITORY, ROLE, AwsProxy, aws_proxy

from petbox.aws import ecr
from petbox.aws.image import DOCKER, LISTS, OCI

NO_COMPONENTS = {"InferenceComponents": []}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsProxy]:
    with aws_proxy() as server:
        run = permissions.begin(["push_ecr.sh", "--keep"], server.env)
        for name, text in (server.env | run).items():
            monkeypatch.setenv(name, text)
        server.client("ecr").create_repository(repositoryName="petbox")
        server.instead["BatchGetImage"] = lambda _: None
        server.instead["ListInferenceComponents"] = lambda _: NO_COMPONENTS
        server.amended["DescribeImages"] = one_after_the_other
        yield server


def one_after_the_other(found: Any) -> Any:
    """Moto's times are whole seconds. Tags are letters; without one, it was pushed after f."""
    for one in found["imageDetails"]:
        one["imagePushedAt"] = ord(one.get("imageTags", ["f"])[0]) + ("imageTags" not in one) / 2
    return found


def pushed(aws: AwsProxy, tag: str | None) -> str:
    blob = {"digest": f"sha256:{hashlib.sha256(f'{tag}'.encode()).hexdigest()}", "size": 1}
    manifest = {"schemaVersion": 2, "mediaType": DOCKER, "config": blob, "layers": [blob]}
    tagged = {"imageTag": tag} if tag else {}
    found = aws.client("ecr").put_image(
        repositoryName="petbox",
        imageManifest=json.dumps(manifest),
        imageManifestMediaType=DOCKER,
        **tagged,
    )
    return str(found["image"]["imageId"]["imageDigest"])


def model(aws: AwsProxy, name: str, image: str) -> None:
    container = {"Image": f"{REPOSITORY}{image}"}
    aws.client("sagemaker").create_model(
        ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE
    )


def tags(aws: AwsProxy) -> list[str]:
    found = aws.client("ecr").describe_images(repositoryName="petbox")["imageDetails"]
    return sorted(tag for one in found for tag in one.get("imageTags", ["none"]))


def test_what_endpoint_model_or_component_uses_stays(
    aws: AwsProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = {tag: pushed(aws, tag) for tag in ("a", "b", "c", "d", "e", "f")}
    pushed(aws, None)
    pushed(aws, "g")
    model(aws, "by-digest", f"@{digests['b']}")
    model(aws, "by-tag", ":c")
    model(aws, "of-another-repository", "-train:a")
    deployed = {"ResolvedImage": f"{REPOSITORY}@{digests['d']}".replace(".ecr.", ".ecr-fips.")}
    aws.instead["ListEndpoints"] = lambda _: {"Endpoints": [{"EndpointName": "pets"}]}
    aws.instead["DescribeEndpoint"] = lambda _: {
        "ProductionVariants": [{"DeployedImages": [deployed]}]
    }
    aws.instead["ListInferenceComponents"] = lambda _: {
        "InferenceComponents": [{"InferenceComponentName": "part"}, {"InferenceComponentName": "x"}]
    }
    container = {"DeployedImage": {"SpecifiedImage": f"{REPOSITORY}:e"}}
    aws.instead["DescribeInferenceComponent"] = lambda request: (
        rejection("ValidationException", "Could not find it")
        if request["InferenceComponentName"] == "x"
        else {"Specification": {"Container": container}}
    )

    assert ecr.main(["find", "petbox", "h", "--keep", "3", "--dry-run"]) == 0
    told = capsys.readouterr().err
    assert "would delete petbox:a\n" in told and "petbox:f" not in told, (
        "h will be one of the three"
    )
    assert "would keep petbox:b, which an endpoint or a model uses" in told
    assert len(tags(aws)) == 8

    assert ecr.main(["finish", "petbox", "g", "--keep", "1"]) == 0
    assert tags(aws) == ["b", "c", "d", "e", "g"]
    assert capsys.readouterr().out.startswith("sha256:")


def test_the_image_that_was_asked_for_stays(
    aws: AwsProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    for tag in ("a", "b", "c", "d"):
        pushed(aws, tag)
    assert ecr.main(["find", "petbox", "b", "--keep", "1", "--dry-run"]) == 0
    assert "petbox:b" not in capsys.readouterr().err
    assert ecr.main(["finish", "petbox", "b", "--keep", "1"]) == 0
    assert tags(aws) == ["b", "d"]


def test_nothing_is_deleted_without_a_look_at_what_is_used(
    aws: AwsProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    pushed(aws, "a")
    pushed(aws, "b")
    aws.instead["ListModels"] = lambda _: rejection("AccessDeniedException", "no")
    assert ecr.main(["finish", "petbox", "b", "--keep", "1"]) == 1
    assert "list models: AccessDeniedException: no" in capsys.readouterr().err
    assert tags(aws) == ["a", "b"]


def test_docker_logs_in_to_the_fips_host_if_aws_settings_ask_for_it(
    aws: AwsProxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = REPOSITORY.partition("/")[0]
    for fips, reached_at in (("false", host), ("true", host.replace("ecr.", "ecr-fips."))):
        monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", fips)
        assert ecr.main(["find", "petbox", "a"]) == 0
        assert capsys.readouterr().out.splitlines() == [host, reached_at, ""]
    assert ecr.main(["prepare", "new"]) == 0
    assert "CreateRepository" in aws.names() and capsys.readouterr().out.strip()


def test_a_layer_that_dockers_manifest_cannot_have_is_named(
    aws: AwsProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "size": 1, "digest": "x"}
    manifest = {"mediaType": OCI, "config": layer, "layers": [layer]}
    found = {"imageManifest": json.dumps(manifest)}
    aws.instead["BatchGetImage"] = lambda _: {"images": [found]}
    assert ecr.main(["finish", "petbox", "a"]) == 1
    assert "has a layer of application/vnd.oci.image.layer.v1.tar+zstd" in capsys.readouterr().err
    assert "PutImage" not in aws.names()


def test_of_an_index_the_image_of_the_architecture_is_taken(aws: AwsProxy) -> None:
    blobs = {name: {"mediaType": OCI, "digest": name, "size": 1} for name in ("amd64", "arm64")}
    index = {
        "mediaType": LISTS[1],
        "manifests": [
            {"digest": name, "platform": {"architecture": name}} for name in ("amd64", "arm64")
        ],
    }
    stored: list[str] = []

    def get(request: dict[str, Any]) -> Any:
        name = request["imageIds"][0].get("imageDigest")
        found = index if name is None else {"config": blobs[name], "layers": []}
        return {"images": [{"imageManifest": json.dumps(found), "imageId": {"imageDigest": "x"}}]}

    def put(request: dict[str, Any]) -> Any:
        stored.append(json.loads(request["imageManifest"])["config"]["digest"])
        return {}

    aws.instead.update(BatchGetImage=get, PutImage=put, BatchDeleteImage=lambda _: {})
    for words in ([], ["--architecture", "arm64"]):
        assert ecr.main(["finish", "petbox", "a", *words]) == 0
    assert stored == ["amd64", "amd64", "arm64", "arm64"]
