"""The options of every command that detects: by what, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from petbox.aws.names import check_name
from petbox.cli.options import SCORE, Checked, Value, between
from petbox.client import wake
from petbox.client.detector import Detector
from petbox.client.http_transport import checked
from petbox.client.transport import MOST_CONNECTIONS, URL


@dataclass(frozen=True, kw_only=True)
class DetectorOptions(Checked):
    url: Annotated[str | None, f"address of a server (default: {URL})"] = None
    endpoint: Annotated[
        str | None, "use this SageMaker endpoint instead", Value("NAME", check_name)
    ] = None
    model: Annotated[
        Path | None,
        "use this model instead, without a server: a SavedModel, LiteRT or OpenVINO; with "
        "--endpoint, the name of a model of a multi-model endpoint",
        "MODEL",
    ] = None
    component: Annotated[
        str | None,
        "with --endpoint: one of its inference components (default: that of the same name)",
        Value("NAME", check_name),
    ] = None
    header: Annotated[
        tuple[str, ...],
        "send this header with each request to the server, such as 'x-api-key: KEY'",
        "'NAME: VALUE'",
    ] = ()
    sign: Annotated[
        bool, "sign requests to the server with AWS's credentials, as API Gateway's IAM asks for"
    ] = False
    parallel: Annotated[
        int, "images processed at once", Value("N", between(1, MOST_CONNECTIONS))
    ] = 8
    limit: Annotated[
        float | None,
        "largest request in megabytes (default: 25, or 4 for a serverless endpoint)",
        Value("MB", between(0.001, 1e6)),
    ] = None
    fit: Annotated[bool, "send smaller copies of images that are over the limit"] = False
    min_score: Annotated[
        float | None,
        "leave out detections with a lower score, 0 to 1 (default: the model's own, or 0.5)",
        SCORE,
    ] = None
    labels: Annotated[
        Path | None, "label map (.pbtxt), or a model's folder, to take the names from", "PATH"
    ] = None

    def __post_init__(self) -> None:
        chosen = ("url", "endpoint", "async_endpoint", "model")
        set_ = [name for name in chosen if getattr(self, name, None) is not None]
        given = [f"--{name.replace('_', '-')}" for name in set_]
        if len(given) > 1 and given != ["--endpoint", "--model"]:
            raise ValueError(f"{' and '.join(given)} exclude each other")
        if self.component is not None and set_ != ["endpoint"]:
            raise ValueError("--component requires --endpoint, and excludes --model")
        for flag, is_given in (("--header", self.header), ("--sign", self.sign)):
            if is_given and given not in ([], ["--url"]):
                raise ValueError(f"{flag} is for a server (--url), not for {given[0]}")
        self._headers()
        super().__post_init__()

    def _headers(self) -> dict[str, str]:
        named = [one.partition(":") for one in self.header]
        try:
            return checked({name.strip(): value.strip() for name, _, value in named})
        except ValueError as error:
            raise ValueError(f"argument --header: {error}") from error

    def detector(self, wait_for: float = wake.SECONDS) -> Detector:
        return Detector(
            self.url,
            endpoint=self.endpoint,
            model=self.model,
            min_score=self.min_score,
            names=self.labels,
            fit=self.fit,
            limit=self.limit,
            headers=self._headers(),
            sign=self.sign,
            parallel=self.parallel,
            component=self.component,
            wait_for=wait_for,
        )
