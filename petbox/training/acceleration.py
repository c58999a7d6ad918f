"""Number format and repeatability of a training."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from petbox.errors import DataError
from petbox.training.tfvision import tf, tf_keras

POLICIES = {"float32": "float32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}
CPU_INFO = Path("/proc/cpuinfo")


def has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


def set_precision(name: str) -> None:
    """Sets what the layers of models built from now on compute in; variables stay float32."""
    tf_keras.mixed_precision.set_global_policy(POLICIES[name])


def repeat_bit_for_bit() -> None:
    """Makes the same seed give the same weights, on CPUs; not every op of a GPU can do it."""
    if not has_gpu():
        tf.config.experimental.enable_op_determinism()


def check(precision: str) -> None:
    if precision == "float16" and not has_gpu():
        raise DataError("--precision float16: only GPUs compute in it; use bfloat16 or float32")


def remark(precision: str) -> str | None:
    """What to tell the user about the requested number format on this machine."""
    if precision == "float32":
        return None
    if has_gpu():
        return f"--precision {precision}: untested on GPUs; compare the losses with float32's"
    if "amx_bf16" not in _cpu_flags():
        return f"--precision {precision}: slow, because this CPU has no instructions for it"
    return None


def _cpu_flags() -> list[str]:
    return CPU_INFO.read_text().split() if CPU_INFO.is_file() else []


def boxes_in_float32(model: Any, heads: Iterable[str]) -> None:
    """Lets `model` compute boxes, and their scores, in float32 under any policy."""
    if tf_keras.mixed_precision.global_policy().name == "float32":
        return
    for head in heads:
        for one in each(getattr(model, head)):
            object.__setattr__(one, "call", _float32_of(one.call))
    for layer in ("roi_generator", "roi_sampler"):  # of a Faster R-CNN
        for one in each(getattr(model, layer, ())):
            one._set_dtype_policy("float32")


def each(found: Any) -> Any:
    return found if isinstance(found, (list, tuple)) else [found]


def _float32_of(call: Any) -> Any:
    @functools.wraps(call)
    def called(*args: Any, **more: Any) -> Any:
        return tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), call(*args, **more))

    return called
