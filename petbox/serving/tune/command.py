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
  petbox tune my-image --image photo.jpg
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from petbox import outputs
from petbox.cli.options import POSITIONAL, Checked, Json, Value, between
from petbox.cli.program import say
from petbox.cli.signals import StopRequest
from petbox.errors import DataError
from petbox.serving.tune import choice, machine, report, servers
from petbox.serving.tune.measure import Measured, measure

MILLISECONDS = Value("MS", between(0.1, 600_000))
SECONDS = Value("S", between(0.1, 3600))


@dataclass(frozen=True)
class TuneOptions(Checked):
    model: Annotated[str, "a SavedModel, a folder with its versions, or a Docker image", POSITIONAL]
    p99: Annotated[float | None, "highest p99 latency in milliseconds", MILLISECONDS] = None
    seconds: Annotated[float, "how long to measure, besides starting servers", SECONDS] = 45
    image: Annotated[Path | None, "image to send (default for a detector: a sample)", "FILE"] = None
    request: Annotated[Path | None, "JSON body to send to another model", "FILE"] = None
    write: Annotated[bool, "keep the settings in the model, for machines like this one"] = False
    out: Annotated[Path | None, "PNG to draw the curves in", "PNG"] = None
    json: Json = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image and self.request:
            raise ValueError("argument --request: not allowed with --image")


def tune(options: TuneOptions) -> None:
    for file in (options.image, options.request):
        if file and not file.is_file():
            raise DataError(f"{file}: no such file; check the path")
    if options.out:
        outputs.reject_existing(options.out)
    if options.write and not servers.is_folder(options.model):
        raise DataError(
            f"{options.model}: an image cannot be written to; leave out --write, and set the "
            "variables on its containers, or tune the model's folder before the image is built"
        )
    subject = servers.subject(options.model)
    stop = StopRequest()
    with stop.on_signals():
        measured = measure(
            subject, options.image, options.request, options.p99, options.seconds, stop
        )
    if not measured.curves:
        say("interrupted before anything was measured")
        sys.exit(stop.code)
    where = machine.describe(measured.plan.machine)
    written = None
    keep = options.write and measured.complete and measured.within_limit
    if keep and isinstance(subject, servers.Folder):
        written = machine.write(subject.version, where, measured.chosen.variables)
    if options.out:
        report.plot(measured.curves, options.out, f"{subject.title} on {where}", options.p99)
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
