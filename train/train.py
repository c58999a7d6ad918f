"""Trains a Faster R-CNN on records.

    python train/train.py --records data/toy-records --out runs/toy --preset toy

While it trains, the run lies in OUT.unfinished with its checkpoints and TensorBoard logs
(tensorboard --logdir runs); it becomes OUT when the last step is done. Interrupted, the same
command goes on from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from petbox import overrides, pipeline_config, products, program, runs
from petbox.errors import DataError, ModelError, ServiceError
from petbox.pipeline_config import Inputs, Mapped
from petbox.presets import PRESETS, peak_at, train_for
from petbox.progress import progress
from petbox.records import read_info, shards

PRECISIONS = {"float32": "float32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}


@dataclass(frozen=True)
class Options:
    out: Annotated[Path, "folder of the finished run"]
    records: Annotated[Path | None, "folder made by train/make_records.py"] = None
    preset: Annotated[str, "which detector to train"] = "toy"
    pipeline_config: Annotated[
        Path | None, "the Object Detection API's configuration, instead of a preset"
    ] = None
    set_: Annotated[tuple[str, ...], "other fields of the configuration", "FIELD=VALUE"] = ()
    init: Annotated[Path | None, "weights to begin with: MobileNetV2's of Keras (.h5)"] = None
    steps: Annotated[int | None, "updates to make (default: the preset's)"] = None
    batch_size: Annotated[int | None, "pictures an update (default: the preset's)"] = None
    learning_rate: Annotated[float | None, "its peak (default: the preset's)"] = None
    evaluate_every: Annotated[int | None, "steps between evaluations that keep the best"] = None
    checkpoint_every: Annotated[int, "steps between checkpoints"] = 200
    report_every: Annotated[int, "steps between reports of loss and speed"] = 20
    precision: Annotated[Literal["float32", "float16", "bfloat16"], "of the computations"] = (
        "float32"
    )
    xla: Annotated[bool, "compile the training step (for GPUs)"] = False
    seed: Annotated[int, "of the weights and the order of pictures"] = 1


def main(options: Options) -> None:
    products.refuse_existing(options.out)
    if options.preset not in PRESETS:
        raise DataError(f"--preset {options.preset}: there are {', '.join(sorted(PRESETS))}")
    for name in ("checkpoint_every", "report_every", "steps", "batch_size", "evaluate_every"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise DataError(f"--{name.replace('_', '-')} {value}: must be 1 or more")
    mapped = None
    if options.pipeline_config:
        mapped = pipeline_config.read(options.pipeline_config)
        program.say(pipeline_config.table(mapped))
    found = inputs(options.records, mapped)
    classes = [*found.names]
    if mapped:
        pipeline_config.check_classes(mapped, found.names)
        classes.append(mapped.classes)  # there may be more than the records have
    program.say("loading TensorFlow ...")
    from petbox import detector, hosts

    index, _ = hosts.worker()
    strategy = hosts.strategy()  # before anything else of TensorFlow runs
    config = detector.experiment(options.preset, mapped)
    detector.on_records(config, found.train, found.test, classes)
    adjust(config, options)
    # A worker's share of a batch is too small for averages of its own.
    config.task.model.norm_activation.use_sync_bn = strategy.num_replicas_in_sync > 1
    run = runs.unfinished(options.out)
    run.mkdir(parents=True, exist_ok=True)
    if index == 0:
        alone(run)
        begin(run, options)
        detector.save_config(config, run)
        shutil.copy(found.label_map, run / runs.LABEL_MAP)
        if options.pipeline_config:
            shutil.copy(options.pipeline_config, run / "pipeline.config")
    start = time.monotonic()
    train(config, run, options, strategy, index)
    minutes = (time.monotonic() - start) / 60
    if index == 0:
        run.rename(options.out)
        program.say(f"trained {config.trainer.train_steps} steps in {minutes:.1f} min")
        print(options.out)


def inputs(folder: Path | None, mapped: Mapped | None) -> Inputs:
    """What to train on: the folder that was given, or what a pipeline.config names."""
    if folder is None:
        if mapped is None:
            raise DataError("--records is missing: a folder made by train/make_records.py")
        return pipeline_config.inputs(mapped)
    names = read_info(folder).labels
    train, test = (shards(folder, split) for split in ("train", "test"))
    return Inputs(names, folder / runs.LABEL_MAP, (train,), (test,))


def alone(run: Path) -> None:
    """Refuses a run that another process is training; the lock goes with this one."""
    lock = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ModelError(f"{run}: is being trained by another process; wait for it") from error


def begin(run: Path, options: Options) -> None:
    """Makes the run's folder, or checks that the unfinished one was begun with these options."""
    records = options.records and options.records.resolve()
    chosen = asdict(replace(options, records=records))
    wanted = {
        name: str(value) for name, value in chosen.items() if name not in ("out", "report_every")
    }
    begun = run / "options.json"
    if begun.is_file():
        found = json.loads(begun.read_text())
        if different := [name for name in wanted if wanted[name] != found.get(name)]:
            name = different[0]
            flag = "--" + name.rstrip("_").replace("_", "-")
            raise ModelError(
                f"{run}: was begun with {flag} {found.get(name)}, not "
                f"{wanted[name]}; finish it with the same options or remove it"
            )
        program.say(f"going on with {run}")
    run.mkdir(parents=True, exist_ok=True)
    with products.product(begun, replace=True) as partial:
        partial.write_text(json.dumps(wanted, indent=1) + "\n")


def adjust(config: Any, options: Options) -> None:
    """What the options say otherwise than the preset."""
    trainer, data = config.trainer, config.task.train_data
    if options.steps:
        train_for(config, options.steps)
    if options.learning_rate:
        peak_at(config, options.learning_rate)
    data.global_batch_size = options.batch_size or data.global_batch_size
    data.seed = options.seed
    if options.init:  # or a pipeline.config may have named one
        config.task.init_checkpoint = str(options.init.resolve())
    config.runtime.mixed_precision_dtype = PRECISIONS[options.precision]
    config.runtime.enable_xla = options.xla
    loop = min(options.report_every, trainer.train_steps)
    trainer.steps_per_loop = trainer.summary_interval = loop
    trainer.checkpoint_interval = options.checkpoint_every
    trainer.max_to_keep = 2
    trainer.loss_upper_bound = float("inf")  # a loss that is not finite is told with its pictures
    if options.evaluate_every:
        trainer.validation_interval = options.evaluate_every
        trainer.validation_steps = -1  # all of them
        trainer.best_checkpoint_export_subdir = runs.BEST
        trainer.best_checkpoint_eval_metric = "AP50"
        config.task.allow_image_summary = True  # pictures with boxes, for TensorBoard
    overrides.apply(config, options.set_)


def train(config: Any, run: Path, options: Options, strategy: Any, index: int) -> None:
    """Runs the Model Garden's own training loop, with our progress before it."""
    from petbox import detector, hosts
    from petbox.garden import summary_manager, tf
    from petbox.task import NOT_FINITE

    chief = index == 0
    tf.keras.utils.set_random_seed(options.seed)
    with contextlib.ExitStack() as stack:
        # Orbit and pycocotools report with print; stdout is for the product.
        log = stack.enter_context((run / f"train-{index}.log").open("a"))
        stack.enter_context(contextlib.redirect_stdout(log))
        report = Report()
        runner = hosts.Runner(
            distribution_strategy=strategy,
            task=detector.task(config, run),
            mode="train_and_eval" if options.evaluate_every else "train",
            params=config,
            model_dir=str(run),
            train_actions=[report],
            save_summary=chief,
            eval_summary_manager=summary_manager.maybe_build_eval_summary_manager(config, str(run)),
        )
        step = runner.trainer.global_step
        program.say("tracing the training step (the first report takes a while) ...")
        bar = stack.enter_context(progress("train", config.trainer.train_steps, int(step.numpy())))
        report.begin(step, bar)
        try:
            runner.run()
        except tf.errors.InvalidArgumentError as error:
            if (said := error.message.find(f"[{NOT_FINITE}]")) < 0:
                raise
            what, loss, _, at, _, *names = re.findall(r"\[(.*?)\]", error.message[said:])
            raise ModelError(
                f"{what} ({loss}) at step {at} with the pictures {', '.join(names)}; "
                f"look at them, or remove {run} and train with a smaller --learning-rate"
            ) from error
        except tf.errors.DataLossError as error:
            raise DataError(
                f"{options.records}: a shard is damaged; make the records again"
            ) from error
        except tf.errors.UnavailableError as error:
            raise ServiceError(
                f"another worker of {hosts.VARIABLE} is gone ({error.message.splitlines()[0]}); "
                "the same command on every host goes on from the last checkpoint"
            ) from error


class Report:
    """Called after each loop of steps: shows loss and speed."""

    def __init__(self) -> None:
        self.step: Any = None  # the trainer's own counter
        self.advance: Any = None
        self.at, self.since = 0, time.monotonic()

    def begin(self, step: Any, advance: Any) -> None:
        self.step, self.advance, self.at = step, advance, int(step.numpy())

    def __call__(self, output: dict[str, Any]) -> None:
        at, now, loss = int(self.step.numpy()), time.monotonic(), float(output["total_loss"])
        speed = (at - self.at) / (now - self.since)
        self.advance(at - self.at, f"loss {loss:.3f}, {speed:.1f} steps/s")
        self.at, self.since = at, now


if __name__ == "__main__":
    program.run(Options, main, about=__doc__)
