"""From what a user asks for to the steps that make it so: `up` and `deploy` share this."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from petbox.aws import image
from petbox.aws.prices import Prices
from petbox.aws.session import Account
from petbox.cli.program import confirm, say
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint import alarms, deployment, fit, package, provenance, sizes, spec
from petbox.sagemaker.endpoint.actual import Actual, describe
from petbox.sagemaker.endpoint.apply import Apply, check_all
from petbox.sagemaker.endpoint.cost import Cost, cost
from petbox.sagemaker.endpoint.desired import Desired, desired
from petbox.sagemaker.endpoint.difference import ADDED, REMOVED, Difference, as_text, differences
from petbox.sagemaker.endpoint.kept import kept
from petbox.sagemaker.endpoint.options import UpOptions
from petbox.sagemaker.endpoint.plan import ENDED, plan, reject_foreign
from petbox.sagemaker.endpoint.steps import Call, Step
from petbox.sagemaker.setup import made

STARTS = (  # containers, which need the image and the archive
    "create_endpoint",
    "create_inference_component",
    "update_endpoint",
    "update_endpoint_weights_and_capacities",
    "update_inference_component",
)


@dataclass(frozen=True)
class Change:
    wanted: UpOptions
    spec: spec.EndpointSpec  # the whole desired state
    desired: Desired
    actual: Actual
    differences: list[Difference]
    steps: list[Step]

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def text(self) -> str:
        """What changes, as a person reads it."""
        update = [
            f"\nupdate: {deployment.described(step.request['DeploymentConfig'])}"
            for step in self.steps
            if isinstance(step, Call) and "DeploymentConfig" in step.request
        ]
        return as_text(self.name, self.differences) + "".join(update)

    @property
    def schedule(self) -> Mapping[str, Any] | None:
        """That of its expiry, once the change is made."""
        kept = None if self.desired.drop_schedule else self.actual.schedule
        return self.desired.schedule or kept

    @property
    def instances(self) -> dict[str, int]:
        """By type."""
        variant = self.desired.config["ProductionVariants"][0]
        count = self.desired.count or variant.get("InitialInstanceCount")
        return {variant["InstanceType"]: count} if count else {}

    @property
    def removed(self) -> list[str]:
        """What goes away by name; scaling takes over a number of instances."""
        signs = {one.key: one.sign for one in self.differences}
        scaled = signs.get("autoscale") == ADDED
        return [
            key
            for key, sign in signs.items()
            if sign == REMOVED and not (scaled and key == "instance_count")
        ]

    def confirm_removals(self, subject: str, *, yes: bool) -> None:
        if self.removed and not yes:
            removed = ", ".join(self.removed)
            confirm(subject, f"remove {removed}?", f"removes {removed}")

    def with_archive(self, sha256: str) -> Change:
        """The same, once the archive of its model is made."""
        state = _state(self.spec, self.wanted, self.actual, {provenance.MODEL: sha256})
        return replace(self, desired=state, steps=plan(state, self.actual))

    def cost(self, prices: Prices) -> Cost | None:
        bounds = sizes.bounds(self.spec.autoscale) if self.spec.autoscale else None
        if bounds and self.spec.component:  # of copies; several may share an instance
            bounds = min(1, bounds[0]), bounds[1]
        return cost(prices, self.instances, bounds, self.schedule)


def prepare(
    account: Account,
    wanted: UpOptions,
    *,
    built: Callable[[spec.EndpointSpec], image.Image | None] | None = None,
    uploaded: bool = True,
) -> Change:
    """Describes, compares and plans; changes nothing.

    `built` says what the image will be that is not in ECR yet; an archive that is not `uploaded`
    yet is not looked for.
    """
    if wanted.image is not None:
        account.check_image_region(wanted.image)
    if wanted.kms_key:
        account.check_key_region(wanted.kms_key)
    name, clients = wanted.name, account.client
    actual = describe(clients, name)
    reject_foreign(name, actual)
    for why in actual.unseen:
        say(f"{why}; assuming that there is none")
    before = kept(name, actual)
    if before is None and wanted.image is not None and wanted.role is None:
        wanted = replace(wanted, role=made.role(account))
    whole = spec.merged(wanted, before, recreated=actual.status in ENDED)
    absent = None
    try:
        found = built(whole) if built else image.read(clients("ecr"), str(whole.image))
    except image.Absent as error:
        found, absent = None, error
    whole = spec.with_instance_type(whole, fit.default_instance(found))
    what = "image" if built else str(whole.image)
    fit.check(what, found, whole.instance_type, built=built is not None)
    if whole.component:
        fit.check_copy(what, found, str(whole.instance_type), whole.component)
    if wanted.image is not None and found is not None and found.digest:
        whole = replace(whole, image=image.pinned(wanted.image, found.digest))
    made_from = provenance.tags(clients, whole.model_data or None, actual)
    state = _state(whole, wanted, actual, made_from)
    steps = plan(state, actual)
    if any(isinstance(step, Call) and step.operation in STARTS for step in steps):
        if absent:
            raise absent
        if whole.model_data and uploaded:
            package.check_uploaded(clients, whole.model_data)
    elif absent:
        say(f"{absent}; no instance can start from it")
    check_all(clients, steps)
    return Change(wanted, whole, state, actual, differences(before, whole, state, actual), steps)


def _state(
    whole: spec.EndpointSpec, wanted: UpOptions, actual: Actual, made_from: Mapping[str, str]
) -> Desired:
    how = deployment_of(whole, wanted)
    return desired(whole, datetime.now(timezone.utc), wanted, actual, how, made_from)


def deployment_of(whole: spec.EndpointSpec, how: UpOptions) -> dict[str, Any] | None:
    if whole.component and not how.rolling and (how.canary or how.linear or how.alarm):
        raise ServiceError(
            f"endpoint {whole.name}: an inference component is updated copy by copy; pass "
            "--rolling instead of --canary or --linear, and with --alarm"
        )
    rolling_back = list(how.alarm)
    if whole.alarms and (how.canary or how.linear or how.rolling or how.alarm):
        rolling_back += alarms.rolling_back(whole.name)
    return deployment.request(how.canary, how.linear, how.rolling, how.baking, rolling_back)


def carry_out(account: Account, change: Change, seconds: float) -> bool:
    """Makes the changes, and waits; whether there were any."""
    apply = Apply(account.client, change.name, lambda: time.sleep(seconds))
    name = change.name
    with apply.reporting(
        "SageMaker continues",
        "an endpoint costs money while it exists; continue: the same command, "
        f"see: petbox endpoint status {name}, delete: petbox endpoint down {name}",
    ):
        apply.all(change.steps)
    return bool(apply.done)


def warn_without_digest(uri: str) -> None:
    if "@sha256:" not in uri:
        say(
            f"{uri}: no digest, so an instance that starts later runs what has the tag by then; "
            "scripts/push_ecr.sh prints the address with its digest"
        )
