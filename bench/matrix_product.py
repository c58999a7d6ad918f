"""Prints the best matrix product of a library on all cores, in GFLOP/s.

python bench/matrix_product.py numpy|tensorflow|tensorflow-bfloat16
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

EDGE = 3072
TIMES = 6
# Some machines set them for older OpenBLAS builds; they slow a current numpy.
TUNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
LIBRARIES = {
    "numpy": "OpenBLAS, float32",
    "tensorflow": "oneDNN, float32",
    "tensorflow-bfloat16": "oneDNN, bfloat16",
}


def best_of(library: str) -> float:
    """In a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in TUNING}
    command = [sys.executable, __file__, library]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.splitlines()[-1])


def product(library: str) -> Callable[[], object]:
    if library == "numpy":
        import numpy as np

        one = np.random.default_rng(0).normal(size=(EDGE, EDGE)).astype(np.float32)
        return lambda: one @ one
    from petbox.tf import tf

    kind = tf.bfloat16 if library.endswith("bfloat16") else tf.float32
    given = tf.cast(tf.random.stateless_normal([EDGE, EDGE], [1, 2]), kind)
    return lambda: tf.matmul(given, given)


def main() -> None:
    call = product(sys.argv[1])
    call()
    seconds = []
    for _ in range(TIMES):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    print(2 * EDGE**3 / min(seconds) / 1e9)


if __name__ == "__main__":
    main()
