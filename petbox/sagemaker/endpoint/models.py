"""Lists, adds and removes the models of a multi-model endpoint.

They are archives in S3, under the address of `up --multi-model`; the endpoint
needs no update. A model that an instance has loaded stays there for a while, so
another version needs another name.

examples:
  petbox endpoint models zoo
  petbox endpoint models zoo add model/beagle
  petbox endpoint models zoo add model/beagle --as beagle-2
  petbox endpoint models zoo remove beagle --yes
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from petbox.aws import session
from petbox.aws.names import ARCHIVE, S3Address, archive, check_name
from petbox.aws.s3 import objects
from petbox.aws.session import Account
from petbox.cli.options import POSITIONAL, Json, Value, check
from petbox.cli.program import confirm, say
from petbox.errors import ServiceError
from petbox.sagemaker.endpoint.actual import describe
from petbox.sagemaker.endpoint.package import check_served, publish
from petbox.sagemaker.endpoint.status import absent
from petbox.sagemaker.shared_options import EndpointName


@dataclass(frozen=True)
class ModelsOptions:
    name: EndpointName
    action: Annotated[Literal["list", "add", "remove"], "list, add or remove", POSITIONAL] = "list"
    model: Annotated[str | None, "folder to add, or name to remove", POSITIONAL] = None
    as_: Annotated[
        str | None, "with add: its name (default: the folder's)", Value("NAME", check_name)
    ] = None
    yes: Annotated[bool, "with remove: do not ask for confirmation"] = False
    json: Json = False

    def __post_init__(self) -> None:
        check(self)
        if (self.model is None) != (self.action == "list"):
            raise ValueError(f"{self.action}: {'takes no' if self.model else 'needs a'} MODEL")
        if self.as_ is not None and self.action != "add":
            raise ValueError("--as requires add")
        if self.yes and self.action != "remove":
            raise ValueError("--yes requires remove")


def models(options: ModelsOptions) -> None:
    account = Account()
    s3, under = account.client("s3"), _prefix(account, options.name)
    if options.action == "list":
        names = [str(one).removeprefix(str(under)) for one, _ in objects(s3, under)]
        found = [name for name in names if name.endswith(ARCHIVE)]
        for line in [json.dumps(found)] if options.json else found:
            print(line)
    elif options.action == "add":
        facts = _add(s3, under, Path(str(options.model)), options.as_)
        print(json.dumps(facts) if options.json else facts["address"])
    else:
        address = _remove(s3, under, str(options.model), yes=options.yes)
        print(json.dumps({"address": address}) if options.json else address)


def _prefix(account: Account, name: str) -> S3Address:
    actual = describe(account.client, name)
    if actual.endpoint is None:
        raise absent(name, actual)
    container = (actual.last_model or {}).get("PrimaryContainer", {})
    if container.get("Mode") != "MultiModel":
        raise ServiceError(
            f"endpoint {name}: has one model; for several: petbox endpoint up {name} "
            "--multi-model s3://…"
        )
    return S3Address.parse(container["ModelDataUrl"]).folder


def _add(s3: Any, under: S3Address, folder: Path, name: str | None) -> dict[str, Any]:
    check_served(folder)
    resolved = folder.resolve()
    called = name or (resolved.parent if resolved.name.isdecimal() else resolved).name
    at = S3Address(under.bucket, f"{under.key}{archive(called)}")
    there = _sha256(s3, at)
    facts = publish(folder, str(at), s3 if there is None else None)
    if there not in (None, facts["sha256"]):
        raise ServiceError(
            f"{at}: is another model, which instances may have loaded; add this one under another "
            "name (--as), or remove that one first"
        )
    return facts


def _sha256(s3: Any, at: S3Address) -> str | None:
    """Of the archive that is there; the empty text if petbox did not upload it."""
    if not any(one == at for one, _ in objects(s3, at)):
        return None
    with session.calling(str(at)):
        return str(s3.head_object(Bucket=at.bucket, Key=at.key)["Metadata"].get("sha256", ""))


def _remove(s3: Any, under: S3Address, name: str, *, yes: bool) -> str:
    at = S3Address(under.bucket, f"{under.key}{archive(name)}")
    if not any(one == at for one, _ in objects(s3, at)):
        raise ServiceError(f"{at}: no such model; see: petbox endpoint models")
    if not yes:
        confirm(str(at), f"delete {at}?")
    with session.calling(str(at)):
        s3.delete_object(Bucket=at.bucket, Key=at.key)
    say(f"{at}: removed; instances that have it loaded serve it until they need the memory")
    return str(at)
