"""Why a container "did not pass the ping health check": the cause, found and named.

Looks at what is there (the engine's refusal, the exit, the log, the ports, the answers to /ping),
and where that does not tell, runs the image once more in another way. Guesses nothing: what it
cannot name it shows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from petbox.serving.conform.ping import Ping, pings
from petbox.serving.conform.ports import Listening, listening
from petbox.serving.docker import MODEL, PORT, Container, Image, Wanted, running

LAST_WORDS = 4
SECOND_TRY = 8.0  # seconds that a container run in another way gets to show itself

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
WRONG_CODE = re.compile(r"exec format error", re.IGNORECASE)


@dataclass(frozen=True)
class Cause:
    line: str  # of the contract, by name
    seen: str
    advice: str

    def __str__(self) -> str:
        return f"{self.seen}; {self.advice}"


def cause(container: Container, image: Image, attempts: Sequence[Ping]) -> Cause:
    """What kept /ping of a started container from being 200."""
    if container.refusal:
        return _of_refusal(container.refusal, image)
    state, log = container.state(), container.log()
    said = "\n".join(log)
    if WRONG_CODE.search(said):
        return _wrong_architecture(image)
    if not state.running:
        if state.out_of_memory:
            return Cause("serve", "it was killed for want of memory", "give it more, or load less")
        return (
            _of_log(said, container.wanted, image)
            or _of_second_try(container.wanted, image)
            or Cause("serve", _exit(state.exit_code, log), "its log says why")
        )
    return (
        _of_ports(listening(container), container.wanted.port, said, container.wanted)
        or of_answers(attempts)
        or _of_log(said, container.wanted, image)
        or Cause("ping", f"/ping: {_last(attempts)}", _words("its log ends with", log))
    )


def _of_refusal(refusal: str, image: Image) -> Cause:
    """The engine could not even start it."""
    if WRONG_CODE.search(refusal):
        return _wrong_architecture(image)
    if "executable file not found" in refusal and not image.entrypoint:
        return Cause(
            "serve",
            "`serve` is no program of the image, and it has no ENTRYPOINT to take it as argument",
            "SageMaker runs `docker run IMAGE serve`, which replaces CMD: put an executable "
            "called serve on PATH, or write an ENTRYPOINT in exec form",
        )
    if "permission denied" in refusal:
        return Cause("serve", f"its program is not executable ({refusal})", "chmod +x it")
    if "no such file or directory" in refusal:
        return Cause(
            "serve",
            f"its program, or the one named in its first line, is not there ({refusal})",
            "look at the ENTRYPOINT, and for Windows line ends in the script",
        )
    return Cause("serve", f"the engine did not start it: {refusal}", "mend the image")


def _wrong_architecture(image: Image) -> Cause:
    return Cause(
        "architecture",
        f"its programs are for another processor (exec format error; it says {image.platform})",
        "build it with docker build --platform linux/amd64",
    )


def _of_log(said: str, wanted: Wanted, image: Image) -> Cause | None:
    """What the log names in words that are known."""
    if LINE_ENDS.search(said):
        seen = f"its script has Windows line ends: {_line(LINE_ENDS, said)}"
        return Cause("serve", seen, "write it with \\n, and tell git: *.sh text eol=lf")
    if wanted.model is not None and READ_ONLY.search(said) and MODEL in said:
        words = _line(READ_ONLY, said)
        return Cause("model-read-only", f"it writes to {MODEL}: {words}", "write to /tmp")
    if NO_MODEL.search(said):
        return _no_model(said, wanted)
    if wanted.isolated and NO_NETWORK.search(said):
        words = _line(NO_NETWORK, said)
        return Cause("no-network", f"it wants a network: {words}", "put all it needs in the image")
    if NOT_ALLOWED.search(said) and not image.is_root:
        words = _line(NOT_ALLOWED, said)
        return _root_needed(image, f": {words}")
    return None


def _no_model(said: str, wanted: Wanted) -> Cause:
    advice = f"wanted: {MODEL}/1/saved_model.pb, the folder's name a number"
    if wanted.model is None:
        return Cause("model-found", f"it finds no model: {_line(NO_MODEL, said)}", advice)
    found = _tree(wanted.model)
    versions = wanted.model.rglob("saved_model.pb")
    numbered = any(path.parent.name.isdecimal() for path in versions)
    what = "no model" if numbered else "no folder whose name is a number, with a model in it"
    return Cause("model-found", f"it finds {what}; in {MODEL}: {found}", advice)


def _tree(folder: Path, most: int = 8) -> str:
    names = sorted(
        str(path.relative_to(folder)) + "/" * path.is_dir()
        for depth in ("*", "*/*", "*/*/*")
        for path in folder.glob(depth)
    )
    return ", ".join(names[:most]) + ", …" * (len(names) > most) if names else "nothing"


def _root_needed(image: Image, words: str = "") -> Cause:
    return Cause(
        "serve",
        f"it needs root, and the image says USER {image.user}{words}",
        "SageMaker runs it as the image says: leave USER out, or let that user do it",
    )


def _of_second_try(wanted: Wanted, image: Image) -> Cause | None:
    """Runs it otherwise: what then comes up names what was wrong."""
    if wanted.isolated:  # it came up with a network, and cannot be asked without
        return None
    if wanted.arguments and _stays_up(replace(wanted, arguments=())):
        argument = " ".join(wanted.arguments)
        return Cause(
            "serve",
            f"it does not understand the argument `{argument}`: without it, it starts",
            f"SageMaker runs `docker run IMAGE {argument}`: let the ENTRYPOINT take it",
        )
    if not image.is_root and _stays_up(replace(wanted, flags=(*wanted.flags, "--user=0"))):
        return _root_needed(image)
    return None


def _stays_up(wanted: Wanted) -> bool:
    """Whether it is healthy, or at least still there with a port open, after a while."""
    start = time.monotonic()
    with running(wanted) as container:
        if container.refusal:
            return False
        for attempt in pings(container.at, start, 0.25):
            if attempt.healthy:
                return True
            if not container.state().running:
                return False
            if time.monotonic() - start > SECOND_TRY:
                return bool(listening(container))
    raise AssertionError("pings never end")


def _of_ports(ports: list[Listening] | None, wanted: int, said: str, run: Wanted) -> Cause | None:
    """It runs: does it listen where it is asked?"""
    if ports is None:
        return None
    here = [one for one in ports if one.port == wanted]
    if here and not here[0].loopback:
        return None
    if here:
        return Cause(
            "port",
            f"it listens on port {wanted} of its own loopback only",
            "let it listen on 0.0.0.0",
        )
    if NO_MODEL.search(said):  # the reason why it does not listen yet
        return _no_model(said, run)
    advice = f"SageMaker asks port {wanted}"
    if wanted != PORT:
        advice += ", as SAGEMAKER_BIND_TO_PORT says"
    if not ports:
        return Cause("port", "it listens on no port", f"{advice}; is it still loading?")
    numbers = ", ".join(f"{one.port}{' (loopback only)' if one.loopback else ''}" for one in ports)
    return Cause("port", f"it listens on {numbers}, not on {wanted}", advice)


def of_answers(attempts: Sequence[Ping]) -> Cause | None:
    """It listens: what does /ping say that is not 200 in time?"""
    if not attempts:
        return None
    last = attempts[-1]
    if last.status == 200:
        late = max(attempt.seconds for attempt in attempts if attempt.status == 200)
        return Cause(
            "ping-in-time",
            f"/ping is slow: it took {late:.1f} s, and each has 2 s",
            "answer it from memory, and not by the workers that answer /invocations",
        )
    if last.status is None and last.said.startswith("no answer within"):
        return Cause(
            "ping-in-time",
            f"/ping hangs: {last.said}",
            "answer it whatever the engine does",
        )
    if last.status in (404, 405, 501):
        return Cause("ping", f"there is no GET /ping: {last}", "answer it with 200")
    if last.status is not None:
        return Cause("ping", f"/ping says {last}", "it must be 200 once the model answers")
    return None


def _exit(code: int, log: Sequence[str]) -> str:
    return f"it left with exit code {code}; {_words('its last words', log)}"


def _words(title: str, log: Sequence[str]) -> str:
    return f"{title}: {' / '.join(log[-LAST_WORDS:])}" if log else f"{title}: (none)"


def _line(pattern: re.Pattern[str], said: str) -> str:
    """The first line of the log in which it stands."""
    return next((line.strip()[:200] for line in said.splitlines() if pattern.search(line)), "")


def _last(attempts: Sequence[Ping]) -> str:
    return str(attempts[-1]) if attempts else "never asked"
