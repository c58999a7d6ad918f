"""API Gateway before a function, as serverless/api.yaml describes it, on this machine.

It does what decides whether a browser can read a response: keys, limits and throttling before the
function, with the headers of the template's gateway responses, and the function's own headers.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from support.lambda_runtime import event
from support.templates import NO_VALUE, Stack, of_kind

STAGE = "/v1"
MOST = 6 * 1024 * 1024  # Lambda's limit of an event, which is lower than API Gateway's of a request
HEADER = "gatewayresponse.header."
TYPES = {403: "DEFAULT_4XX", 413: "REQUEST_TOO_LARGE", 429: "DEFAULT_4XX", 502: "DEFAULT_5XX"}


class ApiGateway:
    def __init__(
        self, invoke: Callable[[Mapping[str, Any]], Any], key: str, given: dict[str, str]
    ) -> None:
        (api,) = of_kind("api", "AWS::ApiGateway::RestApi").values()
        self._document = (
            Stack("front", {"Ways": "http", **given}).nested("Api").resolved(api["Body"])
        )
        self._invoke, self._key = invoke, key
        self._lock = threading.Lock()  # one container takes one event at a time
        self.throttled = False
        self.url = ""

    def respond(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(target)
        route = self._document["paths"].get(parts.path.removeprefix(STAGE), {}).get(method.lower())
        if route in (None, NO_VALUE) or not parts.path.startswith(f"{STAGE}/"):
            return self._gateway(403, "Missing Authentication Token")
        if {"api_key": []} in route.get("security", []) and _get(headers, "x-api-key") != self._key:
            return self._gateway(403, "Forbidden")
        if self.throttled and method != "OPTIONS":
            return self._gateway(429, "Too Many Requests")
        sent = self._event(method, parts.path, parts.query, headers, body)
        if len(json.dumps(sent)) > MOST:
            return self._gateway(413, "Request Too Long")
        with self._lock:
            answer = self._invoke(sent)
        if "statusCode" not in answer:
            return self._gateway(502, "Internal server error")
        content = answer["body"] or ""
        encoded = base64.b64decode(content) if answer["isBase64Encoded"] else content.encode()
        many = {name: ",".join(some) for name, some in answer["multiValueHeaders"].items()}
        return answer["statusCode"], {**answer.get("headers", {}), **many}, encoded

    def _gateway(self, status: int, message: str) -> tuple[int, dict[str, str], bytes]:
        response = self._document["x-amazon-apigateway-gateway-responses"][TYPES[status]]
        text = response["responseTemplates"]["application/json"]
        text = text.replace("$context.error.messageString", json.dumps(message))
        headers = {"Content-Type": "application/json"}
        for name, value in response.get("responseParameters", {}).items():
            if name.startswith(HEADER):
                headers[name.removeprefix(HEADER)] = value.strip("'")
        return status, headers, text.encode()

    def _event(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> dict[str, Any]:
        sent = event("api_gateway_v1")
        route, values = path.removeprefix(STAGE), dict(parse_qsl(query))
        sent |= {"path": route, "resource": route, "httpMethod": method, "headers": dict(headers)}
        sent["multiValueHeaders"] = {name: [value] for name, value in headers.items()}
        sent["queryStringParameters"] = values or None
        sent["multiValueQueryStringParameters"] = {k: [v] for k, v in values.items()} or None
        # All types are binary, so that a body comes in base64.
        sent |= {"body": base64.b64encode(body).decode() or None, "isBase64Encoded": bool(body)}
        return sent


def _get(headers: Mapping[str, str], wanted: str) -> str | None:
    return next((value for name, value in headers.items() if name.lower() == wanted), None)


@contextmanager
def api_gateway(
    invoke: Callable[[Mapping[str, Any]], Any], key: str, **given: str
) -> Iterator[ApiGateway]:
    """Listens on a free port, with these parameters of the template."""
    gateway = ApiGateway(invoke, key, given)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, content = gateway.respond(
                self.command, self.path, dict(self.headers), body
            )
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_OPTIONS = do_POST  # noqa: N815  # http.server's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    gateway.url = f"http://localhost:{server.server_port}{STAGE}/detect"
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
