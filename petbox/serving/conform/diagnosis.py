"""Why a container "did not pass the ping health check".

Looks at the evidence (Docker's start error, the exit code, the log, the open ports, the responses
to /ping), and where that is not enough, runs the image once more in another way. Never guesses:
without a known cause it reports what was observed.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from petbox.export.model_folder import contents
from petbox.serving.conform.ping import Ping, pings
from petbox.serving.docker import MODEL, PORT, Container, ContainerSpec, Image, running

LOG_LINES = 4
SECOND_RUN_SECONDS = 8.0  # how long the second run of a container gets to come up

NO_MODEL = re.compile(
    r"No versions of servable|Could not find base path|no SavedModel|SavedModel file does not exist"
    r"|no such file.*saved_model|could not find.{0,30}model|did not become available",
    re.IGNORECASE,
)
READ_ONLY = re.compile(r"Read-only file system|EROFS", re.IGNORECASE)
NOT_ALLOWED = re.compile(
    r"permission denied|operation not permitted|EACCES|EPERM|must be (run as )?root", re.IGNORECASE
)
NO_NETWORK = re.compile(
    r"name resolution|resolve host|name or service not known|network is unreachable|getaddrinfo",
    re.IGNORECASE,
)
LINE_ENDS = re.compile(r"\\r': No such file|\^M: bad interpreter|\r': command not found")
WRONG_ARCHITECTURE = re.compile(r"exec format error", re.IGNORECASE)


@dataclass(frozen=True)
class Diagnosis:
    line: str  # of the contract, by name
    problem: str
    advice: str

    def __str__(self) -> str:
        return f"{self.problem}; {self.advice}"


def diagnose(container: Container, image: Image, attempts: Sequence[Ping]) -> Diagnosis:
    """Why /ping of a container never returned 200."""
    spec = container.spec
    if container.start_error:
        return _start_error(container.start_error, image)
    state, lines = container.state(), container.log()
    log = "\n".join(lines)
    if WRONG_ARCHITECTURE.search(log):
        return _wrong_architecture(image)
    if not state.running:
        if state.out_of_memory:
            problem = "it was killed because it ran out of memory"
            return Diagnosis("serve", problem, "give it more, or load less")
        exited = f"it exited with code {state.exit_code}"
        return (
            _from_log(log, spec, image)
            or _from_second_run(spec, image)
            or Diagnosis("serve", exited, _last_lines("its log ends with", lines))
        )
    last_ping = str(attempts[-1]) if attempts else "never sent"
    return (
        _from_ports(listening(container), spec, log)
        or diagnose_pings(attempts)
        or _from_log(log, spec, image)
        or Diagnosis("ping", f"/ping: {last_ping}", _last_lines("its log ends with", lines))
    )


def _start_error(error: str, image: Image) -> Diagnosis:
    if WRONG_ARCHITECTURE.search(error):
        return _wrong_architecture(image)
    if "executable file not found" in error and not image.entrypoint:
        return Diagnosis(
            "serve",
            "the image has no program `serve`, and no ENTRYPOINT that takes it as argument",
            "SageMaker runs `docker run IMAGE serve`, which replaces CMD: put an executable "
            "called serve on PATH, or write an ENTRYPOINT in exec form",
        )
    if "permission denied" in error:
        return Diagnosis("serve", f"its program is not executable ({error})", "chmod +x it")
    if "no such file or directory" in error:
        return Diagnosis(
            "serve",
            f"its program, or the interpreter in its first line, does not exist ({error})",
            "check the ENTRYPOINT, and the script for Windows line endings",
        )
    return Diagnosis("serve", f"Docker could not start it: {error}", "fix the image")


def _wrong_architecture(image: Image) -> Diagnosis:
    return Diagnosis(
        "architecture",
        f"its programs are for another architecture (exec format error; image: {image.platform})",
        "build it with docker build --platform linux/amd64",
    )


def _from_log(log: str, spec: ContainerSpec, image: Image) -> Diagnosis | None:
    if LINE_ENDS.search(log):
        problem = f"its script has Windows line endings: {_line(LINE_ENDS, log)}"
        return Diagnosis("serve", problem, "write it with \\n, and tell git: *.sh text eol=lf")
    if spec.model is not None and READ_ONLY.search(log) and MODEL in log:
        problem = f"it writes to {MODEL}: {_line(READ_ONLY, log)}"
        return Diagnosis("model-read-only", problem, "write to /tmp")
    if NO_MODEL.search(log):
        return _no_model(log, spec)
    if spec.no_network and NO_NETWORK.search(log):
        problem = f"it needs a network: {_line(NO_NETWORK, log)}"
        return Diagnosis("no-network", problem, "put everything it needs into the image")
    if NOT_ALLOWED.search(log) and not image.is_root:
        return _needs_root(image, f": {_line(NOT_ALLOWED, log)}")
    return None


def _no_model(log: str, spec: ContainerSpec) -> Diagnosis:
    advice = f"expected: {MODEL}/1/saved_model.pb, in a folder whose name is a number"
    if spec.model is None:
        return Diagnosis("model-found", f"it finds no model: {_line(NO_MODEL, log)}", advice)
    versions = spec.model.rglob("saved_model.pb")
    numbered = any(path.parent.name.isdecimal() for path in versions)
    missing = "no model" if numbered else "no folder whose name is a number, with a model in it"
    problem = f"it finds {missing}; in {MODEL}: {contents(spec.model)}"
    return Diagnosis("model-found", problem, advice)


def _needs_root(image: Image, log_line: str = "") -> Diagnosis:
    return Diagnosis(
        "serve",
        f"it needs root, and the image has USER {image.user}{log_line}",
        "SageMaker runs it as that user: remove USER, or give the user the permission",
    )


def _from_second_run(spec: ContainerSpec, image: Image) -> Diagnosis | None:
    """Runs it in another way; if that comes up, the difference is the cause."""
    if spec.no_network:  # it came up with a network, and cannot be reached without
        return None
    if spec.arguments and _comes_up(replace(spec, arguments=())):
        argument = " ".join(spec.arguments)
        return Diagnosis(
            "serve",
            f"it rejects the argument `{argument}`; without it, it starts",
            f"SageMaker runs `docker run IMAGE {argument}`: let the ENTRYPOINT accept it",
        )
    if not image.is_root and _comes_up(replace(spec, flags=(*spec.flags, "--user=0"))):
        return _needs_root(image)
    return None


def _comes_up(spec: ContainerSpec) -> bool:
    """Whether it becomes healthy, or at least still runs with an open port after a while."""
    start = time.monotonic()
    with running(spec) as container:
        if container.start_error:
            return False
        for attempt in pings(container.at, start, 0.25):
            if attempt.healthy:
                return True
            if not container.state().running:
                return False
            if time.monotonic() - start > SECOND_RUN_SECONDS:
                return bool(listening(container))
    raise AssertionError("pings never end")


def _from_ports(
    ports: list[ListeningPort] | None, spec: ContainerSpec, log: str
) -> Diagnosis | None:
    """It runs: does it listen on the right port?"""
    if ports is None:
        return None
    for one in ports:
        if one.port == spec.port:
            problem = f"it listens on port {spec.port} of its loopback interface only"
            return Diagnosis("port", problem, "listen on 0.0.0.0") if one.loopback else None
    if NO_MODEL.search(log):  # the reason why it does not listen yet
        return _no_model(log, spec)
    advice = f"SageMaker connects to port {spec.port}"
    if spec.port != PORT:
        advice += ", as SAGEMAKER_BIND_TO_PORT says"
    if not ports:
        return Diagnosis("port", "it listens on no port", f"{advice}; is it still loading?")
    numbers = ", ".join(f"{one.port}{' (loopback only)' if one.loopback else ''}" for one in ports)
    return Diagnosis("port", f"it listens on {numbers}, not on {spec.port}", advice)


def diagnose_pings(attempts: Sequence[Ping]) -> Diagnosis | None:
    """It listens: what is wrong with its responses to /ping?"""
    if not attempts:
        return None
    last = attempts[-1]
    if last.status == 200:
        slowest = max(attempt.seconds for attempt in attempts if attempt.status == 200)
        problem = f"/ping is slow: it took {slowest:.1f} s, and the limit is 2 s"
        advice = "answer it from memory, not in the workers that answer /invocations"
        return Diagnosis("ping-in-time", problem, advice)
    if last.status is None and last.detail.startswith("no response within"):
        problem = f"/ping hangs: {last.detail}"
        return Diagnosis("ping-in-time", problem, "answer it whatever the model server does")
    if last.status in (404, 405, 501):
        return Diagnosis("ping", f"there is no GET /ping: {last}", "answer it with 200")
    if last.status is not None:
        advice = "it must return 200 once the model responds"
        return Diagnosis("ping", f"/ping returns {last}", advice)
    return None


def _last_lines(title: str, log: Sequence[str]) -> str:
    return f"{title}: {' / '.join(log[-LOG_LINES:])}" if log else f"{title}: (none)"


def _line(pattern: re.Pattern[str], log: str) -> str:
    """The first matching line of the log."""
    return next((line.strip()[:200] for line in log.splitlines() if pattern.search(line)), "")


# The open ports, from the kernel's table. Needs only `cat` in the image, and not even that where
# Docker runs on this machine.

TABLES = ("net/tcp", "net/tcp6")
LISTEN = "0A"
DOCKERS_RESOLVER = ipaddress.ip_address("127.0.0.11")


class ListeningPort(NamedTuple):
    port: int
    loopback: bool  # reachable from inside the container only


def listening(container: Container) -> list[ListeningPort] | None:
    """Its open ports; None if its tables cannot be read."""
    texts = [container.exec("cat", f"/proc/{t}") or container.proc_file(t) for t in TABLES]
    tables = [text for text in texts if text is not None]
    return parse_tcp_table("\n".join(tables)) if tables else None


def parse_tcp_table(table: str) -> list[ListeningPort]:
    """The listening sockets of a /proc/net/tcp; one open to all interfaces wins over loopback."""
    loopback: dict[int, bool] = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 4 or fields[3] != LISTEN:
            continue
        address, _, hexadecimal = fields[1].partition(":")
        host = _ip_address(address)
        if host == DOCKERS_RESOLVER:
            continue
        port = int(hexadecimal, 16)
        loopback[port] = loopback.get(port, True) and host.is_loopback
    return [ListeningPort(*item) for item in sorted(loopback.items())]


def _ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel writes an address as 4-byte words in host byte order."""
    raw = bytes.fromhex(text)
    host = ipaddress.ip_address(b"".join(raw[n : n + 4][::-1] for n in range(0, len(raw), 4)))
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return mapped or host
