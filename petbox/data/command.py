"""Writes photos and their boxes as TFRecords with the Object Detection API's keys.

The photos are in Oxford-IIIT Pet's layout (--pets), Pascal VOC's (--voc) or
YOLO's (--yolo), or come with a COCO file or SageMaker's annotations.json
(--coco); the format of a folder PHOTOS is recognized by its files. Every photo
is decoded once to check it. All bad boxes and files are listed, and nothing is
written then; what is left out or converted on purpose is counted, reported
here and listed in records.json.

examples:
  petbox records my-photos --out data/mine
  petbox records --pets data/pets --test-share 0.2 --out data/records
  petbox records --pets data/pets --boxes body --out data/bodies
  petbox records --voc my-photos --backgrounds empty-rooms --out data/mine
  petbox records --coco train.json --coco test.json \\
      --images train --images test --out data/mine
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from petbox import outputs
from petbox.cli import program
from petbox.cli.options import POSITIONAL, Json, flag
from petbox.cli.progress import progress
from petbox.data import backgrounds, formats, labels, record_writer, records, tfrecords, validation
from petbox.data.annotations import Dataset, Division
from petbox.data.problems import SHOWN, BadData, Problems
from petbox.errors import DataError

NAMES_SHOWN = 8
OF_TFRECORDS = ("out", "tfrecords", "label_map", "verbose", "json")
SOURCES = ("pets", "voc", "coco", "yolo")


@dataclass(frozen=True)
class Options:
    out: Annotated[Path, "folder to make; it must not exist yet"]
    photos: Annotated[
        Path | None, "folder in any of these formats, recognized by its files", POSITIONAL
    ] = None
    pets: Annotated[Path | None, "folder in the layout of Oxford-IIIT Pet", "DIR"] = None
    voc: Annotated[Path | None, "folder in the layout of Pascal VOC", "DIR"] = None
    coco: Annotated[
        tuple[Path, ...],
        "COCO or SageMaker annotations: one file, or train and test, or train, validation, test",
        "JSON",
    ] = ()
    yolo: Annotated[Path | None, "folder in a layout of YOLO", "DIR"] = None
    tfrecords: Annotated[
        tuple[Path, ...],
        "TFRecord files of another tool and their label map, taken as they are: one folder, or "
        "train and test, or train, validation, test",
        "DIR",
    ] = ()
    images: Annotated[
        tuple[Path, ...], "images of --coco (default: in a folder beside the file)", "DIR"
    ] = ()
    bbox: Annotated[
        Literal["by-file", "xywh", "corners"],
        "--coco: x, y, width, height or corners; by-file: the former if there are categories",
    ] = "by-file"
    boxes: Annotated[
        Literal["face", "body"], "--pets: of the XMLs, or around the trimaps' animals"
    ] = "face"
    classes: Annotated[Literal["breed", "species"], "--pets: 37, or cat and dog"] = "breed"
    label_map: Annotated[Path | None, "class ids to use (default: the source's own)", "FILE"] = None
    train_list: Annotated[Path | None, "photos to train on (default: the source's)", "FILE"] = None
    validation_list: Annotated[
        Path | None, "photos of the training list to choose the checkpoint on", "FILE"
    ] = None
    test_list: Annotated[Path | None, "photos held out (default: the source's)", "FILE"] = None
    validation_share: Annotated[
        float | None, "cut this share of the training photos at random instead (default: 0.1)", "S"
    ] = None
    test_share: Annotated[float | None, "hold out this share at random instead", "S"] = None
    backgrounds: Annotated[
        tuple[Path, ...], "folder of images without objects, to train on as well", "DIR"
    ] = ()
    turned: Annotated[
        Literal["by-size", "follow", "ignore"],
        "whether boxes follow an image's EXIF orientation; by-size: decided by the stated size",
    ] = "by-size"
    leave_out_broken: Annotated[bool, "leave out images that cannot be decoded"] = False
    drop_bad_boxes: Annotated[
        bool, "leave out boxes that are empty or outside, and images that have no other"
    ] = False
    verbose: Annotated[bool, "print all problems, not the first 20"] = False
    workers: Annotated[int | None, "images at a time (default: one per core)", "N"] = None
    seed: Annotated[int, "of the order of the images, and of random shares"] = 1
    json: Json = False


def main(options: Options) -> None:
    outputs.reject_existing(options.out)
    options = recognized(options)
    try:
        _write(options)
    except BadData as error:
        raise _listed(error, options) from error
    info = records.read_info(options.out)
    report(info)
    program.report(options.out, options.json, **asdict(info))


def _listed(error: BadData, options: Options) -> DataError:
    """The error with all problems, or with the first and the file that lists all."""
    if len(error.problems) <= SHOWN:
        return error
    text = "\n".join(error.problems)
    if options.verbose:
        return DataError(f"{len(error.problems)} problems in the data:\n{text}")
    path = options.out.with_name(f"{options.out.name}-problems.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n", encoding="utf-8")
    return BadData(error.problems, f"; all are in {path}")


def _write(options: Options) -> None:
    if options.tfrecords:
        program.say("loading TensorFlow ...")
        with outputs.product(options.out) as folder:
            names = options.label_map or tfrecords.label_map(options.tfrecords)
            tfrecords.write(options.tfrecords, names, folder)
        return
    problems = Problems(drop_boxes=options.drop_bad_boxes)
    dataset = read(options, problems)
    program.say("loading TensorFlow ...")
    import petbox.tf  # noqa: F401  # now, so that the bar counts only images

    total = sum(len(photos) for photos in dataset.photos.values())
    with outputs.product(options.out) as folder, progress("records", total) as advance:
        record_writer.write(
            dataset,
            folder,
            seed=options.seed,
            source=source(options),
            advance=lambda: advance(1, ""),
            workers=options.workers,
            leave_out_broken=options.leave_out_broken,
            problems=problems,
        )


def recognized(options: Options) -> Options:
    """The options with the format of PHOTOS."""
    check(options)
    if options.photos is None:
        return options
    found = formats.recognize(options.photos)
    if "records" in found.options:
        raise DataError(f"{found} already; train with --records")
    program.say(str(found))
    for path in found.unused:
        program.say(f"{path}: not used, it is of no split")
    own_split = options.test_share or options.test_list or options.boxes == "body"
    extra = {k: v for k, v in found.options.items() if k != "test_share" or not own_split}
    options = replace(options, photos=None, **extra)
    check(options)
    return options


def check(options: Options) -> None:
    if options.tfrecords:
        for field in fields(Options):
            if field.name not in OF_TFRECORDS and getattr(options, field.name) != field.default:
                raise DataError(
                    f"{flag(options, field.name)}: not valid with --tfrecords; remove it"
                )
        return
    given = [name for name in ("photos", *SOURCES) if getattr(options, name)]
    if len(given) != 1:
        both = " and ".join(f"--{name}" if name in SOURCES else "PHOTOS" for name in given)
        raise DataError(
            f"{both or 'no photos'} given; give PHOTOS or one of --pets, --voc, --coco and --yolo"
        )
    if options.photos:  # other options are checked when its format is known
        return
    belongs = {"boxes": "pets", "classes": "pets", "images": "coco", "bbox": "coco"}
    for name, owner in belongs.items():
        if getattr(options, name) != getattr(Options, name) and owner not in given:
            raise DataError(f"--{name} is only valid with --{owner}; remove it")
    if options.turned != Options.turned and "pets" in given:
        raise DataError("--turned is only valid with --voc, --coco or --yolo; remove it")
    if options.workers is not None and options.workers < 1:
        raise DataError(f"--workers {options.workers}: must be 1 or more")
    division(options).check()


def division(options: Options) -> Division:
    names = [field.name for field in fields(Division)]
    return Division(**{name: getattr(options, name) for name in names})


def read(options: Options, problems: Problems | None = None) -> Dataset:
    """The data set; `problems` gets what is wrong with it, or else it is rejected."""
    pending = problems or Problems(drop_boxes=options.drop_bad_boxes)
    dataset = pending.without_dropped(_read(options, pending))
    if problems is None:
        pending.check()
    dataset = validation.cut(backgrounds.added(dataset, options.backgrounds), division(options))
    return backgrounds.beside_their_photos(dataset) if options.backgrounds else dataset


def _read(options: Options, problems: Problems) -> Dataset:
    from petbox.data import coco, pets, voc, yolo

    names = labels.read(options.label_map) if options.label_map else None
    common: dict[str, Any] = {"division": division(options), "labels": names, "problems": problems}
    if options.pets:
        return pets.read(options.pets, boxes=options.boxes, classes=options.classes, **common)
    common["turned"] = options.turned
    if folder := options.voc or options.yolo:
        reader = voc.read if options.voc else yolo.read
        return reader(folder, **common)
    return coco.read(options.coco, images=options.images, bbox=options.bbox, **common)


def source(options: Options) -> str:
    paths = [options.pets, options.voc, options.yolo, *options.coco, *options.backgrounds]
    return " ".join(str(path) for path in paths if path)


def report(info: records.RecordsInfo) -> None:
    for split, images in info.pictures.items():
        animals = sum(info.animals[split].values())
        without = info.without_objects.get(split, 0)
        empty = f" ({without} without objects)" if without else ""
        program.say(f"{split}: {images} images{empty}, {animals} objects")
    for what, names in info.remarks.items():
        more = ", …" if len(names) > NAMES_SHOWN else ""
        program.say(f"{what}: {len(names)} ({', '.join(names[:NAMES_SHOWN])}{more})")
