"""Every key of pets.toml, added, changed and removed: tests/golden/plans against `petbox deploy`.

A block is what a file says of an endpoint that has what the blocks before it made, and the plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from support.aws import REGION
from support.endpoint_aws import IMAGE, ROLE, by_digest
from support.endpoint_plans import NOW, TOPIC, found, validate

from petbox.aws.prices import Prices
from petbox.sagemaker.deploy import file
from petbox.sagemaker.deploy.command import NOT_BUILT, NOT_BUILT_YET
from petbox.sagemaker.endpoint import cost, package
from petbox.sagemaker.endpoint.actual import Actual
from petbox.sagemaker.endpoint.change import Change, deployment_of
from petbox.sagemaker.endpoint.desired import desired
from petbox.sagemaker.endpoint.difference import differences
from petbox.sagemaker.endpoint.kept import kept
from petbox.sagemaker.endpoint.options import UpOptions
from petbox.sagemaker.endpoint.plan import plan
from petbox.sagemaker.endpoint.spec import merged, with_instance_type

PLANS = sorted((Path(__file__).parents[1] / "golden" / "plans").glob("*.txt"))
NAMES = {
    "OTHER-IMAGE": by_digest("2"),
    "OTHER-KEY": f"arn:aws:kms:{REGION}:123456789012:key/2",
    "OTHER-QUEUE": f"arn:aws:sqs:{REGION}:123456789012:other",
    "OTHER-ROLE": f"{ROLE}Other",
    "OTHER-TOPIC": f"{TOPIC}-other",
    "IMAGE": IMAGE,
    "KEY": f"arn:aws:kms:{REGION}:123456789012:key/1",
    "QUEUE": f"arn:aws:sqs:{REGION}:123456789012:not-deleted",
    "ROLE": ROLE,
    "TOPIC": TOPIC,
}
# What a plan shows of a key under another name.
SHOWN = {"async_": "async", "ttl": "expires", "model": "model_data", "bucket": "model_data"}
# Keys that no endpoint has: how an update is made, and what the plan knows of prices.
OF_PLANS = {"canary", "linear", "rolling", "baking", "alarm", "price_per_hour", "no_vpc"}
# An endpoint has them at all times, or a plan has no other value of them.
NEVER_REMOVED = {"image", "role", "instance_type", "component"}
NEVER_CHANGED = {"network_isolation", "dashboard"}


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """What each file says, and its plan."""
    for block in path.read_text().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("# ")]
        said = [line.removeprefix("> ") for line in lines if line.startswith("> ")]
        planned = [line for line in lines if not line.startswith("> ")]
        yield "\n".join(said), "\n".join(planned)


def change(actual: Actual, path: Path) -> Change:
    stated = file.read(path)
    wanted = stated.options
    if stated.build:  # as deploy does
        wanted = replace(wanted, image=NOT_BUILT.format(REGION), model_data=False)
    elif stated.model and stated.bucket:
        wanted = replace(wanted, model_data=package.address_of(stated.model, stated.bucket))
    before = kept("pets", actual)
    whole = with_instance_type(merged(wanted, before), "ml.m5.xlarge")
    state = desired(whole, NOW, wanted, actual, deployment_of(whole, wanted))
    steps = plan(state, actual)
    validate(steps)
    return Change(wanted, whole, state, actual, differences(before, whole, state, actual), steps)


class Nowhere:
    region = None  # so that there is no price but the given ones


def text_of(made: Change) -> str:
    given = made.wanted.price_per_hour
    price = made.cost(Prices(Nowhere(), given))  # type: ignore[arg-type]
    text = f"{made.text}\nprice: {cost.described(price, made.instances)}"
    for short, name in NAMES.items():
        text = re.sub(rf"{re.escape(name)}(?![\w-])", short, text)
    text = re.sub("; [0-9.]+ until it expires", "", text)
    text = re.sub("toy-[0-9a-f]{12}", "toy-DIGEST", text)
    return NOT_BUILT_YET.sub("(to be built)", text)


def after(made: Change) -> Actual:
    """What the endpoint has once the change is made."""
    state = replace(made.desired, schedule=made.schedule)
    return found(state)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_plans(path: Path, tmp_path: Path) -> None:
    version = tmp_path / "model" / "toy" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"a model")
    actual = Actual()
    for said, expected in blocks(path):
        for short, name in NAMES.items():
            said = re.sub(rf'"{short}"', f'"{name}"', said)
        (tmp_path / "pets.toml").write_text(f'name = "pets"\n{said}\n')
        made = change(actual, tmp_path / "pets.toml")
        assert text_of(made) == expected.rstrip("\n"), said
        actual = after(made)


def test_every_key_is_in_a_plan_added_changed_and_removed() -> None:
    both = [one for path in PLANS for one in blocks(path)]
    said = {
        file.ALIASES.get(key, key)
        for text, _ in both
        for key in re.findall(r"^(\w+) =", text, re.MULTILINE)
    }
    signs = {
        (key, sign)
        for _, text in both
        for sign, key in re.findall(r"^  ([-+~]) (\w+)[.:]", text, re.MULTILINE)
    }
    missing = []
    for key in keys():
        missing += [] if key in said else [f"{key} in a file"]
        wanted = "" if key in OF_PLANS else "+"
        wanted += "~" if wanted and key not in NEVER_CHANGED else ""
        wanted += "-" if wanted and key not in NEVER_REMOVED else ""
        shown = SHOWN.get(key, key)
        missing += [f"{sign} {shown}" for sign in wanted if (shown, sign) not in signs]
    assert not missing
    assert {text for _, texts in both for text in re.findall("^(update|price)", texts, re.M)} == {
        "update",
        "price",
    }


def keys() -> list[str]:
    """The file's, but for `name`."""
    found = [one.name for one in fields(UpOptions)]
    return [*file.OWN, *(key for key in found if key not in ("name", *file.COMMAND_LINE_ONLY))]
