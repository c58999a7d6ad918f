"""Runs a training on one device, the GPUs of one host, or several hosts.

Several hosts are configured as usual in TensorFlow, by the variable TF_CONFIG: a JSON object with
`cluster.worker`, the addresses, and `task`, this host's index. All share the run's folder.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

from petbox.cli.signals import StopRequest, signals_go_to
from petbox.errors import ServiceError
from petbox.tf import as_written
from petbox.training import runs
from petbox.training.tfvision import base_trainer, orbit, tf, train_lib, train_utils

VARIABLE = "TF_CONFIG"
WORKER_LOST = (  # what TensorFlow raises if a worker does not respond
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


def worker() -> tuple[int, int]:
    """This worker's index and the number of workers; (0, 1) without TF_CONFIG."""
    text = os.environ.get(VARIABLE)
    if not text:
        return 0, 1
    try:
        config = json.loads(text)
        workers = [str(address) for address in config["cluster"]["worker"]]
        task = config.get("task", {})
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServiceError(
            f'{VARIABLE}={text}: invalid ({error}); expected {{"cluster": {{"worker": '
            '["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
        ) from error
    if kind != "worker" or not 0 <= index < len(workers):
        raise ServiceError(
            f"{VARIABLE}: this is {kind} {index}, but the cluster has workers 0 to "
            f"{len(workers) - 1} and nothing else"
        )
    return index, len(workers)


class Total:
    """The sum of every worker's number; waits for all workers."""

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy
        self._sum: Any = tf.function(lambda mine: strategy.run(_sum_of_all, args=(mine,)))

    def __call__(self, mine: float) -> float:
        if worker()[1] == 1:
            return mine
        total = self._sum(tf.constant(float(mine)))
        return float(self._strategy.experimental_local_results(total)[0])


def _sum_of_all(mine: Any) -> Any:
    here = tf.identity(mine)  # places it on this replica's device
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, here)


class Stopped(Exception):
    """TERM or Ctrl-C stopped the training, here or at another worker; its last step is saved."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code  # the process' exit code


class Stop(StopRequest):
    """Stops all workers at the same step after TERM or Ctrl-C.

    A step needs all workers, so one that stopped alone would block the others. They agree before
    every step, by the sum of one number.
    """

    def __init__(self, total: Total) -> None:
        super().__init__()
        self._total = total

    def check(self) -> None:
        """Raises `Stopped` at every worker, once any has been asked to stop."""
        if self.agree():
            raise Stopped(self.code or 128 + signal.SIGTERM)

    def agree(self) -> bool:
        """Whether any worker has been asked to stop; waits for all workers."""
        return self._total(self.code) > 0


class Trainer(base_trainer.Trainer):
    """The Model Garden's trainer, which can be stopped between two steps.

    Its own loop of steps is one TensorFlow op, which blocks signals for minutes.
    """

    def __init__(self, *args: Any, stop: Stop, **more: Any) -> None:
        self._stop = stop
        super().__init__(*args, **more)
        # The optimizer's own variables; created within a step, they would be traced twice.
        with self.strategy.scope():
            create = getattr(self.optimizer, "_create_all_weights", None) or self.optimizer.build
            create(self.model.trainable_variables)
        if hasattr(self.optimizer, "swap_weights") and not tf.distribute.has_strategy():
            # The Model Garden's needs a strategy other than the default one.
            self.optimizer.swap_weights = functools.partial(_swap, self.optimizer)

    def create_train_loop_fn(self) -> Any:
        step = tf.function(as_written(self.train_step))

        def loop(batches: Any, count: Any) -> None:
            for _ in range(int(count)):
                self._stop.check()
                step(batches)

        return loop

    eval_step = as_written(base_trainer.Trainer.eval_step)

    def eval_reduce(self, state: Any = None, step_outputs: Any = None) -> Any:
        if not hasattr(self.optimizer, "swap_weights"):  # which would be saved swapped
            self._stop.check()
        return super().eval_reduce(state, step_outputs)


def _swap(optimizer: Any) -> None:
    """Exchanges the weights and their moving average."""
    for average, weight in zip(optimizer._average_weights, optimizer._model_weights, strict=True):
        kept = tf.identity(weight)
        weight.assign(average)
        average.assign(kept)


class Controller(orbit.Controller):
    """Orbit's, which reports and evaluates at the same steps wherever it was resumed."""

    @property
    def steps_per_loop(self) -> Any:
        steps = super().steps_per_loop
        return steps - int(self.global_step.numpy()) % steps

    def train_and_evaluate(
        self, train_steps: int, eval_steps: int = -1, eval_interval: int | None = None
    ) -> Any:
        at = int(self.global_step.numpy())
        if eval_interval and at:
            next_one = min(-(-at // eval_interval) * eval_interval, train_steps)
            # Also at the current step: the evaluation may have been interrupted.
            self.train(next_one, checkpoint_at_completion=False)
            self.evaluate(eval_steps)
        return super().train_and_evaluate(train_steps, eval_steps, eval_interval)


class Best(train_utils.BestCheckpointExporter):
    """The Model Garden's exporter of the best checkpoint; the first worker decides.

    Metrics may differ in the last digit between workers, and one that saves waits for all.
    """

    def __init__(self, folder: Path, params: Any, total: Total) -> None:
        trainer = params.trainer
        metric, better = trainer.best_checkpoint_eval_metric, trainer.best_checkpoint_metric_comp
        super().__init__(str(folder), metric, better)
        self._best_ckpt_logs: Any = self.best_ckpt_logs
        self._total = total

    def maybe_export_checkpoint(self, checkpoint: Any, eval_logs: Any, *more: Any) -> bool:
        known = self._best_ckpt_logs
        better = known is None or self._new_metric_is_better(known, eval_logs)
        if not self._total(better and worker()[0] == 0):
            return False
        self._best_ckpt_logs = None
        return bool(super().maybe_export_checkpoint(checkpoint, eval_logs, *more))


class Runner(train_lib.OrbitExperimentRunner):
    """The Model Garden's runner, which stops on request and resumes on all workers.

    All must save, because reading a variable needs all of them, but only the first saves into the
    run's folder. The others save into one of their own with a copy of the run's checkpoint: in an
    empty one, as the Model Garden gives them, they would start over.
    """

    def __init__(self, *args: Any, distribution_strategy: Any, model_dir: str, **more: Any) -> None:
        self._total = Total(distribution_strategy)
        self._stop = Stop(self._total)
        self._folder = Path(model_dir)
        if worker()[0] > 0:
            # Removed with this object.
            self._own = tempfile.TemporaryDirectory(prefix="petbox-worker-")
            self._folder = Path(self._own.name)
            _copy_newest(Path(model_dir), self._folder)
        super().__init__(
            *args,
            distribution_strategy=distribution_strategy,
            model_dir=model_dir,
            controller_cls=Controller,
            **more,
        )

    def run(self) -> Any:
        """Trains to the last step, or saves an earlier one and raises `Stopped`."""
        with self._stop.on_signals():
            try:
                result = super().run()
                self._save_averages()
                return result
            except Stopped:
                with self.strategy.scope():
                    self.controller.save_checkpoint()
                self._stop.agree()  # waits until all have saved, because an exit stops the others
                raise

    def _save_averages(self) -> None:
        """Saves the averaged weights where the exporter finds them, if there are any."""
        if not hasattr(self.trainer.optimizer, "swap_weights"):
            return
        with self.strategy.scope():
            self.trainer.optimizer.swap_weights()
            folder = self._folder / runs.AVERAGED
            manager = tf.train.CheckpointManager(self.trainer.checkpoint, str(folder), 1)
            manager.save(self.trainer.global_step)
            self.trainer.optimizer.swap_weights()

    def _build_trainer(self, task: Any, train: bool, evaluate: bool) -> Any:
        with self.strategy.scope():
            return train_utils.create_trainer(
                self.params,
                task,
                train=train,
                evaluate=evaluate,
                checkpoint_exporter=self._build_best_checkpoint_exporter(),
                trainer_cls=functools.partial(Trainer, stop=self._stop),
            )

    def _build_best_checkpoint_exporter(self) -> Any:
        part = self.params.trainer.best_checkpoint_export_subdir
        return Best(self._folder / part, self.params, self._total) if part else None

    def _maybe_build_checkpoint_manager(self) -> Any:
        return tf.train.CheckpointManager(
            self.trainer.checkpoint,
            directory=str(self._folder),
            max_to_keep=self.params.trainer.max_to_keep,
            step_counter=self.trainer.global_step,
            checkpoint_interval=self.params.trainer.checkpoint_interval,
            init_fn=self.trainer.initialize,
        )


def _copy_newest(run: Path, folder: Path) -> None:
    """Copies the newest checkpoint of a run, and the metrics of its best one."""
    if latest := tf.train.latest_checkpoint(str(run)):
        for file in run.glob(f"{Path(latest).name}.*"):
            shutil.copy(file, folder)
        shutil.copy(run / "checkpoint", folder)
    if (best := run / runs.BEST / "info.json").is_file():
        (folder / runs.BEST).mkdir()
        shutil.copy(best, folder / runs.BEST)


def strategy() -> Any:
    """The distribution strategy. Several hosts wait here for each other."""
    if worker()[1] > 1:
        # Python handles no signals while TensorFlow waits; the default action ends the process.
        with signals_go_to(signal.SIG_DFL):
            return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()
