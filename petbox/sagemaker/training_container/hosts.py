"""The hosts of a training job: from SageMaker's list to TensorFlow's configuration.

A host may be listed before its name resolves, so lookups are retried. The first of the sorted names
leads: it evaluates and exports, while the others stop after training.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from petbox.cli.program import say
from petbox.errors import DataError, ServiceError

PORT = 2222  # as in TensorFlow's documentation
SECONDS_TO_APPEAR = 600.0
SECONDS_BETWEEN_POLLS = 2.0


@dataclass(frozen=True)
class Hosts:
    names: tuple[str, ...]  # sorted
    index: int  # of this one
    interface: str | None = None  # the network device between them

    @property
    def leads(self) -> bool:
        return self.index == 0

    def environment(self) -> dict[str, str]:
        """The variables by which TensorFlow finds the other hosts; none for a single host."""
        if len(self.names) == 1:
            return {}
        config = {
            "cluster": {"worker": [f"{name}:{PORT}" for name in self.names]},
            "task": {"type": "worker", "index": self.index},
        }
        device = {"NCCL_SOCKET_IFNAME": self.interface} if self.interface else {}
        return {"TF_CONFIG": json.dumps(config), **device}

    def wait(self, seconds: float = SECONDS_TO_APPEAR) -> None:
        """Waits until every host's name resolves."""
        give_up = time.monotonic() + seconds
        for name in self.names if len(self.names) > 1 else ():
            if not _known(name):
                say(f"host {name}: not available yet; waiting for it")
            while not _known(name):
                if time.monotonic() > give_up:
                    raise ServiceError(
                        f"host {name}: its name cannot be looked up after {seconds:.0f} s; "
                        "start the job again"
                    )
                time.sleep(SECONDS_BETWEEN_POLLS)


ALONE = Hosts(("localhost",), 0)


def read(resources: Mapping[str, Any] | None) -> Hosts:
    """The hosts in resourceconfig.json; only this one if there is no such file."""
    if resources is None:
        return ALONE
    try:
        names = tuple(sorted(str(name) for name in resources["hosts"]))
        index = names.index(str(resources["current_host"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"resourceconfig.json: {json.dumps(resources)}: must have current_host, and that name "
            "in hosts"
        ) from error
    return Hosts(names, index, resources.get("network_interface_name"))


def _known(name: str) -> bool:
    try:
        socket.getaddrinfo(name, PORT)
    except socket.gaierror:
        return False
    return True
