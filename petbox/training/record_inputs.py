"""The records of a training: which files it learns from, and which choose its checkpoint."""

from __future__ import annotations

from pathlib import Path

from petbox.cli import program
from petbox.data import record_check
from petbox.data.records import files as record_files
from petbox.data.records import read_info, shards
from petbox.errors import DataError
from petbox.training import runs
from petbox.training.pipeline_config import mapping
from petbox.training.pipeline_config.mapping import Inputs, PipelineConfig


def inputs(folder: Path | None, mapped: PipelineConfig | None) -> Inputs:
    """The records to train on: the given folder, or those of the pipeline.config."""
    if folder is None:
        if mapped is None:
            raise DataError("--records is missing; pass a folder made by petbox records")
        return mapping.inputs(mapped)
    info = read_info(folder)
    held_out = "validation" if info.pictures.get("validation") else "test"
    train, validation = (shards(folder, split) for split in ("train", held_out))
    return Inputs(info.labels, folder / runs.LABEL_MAP, (train,), (validation,))


def check_validation(folder: Path) -> None:
    pictures = read_info(folder).pictures
    if pictures.get("validation"):
        return
    if not pictures.get("test"):
        raise DataError(
            f"{folder}: has no validation split, so --evaluate-every has no images; make the "
            "records again, or leave out --evaluate-every"
        )
    program.say(
        f"{folder}: has no validation split, so the best checkpoint is chosen on the test split, "
        "whose metrics are then too good; make the records again to have one"
    )


def check_records(found: Inputs) -> None:
    """Checks records that petbox may not have written."""
    program.say("checking the records ...")
    for what, patterns in (("train", found.train), ("evaluate", found.validation)):
        local = [pattern for pattern in patterns if "://" not in pattern]
        files = [file for pattern in local for file in record_files(Path(pattern), what)]
        if local:
            counted = record_check.check(files, found.names, str(found.label_map))
            program.say(
                f"{counted.images} images to {what} on, "
                f"{counted.without_objects} of them without objects"
            )
