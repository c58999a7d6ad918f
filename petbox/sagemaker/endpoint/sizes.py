"""The sizes that a flag states in one text: of serverless, of scaling, and of a component's copy.

Each function raises a ValueError that says what is wrong and what is right.
"""

from __future__ import annotations

import re
from typing import Any

from petbox.sagemaker.endpoint import names

MEMORIES = (1024, 2048, 3072, 4096, 5120, 6144)
MOST_CONCURRENCY = 200
# The least that SageMaker reserves for a copy of an inference component.
LEAST_MEMORY, LEAST_CPUS = 128, 0.25


def memory_and_concurrency(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9}),(\d{1,9})", text)
    if not match:
        raise ValueError(f"{text!r} is not of the form MEMORY,CONCURRENCY; write it like 4096,5")
    memory, concurrency = int(match[1]), int(match[2])
    if memory not in MEMORIES:
        raise ValueError(f"{memory} is not a size of memory; take one of {MEMORIES}")
    if not 1 <= concurrency <= MOST_CONCURRENCY:
        raise ValueError(f"a concurrency of {concurrency} is not between 1 and {MOST_CONCURRENCY}")
    return memory, concurrency


def bounds(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", text)
    if not match or int(match[2]) < max(1, int(match[1])):
        raise ValueError(f"{text!r} is not of the form MIN..MAX; write it like 1..4")
    return int(match[1]), int(match[2])


def of_copy(text: str) -> dict[str, Any]:
    """ComputeResourceRequirements of `MEMORY,CPUS` or `MEMORY,CPUS,GPUS`."""
    match = re.fullmatch(r"(\d{1,9}),(\d{1,5}(?:\.\d{1,3})?)(?:,([1-9]\d{0,2}))?", text)
    if not match:
        raise ValueError(
            f"{text!r} is not of the form MEMORY,CPUS or MEMORY,CPUS,GPUS; write it like 2048,2"
        )
    memory, cpus = int(match[1]), float(match[2])
    if memory < LEAST_MEMORY or cpus < LEAST_CPUS:
        raise ValueError(f"{text!r} is less than {LEAST_MEMORY} MB or {LEAST_CPUS} CPU cores")
    return names.present(
        MinMemoryRequiredInMb=memory,
        NumberOfCpuCoresRequired=cpus,
        NumberOfAcceleratorDevicesRequired=float(match[3]) if match[3] else None,
    )


def as_text(resources: Any) -> str:
    """The reverse of `of_copy`."""
    numbers = [
        resources.get("MinMemoryRequiredInMb"),
        resources.get("NumberOfCpuCoresRequired", 0),
        resources.get("NumberOfAcceleratorDevicesRequired"),
    ]
    return ",".join(f"{number:g}" for number in numbers if number is not None)
