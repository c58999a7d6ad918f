"""A small multi-model server that keeps the contract, but for the one rule it is told to break.

A model is a folder with a file `answer`; the server answers with its text, after what it was sent.
Loads wait for `may_load`, invocations with the body `wait` for `may_answer`, so that tests need not
wait by the clock.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.serving import LONG

RULES = (
    "answers 200 to everything",
    "loads twice",
    "lists nothing",
    "describes nothing",
    "forgets nothing",
    "keeps what did not load",
    "is not healthy while it loads",
    "cuts requests off when it unloads",
    "stalls the others while it loads",
    "takes ASCII only",
    "answers errors in html",
)

SHORT = 0.3  # seconds that a broken rule gets to be noticed


class MultiModelServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, rule: str, slots: int) -> None:
        assert not rule or rule in RULES
        super().__init__(("127.0.0.1", 0), Handler)
        self.rule, self.slots = rule, slots
        self.models: dict[str, str] = {}  # answers by name
        self.urls: dict[str, str] = {}
        self.busy: dict[str, int] = {}
        self.loads: list[str] = []  # urls, as they were asked for
        self.changed = threading.Condition()
        self.may_load, self.may_answer = threading.Event(), threading.Event()
        self.may_load.set()
        self.may_answer.set()
        self.waiting = threading.Semaphore(0)  # one more for each that waits
        self.loading = 0
        self.unloading: set[str] = set()
        self.noticed = threading.Event()  # by a client: the rule is broken

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port

    def wait_for(self, event: threading.Event) -> None:
        if not event.is_set():
            self.waiting.release()
            assert event.wait(LONG)

    def load(self, name: str, url: str) -> tuple[int, object]:
        with self.changed:
            self.loads.append(url)
            if name in self.urls and self.rule != "loads twice":
                return 409, {"error": f"{name} is loaded"}
            if len(self.models) >= self.slots:
                return 507, {"error": "no memory is left"}
            self.urls[name] = url
            self.loading += 1
        try:
            self.wait_for(self.may_load)
            if self.rule.endswith("while it loads"):
                self.noticed.clear()
                self.noticed.wait(SHORT)
            answer = (Path(url) / "answer").read_text()
        except OSError as error:
            with self.changed:
                if self.rule != "keeps what did not load":
                    del self.urls[name]
            return 400, {"error": f"{name}: {error.strerror}"}
        finally:
            self.loading -= 1
        with self.changed:
            self.models[name] = answer
        return 200, {}

    def unload(self, name: str) -> tuple[int, object]:
        with self.changed:
            if self.urls.get(name) is None:
                return 404, {"error": f"{name} is not loaded"}
            if self.rule != "forgets nothing":
                del self.urls[name]
            if self.rule == "cuts requests off when it unloads":
                self.unloading.add(name)
                self.changed.wait_for(lambda: self.busy.get(name), SHORT)
            else:
                assert self.changed.wait_for(lambda: not self.busy.get(name), LONG)
            self.models.pop(name, None)
            self.unloading.discard(name)
            self.changed.notify_all()
        return 200, {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: MultiModelServer

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.rule == "answers 200 to everything":
            return self.answer(200, {})
        return self.answer(*self.respond(body))

    do_GET = do_POST = do_DELETE = handle_one  # noqa: N815

    def respond(self, body: bytes) -> tuple[int, object]:
        server, parts = self.server, self.path.partition("?")[0].split("/")[1:]
        match self.command, parts:
            case "GET", ["ping"]:
                if server.rule == "is not healthy while it loads" and server.loading:
                    server.noticed.set()
                    return 503, {"error": "it loads"}
                return 200, None
            case "POST", ["models"]:
                try:
                    asked = json.loads(body)
                    return server.load(asked["model_name"], asked["url"])
                except (ValueError, KeyError):
                    return 400, {"error": "name model_name and url"}
            case "GET", ["models"]:
                return 200, self.listed()
            case "GET", ["models", name]:
                if name not in server.urls:
                    return 404, {"error": f"{name} is not loaded"}
                nothing = server.rule == "describes nothing"
                return 200, {} if nothing else {"modelName": name, "modelUrl": server.urls[name]}
            case "DELETE", ["models", name]:
                return server.unload(name)
            case "POST", ["models", name, "invoke"]:
                return self.invoked(name, body)
        return 404, {"error": "no such route"}

    def listed(self) -> dict[str, Any]:
        """A page for each model, as the contract allows."""
        if self.server.rule == "lists nothing":
            return {"models": []}
        rows = [{"modelName": n, "modelUrl": u} for n, u in sorted(self.server.urls.items())]
        at = int(self.path.partition("next_page_token=")[2] or 0)
        more = {"nextPageToken": str(at + 1)} if at + 1 < len(rows) else {}
        return {"models": rows[at : at + 1], **more}

    def invoked(self, name: str, body: bytes) -> tuple[int, object]:
        server, target = self.server, self.headers.get("X-Amzn-SageMaker-Target-Model", "")
        if server.rule == "takes ASCII only" and not target.isascii():
            return 400, {"error": "what a name"}
        if server.rule == "stalls the others while it loads" and server.loading:
            server.noticed.set()
            return 503, {"error": "it loads"}
        with server.changed:
            if name not in server.models:
                return 404, {"error": f"{name} is not loaded"}
            server.busy[name] = server.busy.get(name, 0) + 1
        try:
            if body == b"wait":
                server.wait_for(server.may_answer)
            if body == b"too much":
                return (507 if len(server.models) > 1 else 200), {"error": "no memory is left"}
            if body == b"fail":
                return 418, {"error": "a teapot"}
            with server.changed:
                server.changed.notify_all()
                server.changed.wait_for(lambda: name not in server.unloading)
                if name not in server.models:
                    return 500, {"error": "it is gone"}
            answer = {"answer": server.models[name], "sent": body.decode(), "target": target}
            return 200, answer | {"others": sorted(self.headers)}
        finally:
            with server.changed:
                server.busy[name] -= 1
                server.changed.notify_all()

    def answer(self, status: int, document: object) -> None:
        content = b"" if document is None else json.dumps(document).encode()
        kind = "application/json"
        if status >= 400 and self.server.rule == "answers errors in html":
            content, kind = b"<html>", "text/html"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Not-For-Clients", "yes")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def multi_model_server(rule: str = "", slots: int = 1000) -> Iterator[MultiModelServer]:
    with MultiModelServer(rule, slots) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.may_load.set()
            server.may_answer.set()
            server.shutdown()
            thread.join()
