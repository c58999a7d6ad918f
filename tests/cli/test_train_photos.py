"""`petbox train PHOTOS`: what is chosen, what is passed on, and what is rejected."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.command_line import failed, petbox

from petbox.cli import train_photos
from petbox.cli.train_photos import Options
from petbox.training.presets import PRESETS


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty photos with a box each, in YOLO's form."""
    folder = tmp_path / "cats"
    folder.mkdir()
    for number in range(40):
        Image.new("RGB", (640, 480)).save(folder / f"{number}.jpg")
        (folder / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "classes.txt").write_text("cat")
    return folder


def stages(photos: Path, **options: Any) -> dict[str, list[str]]:
    """The commands of the chain, by their names."""
    out = photos.parent
    given = Options(photos=photos, out=out, **{"init": "none", **options})
    planned = train_photos.planned(given, "cats", out, out / "runs/cats.plan.json")
    return {command[0]: command[1:] for command, _ in planned}


def test_the_stages_hand_their_folders_on(photos: Path) -> None:
    out = photos.parent
    records, run, model = out / "data/cats-records", out / "runs/cats", out / "model/cats/1"
    found = stages(photos, preset="toy", batch_size=4, steps=9)
    chosen = ["--preset=toy", "--init=none", "--steps=9", "--batch-size=4", "--evaluate-every=1"]
    assert found == {
        "records": [str(photos), "--out", str(records)],
        "train": ["--records", str(records), "--out", str(run), *chosen],
        "evaluate": ["--run", str(run), "--records", str(records)],
        "export": ["--run", str(run), "--out", str(model)],
    }


@pytest.mark.parametrize(
    ("stage", "name", "value", "flag"),
    [
        ("records", "test_share", 0.5, "--test-share=0.5"),
        ("records", "validation_share", 0.0, "--validation-share=0.0"),
        ("records", "turned", "ignore", "--turned=ignore"),
        ("records", "leave_out_broken", True, "--leave-out-broken"),
        ("records", "drop_bad_boxes", True, "--drop-bad-boxes"),
        ("train", "seed", 7, "--seed=7"),
        ("train", "learning_rate", 0.1, "--learning-rate=0.1"),
        ("train", "init", "weights.h5", "--init=weights.h5"),
        ("train", "init_parts", "backbone", "--init-parts=backbone"),
        ("train", "evaluate_every", 5, "--evaluate-every=5"),
        ("train", "checkpoint_every", 5, "--checkpoint-every=5"),
        ("train", "report_every", 5, "--report-every=5"),
        ("train", "precision", "bfloat16", "--precision=bfloat16"),
        ("train", "anchors", "auto", "--anchors=auto"),
        ("train", "augment", "none", "--augment=none"),
        ("train", "ema", 0.9, "--ema=0.9"),
        ("train", "steps", 77, "--steps=77"),
        ("train", "batch_size", 3, "--batch-size=3"),
        ("train", "preset", "faster_rcnn_resnet50_pets", "--preset=faster_rcnn_resnet50_pets"),
        ("export", "min_score", 0.2, "--min-score=0.2"),
    ],
)
def test_an_option_gets_to_its_stage(
    photos: Path, stage: str, name: str, value: object, flag: str
) -> None:
    assert flag in stages(photos, **{name: value})[stage]


def test_images_without_objects_are_counted(photos: Path) -> None:
    rooms = photos.with_name("leere Räume")
    rooms.mkdir()
    for number in range(1000):
        (rooms / f"{number}.jpg").touch()
    found = stages(photos, backgrounds=(rooms,), batch_size=10)
    assert found["records"][-1] == f"--backgrounds={rooms}"
    assert "--steps=1858" in found["train"], "929 images, of 1040 with a tenth to validate on"


def test_each_preset_has_a_batch_that_fits_in_memory() -> None:
    assert train_photos.BATCHES.keys() == PRESETS.keys()


def test_several_fields_are_set(photos: Path) -> None:
    assert {"--set=a=1", "--set=b=2"} <= set(stages(photos, set_=("a=1", "b=2"))["train"])


def test_the_choice_is_said_and_bounded(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = stages(photos)["train"]
    said = capsys.readouterr().err
    assert f"{photos}: YOLO\n" in said
    assert "--preset=faster_rcnn_" in " ".join(flags)
    assert "weights: random initialization; --init PLACE" in said
    assert "--steps=500" in flags
    assert "(from 500 to 10000 steps); another number with --steps" in said
    assert "over 29 images" in said
    assert "--evaluate-every=100" in flags
    assert "the best checkpoint counts, on 3 validation images every 100 steps; " in said


def test_without_validation_images_the_last_checkpoint_counts(photos: Path) -> None:
    assert not [one for one in stages(photos, validation_share=0.0)["train"] if "evaluate" in one]
    with pytest.raises(
        train_photos.DataError, match=r"with --validation-share 0\.0, not without --v"
    ):
        stages(photos)


def test_photos_need_a_choice_of_weights(photos: Path) -> None:
    with pytest.raises(train_photos.DataError, match=r"--init is missing: .* choose imagenet "):
        stages(photos, init=None)
    with pytest.raises(train_photos.DataError, match="they are for --preset faster_rcnn_resnet50"):
        stages(photos, init="coco", preset="faster_rcnn_mobilenet_v2_pets")
    assert not (photos.parent / "runs").exists()
    assert "--init=imagenet" in stages(photos, init="imagenet")["train"]


def test_a_small_memory_takes_a_small_batch(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_photos.memory, "total", lambda: 2 * 10**9)
    assert "--batch-size=3" in stages(photos, preset="faster_rcnn_mobilenet_v2_pets")["train"]


def test_what_was_chosen_stays_and_what_was_requested_is_compared(photos: Path) -> None:
    first = stages(photos, steps=9)
    for number in range(30, 40):
        (photos / f"{number}.jpg").unlink()
    assert stages(photos, steps=9) == first
    with pytest.raises(train_photos.DataError, match="with --steps 9, not without --steps; rep"):
        stages(photos)


def at_step(run: Path, step: int) -> Path:
    run.mkdir(exist_ok=True)
    (run / "checkpoint").write_text(f'model_checkpoint_path: "ckpt-{step}"')
    (run / f"ckpt-{step}.index").touch()
    return run


def test_an_interrupted_training_goes_on_with_more_steps(photos: Path) -> None:
    more: dict[str, Any] = {"preset": "toy", "batch_size": 2}
    first = stages(photos, steps=9, **more)
    at_step(photos.parent / "runs/cats.unfinished", 6)
    for fewer in (5, 6):
        with pytest.raises(
            train_photos.DataError, match=f"with --steps 9, not with --steps {fewer}; rep"
        ):
            stages(photos, steps=fewer, **more)
    longer = stages(photos, steps=20, **more)
    assert "--steps=20" in longer.pop("train") and "--steps=9" in first.pop("train")
    assert longer == first, "no other version of the model"
    assert "--steps=7" in stages(photos, steps=7, **more)["train"]


def test_a_finished_training_goes_on_with_more_steps(photos: Path) -> None:
    first = stages(photos, steps=9, preset="toy", batch_size=2)
    run, model = at_step(photos.parent / "runs/cats", 9), photos.parent / "model/cats"
    more: dict[str, Any] = {"preset": "toy", "batch_size": 2}
    (model / "1").mkdir(parents=True)
    with pytest.raises(train_photos.DataError, match="with --steps 9, not with --steps 8; rep"):
        stages(photos, steps=8, **more)
    with pytest.raises(
        train_photos.DataError, match="with --batch-size 2, not with --batch-size 4"
    ):
        stages(photos, steps=20, preset="toy", batch_size=4)
    assert stages(photos, steps=9, **more) == first, "nothing was changed"
    longer = stages(photos, steps=20, **more)
    assert longer["records"] == first["records"] and longer["evaluate"] == first["evaluate"]
    assert sorted(longer["train"]) == sorted(
        word.replace("--steps=9", "--steps=20") for word in first["train"]
    )
    assert longer["export"] == ["--run", str(run), "--out", str(model / "2")]
    assert stages(photos, steps=20, **more) == longer, "the same command continues"
    assert not train_photos._is_done(["train", *longer["train"]], run)
    at_step(run, 20)
    assert train_photos._is_done(["train", *longer["train"]], run)


def test_records_need_no_writing(photos: Path) -> None:
    folder = photos.parent / "records"
    folder.mkdir()
    (folder / "label_map.pbtxt").write_text("item { id: 1 name: 'cat' }")
    info = {"source": "", "seed": 1, "pictures": {"train": 80, "test": 0}, "shards": {}}
    (folder / "records.json").write_text(json.dumps({**info, "animals": {}, "remarks": {}}))
    found = stages(folder)
    assert set(found) == {"train", "export"}
    assert found["train"][:2] == ["--records", str(folder)]
    (photos.parent / "runs/cats.plan.json").unlink()
    with pytest.raises(train_photos.DataError, match="holds records already; leave out --turned"):
        stages(folder, turned="ignore")


def test_tfrecord_files_are_counted_without_tensorflow(tmp_path: Path) -> None:
    folder = tmp_path / "Größe 1"
    for split, count in {"train": 30, "valid": 3, "test": 2}.items():
        (folder / split).mkdir(parents=True)
        record = struct.pack("<QI5sI", 5, 0, b"photo", 0)
        (folder / split / "pets.tfrecord").write_bytes(record * count)
    with pytest.raises(train_photos.DataError, match="needs one label map"):
        stages(folder)
    (folder / "pets.pbtxt").write_text("item { id: 1 name: 'cat' }")
    with pytest.raises(train_photos.DataError, match="--test-share: not valid with --tfrecords"):
        stages(folder, test_share=0.5)
    found = stages(folder, batch_size=3)
    assert found["records"] == [str(folder), "--out", str(tmp_path / "data/cats-records")]
    assert {"--steps=500", "--evaluate-every=100"} <= set(found["train"]) and "evaluate" in found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no photos given; give a folder of PHOTOS, or --records and --out"),
        (("--records", "r"), "--out is missing: the folder of the run"),
        (("--records", "r", "-o", "x", "--name", "n"), "--name goes with PHOTOS only"),
        (("--records", "r", "-o", "x", "--test-share", "0.1"), "--test-share goes with PHOTOS"),
        (("photos", "--records", "r"), "PHOTOS and --records given; give one of them"),
        (("photos", "--name", "a/b"), "--name a/b: must be a name without slashes"),
        (("nowhere",), "nowhere: no such folder; give the folder of your photos"),
    ],
)
def test_what_does_not_go_together_is_named(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    assert failed(petbox("train", *words, cwd=tmp_path)).startswith(f"error: {message}")
    assert not list(tmp_path.iterdir())
