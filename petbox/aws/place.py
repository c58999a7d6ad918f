"""Where resources are: an account in a region, and the ARNs and addresses that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

from petbox.aws.session import Account, calling

DOMAINS = {"aws-cn": "amazonaws.com.cn"}


@dataclass(frozen=True)
class Place:
    partition: str  # aws, aws-cn or aws-us-gov
    region: str
    account: str

    @classmethod
    def of(cls, account: Account) -> Place:
        sts = account.client("sts")
        with calling("credentials"):
            caller = sts.get_caller_identity()
        return cls(caller["Arn"].split(":")[1], sts.meta.region_name, caller["Account"])

    def arn(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def role(self, name: str) -> str:
        return f"arn:{self.partition}:iam::{self.account}:role/{name}"

    @property
    def registry(self) -> str:
        domain = DOMAINS.get(self.partition, "amazonaws.com")
        return f"{self.account}.dkr.ecr.{self.region}.{domain}"
