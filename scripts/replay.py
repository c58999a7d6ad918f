"""Replays what TensorFlow Serving was recorded to answer against the embedded model server.

    python scripts/replay.py [--differences] [FILE …]

The recordings (`tfs-transcripts` beside the test data, see PETBOX_TEST_DATA) bring models, requests
and their own comparison. Prints the share of each file that is answered the same; exit 1 if one
is under 95 %. `docs/model_server.md` says which answers differ on purpose.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
TRANSCRIPTS = (
    Path(os.environ.get("PETBOX_TEST_DATA", CHECKOUT.parent / "shared")) / "tfs-transcripts"
)
FILES = ["predict", "b64echo", "scalars", "dtypes", "classify", "errors", "urls"]
LEAST = 0.95
START_SECONDS = 120.0

GOOGLES = "from_tfserving_testdata/saved_model_"
MODELS = {  # under the names that the recorded addresses have
    "half_plus_two": f"{GOOGLES}half_plus_two_cpu",
    "half_plus_two_tf2": f"{GOOGLES}half_plus_two_tf2_cpu",
    "half_plus_three": f"{GOOGLES}half_plus_three",
    "two_versions": f"{GOOGLES}half_plus_two_2_versions",
    **{name: name for name in ("adder", "b64echo", "dtypes", "scalars", "classify", "raiser")},
}
LABELS = {
    "two_versions": {"stable": 123, "canary": 124},
    "adder": {"stable": 1, "canary": 3, "gone": 99},  # 99 is not there
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("files", nargs="*", default=FILES, metavar="FILE")
    parser.add_argument("--differences", action="store_true", help="show each answer that differs")
    options = parser.parse_args()
    if not TRANSCRIPTS.is_dir():
        print(
            f"{TRANSCRIPTS}: not here; name the folder above in PETBOX_TEST_DATA", file=sys.stderr
        )
        return 1
    with serving() as port:
        shares = [share(*item, options.differences) for item in replayed(port, options.files)]
    return 0 if min(shares) >= LEAST else 1


@contextmanager
def serving() -> Iterator[int]:
    """The port of an embedded server of all recorded models."""
    with tempfile.TemporaryDirectory(prefix="petbox-replay-") as folder:
        config = Path(folder, "models.config")
        config.write_text(model_config())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [
            *(sys.executable, "-m", "petbox.serving.model_server", f"--rest_api_port={port}"),
            *(f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models"),
        ]
        # As the recorded server computed. TensorFlow decides it by the processor otherwise, and
        # without it some last digits, and some of its own words for what is wrong, are others.
        env = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1"}
        server = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            await_port(server, port)
            yield port
        finally:
            server.terminate()
            server.communicate()


def model_config() -> str:
    """The recordings' models in ModelServerConfig's text form, all versions of each."""
    entries = []
    for name, source in MODELS.items():
        labels = "".join(
            f'version_labels {{ key: "{label}" value: {version} }} '
            for label, version in LABELS.get(name, {}).items()
        )
        entries.append(
            f'config {{ name: "{name}" base_path: "{TRANSCRIPTS / "models" / source}" '
            f'model_platform: "tensorflow" model_version_policy {{ all {{ }} }} {labels}}}'
        )
    return "model_config_list {\n" + "\n".join(entries) + "\n}\n"


def await_port(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            sys.exit(f"the model server did not start: {server.communicate()[1].decode()}")
        time.sleep(0.05)


def replayed(port: int, files: list[str]) -> Iterator[tuple[str, str]]:
    """Each file's name and what its replay prints; side by side, since they mostly wait."""
    program = [sys.executable, TRANSCRIPTS / "replay.py", f"127.0.0.1:{port}"]
    running = {
        name: subprocess.Popen(
            [*program, TRANSCRIPTS / f"{name}.jsonl"], stdout=subprocess.PIPE, text=True
        )
        for name in files
    }
    for name, process in running.items():
        yield name, process.communicate()[0]


def share(name: str, printed: str, differences: bool) -> float:
    found = re.search(r"^same (\d+), different (\d+)$", printed, re.MULTILINE)
    if not found:
        sys.exit(f"{name}: the replay failed: {printed}")
    same, different = map(int, found.groups())
    print(f"{name:10} {100 * same / (same + different):6.1f} %  {same} of {same + different}")
    if differences and different:
        print(printed, file=sys.stderr)
    return same / (same + different)


if __name__ == "__main__":
    sys.exit(main())
