"""Requests that are answered at the same time, put together inside the graph.

A model server can do that too, but it fails every request that shares a batch with a broken
picture. Here it is done behind the decoding and its checks, so all that is ready is sound.
Rows of one request may be answered in several batches; what comes back is in order.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from petbox.tf import tf

THREADS = 2  # batches computed at once, each by all cores: one waits while the other begins

# A request waits in its server's thread, so these bound the queue. A shorter one here would
# refuse requests of many rows for being cut into many batches.
MOST_WAITING = 1_000_000


@dataclass(frozen=True)
class Batches:
    most: int  # rows
    timeout_micros: int  # that the first row waits for others


def batched(body: Any, batches: Batches, most_rows: int) -> Callable[..., Any]:
    """A concrete function of tensors and to tensors, whose first axis is the rows.

    A call brings `most_rows` at most.

    `tf.nondifferentiable_batch` with a queue of its own name. That one calls every queue by its
    place in the graph, so two models in a process would answer one another's requests.
    """
    # With larger inputs allowed and split, the last of these sizes is what a batch has at most. All
    # of them are here, or a batch would be filled up with rows that nobody asked for.
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
