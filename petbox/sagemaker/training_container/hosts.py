"""The hosts of a training job, as SageMaker lists them and as TensorFlow wants to be told of them.

A host may be named before its name can be looked up, so that is tried again. The first of the
sorted names leads: it evaluates and exports, and the others stop when training does.
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

PORT = 2222  # TensorFlow's own choice in its documents; nothing else runs on these hosts
SECONDS_TO_APPEAR = 600.0
SECONDS_BETWEEN_LOOKS = 2.0


@dataclass(frozen=True)
class Hosts:
    names: tuple[str, ...]  # sorted
    index: int  # of this one
    interface: str | None = None  # the network device between them

    @property
    def leads(self) -> bool:
        return self.index == 0

    def environment(self) -> dict[str, str]:
        """The variables by which TensorFlow finds the others; none for a single host."""
        if len(self.names) == 1:
            return {}
        config = {
            "cluster": {"worker": [f"{name}:{PORT}" for name in self.names]},
            "task": {"type": "worker", "index": self.index},
        }
        device = {"NCCL_SOCKET_IFNAME": self.interface} if self.interface else {}
        return {"TF_CONFIG": json.dumps(config), **device}

    def wait(self, seconds: float = SECONDS_TO_APPEAR) -> None:
        """Until every host's name can be looked up."""
        give_up = time.monotonic() + seconds
        for name in self.names if len(self.names) > 1 else ():
            if not _known(name):
                say(f"host {name}: not there yet; waiting for it")
            while not _known(name):
                if time.monotonic() > give_up:
                    raise ServiceError(
                        f"host {name}: its name cannot be looked up after {seconds:.0f} s; "
                        "start the job again"
                    )
                time.sleep(SECONDS_BETWEEN_LOOKS)


ALONE = Hosts(("localhost",), 0)


def read(resources: Mapping[str, Any] | None) -> Hosts:
    """The hosts in resourceconfig.json; without it there is this one."""
    if resources is None:
        return ALONE
    try:
        names = tuple(sorted(str(name) for name in resources["hosts"]))
        index = names.index(str(resources["current_host"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"resourceconfig.json: {json.dumps(resources)}: does not say current_host and, among "
            "hosts, the same name"
        ) from error
    return Hosts(names, index, resources.get("network_interface_name"))


def _known(name: str) -> bool:
    try:
        socket.getaddrinfo(name, PORT)
    except socket.gaierror:
        return False
    return True
