"""The model server of this process."""

from __future__ import annotations

import functools
from typing import Any

import requests
import urllib3


class ModelServer:
    """Responses are those of requests; its session would take longer than a small model."""

    def __init__(self, address: str, seconds: int, threads: int) -> None:
        self.seconds = seconds
        host, _, port = address.rpartition(":")
        self._pool = urllib3.HTTPConnectionPool(
            host, int(port), maxsize=threads, timeout=seconds, retries=False
        )
        self._adapter = requests.adapters.HTTPAdapter()
        self._request = functools.lru_cache(_request)

    def post(self, uri: str, body: Any) -> requests.Response:
        """The whole response; TimeoutError or ConnectionError if there is none."""
        request = self._request(uri)
        try:
            raw = self._pool.urlopen("POST", request.path_url, body, preload_content=False)
            response: requests.Response = self._adapter.build_response(request, raw)
            response.content  # noqa: B018  # reads it
        except urllib3.exceptions.TimeoutError as error:
            raise TimeoutError from error
        except (urllib3.exceptions.HTTPError, requests.RequestException) as error:
            raise ConnectionError from error
        return response


def _request(uri: str) -> requests.PreparedRequest:
    return requests.Request("POST", uri).prepare()
