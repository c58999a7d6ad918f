"""Trains a Faster R-CNN on records.

    python train/train.py --records data/toy-records --out runs/toy --preset toy

While it trains, the run lies in OUT.unfinished with its checkpoints and TensorBoard logs
(tensorboard --logdir runs); it becomes OUT when the last step is done. Interrupted, the same
command goes on from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from petbox import products, program, runs
from petbox.errors import DataError, ModelError
from petbox.presets import PRESETS
from petbox.progress import progress
from petbox.records import read_info


@dataclass(frozen=True)
class Options:
    records: Annotated[Path, "folder made by train/make_records.py"]
    out: Annotated[Path, "folder of the finished run"]
    preset: Annotated[str, "which detector to train"] = "toy"
    steps: Annotated[int | None, "updates to make (default: the preset's)"] = None
    learning_rate: Annotated[float | None, "its peak (default: the preset's)"] = None
    checkpoint_every: Annotated[int, "steps between checkpoints"] = 200
    report_every: Annotated[int, "steps between reports of loss and speed"] = 20
    seed: Annotated[int, "of the weights and the order of pictures"] = 1


def main(options: Options) -> None:
    products.refuse_existing(options.out)
    if options.preset not in PRESETS:
        raise DataError(f"--preset {options.preset}: there is only {', '.join(sorted(PRESETS))}")
    for name in ("checkpoint_every", "report_every", "steps"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise DataError(f"--{name.replace('_', '-')} {value}: must be 1 or more")
    info = read_info(options.records)
    program.say("loading TensorFlow ...")
    from petbox import detector

    config = detector.experiment(
        options.preset, info, options.records, options.steps, options.learning_rate
    )
    run = runs.unfinished(options.out)
    begin(run, options)
    detector.save_config(config, run)
    shutil.copy(options.records / runs.LABEL_MAP, run / runs.LABEL_MAP)
    start = time.monotonic()
    train(config, run, options)
    minutes = (time.monotonic() - start) / 60
    run.rename(options.out)
    program.say(f"trained {config.trainer.train_steps} steps in {minutes:.1f} min")
    print(options.out)


def begin(run: Path, options: Options) -> None:
    """Makes the run's folder, or checks that the unfinished one was begun with these options."""
    wanted = {name: str(value) for name, value in asdict(options).items()}
    begun = run / "options.json"
    if begun.is_file():
        found = json.loads(begun.read_text())
        if different := [name for name in wanted if wanted[name] != found.get(name)]:
            name = different[0]
            raise ModelError(
                f"{run}: was begun with --{name.replace('_', '-')} {found.get(name)}, not "
                f"{wanted[name]}; finish it with the same options or remove it"
            )
        program.say(f"going on with {run}")
    run.mkdir(parents=True, exist_ok=True)
    begun.write_text(json.dumps(wanted, indent=1) + "\n")


def train(config: Any, run: Path, options: Options) -> None:
    """Runs the Model Garden's own training loop, with our progress before it."""
    from petbox import detector
    from petbox.garden import tf, train_lib

    tf.keras.utils.set_random_seed(options.seed)
    config.task.train_data.seed = options.seed
    steps = config.trainer.train_steps
    config.trainer.steps_per_loop = config.trainer.summary_interval = min(
        options.report_every, steps
    )
    config.trainer.checkpoint_interval = options.checkpoint_every
    config.trainer.max_to_keep = 2
    with contextlib.ExitStack() as stack:
        # Orbit reports with print; stdout is for the product.
        log = stack.enter_context((run / "train.log").open("a"))
        stack.enter_context(contextlib.redirect_stdout(log))
        report = Report()
        runner = train_lib.OrbitExperimentRunner(
            distribution_strategy=tf.distribute.get_strategy(),
            task=detector.task(config, run),
            mode="train",
            params=config,
            model_dir=str(run),
            train_actions=[report],
        )
        step = runner.trainer.global_step
        program.say("tracing the training step (the first report takes a while) ...")
        bar = stack.enter_context(progress("train", steps, done=int(step.numpy())))
        report.begin(step, bar)
        runner.controller.train(steps)


class Report:
    """Called after each loop of steps: shows loss and speed, stops a run that went wrong."""

    def __init__(self) -> None:
        self.step: Any = None  # the trainer's own counter
        self.advance: Any = None
        self.at, self.since = 0, time.monotonic()

    def begin(self, step: Any, advance: Any) -> None:
        self.step, self.advance, self.at = step, advance, int(step.numpy())

    def __call__(self, output: dict[str, Any]) -> None:
        at, now, loss = int(self.step.numpy()), time.monotonic(), float(output["total_loss"])
        if not math.isfinite(loss):
            raise ModelError(
                f"the loss became {loss} between steps {self.at} and {at}; "
                f"remove the unfinished run and train with a smaller --learning-rate"
            )
        speed = (at - self.at) / (now - self.since)
        self.advance(at - self.at, f"loss {loss:.3f}, {speed:.1f} steps/s")
        self.at, self.since = at, now


if __name__ == "__main__":
    program.run(Options, main, about=__doc__)
