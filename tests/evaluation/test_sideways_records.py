"""Boxes in records belong to the pixels as they are stored, whatever EXIF says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import spots

pytest.importorskip("petbox.training.tfvision", exc_type=Exception)

from petbox.data import record_writer
from petbox.data.annotations import Animal, Dataset, Photo
from petbox.evaluation import predictions
from petbox.export import model_folder


def test_an_exported_model_is_evaluated_on_the_pixels_as_they_are_stored(tmp_path: Path) -> None:
    """The model turns images, and the records hold a photo that EXIF turns."""
    path = tmp_path / "sideways.jpg"
    upright = spots.image(420, 300, {1: (40, 60, 140, 120)})
    path.write_bytes(spots.with_orientation(upright, 6))  # stored turned to the left
    ymin, xmin, ymax, xmax = (420 - 140) / 420, 60 / 300, (420 - 40) / 420, 120 / 300
    truth = Animal((ymin, xmin, ymax, xmax), "red", 1)
    photo = Photo(path, 1, "", 300, 420, (truth,), "made here")
    dataset = Dataset(spots.NAMES, {"test": (photo,)}, {}, turned="ignore")
    records = tmp_path / "records"
    record_writer.write(dataset, records, seed=1, source="here", advance=lambda: None)
    model = model_folder.read(spots.detector(tmp_path / "model" / "1"))
    (image,) = predictions.of_model(model, records, "test")
    assert (image.width, image.height) == (300, 420)
    assert image.detections[0].label == 1
    assert image.detections[0].box == pytest.approx(image.truth[0].box, abs=0.01)
