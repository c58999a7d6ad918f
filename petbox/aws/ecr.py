"""ECR for scripts/push_ecr.sh: the registry, its password, repositories and what is in them.

    python -m petbox.aws.ecr find NAME TAG [--keep N] [--dry-run]
    python -m petbox.aws.ecr prepare NAME
    python -m petbox.aws.ecr finish NAME TAG [--keep N] [--architecture ARCH]

`find` prints the registry's host, the host to log in to, and the digest of an image that is there
already. `prepare` creates a missing repository and prints the registry's password. `finish` prints
the digest of the image that was pushed. Progress goes to stderr. Docker pushes the images.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from petbox.aws import ecr_images, session
from petbox.cli import aws_options, program
from petbox.errors import ServiceError

NAME = re.compile(r"(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m petbox.aws.ecr", description=__doc__)
    parser.add_argument("action", choices=("find", "prepare", "finish"))
    parser.add_argument("name")
    parser.add_argument("tag", nargs="?", default="latest")
    parser.add_argument("--keep", type=int)
    parser.add_argument("--architecture", default="amd64")
    parser.add_argument("--dry-run", action="store_true")
    aws_options.add_arguments(parser)
    chosen = parser.parse_args(argv)
    try:
        aws_options.use(chosen.profile, chosen.region)
    except ValueError as error:
        parser.error(str(error))
    return program.guarded(lambda: _act(chosen))


def _act(chosen: argparse.Namespace) -> None:
    account = session.Account()
    ecr, name = account.client("ecr"), chosen.name
    if not (2 <= len(name) <= 256 and NAME.fullmatch(name)):
        raise ServiceError(
            f"repository {name}: ECR takes 2 to 256 lower-case letters and digits, with single "
            "marks . _ - / between them"
        )
    if chosen.action == "prepare":
        if not exists(ecr, name):
            program.say(f"make the repository {name}: tags cannot be moved, images are scanned")
            with session.calling(f"repository {name}"):
                ecr.create_repository(**creation(name))
        print(_password(ecr))
        return
    host, keep = registry(ecr), chosen.keep
    uri = f"{host}/{name}:{chosen.tag}"
    if chosen.action == "finish":
        print(ecr_images.for_sagemaker(ecr, uri, chosen.architecture))
    else:
        digest = ecr_images.digest(ecr, uri)
        print(host, _reached_at(ecr, host), digest or "", sep="\n")
        if not chosen.dry_run:
            return
        if not exists(ecr, name):
            program.say(f"would make the repository {name}")
            return
        if keep is not None and digest is None:
            keep -= 1  # the image that will be pushed is one of them
    if keep is not None:
        act = not chosen.dry_run
        ecr_images.keep(account.client, f"{host}/{name}", keep, chosen.tag, act=act)


def registry(ecr: Any) -> str:
    """The host of the account's registry in the region."""
    return str(urlsplit(_authorization(ecr)["proxyEndpoint"]).netloc)


def _reached_at(ecr: Any, host: str) -> str:
    """The same registry's host that fulfils FIPS 140, if AWS's settings ask for such hosts."""
    fips = ecr.meta.config.use_fips_endpoint
    return host.replace(".dkr.ecr.", ".dkr.ecr-fips.") if fips else host


def _password(ecr: Any) -> str:
    """The password of the user AWS, valid for twelve hours."""
    token = base64.b64decode(_authorization(ecr)["authorizationToken"]).decode()
    return token.partition(":")[2]


def _authorization(ecr: Any) -> Any:
    with session.calling("ECR"):
        return ecr.get_authorization_token()["authorizationData"][0]


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


if __name__ == "__main__":
    sys.exit(main())
