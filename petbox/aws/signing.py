"""AWS's signatures (SigV4) for requests without boto3, to API Gateway and function URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from petbox.aws.session import Account, CallFailed, calling

API_GATEWAY = "execute-api"
HOSTS = {  # AWS's own names of them; a domain of the user's own is API Gateway's
    API_GATEWAY: re.compile(r".+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?"),
    "lambda": re.compile(r".+\.lambda-url\.([a-z0-9-]+)\.on\.aws"),
}


class Signer:
    """Signs with the credentials of AWS's own settings, renewed when they expire."""

    def __init__(self, url: str) -> None:
        account = Account()
        self._credentials = account.credentials
        self._service, region = API_GATEWAY, account.region
        for service, pattern in HOSTS.items():
            if found := pattern.fullmatch(urlsplit(url).hostname or ""):
                self._service, region = service, found[1]
        if region is None:
            raise CallFailed(f"{url}: no AWS region is set; set AWS_REGION, or pass --region")
        self._region = region

    def signed(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str]
    ) -> dict[str, str]:
        """The headers, with those of the signature."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method, url, dict(headers), body)
        with calling(url):
            frozen = self._credentials.get_frozen_credentials()
        SigV4Auth(frozen, self._service, self._region).add_auth(request)
        return dict(request.headers)
