"""Which split the checkpoint is chosen on: validation, or in old records the test split."""

from __future__ import annotations

from pathlib import Path

import pytest

from petbox.data import labels, records
from petbox.errors import DataError
from petbox.training import record_inputs


def folder(tmp_path: Path, **pictures: int) -> Path:
    """Records whose shards are empty files."""
    shards = {split: int(count > 0) for split, count in pictures.items()}
    info = records.RecordsInfo("here", 1, {1: "cat"}, pictures, shards, {}, {})
    labels.write(tmp_path / labels.FILE_NAME, info.labels)
    records.write_info(tmp_path, info)
    for split, count in shards.items():
        for path in records.shard_paths(tmp_path, split, count):
            path.touch()
    return tmp_path


def test_the_checkpoint_is_chosen_on_validation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = folder(tmp_path, train=8, validation=1, test=2)
    assert record_inputs.inputs(made, None).validation == (f"{made}/validation.record-*",)
    record_inputs.check_validation(made)
    assert capsys.readouterr().err == ""


def test_old_records_choose_it_on_the_test_split_and_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = folder(tmp_path, train=8, test=2)
    assert record_inputs.inputs(made, None).validation == (f"{made}/test.record-*",)
    record_inputs.check_validation(made)
    assert capsys.readouterr().err == (
        f"{made}: has no validation split, so the best checkpoint is chosen on the test split, "
        "whose metrics are then too good; make the records again to have one\n"
    )


def test_without_any_images_held_out_nothing_can_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"so --evaluate-every has no images; make the records"):
        record_inputs.check_validation(folder(tmp_path, train=8, test=0))
