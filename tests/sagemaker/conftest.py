"""AWS for the tests of this room: moto behind a proxy whose responses a test may replace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.endpoint_aws import AwsProxy, aws_proxy


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsProxy]:
    with aws_proxy() as server:
        yield server


@pytest.fixture
def forgotten(aws: AwsProxy) -> None:
    """Calls and replaced responses of earlier tests are removed."""
    for records in (aws.calls, aws.instead, aws.amended):
        records.clear()
