"""Trains a detector on records.

While it trains, the run is in OUT.unfinished with its checkpoints and
TensorBoard logs (tensorboard --logdir runs); it becomes OUT after the last
step. If it is interrupted, the same command continues from the last checkpoint.

examples:
  petbox train --records data/toy-records --out runs/toy --preset toy
"""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from petbox import outputs
from petbox.cli import program
from petbox.cli.progress import progress
from petbox.errors import DataError, ModelError, PetboxError
from petbox.training import (
    defaults,
    fine_tuning,
    initial_weights,
    log_lines,
    memory,
    named_weights,
    overrides,
    record_inputs,
    resume,
    runs,
)
from petbox.training.failures import readable_errors
from petbox.training.options import TrainOptions as Options
from petbox.training.pipeline_config import mapping
from petbox.training.pipeline_config.mapping import Inputs, PipelineConfig
from petbox.training.presets import PRESETS, peak_at, train_for

BACKBONE, WITH_DECODER, FIT = PARTS = ("backbone", "backbone+decoder", fine_tuning.FIT)
TRAINABLE = "task.model.backbone.resnet.bn_trainable"


def main(options: Options) -> None:
    check(options)
    trained = resume.steps_of_finished(options)
    mapped = None
    if options.pipeline_config:
        mapped = mapping.read(options.pipeline_config)
        program.say(mapping.table(mapped))
    found = record_inputs.inputs(options.records, mapped)
    options = replace(options, preset=chosen_preset(options, found, mapped))
    classes = [*found.names]
    if mapped:
        mapping.check_classes(mapped, found.names)
        classes.append(mapped.classes)  # there may be more than the records have
    if options.evaluate_every and options.records:
        record_inputs.check_validation(options.records)
    run = runs.unfinished(options.out)
    weights = first_weights(options, mapped, options.out if trained else run)
    with memory.death_reported(f"pass a smaller --batch-size{_than(options)}"):
        _train(options, mapped, found, classes, weights, run, trained)


def _train(
    options: Options,
    mapped: PipelineConfig | None,
    found: Inputs,
    classes: list[int],
    weights: str | None,
    run: Path,
    trained: int,
) -> None:
    program.say_loading()
    from petbox.training import acceleration, anchors
    from petbox.training import config as training_config
    from petbox.training import trainer as training_trainer

    index, _ = training_trainer.worker()
    if trained and index == 0:  # the others wait for it in the next line
        resume.reopen(options, trained)
    with readable_errors(options):
        strategy = training_trainer.strategy()  # before anything else of TensorFlow runs
    if not options.records:
        record_inputs.check_records(found)
    assert options.preset
    config = training_config.experiment(options.preset, mapped)
    training_config.on_records(config, found.train, found.validation, classes)
    config.task.init_checkpoint = weights
    adjust(config, options, mapped)
    for line in anchors.fit(config, found.train, options.anchors == "auto"):
        program.say(line)
    if options.augment == "heavy":
        config.task.train_data.parser.max_num_instances *= 4  # of a mosaic
    overrides.apply(config, options.set_)  # it has the last word
    training_config.check(config)
    acceleration.check(options.precision)
    if remark := acceleration.remark(options.precision):
        program.say(remark)
    divide_batches(config, strategy.num_replicas_in_sync)
    # A worker's share of a batch is too small for averages of its own.
    config.task.model.norm_activation.use_sync_bn = strategy.num_replicas_in_sync > 1
    run.mkdir(parents=True, exist_ok=True)  # by whichever worker comes first
    with contextlib.ExitStack() as stack:
        if index == 0:
            busy = ModelError(f"{run}: is being trained by another process; wait for it")
            stack.enter_context(outputs.locked(run, busy))
            resume.begin(run, options)
            training_config.save_config(config, run)
            shutil.copy(found.label_map, run / runs.LABEL_MAP)
            if options.pipeline_config:
                shutil.copy(options.pipeline_config, run / runs.PIPELINE_CONFIG)
        stack.enter_context(readable_errors(options))
        start = time.monotonic()
        train(config, run, options, strategy, index)
        minutes = (time.monotonic() - start) / 60
    if index == 0:
        run.rename(options.out)
        steps = config.trainer.train_steps
        program.say(f"trained {steps} steps in {minutes:.1f} min")
        program.report(options.out, options.json, steps=steps, minutes=round(minutes, 1))


def _than(options: Options) -> str:
    return f" than {options.batch_size}" if options.batch_size else ""


def check(options: Options) -> None:
    if options.preset and options.preset not in PRESETS:
        raise DataError(
            f"--preset {options.preset}: unknown; choose one of {', '.join(sorted(PRESETS))}"
        )
    for name in ("checkpoint_every", "report_every", "steps", "batch_size", "evaluate_every"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise DataError(f"--{name.replace('_', '-')} {value}: must be 1 or more")
    if options.ema is not None and not 0 < options.ema < 1:
        raise DataError(f"--ema {options.ema:g}: must be between 0 and 1, such as 0.999")
    if options.ema and options.precision == "float16":
        raise DataError("--ema and --precision float16 do not go together; use bfloat16")
    if not 0 <= options.seed < 2**32:
        raise DataError(f"--seed {options.seed}: must be from 0 to {2**32 - 1}")
    if options.init_parts not in (None, *PARTS):
        raise DataError(
            f"--init-parts {options.init_parts}: unknown; choose one of {', '.join(PARTS)}"
        )


def chosen_preset(options: Options, found: Inputs, mapped: PipelineConfig | None) -> str:
    if mapped:
        return mapped.preset
    return options.preset or defaults.preset(defaults.are_drawn(found.names.values()))


def first_weights(options: Options, mapped: PipelineConfig | None, run: Path) -> str | None:
    """The path of the initial weights, downloaded if necessary."""
    named = mapped.changes.get("task.init_checkpoint") if mapped else None
    source = options.init or named
    if source in (None, named_weights.NONE) and options.init_parts:
        raise DataError("--init-parts is only valid with --init; remove it")
    is_random = source in (None, named_weights.NONE)
    if any(run.glob("ckpt-*.index")):
        return None if is_random else source  # a run that goes on has weights of its own
    if not mapped or source == named_weights.NONE:
        assert options.preset
        defaults.check_initial_weights(source, options.preset)
    if source is None or is_random:
        return None
    try:
        if source in named_weights.NAMES:
            assert options.preset
            address = named_weights.address(source, options.preset)
            program.say(f"weights {source}: {address}")
        else:
            address = source
        weights = initial_weights.found(address, outputs.cache("weights"))
    except PetboxError as error:
        if options.init:
            raise
        more = f"fine_tune_checkpoint: {error}; or pass other weights with --init"
        raise type(error)(more) from error
    if weights.suffix == initial_weights.KERAS and options.init_parts not in (None, BACKBONE):
        raise DataError(f"{source}: Keras' weights are a backbone only; remove --init-parts")
    return str(weights)


def divide_batches(config: Any, replicas: int) -> None:
    """Rejects a batch that the replicas cannot share equally, and rounds that of evaluations up."""
    data, held_out = config.task.train_data, config.task.validation_data
    if over := data.global_batch_size % replicas:
        near = max(replicas, data.global_batch_size - over)
        raise DataError(
            f"--batch-size {data.global_batch_size}: cannot be divided among {replicas} GPUs or "
            f"workers; choose a multiple of {replicas}, such as {near}"
        )
    held_out.global_batch_size += -held_out.global_batch_size % replicas


def adjust(config: Any, options: Options, mapped: PipelineConfig | None) -> None:
    trainer, data = config.trainer, config.task.train_data
    if options.steps:
        train_for(config, options.steps)
    if options.learning_rate:
        peak_at(config, options.learning_rate)
    data.global_batch_size = options.batch_size or data.global_batch_size
    data.seed = options.seed
    given = options.init not in (None, named_weights.NONE)
    if given and not (mapped and TRAINABLE in mapped.changes):
        # Pretrained statistics beat those of batches of 8 or so; --set can override this.
        config.task.model.backbone.resnet.bn_trainable = False
    if given or options.init_parts:  # those of a pipeline.config are of its own checkpoint
        own = given and runs.of_checkpoint(Path(str(config.task.init_checkpoint)))
        detector = own or options.init == named_weights.COCO
        parts = options.init_parts or (FIT if detector else BACKBONE)
        config.task.init_checkpoint_modules = parts.split("+")
    config.runtime.mixed_precision_dtype = options.precision
    if options.augment != "preset":
        from petbox.training import augment  # it imports TensorFlow

        augment.configure(config, options.augment)
    if options.ema:
        trainer.optimizer_config.override({"ema": {"average_decay": options.ema}})
    # Checkpoints are saved between loops only.
    loop = min(options.report_every, options.checkpoint_every, trainer.train_steps)
    trainer.steps_per_loop = trainer.summary_interval = loop
    trainer.checkpoint_interval = options.checkpoint_every
    trainer.max_to_keep = 2
    # petbox.training.trainer does it, on one host as well.
    trainer.preemption_on_demand_checkpoint = False
    trainer.loss_upper_bound = float("inf")  # the task reports such a loss with its images
    if options.evaluate_every:
        trainer.validation_interval = options.evaluate_every
        trainer.validation_steps = -1  # all of them
        trainer.best_checkpoint_export_subdir = runs.BEST
        trainer.best_checkpoint_eval_metric = "AP50"
        config.task.allow_image_summary = True  # images with boxes, for TensorBoard
    overrides.apply(config, options.set_)


def train(config: Any, run: Path, options: Options, strategy: Any, index: int) -> None:
    """Runs the Model Garden's training loop with a progress bar."""
    from petbox.training import acceleration, sheets
    from petbox.training import config as training_config
    from petbox.training import trainer as training_trainer
    from petbox.training.tfvision import summary_manager

    chief = index == 0
    training_config.set_seed(options.seed)
    acceleration.repeat_bit_for_bit()
    acceleration.set_precision(options.precision)
    with contextlib.ExitStack() as stack:
        # Orbit and pycocotools use print; stdout is for the result.
        log = stack.enter_context((run / f"train-{index}.log").open("a"))
        stack.enter_context(contextlib.redirect_stdout(log))
        report = Report()
        steps = config.trainer.train_steps
        task = training_config.task(config, run)
        if options.augment != "preset":
            task.augmented = options.augment
        if chief:
            sheets.write(config, task.augmented, run)
            training_config.set_seed(options.seed)  # as if no random number had been used
            truth = run / sheets.GROUND_TRUTH
            program.say(f"look at {truth}, and at {sheets.AUGMENTED} beside it: as trained on")
        runner = training_trainer.Runner(
            distribution_strategy=strategy,
            task=task,
            mode="train_and_eval" if options.evaluate_every else "train",
            params=config,
            model_dir=str(run),
            train_actions=[report],
            eval_actions=[report.evaluated],
            save_summary=chief,
            eval_summary_manager=summary_manager.maybe_build_eval_summary_manager(config, str(run)),
        )
        step = runner.trainer.global_step
        program.say("tracing the training step (the first report takes a while) ...")
        bar = stack.enter_context(progress("train", steps, int(step.numpy())))
        stack.enter_context(contextlib.redirect_stdout(log))  # again, because the bar does it too
        report.begin(step, bar)
        try:
            runner.run()
        except training_trainer.Stopped as stopped:
            program.say(
                f"stopped at step {int(step.numpy())} of {steps}, which is saved; "
                "the same command continues from there"
            )
            raise SystemExit(stopped.code) from stopped


class Report:
    """Reports the losses after each loop of steps, and the metrics after each evaluation."""

    def __init__(self) -> None:
        self.step: Any = None  # the trainer's own counter
        self.advance: Any = None
        self.at, self.since = 0, time.monotonic()

    def begin(self, step: Any, advance: Any) -> None:
        self.step, self.advance, self.at = step, advance, int(step.numpy())

    def __call__(self, output: dict[str, Any]) -> None:
        at, now = int(self.step.numpy()), time.monotonic()
        losses = {name: float(value) for name, value in output.items()}
        speed = (at - self.at) / (now - self.since)
        self.advance(at - self.at, log_lines.note(losses, speed))
        self.at, self.since = at, now

    def evaluated(self, output: dict[str, Any]) -> None:
        metrics = {name: float(output[name]) for name in ("AP", "AP50")}
        program.say(log_lines.evaluated(int(self.step.numpy()), metrics))
        self.since = time.monotonic()  # leaves out the time of the evaluation
