"""Batches concurrent requests inside the graph.

A model server can do that too, but it fails every request that shares a batch with an invalid
image. Here batching comes after decoding, so every row is valid. The rows of one request may be
split over several batches; the results are in order.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from petbox.tf import tf

THREADS = 2  # batches computed at once, each on all cores, so that one starts while the other ends

# The server's threads limit the queue. A limit here would reject requests of many rows, because
# they are split into many batches.
MOST_WAITING = 1_000_000


@dataclass(frozen=True)
class Batches:
    most: int  # rows
    timeout_micros: int  # that the first row waits for more; 0: a batch is what has gathered


BY_DEFAULT = Batches(8, 0)


def batched(body: Any, batches: Batches, most_rows: int) -> Callable[..., Any]:
    """The concrete function `body`, batched over rows; one call has at most `most_rows` of them.

    Like `tf.nondifferentiable_batch`, but with a unique queue. That one names a queue after its
    place in the graph, so two models in a process would answer each other's requests.
    """
    # The last size is the limit of a batch, because larger inputs are split. All sizes are listed,
    # or batches would be padded to the next one.
    sizes = list(range(1, batches.most + 1))
    name = f"petbox_{uuid.uuid4().hex}"

    def call(*tensors: Any) -> Any:
        results = tf.raw_ops.BatchFunction(
            in_tensors=list(tensors),
            captured_tensors=body.captured_inputs,
            f=body,
            num_batch_threads=THREADS,
            max_batch_size=max(batches.most, most_rows),
            allowed_batch_sizes=sizes,
            batch_timeout_micros=batches.timeout_micros,
            max_enqueued_batches=MOST_WAITING,
            shared_name=name,
            Tout=[output.dtype for output in body.outputs],
            enable_large_batch_splitting=True,
        )
        shaped = zip(results, body.outputs, strict=True)
        return tuple(tf.ensure_shape(result, output.shape) for result, output in shaped)

    return call
