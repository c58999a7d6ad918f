"""What an endpoint costs, in its status, in the list, and in a plan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.aws import rejection
from support.endpoint_aws import UP, AwsProxy, aws_proxy, done, petbox

UNKNOWN = "unknown; pass --price-per-hour, or see https://aws.amazon.com/sagemaker/ai/pricing/"


pytestmark = pytest.mark.usefixtures("forgotten")


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsProxy]:
    with aws_proxy() as server:
        two = ("--instance-type", "ml.m5.xlarge", "--instance-count", "2")
        done(petbox(server.env, "endpoint", "up", "pets", *UP, *two))
        done(petbox(server.env, "endpoint", "up", "light", *UP, "--serverless", "4096,5"))
        yield server


def price(aws: AwsProxy, *words: str) -> str:
    lines = done(petbox(aws.env, "endpoint", "status", *words)).stdout.splitlines()
    return lines[-1].removeprefix("price").strip()


def test_status_has_awss_price_or_that_of_the_user(aws: AwsProxy) -> None:
    assert price(aws, "pets") == "0.46 USD an hour (2 x 0.23, AWS Price List)"
    assert price(aws, "light").startswith(
        "by calls, their duration and provisioned concurrency; see https://"
    )
    aws.calls.clear()
    one = ("--price-per-hour", "ml.m5.xlarge=0.2", "--price-per-hour", "9")
    assert price(aws, "pets", *one) == "0.4 an hour (2 x 0.2, --price-per-hour)"
    assert price(aws, "pets", "--price-per-hour", "9") == "18 an hour (2 x 9, --price-per-hour)"
    assert "GetProducts" not in aws.names()
    text = done(petbox(aws.env, "endpoint", "status", "pets", "--json")).stdout
    assert json.loads(text)["price"] == {
        "instance_hour": 0.23,
        "hour": 0.46,
        "hour_least": 0.46,
        "hour_most": 0.46,
        "until_expiry": None,
        "currency": "USD",
        "source": "AWS Price List",
    }


def test_no_price_is_invented(aws: AwsProxy) -> None:
    for response in (rejection("AccessDeniedException", "no", 403), {"PriceList": []}):
        aws.instead["GetProducts"] = lambda _, response=response: response  # type: ignore[misc]
        assert price(aws, "pets") == UNKNOWN
        text = done(petbox(aws.env, "endpoint", "status", "pets", "--json")).stdout
        assert json.loads(text)["price"] is None
    other = ("--price-per-hour", "ml.g5.xlarge=3")
    assert price(aws, "pets", *other) == UNKNOWN


def test_the_list_prices_each_endpoint(aws: AwsProxy) -> None:
    light, pets = done(petbox(aws.env, "endpoint", "list")).stdout.splitlines()
    assert pets.split("\t")[-1] == "0.46 USD an hour" and light.endswith("no expiry")
    words = ("endpoint", "list", "--json", "--price-per-hour", "1.5")
    rows = map(json.loads, done(petbox(aws.env, *words)).stdout.splitlines())
    assert [row["price"] and row["price"]["hour"] for row in rows] == [None, 3.0]


def test_a_plan_has_the_price_of_what_is_planned(aws: AwsProxy, tmp_path: Path) -> None:
    words = ("endpoint", "up", "pets", "--instance-count", "3", "--ttl", "2h", "--dry-run")
    *_, line = done(petbox(aws.env, *words)).stderr.splitlines()
    assert line.startswith("price: 0.69 USD an hour (3 x 0.23, AWS Price List); 1.3")
    scaled = ("endpoint", "up", "pets", "--autoscale", "1..4", "--target", "70", "--dry-run")
    *_, line = done(petbox(aws.env, *scaled, "--price-per-hour", "2")).stderr.splitlines()
    assert line == "price: 4 an hour (2 x 2, --price-per-hour), scaled 2 to 8"
    file = tmp_path / "pets.toml"
    file.write_text('name = "pets"\ninstance_count = 1\nprice_per_hour = "0.5"\n')
    plan = ("deploy", file, "--dry-run")
    *_, line = done(petbox(aws.env, *plan)).stdout.splitlines()
    assert line == "price: 0.5 an hour (1 x 0.5, --price-per-hour)"
    found = json.loads(done(petbox(aws.env, *plan, "--json", "--price-per-hour", "3")).stdout)
    assert found["price"]["hour"] == 3


@pytest.mark.parametrize("text", ["cheap", "-1", "nan", "ml.m5.xlarge=", "xlarge=1"])
@pytest.mark.parametrize("words", [("status", "pets"), ("list",), ("up", "pets")])
def test_an_invalid_price_is_wrong_usage(words: tuple[str, ...], text: str) -> None:
    result = petbox({}, "endpoint", *words, f"--price-per-hour={text}")
    assert result.returncode == 2 and "argument --price-per-hour: " in result.stderr
