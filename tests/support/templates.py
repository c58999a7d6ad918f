"""The templates of serverless/ as CloudFormation gets to see them, after SAM's transform."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest

SERVERLESS = Path(__file__).resolve().parents[2] / "serverless"
NESTED = "AWS::CloudFormation::Stack"
NO_VALUE = {"Ref": "AWS::NoValue"}


def source(name: str) -> dict[str, Any]:
    """The template as it is written."""
    from cfnlint.decode.cfn_yaml import load

    template: dict[str, Any] = json.loads(json.dumps(load(str(SERVERLESS / f"{name}.yaml"))))
    return template


@functools.cache
def translated(name: str, canary: str = "none") -> dict[str, Any]:
    """SAM reads the one parameter itself, and leaves the others to CloudFormation."""
    from samtranslator.translator.transform import transform

    template = source(name)
    if "Transform" not in template:
        return template
    for resource in template["Resources"].values():
        if "CodeUri" in resource["Properties"]:  # as `sam deploy` leaves it
            resource["Properties"]["CodeUri"] = "s3://bucket/front.zip"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        plain: dict[str, Any] = transform(template, {"Canary": canary}, NoPolicies())
    return plain


class NoPolicies:
    """AWS's own policies by name, which the templates do without."""

    def load(self) -> dict[str, str]:
        return {}


def of_kind(name: str, kind: str) -> dict[str, Any]:
    """The properties of a template's resources of one type."""
    return {
        logical: resource["Properties"]
        for logical, resource in translated(name)["Resources"].items()
        if resource["Type"] == kind
    }


class Stack:
    """As much of CloudFormation as decides what a template comes to."""

    def __init__(self, name: str, given: dict[str, str]) -> None:
        self._template = translated(name, given.get("Canary", "none"))
        defaults = {
            name: str(p["Default"])
            for name, p in self._template["Parameters"].items()
            if "Default" in p
        }
        self._values = {**defaults, **given}

    def holds(self, condition: str | None) -> bool:
        return condition is None or self._true(self._template["Conditions"][condition])

    def resources(self) -> set[str]:
        found = self._template["Resources"]
        return {name for name, one in found.items() if self.holds(one.get("Condition"))}

    def broken_rules(self) -> list[str]:
        broken = []
        for rule in self._template.get("Rules", {}).values():
            if "RuleCondition" not in rule or self._true(rule["RuleCondition"]):
                claims = rule["Assertions"]
                broken += [
                    one["AssertDescription"] for one in claims if not self._true(one["Assert"])
                ]
        return broken

    def dangling(self) -> set[str]:
        """What a resource or an output refers to although it is not deployed."""
        there, known = self.resources(), self._template["Resources"]
        used = [self.resolved(known[name]) for name in there]
        for output in self._template.get("Outputs", {}).values():
            if self.holds(output.get("Condition")):
                used.append(self.resolved(output["Value"]))
        return (referred(used) & known.keys()) - there

    def nested(self, name: str) -> Stack:
        """The stack that a resource of this one creates."""
        properties = self._template["Resources"][name]["Properties"]
        given = self.resolved(properties["Parameters"])
        known = {key: self._value(one) for key, one in given.items()}
        return Stack(Path(properties["TemplateURL"]).stem, known)

    def resolved(self, value: Any) -> Any:
        """The value with one branch of each If."""
        if isinstance(value, list):
            return [self.resolved(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "Fn::If" in value:
            condition, given, otherwise = value["Fn::If"]
            return self.resolved(given if self.holds(condition) else otherwise)
        return {name: self.resolved(one) for name, one in value.items()}

    def _value(self, value: Any) -> str:
        """A parameter's value, or some text for what only AWS knows."""
        if isinstance(value, dict):
            _, value = value.get("Fn::Join", ("", value))  # of a list, here a text with commas
            return self._values.get(value.get("Ref", ""), json.dumps(value))
        return str(value)

    def _true(self, expression: dict[str, Any]) -> bool:
        ((function, values),) = expression.items()
        if function == "Condition":
            return self.holds(values)
        if function == "Fn::Equals":
            one, other = map(self._value, values)
            return one == other
        truths = [self._true(value) for value in values]
        return {"Fn::Not": not truths[0], "Fn::And": all(truths), "Fn::Or": any(truths)}[function]


def referred(value: Any) -> set[str]:
    """The names that a value refers to."""
    if isinstance(value, list):
        return set().union(*map(referred, value), set())
    if not isinstance(value, dict):
        return set()
    found: set[str] = set()
    for key, one in value.items():
        if key == "Ref":
            found.add(one)
        elif key == "Fn::GetAtt":
            found.add(one[0] if isinstance(one, list) else one.split(".")[0])
        elif key == "Fn::Sub":
            text, more = one if isinstance(one, list) else (one, {})
            found |= set(re.findall(r"\$\{(\w+)", text)) - more.keys() | referred(more)
        elif key == "DependsOn":
            found |= set(one if isinstance(one, list) else [one])
        else:
            found |= referred(one)
    return found
