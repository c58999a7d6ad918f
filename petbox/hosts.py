"""Where training runs: one device, the GPUs of one host, or several hosts.

Several hosts are told of each other as TensorFlow has it, by the variable TF_CONFIG: a JSON object
with `cluster.worker`, the addresses, and `task`, who this one is. All share the run's folder.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from petbox.errors import ServiceError
from petbox.garden import tf, train_lib

VARIABLE = "TF_CONFIG"


def worker() -> tuple[int, int]:
    """Which of how many workers this process is; (0, 1) where it is alone."""
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
            f'{VARIABLE}={text}: not understood ({error}); it looks like {{"cluster": {{"worker": '
            '["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
        ) from error
    if kind != "worker" or not 0 <= index < len(workers):
        raise ServiceError(
            f"{VARIABLE}: this is {kind} {index}, but the cluster has workers 0 to "
            f"{len(workers) - 1} and nothing else"
        )
    return index, len(workers)


class Runner(train_lib.OrbitExperimentRunner):
    """The Model Garden's runner, whose other workers also begin where the first one stopped.

    All must save, for reading a variable takes all of them, but only the first into the run's
    folder. The Model Garden gives the others an empty folder, from which they would begin anew.
    """

    def _maybe_build_checkpoint_manager(self) -> Any:
        if worker()[0] == 0:
            return super()._maybe_build_checkpoint_manager()
        folder = Path(tempfile.mkdtemp(prefix="petbox-worker-"))
        if latest := tf.train.latest_checkpoint(self.model_dir):
            for file in Path(self.model_dir).glob(f"{Path(latest).name}.*"):
                shutil.copy(file, folder)
            shutil.copy(Path(self.model_dir, "checkpoint"), folder)
        return tf.train.CheckpointManager(
            self.trainer.checkpoint,
            directory=str(folder),
            max_to_keep=1,
            step_counter=self.trainer.global_step,
            checkpoint_interval=self.params.trainer.checkpoint_interval,
            init_fn=self.trainer.initialize,
        )


def strategy() -> Any:
    """How the work is shared out. Several hosts wait here until all of them have come."""
    if worker()[1] > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()
