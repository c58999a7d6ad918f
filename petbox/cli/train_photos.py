"""Trains a detector on a folder of photos: from their boxes to an exported model.

PHOTOS holds photos with boxes: in Pascal VOC's form, COCO's, YOLO's or
Oxford-IIIT Pet's, or TFRecord files, recognized by its files. The stages are
`petbox records`, `train`, `evaluate` and `export`; each command is printed as
it is started. Preset, batch size and steps are chosen for the data and the
machine unless you give them; photos need a choice of initial weights, --init.
Results go to data/NAME-records, runs/NAME and model/NAME. Run again, the same
command continues where it stopped; with more --steps the training goes on, and
a finished one becomes the next version of the model.

With --records and --out instead of PHOTOS, only the training stage is run: the
run is in OUT.unfinished with its checkpoints and TensorBoard logs
(tensorboard --logdir runs) and becomes OUT after the last step.

examples:
  petbox train photos/ --name pets --init imagenet
  petbox train photos/ --name pets --preset faster_rcnn_resnet50_pets \\
      --init coco --steps 20000
  petbox train --records data/toy-records --out runs/toy --preset toy
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

from petbox import outputs
from petbox.cli import child, options, program, signals
from petbox.cli.options import POSITIONAL
from petbox.cli.sizes import MIB
from petbox.data import command as records_command
from petbox.data import formats, labels, records, tfrecords
from petbox.data.annotations import Dataset
from petbox.errors import DataError
from petbox.training import defaults, memory, runs
from petbox.training.options import TrainOptions

# What is chosen by default: memory that an image of a batch takes, and passes over the images.
BATCHES = {
    "toy": (8, 60 * MIB),
    "faster_rcnn_mobilenet_v2_pets": (16, 250 * MIB),
    "faster_rcnn_resnet50_pets": (8, 1500 * MIB),
    "faster_rcnn_resnet50_fast_pets": (8, 1500 * MIB),
    "faster_rcnn_resnet50_light_pets": (8, 1500 * MIB),
    "faster_rcnn_resnet101_pets": (8, 2000 * MIB),
    "retinanet_mobilenet_v2_pets": (16, 250 * MIB),
    "retinanet_resnet50_pets": (8, 1500 * MIB),
    "toy_retinanet": (8, 60 * MIB),
}
IMAGES_A_CORE = 8
STEPS = "--steps="
NOT_REQUESTED = ("None", "False", "()")
EVALUATIONS = 5  # of a training, by default
PASSES, LEAST_STEPS, MOST_STEPS = 20, 500, 10_000
OF_RECORDS = (
    *("boxes", "classes", "label_map", "validation_share", "test_share", "backgrounds"),
    *("turned", "drop_bad_boxes", "leave_out_broken"),
)
OF_TRAINING = tuple(
    field.name
    for field in dataclasses.fields(TrainOptions)
    if field.name not in ("out", "records", "json")
)


@dataclass(frozen=True)
class Options(TrainOptions):
    out: Annotated[
        Path | None,
        "with PHOTOS: folder for data/, runs/ and model/ (default: here); with --records: the run",
    ] = None  # type: ignore[assignment]
    photos: Annotated[Path | None, "folder of photos with boxes", POSITIONAL] = None
    name: Annotated[str | None, "of the model (default: the folder's)"] = None
    boxes: Annotated[Literal["face", "body"], "PHOTOS of Oxford-IIIT Pet: which boxes"] = "face"
    classes: Annotated[Literal["breed", "species"], "PHOTOS of Oxford-IIIT Pet: which classes"] = (
        "breed"
    )
    label_map: Annotated[Path | None, "PHOTOS: class ids to use", "FILE"] = None
    validation_share: Annotated[
        float | None, "PHOTOS: share of the training photos that choose the checkpoint", "S"
    ] = None
    test_share: Annotated[float | None, "PHOTOS: hold out this share at random", "S"] = None
    backgrounds: Annotated[
        tuple[Path, ...], "PHOTOS: folder of images without objects, to train on as well", "DIR"
    ] = ()
    turned: Annotated[
        Literal["by-size", "follow", "ignore"], "PHOTOS: whether boxes follow EXIF orientation"
    ] = "by-size"
    drop_bad_boxes: Annotated[bool, "PHOTOS: leave out boxes that are empty or outside"] = False
    leave_out_broken: Annotated[bool, "PHOTOS: leave out images that cannot be decoded"] = False
    min_score: Annotated[float, "PHOTOS: the model's `detect` leaves out lower scores"] = 0.05


def main(given: Options) -> None:
    if given.photos and given.records:
        raise DataError("PHOTOS and --records given; give one of them")
    if given.photos:
        _chain(given)
        return
    for name in ("name", "min_score", *OF_RECORDS):
        if getattr(given, name) != getattr(Options, name):
            raise DataError(f"--{name.replace('_', '-')} goes with PHOTOS only; leave it out")
    if not given.records and not given.pipeline_config:
        raise DataError("no photos given; give a folder of PHOTOS, or --records and --out")
    if not given.out:
        raise DataError("--out is missing: the folder of the run")
    from petbox.training import command as training_command

    values = {field.name: getattr(given, field.name) for field in dataclasses.fields(TrainOptions)}
    training_command.main(TrainOptions(**values))


def _chain(given: Options) -> None:
    assert given.photos
    name, out = given.name or given.photos.resolve().name, given.out or Path()
    if Path(name).name != name:
        raise DataError(f"--name {name}: must be a name without slashes")
    plan = out / "runs" / f"{name}.plan.json"
    for command, makes in planned(given, name, out, plan):
        if _is_done(command, Path(makes)):
            program.say(f"{makes}: exists; continuing with what follows")
        else:
            _run(command)
    run, model = out / "runs" / name, out / "model" / name
    metrics = run / runs.evaluation()
    found = json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else None
    program.report(Path(makes), given.json, run=str(run), evaluation=found)
    program.say(f"serve it:  petbox serve {shlex.quote(str(model))}")


def _is_done(command: list[str], makes: Path) -> bool:
    steps = [int(word.removeprefix(STEPS)) for word in command if word.startswith(STEPS)]
    return makes.exists() and not (steps and runs.steps(makes) < steps[0])


def planned(given: Options, name: str, out: Path, plan: Path) -> list[tuple[list[str], str]]:
    """Each stage's command and the path it makes, as planned when this was first typed."""
    requested = {
        field.name: str(getattr(given, field.name))
        for field in dataclasses.fields(given)
        if field.name not in ("json", "report_every")
        and str(getattr(given, field.name)) not in NOT_REQUESTED
    }
    if plan.is_file():
        noted = json.loads(plan.read_text(encoding="utf-8"))
        run = out / "runs" / name
        trained = max(map(runs.steps, (run, runs.unfinished(run))))
        longer = given.steps and given.steps > trained
        for key in sorted(requested.keys() | noted["requested"].keys()):
            before, now = noted["requested"].get(key), requested.get(key)
            if before != now and not (longer and key == "steps"):
                raise DataError(
                    f"{plan}: {name} was started {_with(given, key, before)}, not "
                    f"{_with(given, key, now)}; repeat that, choose another --name, or remove this "
                    "file and what it made"
                )
        stages: list[tuple[list[str], str]] = noted["stages"]
        if longer and noted["requested"].get("steps") != str(given.steps):
            assert given.steps
            stages = [*_longer(stages, given.steps)]
            _note(plan, {"requested": requested, "stages": stages})
        return stages
    stages = list(_stages(given, name, out))
    _note(plan, {"requested": requested, "stages": stages})
    return stages


def _with(given: Options, key: str, value: str | None) -> str:
    """As it was typed."""
    flag = options.flag(given, key)
    if value is None:
        return f"without {flag}"
    return f"with {flag}" if value == str(True) else f"with {flag} {value}"


def _note(plan: Path, noted: dict[str, Any]) -> None:
    with outputs.product(plan, replace=True) as partial:
        partial.write_text(json.dumps(noted, indent=1) + "\n")


def _longer(stages: list[tuple[list[str], str]], steps: int) -> Iterator[tuple[list[str], str]]:
    """The stages of a training that goes on: what it makes becomes a new version of the model."""
    for words, makes in stages:
        model = Path(makes)
        if words[0] == "train":
            others = [word for word in words if not word.startswith(STEPS)]
            yield [*others, f"{STEPS}{steps}"], makes
        elif words[0] == "export" and model.exists():
            version = max(int(one.name) for one in model.parent.iterdir() if one.name.isdecimal())
            following = str(model.with_name(str(version + 1)))
            yield [following if word == makes else word for word in words], following
        else:
            yield words, makes


def _stages(given: Options, name: str, out: Path) -> Iterator[tuple[list[str], str]]:
    assert given.photos
    run, model = out / "runs" / name, out / "model" / name / "1"
    of_records = {key: getattr(given, key) for key in OF_RECORDS}
    found = formats.recognize(given.photos)
    folder = found.options.get("records")
    if folder:
        if given_of_records := options.words(given, OF_RECORDS):
            raise DataError(
                f"{folder}: holds records already; leave out {given_of_records[0]}, or give it to "
                "`petbox records`"
            )
        info = records.read_info(folder)
        images, drawn = info.pictures, defaults.are_drawn(info.labels.values())
    else:
        folder = out / "data" / f"{name}-records"
        of_photos = records_command.Options(out=folder, photos=given.photos, **of_records)
        images, drawn = _counted(records_command.recognized(of_photos))
        flags = options.words(of_photos, OF_RECORDS)
        yield ["records", str(given.photos), "--out", str(folder), *flags], str(folder)
    chosen, validated = _chosen(given, images["train"], drawn), images.get("validation", 0)
    if validated and "steps" in chosen and not given.evaluate_every:
        every = max(1, chosen["steps"] // EVALUATIONS)
        chosen["evaluate_every"] = every
        program.say(
            f"the best checkpoint counts, on {validated} validation images every {every} steps; "
            "another number with --evaluate-every"
        )
    training = dataclasses.replace(given, **chosen)
    folders = ["--records", str(folder), "--out", str(run)]
    yield ["train", *folders, *options.words(training, OF_TRAINING)], str(run)
    if images.get("test"):
        words = ["--run", str(run), "--records", str(folder)]
        yield ["evaluate", *words], str(run / runs.evaluation())
    export = ["--run", str(run), "--out", str(model)]
    yield ["export", *export, *options.words(given, ("min_score",))], str(model)


def _counted(of_photos: records_command.Options) -> tuple[dict[str, int], bool]:
    """The number of images in each split, and whether they are drawn."""
    if of_photos.tfrecords:
        names = labels.read(of_photos.label_map or tfrecords.label_map(of_photos.tfrecords))
        return tfrecords.counted(of_photos.tfrecords), defaults.are_drawn(names.values())
    dataset = records_command.read(of_photos)
    return {split: len(photos) for split, photos in dataset.photos.items()}, _is_drawn(dataset)


def _chosen(given: Options, images: int, drawn: bool) -> dict[str, Any]:
    """Preset, batch size and steps, each as given, or else chosen and printed."""
    if given.pipeline_config:
        return {}
    preset = given.preset or defaults.preset(drawn)
    defaults.check_initial_weights(given.init, preset)
    most, each = BATCHES.get(preset, (8, 2000 * MIB))
    cores, total = os.cpu_count() or 1, memory.total()
    batch = given.batch_size or max(1, min(most, images, total // 2 // each, IMAGES_A_CORE * cores))
    if not given.batch_size:
        gibibytes = total / 2**30
        program.say(
            f"batch size {batch}: for {cores} cores, {gibibytes:.0f} GiB of memory and {images} "
            "images; another with --batch-size"
        )
    steps = given.steps or min(max(PASSES * images // batch, LEAST_STEPS), MOST_STEPS)
    if not given.steps:
        program.say(
            f"steps {steps}: {steps * batch / images:.0f} passes over {images} images (from "
            f"{LEAST_STEPS} to {MOST_STEPS} steps); another number with --steps"
        )
    return {"preset": preset, "batch_size": batch, "steps": steps}


def _is_drawn(dataset: Dataset) -> bool:
    """Whether the images are those of `petbox toy`, or as small and of the same classes."""
    sides = [max(photo.width, photo.height) for photo in dataset.photos["train"]]
    return statistics.median(sides) <= 420 and defaults.are_drawn(dataset.labels.values())


def _run(command: list[str]) -> None:
    """Runs a stage as a program of its own, so that its memory is free after it."""
    program.say(f"$ petbox {shlex.join(command)}")
    received: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if process:
            process.send_signal(number)

    # From before it is started, for a signal that comes then must not be lost.
    with signals.signals_go_to(pass_on):
        process = subprocess.Popen(
            [sys.executable, "-m", "petbox", *command],
            stdout=sys.stderr,
            env={**os.environ, "PYTHONSAFEPATH": "1"},  # the user's files are no modules
            start_new_session=True,  # Ctrl-C reaches it only through us
            preexec_fn=child.die_with_parent,
        )
        if received:
            process.send_signal(received[0])
        code = process.wait()
    if received:  # also if the stage was finished by then
        sys.exit(128 + received[0])
    if code:
        sys.exit(code if code > 0 else 128 - code)
