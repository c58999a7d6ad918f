"""`petbox tune IMAGE`: the image is measured, and its containers take what was written."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from support.docker_engine import Engine
from support.serving import STAND_IN, empty_model

from petbox.serving.tune import machine


def test_containers_take_what_was_measured_in_others(
    engine: Engine,
    image: str,
    run: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    model = empty_model(tmp_path / "a mödel" / "1")
    body = tmp_path / "body.json"
    body.write_text('{"instances": [1]}')
    program = tmp_path / "engine"
    program.write_text(STAND_IN.format(python="/usr/bin/env -S python3"))
    program.chmod(0o755)
    flags = ("--cpus=1", f"--volume={program}:/usr/bin/tensorflow_model_server:ro")

    words = ("-m", "petbox", "tune", image, f"--docker={shlex.join(flags)}", "--seconds=0.1")
    words += (f"--model={model.parent}", f"--request={body}", "--p99=60000", "--write", "--json")
    done = run(*words, env=engine.env)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"starting containers of {image} ...\n")
    result = json.loads(done.stdout)
    settings = [curve["setting"] for curve in result["curves"]]
    assert settings == ["1 thread an op", "1 thread an op, batches of 32"]
    assert not any(level["failed"] for curve in result["curves"] for level in curve["levels"])
    assert result["machine"].endswith(", 1 CPUs, 0 GPUs"), "the container's, not this machine's"
    assert machine.read(model / machine.FILE) == {result["machine"]: result["variables"]}
    assert engine("ps", "--all", "--quiet", "--filter", f"ancestor={image}").stdout == ""

    mounted = (*flags, f"--volume={model.parent}:/opt/ml/model:ro")
    checked = engine("run", "--rm", "--network=none", *mounted, image, "check").stderr
    taken = " ".join(f"{name}={value}" for name, value in result["variables"].items())
    assert f"serve: took {taken} from /opt/ml/model/1/{machine.FILE}, measured on" in checked
