"""A training job inside its container: runs every stage, from the channels to the model.

Each stage is a program of its own. A finished stage is not run again, so an interrupted job resumes
from its checkpoints.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_type_hints

from petbox import outputs
from petbox.aws import s3
from petbox.aws.names import is_s3
from petbox.cli import options
from petbox.cli.program import say
from petbox.data import records
from petbox.errors import DataError, PetboxError
from petbox.sagemaker.training_container import channels as channel_files
from petbox.sagemaker.training_container import contract, stage
from petbox.sagemaker.training_container import hosts as job_hosts
from petbox.sagemaker.training_container.contract import JobPaths
from petbox.sagemaker.training_container.hosts import Hosts
from petbox.training import runs
from petbox.training.options import TrainOptions

ROOT = "PETBOX_ML"  # the variable that moves /opt/ml
NOTE = "job.json"  # beside the checkpoints: the job's options
VERSION = "1"  # of the model, in TensorFlow Serving
OWN = ("out", "records", "json")  # options of training that the contract sets, not the user
CHANGEABLE = ("min_score", "output", "report_every")  # options that may change when a job resumes


@dataclass(frozen=True)
class JobOptions:
    """The options in addition to those of training."""

    training: Annotated[str | None, "photos or records, instead of the channel", "DIR|S3"] = None
    output: Annotated[
        str | None, "send model, metrics and checkpoints there, and resume from them", "S3"
    ] = None
    boxes: Annotated[Literal["face", "body"], "of photos: as in petbox records"] = "face"
    classes: Annotated[Literal["breed", "species"], "of photos: as in petbox records"] = "breed"
    validation_share: Annotated[float | None, "of photos: as in petbox records", "S"] = None
    test_share: Annotated[float | None, "of photos: as in petbox records", "S"] = None
    drop_bad_boxes: Annotated[bool, "of photos: as in petbox records"] = False
    leave_out_broken: Annotated[bool, "of photos: as in petbox records"] = False
    min_score: Annotated[float, "of the model: as in petbox export", "S"] = 0.05


def _without(config: type[Any], names: Sequence[str]) -> type[Any]:
    hints = get_type_hints(config, include_extras=True)
    kept = [field for field in dataclasses.fields(config) if field.name not in names]
    members = [(f.name, hints[f.name], dataclasses.field(default=f.default)) for f in kept]
    return dataclasses.make_dataclass(config.__name__, members, frozen=True)


Training = _without(TrainOptions, OWN)
PHOTOS = (
    "boxes",
    "classes",
    "validation_share",
    "test_share",
    "drop_bad_boxes",
    "leave_out_broken",
)  # for train/make_records.py


@dataclass(frozen=True)
class Job:
    paths: JobPaths
    stages: Path  # the folder of the programs
    own: JobOptions
    trainer: Any  # a Training
    hosts: Hosts

    @property
    def run(self) -> Path:
        return self.paths.checkpoints / "run"

    def stage(self, program: str, *arguments: object, **environment: str) -> None:
        scratch().mkdir(parents=True, exist_ok=True)
        given = [str(argument) for argument in arguments]
        environment = {
            "XDG_CACHE_HOME": str(scratch() / "cache"),
            **environment,
        }  # it can write there
        stage.run(self.stages / program, given, scratch(), environment)


def main(argv: Sequence[str], *, stages: Path, about: str = "") -> None:
    """Does the job under /opt/ml; writes the reason of a failure there for SageMaker."""
    paths = JobPaths(Path(os.environ.get(ROOT, "/opt/ml")))
    try:
        job = parse(paths, argv, stages, about)
        work(job)
    except Exception as error:
        kind = "" if isinstance(error, PetboxError) else f"{type(error).__name__}: "
        paths.fail(f"{kind}{error}")
        raise


def work(job: Job) -> None:
    target = s3.folder_at(job.own.output) if job.own.output else None
    if target and len(job.hosts.names) > 1:
        raise DataError(
            f"output {job.own.output}: is for one host; with several, leave it out, and SageMaker "
            "uploads the results"
        )
    if job.hosts.leads:
        outputs.reject_existing(job.paths.model / VERSION)
    channels = contract.channels(job.paths)
    source = training_folder(job, channels)
    held_out = (contract.channel(channels, (name,)) for name in ("validation", "test"))
    photos = channel_files.photos(source, *held_out)
    weights = initial_weights(job, channels)
    checkpoints = job.paths.checkpoints
    if target and not any(checkpoints.glob("*")):
        s3.fetch(target / "checkpoints", checkpoints)
    same_job(job)
    folder = made_records(job, source, photos)
    checkpoints.mkdir(parents=True, exist_ok=True)
    with s3.mirrored(checkpoints, target / "checkpoints") if target else nullcontext():
        train(job, folder, weights)
    if job.hosts.leads:
        finish(job, folder)
        if target:
            s3.send(job.paths.results, target / "output")
            s3.send(job.paths.model, target / "model")
        print(job.paths.model / VERSION)


# Options


class Parser(argparse.ArgumentParser):
    """Reports errors as a job's failure, because SageMaker shows no usage text."""

    def error(self, message: str) -> NoReturn:
        raise DataError(message)


def parse(paths: JobPaths, argv: Sequence[str], stages: Path, about: str) -> Job:
    parser = Parser(
        "train", description=about, formatter_class=options.HelpFormatter, allow_abbrev=False
    )
    for config in (JobOptions, Training):
        options.add_arguments(parser, config)
    stated = paths.config("hyperparameters") or {}
    hyperparameters = contract.arguments(stated, JobOptions, Training)
    flags = argv[1:] if argv[:1] == ["train"] else argv  # SageMaker starts every image with it
    given = parser.parse_args([*hyperparameters, *flags])
    hosts = job_hosts.read(paths.config("resourceconfig"))
    own, trainer = options.filled(JobOptions, given), options.filled(Training, given)
    return Job(paths, stages, own, trainer, hosts)


def training_folder(job: Job, channels: dict[str, Path]) -> Path:
    source = job.own.training
    if source is None:
        folder = contract.channel(channels, ("training", "train"))
        if folder is None:
            raise DataError(
                f"{job.paths.data}: no channel `training`; found: "
                f"{', '.join(channels) or 'nothing'}; name one so, or mount a folder there"
            )
        return folder
    if not is_s3(source):
        return Path(source).absolute()
    return _fetched(source, "training", "name a prefix with photos or records")


def initial_weights(job: Job, channels: dict[str, Path]) -> str | None:
    """The initial weights: those of --init, or the channel's."""
    source: str | None = job.trainer.init
    folder = contract.channel(channels, ("init", "model"))
    if source is None:
        return str(channel_files.weights(folder)) if folder else None
    if folder:
        raise DataError(
            f"init {source}: there is a channel {folder.name} as well; give one of them"
        )
    if not is_s3(source):
        return source
    folder = _fetched(source, "init", "name weights, or a prefix with a checkpoint")
    return str(channel_files.weights(folder))


def _fetched(address: str, name: str, hint: str) -> Path:
    folder = scratch() / name
    if not s3.fetch(s3.folder_at(address), folder):
        raise DataError(f"{address}: no objects; {hint}")
    return folder


# The stages


def same_job(job: Job) -> None:
    """Rejects the checkpoints of a job with other options."""
    note = job.paths.checkpoints / NOTE
    if not note.is_file():
        return
    saved, given = json.loads(note.read_text(encoding="utf-8")), noted(job)
    for name in given.keys() & saved.keys():
        if name == "preset" and given[name] == str(None):
            continue  # it is chosen for the data again; older jobs noted a default
        if name == "steps" and has_more_steps(job):
            continue
        if given[name] != saved[name]:
            raise DataError(
                f"{job.paths.checkpoints}: holds a job with {name.rstrip('_')} {saved[name]}, "
                f"not {given[name]}; set the same, or keep the new job's checkpoints elsewhere"
            )


def has_more_steps(job: Job) -> bool:
    """Whether the job has a number of steps that its checkpoints have not reached."""
    trained = max(map(runs.steps, (job.run, runs.unfinished(job.run))))
    return (job.trainer.steps or 0) > trained


def noted(job: Job) -> dict[str, str]:
    stated = {**asdict(job.own), **asdict(job.trainer)}
    return {name: str(value) for name, value in stated.items() if name not in CHANGEABLE}


def made_records(job: Job, source: Path, photos: list[str]) -> Path:
    """The folder of records: the given one, or one made of photos."""
    flags = options.words(job.own, PHOTOS)
    if not photos:
        if flags:
            name = flags[0].removeprefix("--").partition("=")[0]
            raise DataError(f"{name}: {source} holds records already; leave it out")
        records.read_info(source)
        return source
    folder = scratch() / "records"
    if not folder.is_dir():  # or this container was stopped and started again
        job.stage("train/make_records.py", *photos, *flags, "--out", folder)
    return folder


def train(job: Job, folder: Path, weights: str | None) -> None:
    finished = (job.run / "checkpoint").is_file()
    if finished and not has_more_steps(job):
        say("training is finished already; continuing with the next stage")
        return
    if job.hosts.leads:
        if not finished:
            outputs.remove(job.run)  # without its list, which is sent last, it is incomplete
        with outputs.product(job.paths.checkpoints / NOTE, replace=True) as partial:
            partial.write_text(json.dumps(noted(job), indent=1) + "\n", encoding="utf-8")
    job.hosts.wait()
    chosen = dataclasses.replace(job.trainer, init=weights, pipeline_config=configuration(job))
    flags = options.words(chosen, [field.name for field in dataclasses.fields(chosen)])
    job.stage(
        "train/train.py",
        *("--records", folder, "--out", job.run, *flags),
        **job.hosts.environment(),
    )


def configuration(job: Job) -> Path | None:
    """The given pipeline.config: a path, or CHANNEL/FILE."""
    named: Path | None = job.trainer.pipeline_config
    if named is None:
        return None
    inside = job.paths.data / named
    return inside if inside.is_file() else named.absolute()


def finish(job: Job, folder: Path) -> None:
    if records.read_info(folder).pictures.get("test"):
        job.stage("train/evaluate.py", "--run", job.run, "--records", folder)
    else:
        say("no images were held out, so there are no metrics")
    job.paths.results.mkdir(parents=True, exist_ok=True)
    for pattern in (runs.evaluation(), "*.png"):
        for file in job.run.glob(pattern):
            shutil.copy(file, job.paths.results)
    job.stage(
        "export/exporter_savedmodel.py",
        *("--run", job.run, "--out", job.paths.model / VERSION),
        f"--min-score={job.own.min_score}",
    )


def scratch() -> Path:
    """The folder of intermediate files, which can be made again."""
    return Path(tempfile.gettempdir(), "petbox")
