"""The strict reading of Prometheus text, compared with Prometheus' own client."""

from __future__ import annotations

import pytest

from petbox.serving.conform.contract import Failed
from petbox.serving.conform.metrics import parse

prometheus = pytest.importorskip("prometheus_client")
parser = pytest.importorskip("prometheus_client.parser")
HISTOGRAM = """\
# TYPE h histogram
h_bucket{le="1"} 2
h_bucket{le="+Inf"} 3
h_sum 4.5
h_count 3
"""


def samples(text: str) -> list[tuple[str, dict[str, str], float]]:
    """As Prometheus' own client reads them."""
    families = parser.text_string_to_metric_families(text)
    return [(one.name, one.labels, one.value) for family in families for one in family.samples]


def test_what_prometheus_writes_and_reads_is_read_the_same() -> None:
    registry = prometheus.CollectorRegistry()
    requests = prometheus.Counter(
        "requests", 'a "help" with \\ and\nlines', ["kind"], registry=registry
    )
    for kind in ("json", 'quo"ted \\ and\nlines', "Ümläut"):
        requests.labels(kind).inc(3)
    prometheus.Gauge("up", "", registry=registry).set(float("inf"))
    seconds = prometheus.Histogram("seconds", "of waiting", ["route"], registry=registry)
    for route in ("a", "b"):
        seconds.labels(route).observe(0.3)
    prometheus.Summary("size", "of bodies", registry=registry).observe(1e9)
    text = prometheus.generate_latest(registry).decode()
    found = [key for family in parse(text).values() for key in family.samples.items()]
    assert len(found) == len(samples(text)) > 20
    assert [(name, value) for (name, _), value in found] == [
        (name, value) for name, _, value in samples(text)
    ]


@pytest.mark.parametrize(
    "text",
    [
        HISTOGRAM,
        "a 1\n\n# a comment\n#another\nb -2.5e-07 1700000000000\n",
        ':tensorflow:serving:request_count{model_name="m",status="OK",} 3\n',
        "# TYPE a untyped\na{} NaN\n# HELP b\nb +Inf\n",
    ],
)
def test_valid_text_is_accepted(text: str) -> None:
    assert sum(len(family.samples) for family in parse(text).values()) == len(samples(text))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "does not end"),
        ("a 1", "does not end"),
        ('{"requests": 1}\n', "line 1"),
        ("a\n", "line 1"),
        ("a 1 2 3\n", "line 1"),
        ("a 1_000\n", "line 1"),
        ("a one\n", "line 1"),
        ("1a 1\n", "line 1"),
        ("a-b 1\n", "line 1"),
        ("a 1\r\n", "line 1"),
        ('a{b="c} 1\n', "line 1"),
        ("a{b=c} 1\n", "line 1"),
        ('a{b="c"d="e"} 1\n', "line 1"),
        ('a{b="c\\d"} 1\n', "line 1"),
        ('a{b="c",b="d"} 1\n', "a label is repeated"),
        ("# TYPE a number\na 1\n", "line 1"),
        ("# HELP a-b text\n", "line 1"),
        ("a 1\n# TYPE a gauge\n", "line 2: # TYPE a gauge: repeated, or after the samples"),
        ("# TYPE a gauge\n# TYPE a gauge\na 1\n", "repeated"),
        ("# HELP a one\n# HELP a two\na 1\n", "repeated"),
        ("a 1\na 2\n", "the same sample twice"),
        ('a{b="1",c="2"} 1\na{c="2",b="1"} 2\n', "the same sample twice"),
        ('a{b="1"} 1\nb 1\na{b="2"} 2\n', "a is in two places"),
        ("# TYPE a counter\na -1\n", "a counter is not below 0"),
        (HISTOGRAM.replace("+Inf", "5"), "the last bucket is not +Inf"),
        (HISTOGRAM.replace("h_count 3", "h_count 4"), "_count is 4.0, +Inf is 3.0"),
        (HISTOGRAM.replace("} 2", "} 9"), "not cumulative"),
        (HISTOGRAM.replace('le="1"', 'le="one"'), "le is not a number"),
        (HISTOGRAM.replace("h_sum 4.5\n", ""), "there is no _sum"),
        (HISTOGRAM + "h 1\n", "_bucket, _sum and _count only"),
    ],
)
def test_invalid_text_is_rejected_by_its_line(text: str, seen: str) -> None:
    with pytest.raises(Failed, match=seen.replace("+", r"\+")):
        parse(text)
