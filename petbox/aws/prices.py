"""What an hour of an instance costs: as the user says, or as AWS's Price List says."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from petbox.aws import session
from petbox.aws.names import check_instance_type, pairs
from petbox.aws.session import Account

AT = "us-east-1"  # the Price List of the partition `aws`; of other partitions there is none here
FLAG, LIST = "--price-per-hour", "AWS Price List"
ALL = ""  # the key of a price that is given for every type


@dataclass(frozen=True)
class Price:
    """Of one instance for an hour; the user's own has no currency."""

    amount: float
    currency: str | None
    source: str


class Prices:
    def __init__(self, account: Account, given: Sequence[str] = ()) -> None:
        self._account, self._given = account, parse(given)
        self.of = cache(self._of)

    def _of(self, instance_type: str) -> Price | None:
        """None without a price that was given or that AWS states and we may read."""
        given = self._given.get(instance_type, self._given.get(ALL))
        if given is not None:
            return Price(given, None, FLAG)
        region = self._account.region
        if region is None or region.startswith(("cn-", "us-gov-", "us-iso")):
            return None
        try:
            return self._listed(instance_type, region)
        except session.CallFailed:
            return None

    def _listed(self, instance_type: str, region: str) -> Price | None:
        wanted = {"regionCode": region, "instanceName": instance_type}
        filters = [
            {"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in wanted.items()
        ]
        client = self._account.client("pricing", AT, quick=True)
        pages = client.get_paginator("get_products").paginate(
            ServiceCode="AmazonSageMaker", Filters=filters
        )
        with session.calling(f"price of {instance_type}"):
            products = [json.loads(text) for page in pages for text in page["PriceList"]]
        listed = (_on_demand(one) for one in products if _hosts(one, instance_type))
        return next((price for prices in listed for price in prices), None)


def _hosts(product: Any, instance_type: str) -> bool:
    """Whether it is what hosting costs, as in USE1-Host:ml.m5.xlarge; training has its own."""
    usage = product["product"]["attributes"].get("usagetype", "")
    return f"-{usage}".endswith(f"-Host:{instance_type}")


def _on_demand(product: Any) -> Iterator[Price]:
    for term in product["terms"].get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            for currency, amount in dimension["pricePerUnit"].items():
                if dimension["unit"] in ("Hrs", "Hours") and float(amount) > 0:
                    yield Price(float(amount), currency, LIST)


def parse(texts: Sequence[str]) -> dict[str, float]:
    """`0.23` for every type, `ml.m5.xlarge=0.23` for one."""
    prices = {}
    for text in texts:
        key, amount = next(iter(pairs([text]).items())) if "=" in text else (ALL, text)
        if key:
            check_instance_type(key)
        try:
            prices[key] = float(amount)
        except ValueError:
            prices[key] = math.nan
        if not 0 <= prices[key] < math.inf:
            raise ValueError(f"{text!r} is not a price; write it like 0.23 or ml.m5.xlarge=0.23")
    return prices
