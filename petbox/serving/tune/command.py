"""Measures which settings of the model server suit a model and this machine.

It serves the model on a free port of this machine, sends requests on 1 to 32
connections, and compares one thread for each op with one per CPU, TensorFlow
Serving's batching where it applies, and numbers of slots. Then it prints the
variables to set. --write keeps them in the model, in assets.extra/tuning.ini:
container/serve takes them on a machine with the same processor and number of
CPUs, unless a variable is set. Ctrl-C ends it with what was measured so far.

examples:
  petbox tune model/pets --write
  petbox tune model/pets --p99 200 -o curve.png
  petbox tune my-image --model model/pets --write
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from petbox import outputs
from petbox.cli.options import POSITIONAL, Checked, Json, Value, between
from petbox.cli.program import say
from petbox.cli.signals import StopRequest
from petbox.errors import DataError, ServiceError
from petbox.serving import in_process
from petbox.serving.docker import ContainerOptions
from petbox.serving.tune import choice, machine, report, servers
from petbox.serving.tune.measure import Measured, measure
from petbox.serving.tune.servers import Subject

MILLISECONDS = Value("MS", between(0.1, 600_000))
SECONDS = Value("S", between(0.1, 3600))


@dataclass(frozen=True)
class TuneOptions(Checked):
    model_or_image: Annotated[
        str, "a SavedModel, a folder with its versions, or a Docker image", POSITIONAL
    ]
    p99: Annotated[float | None, "highest p99 latency in milliseconds", MILLISECONDS] = None
    seconds: Annotated[float, "how long to measure, besides starting servers", SECONDS] = 45
    image: Annotated[Path | None, "image to send (default for a detector: a sample)", "FILE"] = None
    request: Annotated[Path | None, "JSON body to send to another model", "FILE"] = None
    write: Annotated[bool, "keep the settings in the model, for machines like this one"] = False
    out: Annotated[Path | None, "PNG to draw the curves in", "PNG"] = None
    model: Annotated[Path | None, "model to mount at /opt/ml/model of the image", "DIR"] = None
    docker: Annotated[str, "more options of docker run, as in --docker='--gpus all'", "OPTIONS"] = (
        ""
    )
    json: Json = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image and self.request:
            raise ValueError("argument --request: not allowed with --image")
        self.container()

    def container(self) -> ContainerOptions:
        """What is mounted and added when an image is run; ValueError for an invalid option."""
        return ContainerOptions(model=self.model, docker=self.docker)


def tune(options: TuneOptions) -> None:
    for file in (options.image, options.request):
        if file and not file.is_file():
            raise DataError(f"{file}: no such file; check the path")
    if options.out:
        outputs.reject_existing(options.out)
        report.check_drawing()
    version = _version_to_write(options) if options.write else None
    stop = StopRequest()
    with _subject(options) as subject, stop.on_signals():
        measured = measure(
            subject, options.image, options.request, options.p99, options.seconds, stop
        )
    if not measured.curves:
        say("interrupted before anything was measured")
        sys.exit(stop.code)
    where, written = measured.plan.machine, None
    if version and measured.complete and measured.within_limit:
        written = machine.write(version, where, measured.chosen.variables)
    if options.out:
        title = f"{options.model_or_image} on {where}"
        report.plot(measured.curves, options.out, title, options.p99)
    if options.json:
        print(json.dumps(_plain(measured, where, written), ensure_ascii=False))
    else:
        _print(measured, where)
        if written:
            say(f"written to {written}; container/serve takes them on such a machine")
    if stop.code:
        say("interrupted: this is the best of what was measured so far; nothing was written")
    elif options.write and not written:
        say("nothing was written")
    sys.exit(stop.code or int(not measured.within_limit))


def _is_folder(options: TuneOptions) -> bool:
    name = options.model_or_image
    if name.startswith((".", "/")):
        return True
    return Path(name).exists() and not (options.model or options.docker)


def _version_to_write(options: TuneOptions) -> Path:
    name = options.model_or_image
    if not (_is_folder(options) or options.model):
        raise DataError(
            f"{name}: an image cannot be written to; pass its model's folder with --model, or "
            "leave out --write and set the variables on its containers"
        )
    version = in_process.find_model(options.model or Path(name))
    machine.check_writable(version)
    return version


@contextmanager
def _subject(options: TuneOptions) -> Iterator[Subject]:
    """The folder of this name, or else the image."""
    name = options.model_or_image
    if _is_folder(options):
        if options.model or options.docker:
            raise DataError(f"{name}: is not an image; leave out --model and --docker")
        yield servers.Folder(Path(name))
        return
    with options.container().spec(name) as spec:
        try:
            image = servers.Image(spec)
        except ServiceError as error:
            raise ServiceError(f"{name}: no such folder, and no image: {error}") from error
        yield image


def _plain(measured: Measured, where: str, written: Path | None) -> dict[str, Any]:
    return {
        "machine": where,
        "request": measured.example and measured.example.title,
        "p99_limit": measured.limit,
        "within_limit": measured.within_limit,
        "curves": report.plain(measured.curves),
        "chosen": measured.chosen.name,
        "variables": dict(measured.chosen.variables),
        "complete": measured.complete,
        "written": str(written) if written else None,
    }


def _print(measured: Measured, where: str) -> None:
    sent = measured.example.title if measured.example else ""
    say(f"{where}; {sent}; this program shares the CPUs\n")
    print(report.table(measured.curves))
    say(f"\nbest: {measured.chosen.name}{_gain(measured)}")
    if not measured.within_limit:
        say(f"no setting keeps p99 within {measured.limit:g} ms; a smaller model would be needed")
    for note in measured.notes:
        say(note)
    say("")
    for name, value in measured.chosen.variables.items():
        print(f"{name}={value}")


def _gain(measured: Measured) -> str:
    """What the best setting is worth, beside the default."""
    if measured.best is measured.curves[0]:
        return ", the default" * (measured.chosen is measured.best.setting)
    new, old = (
        choice.score(one.levels, measured.limit) for one in (measured.best, measured.curves[0])
    )
    if not old:
        return ""
    what = (
        "throughput within the limit"
        if measured.limit
        else "throughput, averaged over the connections"
    )
    return f": {new / old:.2f} x the {what}"
