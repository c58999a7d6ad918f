"""The overhead of the Lambda functions: time added to the endpoint's response, and a cold import.

    python bench/http_front.py [--calls 400] [--url http://localhost:8080]

The functions run from their real zips, in processes that can import nothing else but boto3.
Without --url the endpoint is a process that responds at once, so that only the function counts.
The CPU time is the calling process's own, which other programs on the machine affect little.
Called in turns, twenty calls each: through the function, by boto3 alone, and by plain HTTP.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import report

FRONTS = ("http_front", "s3_front")
BOTO3 = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py")
EVENT = report.CHECKOUT / "tests/events/api_gateway_v1.json"
ANSWER = report.CHECKOUT / "tests/golden/answer_detect.json"
STARTS = 9
KILOBYTES = 200
Spent = tuple[float, float]  # time, and CPU time

# Answers at once, with what a detector would say.
ENDPOINT = """
import http.server, pathlib, sys
answer = pathlib.Path(sys.argv[1]).read_bytes()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

# What the process that stands for Lambda does; it prints seconds, and those of its processor.
ASKING = """
import base64, http.client, json, os, sys, time
paths, (calls, url, picture, event) = sys.argv[5:], sys.argv[1:5]
sys.path[:0] = paths
out, sys.stdout = sys.stdout, open(os.devnull, "w")
import boto3, http_front
picture = open(picture, "rb").read()
head = b'--B\\r\\nContent-Disposition: form-data; name="img"; filename="a.jpg"\\r\\n\\r\\n'
form = head + picture + b"\\r\\n--B--\\r\\n"
event = json.load(open(event))
event["headers"]["Content-Type"] = "multipart/form-data; boundary=B"
event |= {"body": base64.b64encode(form).decode(), "isBase64Encoded": True}
class Context:
    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "bench"
text = base64.b64encode(picture).decode()
body = json.dumps({"signature_name": "detect", "instances": [{"b64": text}]}).encode()
asked = {"EndpointName": "pets", "ContentType": "application/json", "Body": body}
runtime = boto3.client("sagemaker-runtime")
connection = http.client.HTTPConnection(url.partition("://")[2])
def front():
    assert http_front.handler(event, Context)["statusCode"] == 200
def alone():
    runtime.invoke_endpoint(**asked)["Body"].read()
def bare():
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    assert connection.getresponse().read()
took = {"front": [], "alone": [], "bare": []}
for _ in range(int(calls) // 20):
    for act in (front, alone, bare):
        act()  # what the others left in the processor's caches is not its own
        for _ in range(20):
            begin, cpu = time.perf_counter(), time.process_time()
            act()
            spent = time.perf_counter() - begin, time.process_time() - cpu
            took[act.__name__].append(spent)
print(json.dumps(took), file=out)
"""

STARTING = """
import sys, time
begin, cpu = time.perf_counter(), time.process_time()
what, sys.path[:0] = sys.argv[1], sys.argv[2:]
if what in ("http_front", "s3_front"):
    __import__(what)
else:
    import boto3
    session = boto3.Session()
    for service in what.split(","):
        session.client(service)
print(time.perf_counter() - begin, time.process_time() - cpu)
"""
CLIENTS = {"http_front": "sagemaker-runtime", "s3_front": "s3,sqs,sagemaker-runtime"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--calls", type=int, default=400, help="of each kind")
    parser.add_argument("--url", default="", help="of an endpoint, as petbox serve gives one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="petbox-bench-front-") as name:
        folder = Path(name)
        trees = unpacked(folder)
        endpoint = subprocess.Popen(
            [sys.executable, "-c", ENDPOINT, str(ANSWER)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert endpoint.stdout
            url = options.url or f"http://127.0.0.1:{endpoint.stdout.readline().strip()}"
            took = asked(trees, folder, url, options.calls)
        finally:
            endpoint.kill()
            endpoint.wait()
        imports = {front: imported(trees, front) for front in FRONTS}
    front, alone, bare = took["front"], took["alone"], took["bare"]
    rows = [
        ["the endpoint by bare HTTP, p50, ms", *shown(bare), ""],
        ["the endpoint by boto3, p50, ms", *shown(alone), ""],
        ["through the front, p50, ms", *shown(front), ""],
        ["the front adds to bare HTTP, p50, ms", *within(minus(front, bare), 5)],
        ["the front adds to boto3, p50, ms", *shown(minus(front, alone)), ""],
    ]
    for name, (boto3, whole) in imports.items():
        rows.append([f"cold import of {name}, s", *shown(whole), ""])
        rows.append(["… beyond boto3 and its clients, s", *within(minus(whole, boto3), 0.35)])
    head = [f"image of {KILOBYTES} KB in a form", "time", "CPU time", "bar"]
    command = f"python bench/http_front.py --calls {options.calls}"
    print(report.write_table("http-front", command, head, rows))


def minus(one: Spent, other: Spent) -> Spent:
    return one[0] - other[0], one[1] - other[1]


def shown(spent: Spent) -> list[str]:
    return [f"{number:.2f}" for number in spent]


def within(spent: Spent, bar: float) -> list[str]:
    return [*shown(spent), report.at_most(spent[0], bar)]


def medians(spent: Iterable[Sequence[float]], factor: float = 1) -> Spent:
    time, cpu = (factor * statistics.median(column) for column in zip(*spent, strict=True))
    return time, cpu


def unpacked(folder: Path) -> dict[str, Path]:
    """The fronts' zips, and boto3 beside them as Lambda has it."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    script = report.CHECKOUT / "scripts/package_lambda.sh"
    command = [script, "--python", version, "--out", folder, *FRONTS]
    env = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
    trees = {}
    for front in FRONTS:
        trees[front] = folder / front
        with zipfile.ZipFile(folder / f"{front}.zip") as archive:
            archive.extractall(trees[front])
    trees["boto3"] = folder / "boto3"
    trees["boto3"].mkdir()
    for name in BOTO3:
        (trees["boto3"] / name).symlink_to(Path(sysconfig.get_path("purelib"), name))
    return trees


def settings(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "ENDPOINT_NAME": "pets",
        "DEAD_LETTER_URL": f"{url}/queue",
    }


def asked(trees: dict[str, Path], folder: Path, url: str, calls: int) -> dict[str, Spent]:
    """Milliseconds at the median, of each way to ask."""
    path = folder / "picture.jpg"
    path.write_bytes(picture())
    command = [sys.executable, "-I", "-S", "-c", ASKING, str(calls), url, str(path), str(EVENT)]
    command += [str(trees["http_front"]), str(trees["boto3"])]
    done = subprocess.run(command, env=settings(url), check=True, stdout=subprocess.PIPE)
    took = json.loads(done.stdout)
    return {way: medians(seconds, 1000) for way, seconds in took.items()}


def picture() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.effect_noise((640, 480), 60).save(file, "JPEG", quality=88)
    content = file.getvalue()
    assert abs(len(content) / 1000 - KILOBYTES) < 0.1 * KILOBYTES, len(content)
    return content


def imported(trees: dict[str, Path], front: str) -> tuple[Spent, Spent]:
    """Seconds of boto3 alone and of the front, each at its median, in turns."""
    took: dict[str, list[list[float]]] = {CLIENTS[front]: [], front: []}
    for _ in range(STARTS):
        for what, seconds in took.items():
            command = [sys.executable, "-I", "-S", "-c", STARTING, what]
            command += [str(trees[front]), str(trees["boto3"])]
            env = settings("http://127.0.0.1:9")
            done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE)
            seconds.append([float(one) for one in done.stdout.split()])
    boto3, whole = (medians(seconds) for seconds in took.values())
    return boto3, whole


if __name__ == "__main__":
    main()
