"""AWS as petbox speaks with it: boto3's clients, and one line for whatever goes wrong there.

Account and region come from AWS's own settings (environment, files, roles) and are kept nowhere
else. boto3 is imported when an account is first asked for, never before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from petbox import __version__
from petbox.errors import ServiceError, needs

LOG_IN = "log in again (aws sso login, aws configure), or set AWS_PROFILE to another"
ALLOW = "ask whoever keeps the account to allow it, or set AWS_PROFILE to another"
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
    "NoSuchBucket": "make it, or name another",
}


class Trouble(ServiceError):
    """A call to AWS that came to nothing."""


class Refused(Trouble):
    """AWS answered, and said no; `code` is its word for why."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Unavailable(Trouble):
    """No answer came, or one that asks for patience; a later call may fare better."""


class Account:
    """The account and region that AWS's own settings name."""

    def __init__(self) -> None:
        boto3 = needs("boto3", "aws")
        from boto3.compat import filter_python_deprecation_warnings

        filter_python_deprecation_warnings()  # which Python is fit is for petbox to say
        with calling("AWS"):
            # AWS's other tools prefer AWS_REGION, which boto3 alone does not know.
            self._session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)

    @property
    def region(self) -> str | None:
        return self._session.region_name  # type: ignore[no-any-return]

    def client(self, service: str) -> Any:
        """boto3's client; what is called on it belongs inside `calling`."""
        from botocore.config import Config

        config = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard"},
            user_agent_extra=f"petbox/{__version__}",
        )
        with calling("AWS"):
            try:
                return self._session.client(service, config=config)
            except ValueError as error:
                raise Trouble(f"AWS: {_one_line(error)}; is AWS_ENDPOINT_URL right?") from error


@contextmanager
def calling(what: str) -> Iterator[None]:
    """Turns what botocore raises into one line about `what`."""
    needs("boto3", "aws")
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refused(what, error.response) from error
    except BotoCoreError as error:
        raise _failed(what, error) from error


def _refused(what: str, response: Mapping[str, Any]) -> Trouble:
    code = response["Error"]["Code"]
    text = _one_line(response["Error"].get("Message") or "no reason given").rstrip(".")
    told = f"{what}: {code}: {text}"
    if "Throttling" in code or response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
        return Unavailable(f"{told}; try again in a while")
    return Refused(f"{told}; {ADVICE[code]}" if code in ADVICE else told, code)


def _failed(what: str, error: Exception) -> Trouble:
    """What became of a call that never got to AWS, or never came back."""
    from botocore import exceptions as of

    if isinstance(error, (of.ConnectionError, of.HTTPClientError)):  # before or after it stood
        why = _one_line(error).rstrip(".")
        return Unavailable(f"{what}: {why}; is the network up, and the region right?")
    if isinstance(error, of.NoCredentialsError):
        return Trouble(
            f"{what}: no AWS credentials; log in (aws sso login, aws configure), or set AWS_PROFILE"
        )
    if isinstance(error, of.NoRegionError):
        return Trouble(f"{what}: no AWS region is set; set AWS_REGION, as to us-east-1")
    if isinstance(error, of.ProfileNotFound):
        return Trouble(f"{what}: {_one_line(error)}; set AWS_PROFILE to one of ~/.aws/config")
    if isinstance(error, (of.SSOError, of.TokenRetrievalError, of.CredentialRetrievalError)):
        return Trouble(f"{what}: {_one_line(error).rstrip('.')}; {LOG_IN}")
    return Trouble(f"{what}: {_one_line(error)}")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
