"""Errors of TensorFlow that the user can fix, as sentences."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from petbox.errors import DataError, ModelError, ServiceError
from petbox.training import memory, runs
from petbox.training.options import TrainOptions as Options


@contextlib.contextmanager
def readable_errors(options: Options) -> Iterator[None]:
    """Turns TensorFlow's errors that the user can fix into ours."""
    from petbox.training import trainer as training_trainer
    from petbox.training.task import NOT_FINITE
    from petbox.training.tfvision import tf

    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if (start := error.message.find(f"[{NOT_FINITE}]")) < 0:
            raise
        what, loss, _, at, _, *names = re.findall(r"\[(.*?)\]", error.message[start:])
        raise ModelError(
            f"{what} ({loss}) at step {at} with the images {', '.join(names)}; check them, or "
            f"remove {runs.unfinished(options.out)} and train with a smaller --learning-rate"
        ) from error
    except tf.errors.DataLossError as error:
        raise DataError(f"{options.records}: a shard is damaged; make the records again") from error
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        than = f" than {options.batch_size}" if options.batch_size else ""
        raise ServiceError(
            f"out of memory, at {memory.described()} or a GPU's; pass a smaller --batch-size{than}"
        ) from error
    except training_trainer.WORKER_LOST as error:
        if training_trainer.worker()[1] == 1:
            raise
        raise ServiceError(
            f"another worker of {training_trainer.VARIABLE} stopped or cannot be reached; "
            "the same command on every host continues from the last checkpoint"
        ) from error
