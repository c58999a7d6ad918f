#!/usr/bin/env python3
"""A small server that keeps SageMaker's contract, but for the one rule that it is told to break.

A front on SageMaker's port before an engine, a process of its own, that holds the model. BREAK
names the rule: a program that finds broken rules must find this one, and no other. Needs the
standard library only, and runs in an image as `serve` too. Its model's answer is each input's size.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BREAK = os.environ.get("BREAK", "")
RULES = (
    "answers 200 before the model is loaded",
    "answers 200 whatever the engine does",
    "answers the ping slowly",
    "answers the ping never",
    "has no ping",
    "is never ready",
    "pings by the worker that works",
    "chokes on attributes",
    "answers errors in html",
    "answers nothing to the model's request",
    "listens on another port",
    "listens on loopback",
    "ignores the port it is told",
    "ignores term",
    "drops requests at term",
    "wants a network",
    "writes to the model's folder",
    "wants root",
    "wants no argument",
    "wants a numbered folder",
    "leaves at once",
    "goes on without its engine",
    "knows no HEAD",
    "wants a content type",
    "knows one name of JSON Lines",
    "takes every string for an image",
    "has no metrics",
    "counts in JSON",
    "serves no metrics when it is busy",
    "lets newcomers in first",
    "rejects who would queue",
    "computes for clients that left",
    "loses the slots of clients that left",
    "cuts long calls off",
    "closes the port at term",
    "pings well while it stops",
)
LINGER = 2  # seconds after TERM and after each request that follows
SLOTS = 4
LIMIT = float(os.environ.get("LIMIT", "60"))  # seconds at the engine
METRICS = b"""\
# HELP requests_total Requests, since the start.
# TYPE requests_total counter
requests_total{status="200"} 12
"""
LOADING = float(os.environ.get("LOADING", "0.3"))
MODEL = Path("/opt/ml/model")
working = threading.Lock()
slots = threading.Semaphore(SLOTS)
loaded = threading.Event()
stopping = threading.Event()
arrived = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    timeout = 3  # of a silent client, so that the end need not wait for it

    def answer(self, status: int, body: object = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        kind = "application/json"
        if status >= 400 and BREAK == "answers errors in html":
            content, kind = b"<html><body>nginx/1.18.0</body></html>", "text/html"
        self.write(status, content, kind)

    def write(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def version_string(self) -> str:
        return "test"

    def log_message(self, *_: object) -> None:
        pass


class Engine(Handler):
    def do_GET(self) -> None:
        self.answer(200)

    def do_POST(self) -> None:
        try:
            inputs = json.loads(self.read())["instances"]
        except (ValueError, KeyError, TypeError):
            return self.answer(400, {"error": "the request has no instances"})
        time.sleep(0.04 * len(inputs))  # what a fast model takes
        return self.answer(200, {"predictions": [len(json.dumps(one)) for one in inputs]})


class Front(Handler):
    port = 0  # the engine's

    def do_HEAD(self) -> None:
        if BREAK == "knows no HEAD":
            return self.answer(405)
        return self.do_GET()

    def do_GET(self) -> None:
        if self.path == "/metrics" and BREAK == "counts in JSON":
            return self.answer(200, {"requests": 12})
        if self.path == "/metrics" and BREAK == "serves no metrics when it is busy":
            if not slots.acquire(blocking=False):
                return self.answer(503, {"error": "busy"})
            slots.release()
        if self.path == "/metrics" and BREAK != "has no metrics":
            return self.write(200, METRICS, "text/plain; version=0.0.4")
        if self.path != "/ping" or BREAK == "has no ping":
            return self.answer(404, {"error": "there are GET /ping and POST /invocations"})
        if BREAK == "answers 200 whatever the engine does":
            return self.answer(200)
        if BREAK == "is never ready":
            return self.answer(503, {"error": "the weights are still on their way"})
        if stopping.is_set() and BREAK != "pings well while it stops":
            return self.answer(503, {"error": "it stops"})
        if BREAK == "answers the ping slowly":
            time.sleep(2.5)
        if BREAK == "answers the ping never":
            time.sleep(60)
        if BREAK == "pings by the worker that works":
            with working:
                time.sleep(0.5)
        status, _ = self.engine("GET", b"", 1)
        if BREAK == "answers 200 before the model is loaded" and not loaded.is_set():
            if status == 200:
                loaded.set()
            return self.answer(200)
        return self.answer(status, None if status == 200 else {"error": "the model is not there"})

    def do_POST(self) -> None:
        arrived.set()
        body = self.read()
        if self.path != "/invocations":
            return self.answer(404, {"error": "there are GET /ping and POST /invocations"})
        if BREAK == "answers nothing to the model's request":
            return self.answer(500, {"error": "shapes differ"})
        if BREAK == "chokes on attributes" and "X-Amzn-SageMaker-Custom-Attributes" in self.headers:
            return self.answer(400, {"error": "unknown attribute"})
        if not body:
            return self.answer(400, {"error": "the request has no body"})
        if BREAK == "wants a content type" and "Content-Type" not in self.headers:
            return self.answer(415, {"error": "unknown content type"})
        if BREAK == "pings by the worker that works":
            with working:
                time.sleep(0.8)
        kind = self.headers.get("Content-Type", "").rpartition("/")[2]
        if kind == "jsonlines" or (kind == "jsons" and BREAK != "knows one name of JSON Lines"):
            return self.lines(body)
        return self.predict(body)

    def predict(self, body: bytes) -> None:
        if BREAK == "lets newcomers in first":
            while not slots.acquire(blocking=False):
                time.sleep(1)
        elif not slots.acquire(timeout=0 if BREAK == "rejects who would queue" else 10):
            return self.answer(503, {"error": "no slot"})
        left = select.select([self.connection], [], [], 0)[0]  # who waits sends nothing more
        if left and BREAK == "loses the slots of clients that left":
            return None
        try:
            if left and BREAK != "computes for clients that left":
                return None
            status, content = self.engine("POST", body, LIMIT)
        finally:
            slots.release()
        if status == 504 and BREAK == "cuts long calls off":
            self.close_connection = True
            return None
        return self.answer(status, json.loads(content) if content else {"error": "no engine"})

    def lines(self, body: bytes) -> None:
        answers = []
        for record in map(json.loads, body.splitlines()):
            if BREAK == "takes every string for an image" and isinstance(record, str):
                record = {"b64": record}
            request = json.dumps({"instances": [record]}).encode()
            answers.append(self.engine("POST", request, 60)[1])
        self.write(200, b"\n".join(answers), "application/jsonlines")

    def engine(self, method: str, body: bytes, seconds: float) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, "/", body)
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError:
            return 504 if method == "POST" else 503, b""
        except (OSError, http.client.HTTPException):
            return 502 if method == "POST" else 503, b""
        finally:
            connection.close()


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for requests in flight
    request_queue_size = 512


def run_engine(port: int) -> None:
    time.sleep(LOADING)
    Server(("127.0.0.1", port), Engine).serve_forever()


def refuse() -> None:
    """What stops a start."""
    if BREAK == "wants no argument" and len(sys.argv) > 1:
        sys.exit(f"unexpected: {sys.argv[1:]}")
    if BREAK == "leaves at once":
        sys.exit("the configuration is not to my liking")
    if BREAK == "wants root" and os.getuid() != 0:
        Path("/etc/serve.conf").touch()
    if BREAK == "wants a network":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way_out:
            way_out.connect(("192.0.2.1", 443))  # sends nothing, but there must be a route
    if BREAK == "writes to the model's folder":
        (MODEL / "cache").write_text("")
    if BREAK == "wants a numbered folder" and not list(MODEL.glob("[0-9]*/saved_model.pb")):
        print("No versions of servable model found under base path /opt/ml/model", flush=True)
        time.sleep(600)


def main() -> None:
    if sys.argv[1:2] == ["engine"]:
        return run_engine(int(sys.argv[2]))
    refuse()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        Front.port = probe.getsockname()[1]
    engine = subprocess.Popen([sys.executable, "-IS", __file__, "engine", str(Front.port)])
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    if BREAK == "ignores the port it is told":
        port = 8080
    if BREAK == "listens on another port":
        port = 9000
    host = "127.0.0.1" if BREAK == "listens on loopback" else "0.0.0.0"
    server = Server((host, port), Front)

    def stop(number: int, _: object) -> None:
        if BREAK == "drops requests at term":
            os._exit(0)
        at_once = number == signal.SIGINT or BREAK == "closes the port at term"
        threading.Thread(target=server.shutdown if at_once else linger).start()

    def linger() -> None:
        stopping.set()
        arrived.set()
        while arrived.is_set():
            arrived.clear()
            arrived.wait(LINGER)
        server.shutdown()

    def watch() -> None:
        engine.wait()
        if BREAK not in ("goes on without its engine", "answers 200 whatever the engine does"):
            print("the engine is gone", flush=True)
            os._exit(3)

    signal.signal(signal.SIGTERM, signal.SIG_IGN if BREAK == "ignores term" else stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=watch, daemon=True).start()
    print(f"listening on {port}", flush=True)
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    engine.kill()
    os._exit(0)


if __name__ == "__main__":
    main()
