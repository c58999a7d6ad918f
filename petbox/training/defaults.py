"""What is chosen for the data when a flag is missing, and reported; or what then is an error."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from petbox.cli.program import say
from petbox.errors import DataError
from petbox.training import named_weights
from petbox.training.presets import PRESETS

GPU = Path("/dev/nvidia0")
TOY = "toy"  # for drawings, which it learns from random initialization
TOYS = (TOY, "toy_retinanet")
ON_CPU, ON_GPU = "faster_rcnn_mobilenet_v2_pets", "faster_rcnn_resnet50_pets"


def preset(drawn: bool) -> str:
    """The preset for photos or drawings on this machine; reports it."""
    gpu = GPU.exists()
    chosen = TOY if drawn else ON_GPU if gpu else ON_CPU
    why = "drawn images" if drawn else "photos and a GPU" if gpu else "photos and no GPU"
    others = ", ".join(name for name in PRESETS if name != chosen)
    say(f"preset {chosen}: for {why}; others with --preset: {others}")
    return chosen


def are_drawn(names: Iterable[str]) -> bool:
    """Whether all classes are of `petbox toy`."""
    from petbox.data.toy.breeds import BREEDS

    return set(names) <= {breed.name for breed in BREEDS}


def check_initial_weights(init: str | None, preset: str) -> None:
    """Rejects photos without a choice of initial weights, or with an unknown one; reports none."""
    if init is None and preset not in TOYS:
        named = named_weights.choices(preset)
        have = f"{' or '.join(named)} (downloaded), " if named else ""
        raise DataError(
            f"--init is missing: a detector of photos needs trained weights; choose {have}a PLACE "
            f"with weights for {preset}, or none for random initialization"
        )
    if init in named_weights.NAMES and init != named_weights.NONE:
        named_weights.address(init, preset)  # or an error
    if init in (None, named_weights.NONE):
        say(f"weights: random initialization; --init PLACE starts {preset} from trained ones")
