"""The ports that a container listens on, read from its kernel's own table.

Needs no program in the image but `cat`, and not even that where the engine runs on this machine.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from petbox.serving.docker import Container

TABLES = ("net/tcp", "net/tcp6")
LISTEN = "0A"
DOCKERS_RESOLVER = ipaddress.ip_address("127.0.0.11")


class Listening(NamedTuple):
    port: int
    loopback: bool  # where only the container itself can reach it


def listening(container: Container) -> list[Listening] | None:
    """What it listens on, by port; None if there is no looking inside."""
    tables = []
    for table in TABLES:
        text = container.inside("cat", f"/proc/{table}") or container.of_host(table)
        if text is not None:
            tables.append(text)
    return parsed("\n".join(tables)) if tables else None


def parsed(table: str) -> list[Listening]:
    """The listening sockets of a /proc/net/tcp; a port that is open to all is named as that."""
    open_to: dict[int, bool] = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 4 or fields[3] != LISTEN:
            continue
        address, _, port = fields[1].partition(":")
        host = _host(address)
        if host == DOCKERS_RESOLVER:
            continue
        number = int(port, 16)
        open_to[number] = open_to.get(number, True) and host.is_loopback
    return [Listening(port, loopback) for port, loopback in sorted(open_to.items())]


def _host(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel writes an address as words of four bytes, each turned round."""
    raw = bytes.fromhex(text)
    turned = b"".join(raw[n : n + 4][::-1] for n in range(0, len(raw), 4))
    host = ipaddress.ip_address(turned)
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return mapped or host
