"""ECR for scripts/push_ecr.sh: the registry, its password, repositories and digests.

    python -m petbox.aws.ecr registry | password | repository NAME [--keep N] | digest NAME TAG

Prints results to stdout and progress to stderr. Docker pushes the images.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from petbox.aws import session
from petbox.cli import aws_options, program
from petbox.errors import ServiceError

NAME = re.compile(r"(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m petbox.aws.ecr", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("registry")
    actions.add_parser("password")
    repository = actions.add_parser("repository")
    repository.add_argument("name")
    repository.add_argument("--keep", type=int)
    repository.add_argument("--dry-run", action="store_true")
    digest = actions.add_parser("digest")
    digest.add_argument("name")
    digest.add_argument("tag")
    aws_options.add_arguments(parser)
    chosen = parser.parse_args(argv)
    try:
        aws_options.use(chosen.profile, chosen.region)
    except ValueError as error:
        parser.error(str(error))
    return program.guarded(lambda: _act(chosen))


def _act(chosen: argparse.Namespace) -> None:
    ecr = session.Account().client("ecr")
    if chosen.action == "registry":
        print(registry(ecr))
    elif chosen.action == "password":
        print(password(ecr))
    elif chosen.action == "repository":
        ensure(ecr, chosen.name, chosen.keep, act=not chosen.dry_run)
    elif image := pushed(ecr, chosen.name, chosen.tag):
        print(image)


def registry(ecr: Any) -> str:
    """The host of the account's registry in the region."""
    return str(urlsplit(_authorization(ecr)["proxyEndpoint"]).netloc)


def password(ecr: Any) -> str:
    """The password of the user AWS, valid for twelve hours."""
    token = base64.b64decode(_authorization(ecr)["authorizationToken"]).decode()
    return token.partition(":")[2]


def _authorization(ecr: Any) -> Any:
    with session.calling("ECR"):
        return ecr.get_authorization_token()["authorizationData"][0]


def ensure(ecr: Any, name: str, keep: int | None, *, act: bool) -> None:
    """Creates the repository if it is missing, and sets how many images it keeps."""
    if not (2 <= len(name) <= 256 and NAME.fullmatch(name)):
        raise ServiceError(
            f"repository {name}: ECR takes 2 to 256 lower-case letters and digits, with single "
            "marks . _ - / between them"
        )
    if not exists(ecr, name):
        _do(act, f"make the repository {name}: tags cannot be moved, images are scanned")
        if act:
            with session.calling(f"repository {name}"):
                ecr.create_repository(**creation(name))
    if keep is not None:
        _do(act, f"let {name} keep its newest {keep} images")
        if act:
            with session.calling(f"repository {name}"):
                ecr.put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=_newest(keep))


def creation(name: str, kms_key: str | None = None) -> dict[str, Any]:
    """CreateRepository's request."""
    encryption = {"encryptionType": "KMS", "kmsKey": kms_key}
    return {
        "repositoryName": name,
        "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": {"scanOnPush": True},
        **({"encryptionConfiguration": encryption} if kms_key else {}),
    }


def exists(ecr: Any, name: str) -> bool:
    with session.calling(f"repository {name}", "RepositoryNotFoundException"):
        ecr.describe_repositories(repositoryNames=[name])
        return True
    return False


def _do(act: bool, what: str) -> None:
    program.say(what if act else f"would {what}")


def _newest(count: int) -> str:
    selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": count}
    rule = {"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}
    return json.dumps({"rules": [rule]})


def pushed(ecr: Any, name: str, tag: str) -> str:
    """The digest of an image, or an empty text if there is none."""
    with session.calling(f"{name}:{tag}", "ImageNotFoundException", "RepositoryNotFoundException"):
        found = ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])
        return str(found["imageDetails"][0]["imageDigest"])
    return ""


if __name__ == "__main__":
    sys.exit(main())
