"""Makes the calls of a plan: the only place where petbox changes anything about endpoints.

Records the calls made, to report them after an interruption or failure. Restores what was removed
for an update that fails.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from petbox.aws import request_check, session
from petbox.aws.wait import until
from petbox.cli.program import say
from petbox.errors import PetboxError
from petbox.sagemaker.endpoint.actual import Clients, unless_absent
from petbox.sagemaker.endpoint.steps import (
    COMPONENT_GONE,
    COMPONENT_IN_SERVICE,
    GONE,
    POLICY_ARN,
    Call,
    Step,
    Wait,
)
from petbox.sagemaker.endpoint.wait import (
    component_gone,
    component_in_service,
    gone,
    in_service,
    settled,
)

DOES = {
    "add": "tagging",
    "create": "creating",
    "delete": "deleting",
    "deregister": "deleting",
    "put": "setting",
    "register": "setting",
    "update": "updating",
}
MAKES = ("add", "create", "put", "register", "update")
UNDOES = ("delete", "deregister")
LIMIT = "choose another --instance-type, or ask for more: console, Service Quotas, SageMaker"
ASSUMED = (
    "the role must trust scheduler.amazonaws.com and allow sagemaker:DeleteEndpoint; "
    "name one that does with --ttl-role, or leave --ttl out"
)


class Apply:
    """`wait` returns when it is time to poll again; `done` are the calls that succeeded."""

    def __init__(self, clients: Clients, name: str, wait: Callable[[], object]) -> None:
        self._clients = clients
        self._name = name
        self._wait = wait
        self.done: list[Call] = []
        self._begun: list[Call] = []
        self._undo: tuple[Call, ...] = ()
        self._policy = POLICY_ARN

    def all(self, steps: Iterable[Step]) -> None:
        """If a step fails, restores what was removed for it."""
        try:
            for step in steps:
                if isinstance(step, Wait):
                    self._await(step)
                else:
                    self._undo = step.undo or self._undo
                    self._call(step)
                if step.commits:
                    self._undo = ()
        except BaseException:  # Ctrl-C as well
            self._restore()
            raise

    @contextmanager
    def reporting(self, meanwhile: str, then: str, made: str = "created") -> Iterator[None]:
        """On an interruption or failure, reports what was changed, and how to continue."""
        try:
            yield
        except PetboxError:
            if so_far := self.so_far(made):
                say(so_far)
            raise
        except (KeyboardInterrupt, SystemExit) as interruption:
            so_far = self.so_far(made) or f"{made} so far: nothing"
            say("; ".join(part for part in ("interrupted here", meanwhile, so_far, then) if part))
            code = 130 if isinstance(interruption, KeyboardInterrupt) else interruption.code
            sys.exit(code)

    def _restore(self) -> None:
        undo, self._undo, begun, done = self._undo, (), self._begun, self.done
        for call in undo:
            try:
                self._call(call)
            except session.CallFailed as error:
                say(f"{error}; not restored; run the same command again")
            else:  # as if nothing had been removed
                begun = [one for one in begun if one.what != call.what]
                done = [one for one in done if one.what != call.what]
        self._begun, self.done = begun, done

    def _await(self, step: Wait) -> None:
        if step.until == COMPONENT_IN_SERVICE:
            component_in_service(self._clients, self._name, step.component, self._wait)
        elif step.until == COMPONENT_GONE:
            component_gone(self._clients("sagemaker"), self._name, self._wait)
        elif step.until == GONE:
            gone(self._clients("sagemaker"), self._name, self._wait)
        else:
            in_service(self._clients, self._name, step.config, self._wait)

    def _call(self, call: Call) -> None:
        say(f"{DOES[call.operation.split('_')[0]]} {call.what}")
        self._begun = [call]
        undoes = call.operation.startswith(UNDOES)
        with unless_absent() if undoes else nullcontext():  # it may be gone already
            if call.operation == "delete_endpoint":
                self._delete_endpoint(call)
            elif call.operation == "delete_inference_component":
                self._delete_component(call)
            else:
                self._make(call)
        self._begun = []
        self.done.append(call)

    def _make(self, call: Call) -> None:
        try:
            with session.calling(call.what):
                act = getattr(self._clients(call.service), call.operation)
                response = act(**self._filled(call.request))
                self._policy = response.get("PolicyARN", self._policy)
        except session.Rejected as error:
            self._begun = []
            if advice := _advice(call, error):
                raise session.Rejected(f"{error}; {advice}", error.code) from error
            raise

    def _filled(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request.get("AlarmActions") == [POLICY_ARN]:
            return {**request, "AlarmActions": [self._policy]}
        return dict(request)

    def _delete_endpoint(self, call: Call) -> None:
        try:
            self._make(call)
        except session.Rejected as error:
            if "in-progress" not in str(error) and "Updating" not in str(error):
                raise
            say(f"{error}; waiting until SageMaker allows it")
            settled(self._clients("sagemaker"), self._name, self._wait)
            self._make(call)

    def _delete_component(self, call: Call) -> None:
        """SageMaker rejects that while copies start or stop, as scaling may have them do."""
        reported = False

        def deleted() -> bool:
            nonlocal reported
            try:
                self._make(call)
            except session.Rejected as error:
                if "IN_PROGRESS" not in str(error):
                    raise
                if not reported:
                    say(f"{error}; waiting until SageMaker allows it")
                reported = True
                return False
            return True

        until(bool, deleted, self._wait)

    def so_far(self, makes: str = "created") -> str:
        """What the calls created and removed; an interrupted call may have, too."""
        made: dict[str, None] = {}  # in order
        removed: dict[str, None] = {}
        for call in self.done:
            if call.operation.startswith(UNDOES):
                if call.what in made:
                    del made[call.what]
                else:
                    removed[call.what] = None
            elif call.operation.startswith(MAKES):
                removed.pop(call.what, None)
                made[call.what] = None
        for call in self._begun:
            whats = removed if call.operation.startswith(UNDOES) else made
            if call.what not in whats:
                whats[f"perhaps {call.what}"] = None
        found = [
            f"{verb} so far: {', '.join(whats)}"
            for verb, whats in ((makes, made), ("removed", removed))
            if whats
        ]
        return "; ".join(found)


def check_all(clients: Clients, steps: Iterable[Step]) -> None:
    """Raises for a request that AWS would reject by its form, before anything is changed."""
    for step in steps:
        if isinstance(step, Call):
            request_check.check(clients(step.service), step.operation, step.request, step.what)


def _advice(call: Call, error: session.Rejected) -> str:
    if error.code == "ResourceLimitExceeded":
        return LIMIT
    if call.operation.endswith("_schedule") and "role" in str(error).lower():
        return ASSUMED
    return ""
