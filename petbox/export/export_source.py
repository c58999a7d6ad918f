"""What an export is made from: a run, a checkpoint of it, pictures. Never imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from petbox.errors import ModelError
from petbox.training import runs


@dataclass(frozen=True)
class Source:
    """A run to export, and what to compare the model with it on."""

    run: Path
    checkpoint: Path | None = None  # a prefix; without it the best, or the newest
    pipeline_config: Path | None = None
    records: Path | None = None  # without them the run's own, or drawn scenes


def source(
    trained: Path, pipeline_config: Path | None = None, records: Path | None = None
) -> Source:
    """From a run's folder, or from the prefix of a checkpoint in one, once that is seen to be."""
    if trained.is_dir():
        runs.check(trained)
        return Source(trained, None, pipeline_config, records)
    if not any(trained.parent.glob("*.index")):
        runs.check(trained)  # which says what is wrong with it
    run = trained.parent.parent if trained.parent.name == runs.BEST else trained.parent
    runs.check(run)
    if not trained.with_name(f"{trained.name}.index").is_file():
        raise ModelError(f"{trained}: no checkpoint; name one by its prefix, as in {run}/ckpt-600")
    return Source(run, trained, pipeline_config, records)
