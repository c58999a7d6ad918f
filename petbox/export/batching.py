"""Batches concurrent requests inside the graph.

A model server can do that too, but it fails every request that shares a batch with an invalid
image. Here batching comes after decoding, so every row is valid. The rows of one request may be
split over several batches; the results are in order.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, replace
from typing import Any

from petbox.tf import tf

# Batches computed at once, each on all cores. Two at once are no faster together, and a request
# that just missed both waits for longer.
THREADS = 1

# The server's threads limit the queue. A limit here would reject requests of many rows, because
# they are split into many batches.
MOST_WAITING = 1_000_000

# Seconds a row from which a network is slow: a batch saves a row a few milliseconds, and the rows
# of a large one wait for those that came after them.
SLOW = 0.1


@dataclass(frozen=True)
class Batches:
    most: int  # rows
    timeout_micros: int  # that the first row waits for more; 0: a batch is what has gathered
    most_if_slow: int | None = None  # rows; by default as many


BY_DEFAULT = Batches(8, 0, 2)


def asked_for(most: int | None, timeout_micros: int) -> Batches | None:
    """Those of the exporter's flags: a number that was given is the same on every machine."""
    if most is None:
        return replace(BY_DEFAULT, timeout_micros=timeout_micros)
    return Batches(most, timeout_micros) if most > 1 else None


class Batched(tf.Module):
    """The concrete function `body`, batched over rows; one call has at most `most_rows` of them.

    A call that is alone does not pass through the queue, whose threads cost it a twentieth of its
    time. If TensorFlow breaks a call off, it counts for ever, and all later ones are queued. Calls
    that are alone also tell how slow the network is on this machine.

    The queue is like that of `tf.nondifferentiable_batch`, but with a unique name. That one names
    it after its place in the graph, so two models in a process would answer each other's requests.
    """

    def __init__(self, body: Any, batches: Batches, most_rows: int) -> None:
        super().__init__()
        self._body, self._batches, self._most_rows = body, batches, most_rows
        self._queue = f"petbox_{uuid.uuid4().hex}"
        with tf.device("/CPU:0"):
            self.calls = tf.Variable(0, trainable=False)  # that have begun and not ended
            self.fastest = tf.Variable(math.inf, trainable=False)  # in seconds a row

    def __call__(self, *tensors: Any) -> Any:
        with tf.control_dependencies(tensors):  # what fails before does not count
            alone = tf.equal(self.calls.assign_add(1), 1)
        few = tf.shape(tensors[0])[0] <= self._batches.most
        results = tf.cond(
            alone & few, lambda: self._direct(*tensors), lambda: self._queued(*tensors)
        )
        with tf.control_dependencies(results):
            self.calls.assign_sub(1)
        return results

    def _direct(self, *tensors: Any) -> Any:
        begin = tf.timestamp()
        with tf.control_dependencies([begin]):
            results = self._body(*tensors)
        with tf.control_dependencies(results):
            seconds = tf.cast(tf.timestamp() - begin, tf.float32)
        rows = tf.cast(tf.shape(tensors[0])[0], tf.float32)
        self.fastest.assign(tf.minimum(self.fastest, seconds / rows))
        return results

    def _queued(self, *tensors: Any) -> Any:
        most, if_slow = self._batches.most, self._batches.most_if_slow
        if not if_slow:
            return self._in_batches(most, *tensors)
        return tf.cond(
            self.fastest > SLOW,
            lambda: self._in_batches(if_slow, *tensors),
            lambda: self._in_batches(most, *tensors),
        )

    def _in_batches(self, most: int, *tensors: Any) -> Any:
        # The last size is the limit of a batch, because larger inputs are split. All sizes are
        # listed, or batches would be padded to the next one.
        sizes = list(range(1, most + 1))
        results = tf.raw_ops.BatchFunction(
            in_tensors=list(tensors),
            captured_tensors=self._body.captured_inputs,
            f=self._body,
            num_batch_threads=THREADS,
            max_batch_size=max(most, self._most_rows),
            allowed_batch_sizes=sizes,
            batch_timeout_micros=self._batches.timeout_micros,
            max_enqueued_batches=MOST_WAITING,
            shared_name=f"{self._queue}_{most}",
            Tout=[output.dtype for output in self._body.outputs],
            enable_large_batch_splitting=True,
        )
        shaped = zip(results, self._body.outputs, strict=True)
        return tuple(tf.ensure_shape(result, output.shape) for result, output in shaped)
