"""`--profile` and `--region`, which every command that talks to AWS has.

They become AWS's own variables, so that boto3 finds them wherever a client is made, and child
processes as well.
"""

from __future__ import annotations

import argparse
import os
import re

REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("AWS account")
    group.add_argument(
        "--profile", metavar="NAME", help="profile of ~/.aws/config (default: AWS_PROFILE)"
    )
    group.add_argument(
        "--region", metavar="NAME", help="region (default: AWS_REGION, or the profile's)"
    )


def use(profile: str | None, region: str | None) -> None:
    if region:
        if not REGION.fullmatch(region):
            raise ValueError(
                f"argument --region: {region!r} is not a region; write it like us-east-1"
            )
        os.environ |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
    if profile:
        os.environ |= {"AWS_PROFILE": profile, "AWS_DEFAULT_PROFILE": profile}
        for key in KEYS:  # keys in the environment would take precedence
            os.environ.pop(key, None)
