"""GET /metrics: whether it is Prometheus' text format, by a strict reading of its rules.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4. Only the
standard library is used, so that `petbox conform` needs no Prometheus package.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from petbox.serving.conform.contract import Failed, NotTried, require
from petbox.serving.http_client import Address, request

TIMEOUT = 10.0  # seconds, as Prometheus' default
ACCEPT = {"Accept": "text/plain; version=0.0.4"}
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"'
NUMBER = r"[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|Inf|NaN)"
SAMPLE = re.compile(
    rf"({NAME})(?:\{{((?:{LABEL}(?:,|(?=\}})))*)\}})?[ \t]+({NUMBER})(?:[ \t]+-?\d+)?"
)
KIND = re.compile(rf"# TYPE ({NAME}) (counter|gauge|histogram|summary|untyped)")
HELP = re.compile(rf"# HELP ({NAME})(?: (?:[^\\]|\\[\\n])*)?")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
Labels = tuple[tuple[str, str], ...]


@dataclass
class Family:
    """All lines about one metric, which must be together."""

    help: bool = False
    kind: str = ""
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


def scrape(at: Address) -> str:
    response = request(at, "GET", "/metrics", headers=ACCEPT, seconds=TIMEOUT)
    if response.status in (404, 405, 501):
        raise NotTried(f"there is no GET /metrics ({response.status}); SageMaker does without it")
    require(response.status == 200, f"GET /metrics: {response}")
    content_type = response.headers.get("content-type", "")
    require(content_type.startswith("text/plain"), f"the content type is {content_type or 'none'}")
    try:
        families = parse(response.body.decode())
    except UnicodeDecodeError as error:
        raise Failed(f"it is not UTF-8: {error}") from error
    samples = sum(len(family.samples) for family in families.values())
    return require(samples > 0, f"{len(families)} metrics, {samples} samples")


def parse(text: str) -> dict[str, Family]:
    """The metrics by name; Failed with the line that breaks a rule."""
    require(text.endswith("\n"), "the last line does not end in a newline")
    families: dict[str, Family] = {}
    current = ""
    for number, line in enumerate(text.split("\n")[:-1], 1):
        shown = f"line {number}: {line[:80]}"
        if not line.strip() or (line[0] == "#" and not line.startswith(("# HELP", "# TYPE"))):
            continue
        pattern = KIND if line.startswith("# T") else HELP if line[0] == "#" else SAMPLE
        found = pattern.fullmatch(line)
        if found is None:
            raise Failed(f"{shown}: not a sample, a HELP or a TYPE")
        name = found[1] if line[0] == "#" else _family(families, found[1])
        require(name == current or name not in families, f"{shown}: {name} is in two places")
        current, family = name, families.setdefault(name, Family())
        if line[0] == "#":
            attribute, value = ("kind", found[2]) if line.startswith("# T") else ("help", True)
            new = not getattr(family, attribute) and not family.samples
            require(new, f"{shown}: repeated, or after the samples")
            setattr(family, attribute, value)
        else:
            _add(family, found, shown)
    for name, family in families.items():
        if family.kind == "histogram":
            _check_histogram(name, family)
    return families


def _family(families: dict[str, Family], sample: str) -> str:
    """The metric that a sample belongs to: h for h_bucket, if h is a histogram."""
    for name, suffix in ((sample.removesuffix(s), s) for s in SUFFIXES["histogram"]):
        kind = families[name].kind if name != sample and name in families else ""
        if suffix in SUFFIXES.get(kind, ()):
            return name
    return sample


def _add(family: Family, found: re.Match[str], shown: str) -> None:
    labels = re.findall(LABEL, found[2] or "")
    require(len(dict(labels)) == len(labels), f"{shown}: a label is repeated")
    key, value = (found[1], tuple(sorted(labels))), float(found[5])
    require(key not in family.samples, f"{shown}: the same sample twice")
    require(family.kind != "counter" or value >= 0, f"{shown}: a counter is not below 0")
    family.samples[key] = value


def _check_histogram(name: str, family: Family) -> None:
    """Cumulative buckets in order, the last +Inf, which equals the count."""
    by_labels: dict[Labels, list[tuple[float, float]]] = {}
    for (sample, labels), value in family.samples.items():
        require(sample != name, f"{name}: a histogram has _bucket, _sum and _count only")
        le = dict(labels).get("le")
        rest = tuple(pair for pair in labels if pair[0] != "le")
        buckets = by_labels.setdefault(rest, [])
        if sample == f"{name}_bucket":
            require(bool(re.fullmatch(NUMBER, le or "")), f"{name}: a bucket's le is not a number")
            buckets.append((float(le or ""), value))
    for labels, buckets in by_labels.items():
        ends_well = bool(buckets) and buckets[-1][0] == float("inf")
        require(ends_well, f"{name}: the last bucket is not +Inf")
        rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in itertools.pairwise(buckets))
        require(rising, f"{name}: its buckets are not in order, or not cumulative")
        count = family.samples.get((f"{name}_count", labels))
        require(count == buckets[-1][1], f"{name}: _count is {count}, +Inf is {buckets[-1][1]}")
        require((f"{name}_sum", labels) in family.samples, f"{name}: there is no _sum")
