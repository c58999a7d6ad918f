"""boto3's clients, and a one-line error for every failed call.

Account and region come from AWS's own settings (environment, files, roles). boto3 is imported when
an account is first needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from petbox import __version__
from petbox.aws import names
from petbox.errors import ServiceError, needs

LOG_IN = "log in again (aws login, aws sso login, aws configure), or set AWS_PROFILE to another"
ALLOW = "ask the account's administrator to allow it, or set AWS_PROFILE to another"
ADVICE = {
    "AccessDenied": ALLOW,
    "AccessDeniedException": ALLOW,
    "ExpiredToken": LOG_IN,
    "ExpiredTokenException": LOG_IN,
    "InvalidAccessKeyId": LOG_IN,
    "InvalidClientTokenId": LOG_IN,
    "InvalidSignatureException": LOG_IN,
    "SignatureDoesNotMatch": LOG_IN,
    "UnrecognizedClientException": LOG_IN,
    "NoSuchBucket": "create it, or choose another",
    "NoSuchKey": "check the key; the address of a folder ends in /",
}


PRESIGNING = {"signature_version": "s3v4", "s3": {"addressing_style": "virtual"}}


class CallFailed(ServiceError):
    """A call to AWS that failed."""


class Rejected(CallFailed):
    """AWS rejected the call with `code`."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Unavailable(CallFailed):
    """AWS did not respond, or is overloaded; a later call may succeed."""


class Account:
    """The account and region of AWS's own settings."""

    def __init__(self) -> None:
        boto3 = needs("boto3", "aws")
        from boto3.compat import filter_python_deprecation_warnings

        filter_python_deprecation_warnings()  # petbox decides which Pythons it supports
        with calling("AWS"):
            # AWS's other tools prefer AWS_REGION, which boto3 alone does not know.
            self._session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
        self.client = cache(self._new_client)  # what is called on a client belongs in `calling`

    @property
    def region(self) -> str | None:
        return self._session.region_name  # type: ignore[no-any-return]

    @property
    def credentials(self) -> Any:
        """botocore's, which renew themselves."""
        from botocore.exceptions import NoCredentialsError

        with calling("AWS"):
            found = self._session.get_credentials()
            if found is None:
                raise NoCredentialsError
        return found

    def check_image_region(self, image: str) -> None:
        """Rejects an image in another region, which SageMaker cannot pull."""
        region = names.image_parts(image)["region"]
        if self.region not in (None, region):
            raise ServiceError(
                f"{image}: the image is in {region}, but the region is {self.region}; "
                f"pass --region {region}, or push the image to {self.region} as well"
            )

    def check_key_region(self, key: str) -> None:
        """Rejects a KMS key in another region, which no service here can use."""
        region = key.split(":")[3]
        if self.region not in (None, region):
            raise ServiceError(
                f"{key}: the key is in {region}, but the region is {self.region}; "
                f"pass --region {region}, or choose a key in {self.region}"
            )

    def _new_client(
        self,
        service: str,
        region: str | None = None,
        *,
        quick: bool = False,
        presigns: bool = False,
    ) -> Any:
        """A `quick` one gives up soon, for what a command can do without.

        One that `presigns` gives out addresses of buckets: in their region, where a browser is not
        redirected, and with signatures that all regions accept.
        """
        from botocore.config import Config

        config = Config(
            connect_timeout=2 if quick else 10,
            read_timeout=5 if quick else 60,
            retries={"mode": "standard", **({"total_max_attempts": 1} if quick else {})},
            user_agent_extra=f"petbox/{__version__}",
            **(PRESIGNING if presigns else {}),
        )
        with calling("AWS"):
            try:
                return self._session.client(service, region_name=region, config=config)
            except ValueError as error:
                text = _one_line(error).rstrip(".")
                variable = "AWS_REGION" if "region" in text else "AWS_ENDPOINT_URL"
                raise CallFailed(f"AWS: {text}; check {variable}") from error


@contextmanager
def calling(what: str, *ignored: str) -> Iterator[None]:
    """Turns botocore's exceptions into a one-line error about `what`.

    Continues after the block if AWS rejects the call with one of the `ignored` codes.
    """
    needs("boto3", "aws")
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in ignored:
            raise _rejected(what, error.response) from error
    except BotoCoreError as error:
        raise _failed(what, error) from error
    except ResponseParserError as error:
        raise Unavailable(
            f"{what}: the response is not AWS's; check the proxy, and AWS_ENDPOINT_URL"
        ) from error


def _rejected(what: str, response: Mapping[str, Any]) -> CallFailed:
    code = response["Error"]["Code"]
    text = _one_line(response["Error"].get("Message") or "no reason given").rstrip(".")
    message = f"{what}: {code}: {text}"
    if "Throttling" in code or response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
        return Unavailable(f"{message}; try again later")
    return Rejected(f"{message}; {ADVICE[code]}" if code in ADVICE else message, code)


def _failed(what: str, error: Exception) -> CallFailed:
    """The error of a call without a response from AWS."""
    from botocore import exceptions as of

    if isinstance(error, (of.ConnectionError, of.HTTPClientError)):  # while connecting or later
        why = _one_line(error).rstrip(".")
        fips = ", and whether AWS has FIPS endpoints there" if "-fips." in why else ""
        return Unavailable(f"{what}: {why}; check the network and the region{fips}")
    if isinstance(error, of.NoCredentialsError):
        return CallFailed(
            f"{what}: no AWS credentials; log in (aws login, aws sso login, aws configure), "
            "or set AWS_PROFILE"
        )
    if isinstance(error, of.NoRegionError):
        return CallFailed(f"{what}: no AWS region is set; set AWS_REGION, for example to us-east-1")
    if isinstance(error, of.ProfileNotFound):
        return CallFailed(f"{what}: {_one_line(error)}; set AWS_PROFILE to one of ~/.aws/config")
    if isinstance(error, of.MissingDependencyException):  # of `aws login`
        return CallFailed(f"{what}: the profile needs another package; pip install 'boto3[crt]'")
    log_in = getattr(of, "LoginError", of.SSOError)  # older ones do not know `aws login`
    expired = (of.SSOError, of.TokenRetrievalError, of.CredentialRetrievalError, log_in)
    if isinstance(error, expired):
        return CallFailed(f"{what}: {_one_line(error).rstrip('.')}; {LOG_IN}")
    return CallFailed(f"{what}: {_one_line(error)}")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
