"""What the instances of an endpoint cost an hour; data and storage come on top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Any

from petbox.aws.prices import FLAG, Price, Prices, parse
from petbox.cli.options import Value
from petbox.sagemaker.endpoint import expiry
from petbox.sagemaker.endpoint.actual import Described

PAGE = "https://aws.amazon.com/sagemaker/ai/pricing/"
UNKNOWN = f"unknown; pass {FLAG}, or see {PAGE}"
BY_USE = f"by calls, their duration and provisioned concurrency; see {PAGE}"  # serverless
PricePerHour = Annotated[
    tuple[str, ...],
    "price of an instance, as in 0.23 or ml.m5.xlarge=0.23 (default: AWS's Price List, if you may "
    "read it)",
    Value("PRICE", parse),
]


@dataclass(frozen=True)
class Cost:
    price: Price
    instances: int
    least: int  # as its scaling allows
    most: int
    hours: float | None  # until it expires

    def __str__(self) -> str:
        unit = f"{self.price.currency} an hour" if self.price.currency else "an hour"
        text = f"{self._hourly(self.instances)} {unit}"
        text += f" ({self.instances} x {self.price.amount:g}, {self.price.source})"
        if self.least != self.most:
            text += f", scaled {self._hourly(self.least)} to {self._hourly(self.most)}"
        if self.hours is not None:
            text += f"; {self.instances * self.price.amount * self.hours:.2f} until it expires"
        return text

    def _hourly(self, instances: int) -> str:
        return f"{instances * self.price.amount:.6g}"

    def facts(self) -> dict[str, Any]:
        each = self.price.amount
        return {
            "instance_hour": each,
            "hour": each * self.instances,
            "hour_least": each * self.least,
            "hour_most": each * self.most,
            "until_expiry": None if self.hours is None else each * self.instances * self.hours,
            "currency": self.price.currency,
            "source": self.price.source,
        }


def cost(
    prices: Prices,
    instances: Mapping[str, int],
    bounds: tuple[int, int] | None = None,
    schedule: Described | None = None,
) -> Cost | None:
    """None without a price, and for endpoints that are serverless or have several types.

    `instances` are the counts by type.
    """
    if len(instances) != 1:
        return None
    ((instance_type, count),) = instances.items()
    price = prices.of(instance_type)
    if price is None:
        return None
    end = schedule and expiry.time_of(schedule)
    hours = (end - datetime.now(timezone.utc)).total_seconds() / 3600 if end else None
    least, most = bounds or (count, count)
    return Cost(price, count, least, most, hours if hours is None else max(0.0, hours))


def described(found: Cost | None, instances: Mapping[str, int]) -> str:
    if found is None:
        return UNKNOWN if instances else BY_USE
    return str(found)


def running(endpoint: Described, config: Described | None) -> dict[str, int]:
    """The instances of an endpoint by type."""
    types = {one["VariantName"]: one for one in (config or {}).get("ProductionVariants", ())}
    counts: dict[str, int] = {}
    for variant in endpoint.get("ProductionVariants", ()):
        kind = types.get(variant["VariantName"], {}).get("InstanceType")
        if kind is not None:
            counts[kind] = counts.get(kind, 0) + variant.get("CurrentInstanceCount", 0)
    return counts
