"""A browser at the HTTP API: the page deployed before it, and pages of other origins."""

from __future__ import annotations

import json
import mimetypes
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image
from support.api_gateway import ApiGateway, api_gateway
from support.aws import Aws, moto, settings
from support.browser import Chromium, Tab, chromium
from support.lambda_runtime import running
from support.peer import GOLDEN, Peer, Request, Response, named_detector, peer
from support.serving import CHECKOUT, LONG
from support.templates import Stack, of_kind

KEY = "k3y"
BUCKET = "uploads-of-pets"
DOMAIN = f"{BUCKET}.s3.us-east-1.amazonaws.com"
BOXES = "document.querySelectorAll('.box:not([hidden])').length"
ERROR = "document.querySelector('#error-message').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def origin() -> Iterator[Peer]:
    """A web page of somebody who calls the API."""
    html = Response(
        200, b"<!doctype html><link rel=icon href=data:,>", {"Content-Type": "text/html"}
    )
    with peer(lambda _: html) as page:
        yield page


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto() as aws:
        aws.client("s3").create_bucket(Bucket=BUCKET)
        yield aws


@pytest.fixture(scope="module")
def gateway(
    fronts: dict[str, Path], origin: Peer, aws: Aws, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiGateway]:
    """API Gateway before the function from its zip, which calls an endpoint."""
    folder = tmp_path_factory.mktemp("http_front")
    env = {"ENDPOINT_NAME": "pets", "CORS_ORIGINS": at(origin)}
    env |= {"UPLOADS_BUCKET": BUCKET, "AWS_ENDPOINT_URL_S3": aws.url}
    with (
        peer(named_detector) as endpoint,
        running(fronts, "http_front", folder, {**settings(endpoint.url), **env}) as call,
        api_gateway(call, KEY, CorsOrigins=at(origin), LargeImages="true") as gateway,
    ):
        yield gateway


def at(page: Peer) -> str:
    return f"http://localhost:{page.port}"


@contextmanager
def opened(browser: Chromium, url: str) -> Iterator[Tab]:
    tab = Tab(browser, url)
    try:
        tab.go()
        yield tab
    finally:
        tab.close()


# Pages of other origins


def called(tab: Tab, url: str, key: str = KEY, megabytes: float = 0) -> list[object]:
    """Status and body as the page's script reads them, or [0] if the browser withholds them."""
    image = json.dumps((GOLDEN / "picture.jpg").read_bytes().hex())
    found: list[object] = tab.run(f"""(async () => {{
        const bytes = Uint8Array.from({image}.match(/../g), (byte) => parseInt(byte, 16));
        const body = {megabytes} ? new Uint8Array({megabytes} * 2 ** 20) : bytes;
        const headers = {{'Content-Type': 'image/jpeg', 'X-Api-Key': {json.dumps(key)}}};
        try {{
            const response = await fetch({json.dumps(url)}, {{method: 'POST', headers, body}});
            return [response.status, await response.json()];
        }} catch (e) {{
            return [0];
        }}
    }})()""")
    return found


def test_a_page_of_an_allowed_origin_reads_every_response(
    browser: Chromium, gateway: ApiGateway, origin: Peer
) -> None:
    with opened(browser, at(origin)) as tab:
        status, found = called(tab, gateway.url)
        assert status == 200 and found["class"] == "Abyssinian"  # type: ignore[index]
        assert called(tab, gateway.url, key="other") == [403, {"error": "Forbidden"}]
        status, error = called(tab, gateway.url, megabytes=4.6)
        assert status == 413 and "6 MB" in error["error"]  # type: ignore[index]
        assert called(tab, gateway.url, megabytes=4.4)[0] == 400, "no image, but within the limit"
        gateway.throttled = True
        try:
            assert called(tab, gateway.url) == [429, {"error": "Too Many Requests"}]
        finally:
            gateway.throttled = False
        assert called(tab, f"{gateway.url}?draw=maybe")[0] == 400, "the function's own"


def test_a_page_of_another_origin_reads_no_detections(
    browser: Chromium, gateway: ApiGateway
) -> None:
    html = Response(200, b"<!doctype html>", {"Content-Type": "text/html"})
    with peer(lambda _: html) as page, opened(browser, at(page)) as tab:
        assert called(tab, gateway.url) == [0]


def test_without_origins_a_browser_reads_nothing(
    browser: Chromium, fronts: dict[str, Path], origin: Peer, tmp_path: Path
) -> None:
    env = {**settings("http://127.0.0.1:9"), "ENDPOINT_NAME": "pets"}
    with (
        running(fronts, "http_front", tmp_path, env) as call,
        api_gateway(call, KEY) as gateway,
        opened(browser, at(origin)) as tab,
    ):
        assert called(tab, gateway.url, key="other") == [0]


# The page before the API


@pytest.mark.parametrize(
    ("flag", "code", "said"),
    [("--help", 0, "usage: scripts/package_page.sh [FOLDER]"), ("-x", 2, "-x: unknown option;")],
)
def test_the_pages_script_takes_no_flag_for_a_folder(
    tmp_path: Path, flag: str, code: int, said: str
) -> None:
    script = [CHECKOUT / "scripts/package_page.sh", flag]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, list(tmp_path.iterdir())) == (code, [])
    assert said in done.stdout + done.stderr


def test_s3_gets_the_form_of_an_upload_at_its_root(browser: Chromium, origin: Peer) -> None:
    (function,) = of_kind("page", "AWS::CloudFront::Function").values()
    request = "handler({request: {uri: '/uploads', method: 'POST'}})"
    with opened(browser, at(origin)) as tab:
        changed = tab.run(f"(() => {{ {function['FunctionCode']}; return {request}; }})()")
    assert changed == {"uri": "/", "method": "POST"}


@pytest.mark.parametrize("uploads", [{}, {"UploadsDomain": DOMAIN}])
def test_the_page_takes_uploads_if_it_is_deployed_before_their_bucket(
    uploads: dict[str, str],
) -> None:
    stack = Stack("page", {"ApiUrl": "https://a.example/v1/detect", **uploads})
    assert not stack.dangling()
    assert ("UploadsAtRoot" in stack.resources()) == bool(uploads)
    (page,) = of_kind("page", "AWS::CloudFront::Distribution").values()
    config = stack.resolved(page["DistributionConfig"])
    origins = {one["Id"]: one["DomainName"] for one in config["Origins"] if "Id" in one}
    behaviors = [one for one in config["CacheBehaviors"] if "TargetOriginId" in one]
    assert all("POST" in one["AllowedMethods"] for one in behaviors)
    paths = {one["PathPattern"]: one["TargetOriginId"] for one in behaviors}
    to_uploads = {"/uploads": "uploads"} if uploads else {}
    assert paths == {"/v1/*": "api", **to_uploads}
    assert origins.keys() == {"files", "api", *to_uploads.values()}
    assert origins.get("uploads") in ({"Ref": "UploadsDomain"}, None)


@pytest.fixture(scope="module")
def page(gateway: ApiGateway, aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """What serverless/page.yaml deploys: the files with its headers, the API, and the uploads."""
    folder = tmp_path_factory.mktemp("page") / "out"
    script = CHECKOUT / "scripts/package_page.sh"
    subprocess.run([script, folder], check=True, capture_output=True, timeout=60)
    headers = page_headers()

    def respond(request: Request) -> Response:
        parts = urlsplit(request.path)
        if parts.path.startswith("/v1/"):
            sent = {k: v for k, v in request.headers.items() if k.lower() != "host"}
            api = urlsplit(gateway.url)._replace(path=parts.path, query=parts.query).geturl()
            done = requests.post(api, request.body, headers=sent, timeout=60)
            return Response(done.status_code, done.content, {"Content-Type": "application/json"})
        if parts.path == "/uploads":
            if b"refused" in request.body:
                return Response(400, b"<Error><Message>Too large</Message></Error>")
            sent = {"Host": DOMAIN, "Content-Type": request.headers["Content-Type"]}
            done = requests.post(aws.url, request.body, headers=sent, timeout=60)
            return Response(done.status_code, done.content, {"Content-Type": "application/xml"})
        file = folder / (parts.path.lstrip("/") or "index.html")
        if not file.is_file():
            return Response(403, b"<Error/>", {"Content-Type": "application/xml"})
        kind = mimetypes.guess_type(file.name)[0] or ""
        return Response(200, file.read_bytes(), {**headers, "Content-Type": kind})

    with peer(respond) as page:
        yield page


def page_headers() -> dict[str, str]:
    """Those that CloudFront adds to the files."""
    (policy,) = of_kind("page", "AWS::CloudFront::ResponseHeadersPolicy").values()
    config = policy["ResponseHeadersPolicyConfig"]
    security = config["SecurityHeadersConfig"]
    added = {one["Header"]: one["Value"] for one in config["CustomHeadersConfig"]["Items"]}
    return {
        **added,
        "Content-Security-Policy": security["ContentSecurityPolicy"]["ContentSecurityPolicy"],
        "Referrer-Policy": security["ReferrerPolicy"]["ReferrerPolicy"],
        "X-Content-Type-Options": "nosniff" if security["ContentTypeOptions"] else "",
    }


def test_cloudfront_sends_the_headers_of_the_page_in_the_container() -> None:
    config = (CHECKOUT / "container/nginx.conf").read_text()
    block = config[config.index("location ^~ /page/") :]
    block = block[: block.index("\n        }")]
    found = re.findall(r"add_header (\S+) (?:\"([^\"]+)\"|([^;]+));", block)
    assert {name: quoted or bare for name, quoted, bare in found} == page_headers()


def test_the_page_asks_the_api_with_the_key_that_is_typed(browser: Chromium, page: Peer) -> None:
    with opened(browser, at(page)) as tab:
        tab.choose("#files", GOLDEN / "picture.jpg")
        assert tab.until(f"{ERROR} === 'The server returned 403: Forbidden'")
        tab.run(f"document.getElementById('key').value = {json.dumps(KEY)}")
        tab.click("#retry")
        tab.until(f"{BOXES} === 2")  # of three, with a score of 50 % or more
        assert "Abyssinian" in tab.run("document.querySelector('#detections').textContent")
        tab.click("[for=format-curl]")
        shown = tab.run("document.querySelector('#code').textContent")
        assert f"{at(page)}/v1/detect" in shown and "X-Api-Key: $KEY" in shown and KEY not in shown
        assert tab.run("document.querySelector('[for=format-boto3]').hidden")
        expected = [one for one in tab.problems() if "403" not in one]
        assert expected == [], "the policy forbids nothing that the page does"
    asked = [urlsplit(request.path).path for request in page.requests]
    assert {"/v1/detect"} == {path for path in asked if not path.startswith("/page/")} - {"/"}
    assert "/page/label_map.pbtxt" not in asked and "/metadata" not in asked


def test_the_page_uploads_what_is_over_lambdas_limit(
    browser: Chromium, page: Peer, tmp_path: Path
) -> None:
    large, refused = tmp_path / "großes Foto.png", tmp_path / "refused.png"
    noise = random.Random(0).randbytes(1400 * 1200 * 3)  # 5 MB, which no format makes small
    Image.frombytes("RGB", (1400, 1200), noise).save(large, compress_level=0)
    refused.write_bytes(large.read_bytes() + b"refused")
    del page.requests[:]
    with opened(browser, at(page)) as tab:
        tab.run(f"document.getElementById('key').value = {json.dumps(KEY)}")
        tab.choose("#files", large)
        tab.until(f"{BOXES} === 2")
        tab.click("[for=format-curl]")
        shown = tab.run("document.querySelector('#code').textContent")
        assert f"petbox detect '{large.name}'" in shown and f"--url '{at(page)}/v1/detect'" in shown
        assert tab.problems() == [], "the policy forbids nothing that the page does"
        tab.choose("#files", refused)
        assert tab.until(f"{ERROR}.startsWith('The upload failed with 400: Too large.')")
    there = [request for request in page.requests if request.path.startswith(("/v1", "/uploads"))]
    form, image, detect = "/v1/detect?upload=1", "/uploads", "/v1/detect?min_score=0"
    assert [request.path for request in there] == [form, image, detect, form, image]
    assert "X-Api-Key" not in there[1].headers
