"""Evaluation: COCO's metrics, undefined values, and the plots and sheets."""

from __future__ import annotations

import io
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.serving import CHECKOUT

from petbox.data import labels, records
from petbox.data.annotations import Animal, Dataset, Photo
from petbox.evaluation.coco_metrics import EvaluatedImage, Truth, measure
from petbox.evaluation.curves import plot
from petbox.evaluation.false_alarms import lines, summary
from petbox.evaluation.mistakes import mistakes
from petbox.evaluation.sheet import COLUMNS, sample, sheet, worst
from petbox.evaluation.table import table
from petbox.evaluation.thresholds import best
from petbox.export import model_folder
from petbox.images.draw import captioned, color, drawn
from petbox.training import runs
from petbox.wire import Box, Detection

NAMES = {1: "chat à poil", 2: "dog $2$", 3: "never there"}
BOX: Box = (0.2, 0.2, 0.8, 0.6)
BESIDE: Box = (0.2, 0.35, 0.8, 0.75)  # overlaps BOX by 0.45
ELSEWHERE: Box = (0.85, 0.7, 0.95, 0.95)


def with_truth(
    number: int, truth: tuple[Truth, ...] = (), detections: tuple[Detection, ...] = ()
) -> EvaluatedImage:
    return EvaluatedImage(number, 400, 300, truth, detections)


def right(number: int, label: int = 1, score: float = 0.9) -> EvaluatedImage:
    return with_truth(number, (Truth(label, BOX),), (Detection(label, score, BOX),))


# COCO's numbers


def test_a_detector_without_mistakes_scores_one() -> None:
    metrics = measure([right(7, 1), right(8, 2)], NAMES)
    undefined = {name for name, value in metrics.overall.items() if value is None}
    assert undefined == {"mAP small", "mAP medium"}, "all boxes are large"
    assert [value for value in metrics.overall.values() if value] == pytest.approx([1] * 5)
    assert list(metrics.overall) == [
        *("mAP", "mAP@0.5", "mAP@0.75", "mAP small", "mAP medium", "mAP large", "AR@100")
    ]
    assert metrics.matches == ({0: 0}, {0: 0})


def test_a_class_without_animals_does_not_count() -> None:
    alarm = Detection(3, 0.99, ELSEWHERE)
    one = replace(right(1), detections=(*right(1).detections, alarm))
    metrics = measure([one], NAMES)
    first, second, third = metrics.classes
    assert metrics.overall["mAP"] == first.average_precision == pytest.approx(1)
    for nobody in (second, third):
        assert nobody.animals == 0
        assert nobody.average_precision is None and nobody.precision_at_half is None
    lines = table(metrics.classes, best([one], metrics)).splitlines()
    assert lines[-1].split()[-6:] == ["0", *"-----"]


def test_no_detection_is_zero_and_no_animal_is_undefined() -> None:
    blind = measure([with_truth(1, (Truth(1, BOX),))], NAMES)
    assert {blind.overall[name] for name in ("mAP", "mAP@0.5", "mAP large", "AR@100")} == {0.0}
    empty = measure([with_truth(1, detections=(Detection(1, 0.9, BOX),))], NAMES)
    assert set(empty.overall.values()) == {None}


def test_a_box_half_off_counts_at_one_overlap_and_not_at_the_other() -> None:
    found = Detection(1, 0.9, (0.2, 0.2, 0.8, 0.5))  # three quarters of the animal
    metrics = measure([with_truth(1, (Truth(1, (0.2, 0.2, 0.8, 0.62)),), (found,))], NAMES).overall
    assert metrics["mAP@0.5"] == pytest.approx(1)
    assert metrics["mAP@0.75"] == 0
    assert metrics["mAP"] == pytest.approx(0.5)  # 0.5 to 0.7 of COCO's ten overlaps


def test_a_crowd_counts_neither_for_nor_against() -> None:
    crowd = with_truth(2, (Truth(1, BOX, crowd=True),), (Detection(1, 0.95, BOX),))
    alone, both = measure([right(1)], NAMES), measure([right(1), crowd], NAMES)
    assert both.overall == alone.overall
    assert both.classes == alone.classes
    assert both.matches == ({0: 0}, {0: None})
    assert mistakes(crowd, {0: None}, NAMES, {}) == []


def test_the_table_begins_with_the_worst_class_and_is_aligned() -> None:
    images = [right(1, 1), right(2, 2), with_truth(3, (Truth(2, BOX),))]
    metrics = measure(images, NAMES)
    head, first, second, third = table(metrics.classes, best(images, metrics)).splitlines()
    assert [line[: len("never there")].strip() for line in (first, second, third)] == [
        "dog $2$",
        "chat à poil",
        "never there",
    ]
    assert {len(line) for line in (head, first, second, third)} == {len(head)}


def test_a_difficult_object_counts_neither_for_nor_against() -> None:
    hard = Truth(1, BOX, difficult=True)
    found, missed = with_truth(2, (hard,), (Detection(1, 0.95, BOX),)), with_truth(3, (hard,))
    alone, all_of_them = measure([right(1)], NAMES), measure([right(1), found, missed], NAMES)
    assert all_of_them.overall == alone.overall
    assert all_of_them.classes == alone.classes
    assert all_of_them.matches == ({0: 0}, {0: None}, {})
    assert mistakes(found, {0: None}, NAMES, {}) == mistakes(missed, {}, NAMES, {}) == []
    alarms = summary([found], measure([found], NAMES), dict.fromkeys(NAMES, 0.5))
    assert alarms["false alarms per image"] == 0
    # Unlike a crowd, it has a place of its own: a box inside it is a false alarm.
    inside = with_truth(4, (hard,), (Detection(1, 0.9, (0.2, 0.2, 0.3, 0.3)),))
    assert (
        summary([inside], measure([inside], NAMES), dict.fromkeys(NAMES, 0.5))[
            "false alarms per image"
        ]
        == 1
    )


def test_false_alarms_are_counted_by_image_at_the_threshold() -> None:
    alarm, quiet = Detection(2, 0.6, ELSEWHERE), Detection(1, 0.59, ELSEWHERE)
    crowd = with_truth(4, (Truth(1, BOX, crowd=True),), (Detection(1, 0.9, BOX),))
    images = [
        replace(right(1), detections=(*right(1).detections, alarm)),
        with_truth(2, detections=(alarm, alarm, quiet)),
        with_truth(3),
        crowd,
    ]
    found = summary(images, measure(images, NAMES), dict.fromkeys(NAMES, 0.6))
    assert found == {
        "images": 4,
        "images without objects": 2,
        "false alarms per image": 0.75,
        "false alarms per image without objects": 1.0,
    }
    assert lines(found).splitlines() == [
        "false alarms per image: 0.750",
        "  the 2 without objects: 1.000",
    ]
    alone = [right(1)]
    assert lines(summary(alone, measure(alone, NAMES), dict.fromkeys(NAMES, 0.6))).count("\n") == 0


def test_backgrounds_lower_the_precision() -> None:
    """As in COCO's own metrics: a false alarm counts wherever it is."""
    alarm = Detection(1, 0.95, ELSEWHERE)
    with_alarm = [right(1), with_truth(2, detections=(alarm,))]
    assert measure(with_alarm, NAMES).overall["mAP@0.5"] == pytest.approx(0.5)


# What is wrong in an image


@pytest.mark.parametrize(
    ("truth", "found", "result"),
    [
        ([(1, BOX)], [(1, 0.9, BOX)], []),
        ([(1, BOX)], [], ["chat à poil missed"]),
        ([(1, BOX)], [(1, 0.3, BOX)], ["chat à poil only at 30%"]),
        ([(1, BOX)], [(2, 0.8, BOX)], ["chat à poil called dog $2$ (80%)"]),
        (
            [(1, BOX)],
            [(1, 0.9, BOX), (2, 0.8, BOX)],
            ["chat à poil also called dog $2$ (80%)"],
        ),
        ([(1, BOX)], [(1, 0.9, BOX), (1, 0.8, BOX)], ["chat à poil found twice (80%)"]),
        ([(1, BOX)], [(1, 0.9, BESIDE)], ["chat à poil badly placed (overlap 0.45, 90%)"]),
        (
            [(1, BOX)],
            [(2, 0.7, ELSEWHERE)],
            ["chat à poil missed", "false alarm: dog $2$ (70%)"],
        ),
        ([], [(4, 0.7, BOX)], ["false alarm: 4 (70%)"]),
        ([], [(1, 0.4, BOX)], []),
    ],
)
def test_mistakes_are_described(
    truth: list[tuple[int, Box]], found: list[tuple[int, float, Box]], result: list[str]
) -> None:
    one = with_truth(
        5, tuple(Truth(*words) for words in truth), tuple(Detection(*words) for words in found)
    )
    wrong = mistakes(one, measure([one], NAMES).matches[0], NAMES, {})
    assert [miss.text for miss in wrong] == result
    assert all(0 < miss.badness <= 1 for miss in wrong)


def test_the_worst_images_come_first_and_the_right_ones_not() -> None:
    images = [
        right(1),
        with_truth(2, detections=(Detection(1, 0.6, ELSEWHERE),)),
        with_truth(3, (Truth(1, BOX),)),
        with_truth(4, (Truth(1, BOX), Truth(2, ELSEWHERE))),
    ]
    order = worst(images, measure(images, NAMES), NAMES, {})
    assert [entry.image.number for entry in order] == [4, 3, 2]


def test_the_threshold_of_the_class_decides_what_a_mistake_is() -> None:
    alarm = with_truth(1, (), (Detection(1, 0.7, BOX), Detection(2, 0.4, ELSEWHERE)))
    metrics = measure([alarm], NAMES)
    for scores, wrong in (
        ({}, ["chat à poil"]),
        ({1: 0.8, 2: 0.3}, ["dog $2$"]),
        ({1: 0.8, 2: 0.5}, []),
    ):
        found = mistakes(alarm, {}, NAMES, scores)
        assert [one.text.split(": ")[1].rsplit(" ", 1)[0] for one in found] == wrong
        (entry,) = sample([alarm], metrics, scores)
        assert [NAMES[one.label] for one in entry.shown] == wrong


@pytest.mark.parametrize("count", [1, 3, 24, 25, 100])
def test_a_sample_is_spread_over_all_images(count: int) -> None:
    images = [right(number) for number in range(count)]
    chosen = [entry.image.number for entry in sample(images, measure(images, NAMES), {}, 24)]
    assert len(set(chosen)) == len(chosen) == min(24, count)
    assert chosen[0] == 0 and chosen[-1] >= count - -(-count // 24)


# What is drawn


@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 37])
def test_any_number_of_classes_is_plotted(count: int) -> None:
    names = {label: f"_größe $\\{label}$" for label in range(1, count + 2)}
    images = [right(label, label) for label in range(1, count + 1)] or [with_truth(1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a letter that the font has not
        image = Image.open(io.BytesIO(plot(measure(images, names).classes, "a run: images")))
    assert image.format == "PNG" and image.width > 600


def test_truth_and_finding_are_drawn_apart() -> None:
    grey = Image.new("RGB", (200, 100), (128, 128, 128))
    found, true = (0.0, 0.0, 1.0, 0.4), (0.0, 0.6, 1.0, 1.0)
    image = drawn(grey, [Detection(1, 0.9, found)], NAMES, [("", true)])
    left, right = (image.crop((x, 0, x + 2, 100)).getcolors() for x in (0, 198))
    assert left is not None and right is not None
    assert {paint for _, paint in left} >= {color(1)}
    assert {paint for _, paint in right} == {(0, 0, 0), (255, 255, 255)}


@pytest.mark.parametrize("text", ["", "short", "word " * 99, "unbroken" * 99, "é" * 300])
def test_a_caption_keeps_its_place(text: str) -> None:
    plain = Image.new("RGB", (50, 90), "red")
    image = captioned(plain, text, (200, 100))
    assert image.size == captioned(plain, "", (200, 100)).size
    assert image.getpixel((100, 99)) == (255, 0, 0), "the image stands on its caption"
    assert image.crop((0, 100, *image.size)).getextrema() == (
        ((255, 255),) * 3 if not text else ((0, 255),) * 3
    )


def test_a_sheet_without_mistakes_says_so() -> None:
    image = Image.open(io.BytesIO(sheet([], "Not one mistake.", NAMES, Path("none"), "test")))
    assert image.convert("L").getextrema()[0] < 100, "there are black letters"
    assert image.height < 100, "and nothing else"


# The program, with an untrained detector


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of eleven images, one with a crowd, one to train on, and one to validate on."""
    from petbox.data import record_writer

    folder = tmp_path_factory.mktemp("evaluation")
    photos = []
    for number in range(1, 14):
        path = folder / f"Größe {number}.png"
        Image.effect_noise((90 + 5 * number, 100), 90).convert("RGB").save(path)
        small = (
            (0.4, 0.02, 0.72, 0.27),
            (0.3, 0.33, 0.62, 0.58),
        )  # where an untrained detector has boxes
        animals = tuple(
            Animal(box, NAMES[label], label, crowd=number == 5 and label == 2)
            for box in small
            for label in (1, 2)[: 1 + number % 2]
        )
        size = (90 + 5 * number, 100)
        photos.append(Photo(path, number, "breed", *size, animals, "made here"))
    splits = {
        "train": tuple(photos[:1]),
        "validation": tuple(photos[12:]),
        "test": tuple(photos[1:12]),
    }
    made = folder / "records"
    record_writer.write(
        Dataset(NAMES, splits, {}), made, seed=1, source="here", advance=lambda: None
    )
    return folder


@pytest.fixture(scope="module")
def untrained(folder: Path) -> Path:
    """A run before its first training step."""
    from petbox.training import config as training_config
    from petbox.training.tfvision import tf

    run = folder / "run"
    run.mkdir()
    training_config.set_seed(3)
    config = training_config.experiment("toy")
    train, test = (records.shards(folder / "records", split) for split in ("train", "test"))
    training_config.on_records(config, [train], [test], NAMES)
    config.task.validation_data.global_batch_size = 4  # which does not divide eleven
    training_config.save_config(config, run)
    labels.write(run / runs.LABEL_MAP, NAMES)
    model = training_config.task(config).build_model()
    tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(run), 1).save()
    return run


@pytest.fixture(scope="module")
def evaluated(untrained: Path, folder: Path, run: Any) -> Any:
    done = run("train/evaluate.py", "--run", untrained, "--records", folder / "records")
    assert done.returncode == 0, done.stderr
    return done


def test_the_metrics_are_those_of_the_model_garden(
    evaluated: Any, untrained: Path, folder: Path
) -> None:
    from petbox.evaluation import predictions
    from petbox.training import checkpoints
    from petbox.training import config as training_config

    found = runs.read(untrained)
    config = training_config.load_config(found)
    model, task = checkpoints.restored(config, found), training_config.task(config)
    task.build_metrics(training=False)
    state = None
    for inputs in task.build_inputs(config.task.validation_data):
        state = task.aggregate_logs(state, task.validation_step(inputs, model, []))
    theirs = task.reduce_aggregated_logs(state)
    images = list(predictions.of_run(found)(folder / "records", "test"))
    assert len(images) == 11
    ours = measure(images, NAMES).overall
    expected = [float(theirs[name]) for name in ("AP", "AP50", "AP75", "ARmax100")]
    names = ("mAP", "mAP@0.5", "mAP@0.75", "AR@100")
    assert [ours[name] for name in names] == pytest.approx(expected, abs=1e-6)
    assert expected[0] > 0, "some detections match by chance, or the test compares zeros"
    result = json.loads((untrained / "evaluation.json").read_text(encoding="utf-8"))
    assert [result[name] for name in names] == pytest.approx(expected, abs=1e-3)


def test_no_graph_is_traced_for_one_split_and_again_for_another(
    untrained: Path, folder: Path
) -> None:
    from petbox.evaluation import predictions

    sys.path.insert(0, str(CHECKOUT / "bench"))
    import traces

    with traces.counted() as graphs:
        predict = predictions.of_run(runs.read(untrained))
        counts = [len([*predict(folder / "records", split)]) for split in ("validation", "test")]
    assert counts == [1, 11]
    assert [*graphs.values()] == [1, 1], "the preparation of images, and the network"


def test_the_evaluation_is_kept_for_programs(evaluated: Any, untrained: Path) -> None:
    text = (untrained / "evaluation.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    result = json.loads(text)
    assert result["split"] == "test"
    assert (result["images"], result["images without objects"]) == (11, 0)
    low, high = result["intervals"]["mAP@0.5"]
    assert 0 <= low <= result["mAP@0.5"] <= high
    interval = f"  (95% interval {low:.3f} to {high:.3f})"
    assert f"mAP@0.5    {result['mAP@0.5']:.3f}{interval}\n" in evaluated.stdout
    alarms = f"false alarms per image: {result['false alarms per image']:.3f}\n"
    assert alarms in evaluated.stdout
    assert list(result["classes"]) == list(NAMES.values())
    assert result["classes"]["never there"] == {
        "animals": 0,
        **dict.fromkeys(("AP", "AP@0.5", "AR@100", "F1", "precision", "recall", "threshold")),
    }
    assert result["classes"]["dog $2$"]["animals"] == 8, "ten, of which two are crowds"
    there = [one["AP"] for one in result["classes"].values() if one["AP"] is not None]
    assert len(there) == 2
    assert result["mAP"] == pytest.approx(sum(there) / len(there), abs=1e-3)
    for name in NAMES.values():
        assert name in evaluated.stdout
    assert f"mAP@0.5    {result['mAP@0.5']:.3f}" in evaluated.stdout


def test_thresholds_are_chosen_on_validation_images(
    evaluated: Any, untrained: Path, exported: Path, folder: Path, run: Any
) -> None:
    assert f"wrote {untrained}/thresholds.json, chosen on 1 validation images" in evaluated.stderr
    kept = json.loads((untrained / "thresholds.json").read_text(encoding="utf-8"))
    assert (kept["checkpoint"], kept["split"]) == ("ckpt-1", "validation")
    assert kept["classes"], "some detection is right by chance"
    classes = json.loads((untrained / "evaluation.json").read_text(encoding="utf-8"))["classes"]
    of_all = {name: one["threshold"] for name, one in classes.items() if one["animals"]}
    assert of_all == {name: kept["classes"].get(name, 0.5) for name in of_all}
    found = runs.read(untrained).thresholds
    assert {NAMES[label]: score for label, score in found.items()} == kept["classes"]
    assert model_folder.read(exported).thresholds == found


def test_one_threshold_for_all_can_be_given(untrained: Path, folder: Path, run: Any) -> None:
    before = (untrained / "thresholds.json").read_bytes()
    out = folder / "at zero"
    words = ("--run", untrained, "--records", folder / "records", "--out", out)
    done = run("train/evaluate.py", *words, "--threshold=0")
    assert done.returncode == 0, done.stderr
    classes = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["classes"]
    assert {one["threshold"] for one in classes.values() if one["animals"]} == {0}
    assert (untrained / "thresholds.json").read_bytes() == before


def test_records_without_validation_images_are_judged_by_the_stored_thresholds(
    untrained: Path, folder: Path, run: Any
) -> None:
    thresholds = untrained / "thresholds.json"
    before = thresholds.read_bytes()
    stored = {"checkpoint": "ckpt-1", "split": "validation", "classes": {NAMES[1]: 0.123}}
    thresholds.write_text(json.dumps(stored), encoding="utf-8")
    out, pattern = folder / "of a pattern", folder / "records" / "test.record-*"
    done = run("train/evaluate.py", "--run", untrained, "--records", pattern, "--out", out)
    kept = thresholds.read_text(encoding="utf-8")
    thresholds.write_bytes(before)
    assert done.returncode == 0, done.stderr
    classes = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["classes"]
    assert classes[NAMES[1]]["threshold"] == 0.123
    assert json.loads(kept) == stored


def test_pycocotools_gets_the_same_from_the_files(evaluated: Any, untrained: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(untrained / "truth.json"))
    theirs = COCOeval(truth, truth.loadRes(str(untrained / "predictions.json")), "bbox")
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    result = json.loads((untrained / "evaluation.json").read_text(encoding="utf-8"))
    ours = [result[f"mAP{which}"] for which in ("", "@0.5", "@0.75", " small", " medium", " large")]
    expected = [None if value < 0 else value for value in theirs.stats[:6]]
    assert ours == [pytest.approx(value, abs=1e-4) for value in expected]
    sizes = {one["file_name"]: one["width"] for one in truth.loadImgs(truth.getImgIds())}
    assert sizes == {f"Größe {number}.png": 90 + 5 * number for number in range(2, 13)}
    assert {one["name"] for one in truth.loadCats(truth.getCatIds())} == set(NAMES.values())


@pytest.mark.parametrize("name", ["precision_recall", "confusion", "worst_misses", "sample"])
def test_the_plots_are_written(evaluated: Any, untrained: Path, name: str) -> None:
    with Image.open(untrained / f"{name}.png") as image:
        image.load()
        assert image.format == "PNG"
        assert name in ("precision_recall", "confusion") or image.height > 2 * image.width / COLUMNS
    assert f"{untrained / name}.png" in evaluated.stderr


def test_another_split_is_kept_apart(
    evaluated: Any, untrained: Path, folder: Path, run: Any
) -> None:
    before = (untrained / "evaluation.json").read_bytes()
    words = ("--run", untrained, "--records", folder / "records", "--split", "train")
    done = run("train/evaluate.py", *words)
    assert done.returncode == 0, done.stderr
    result = json.loads((untrained / "evaluation-train.json").read_text(encoding="utf-8"))
    assert sum(one["animals"] for one in result["classes"].values()) == 4, "one image"
    for name in ("precision_recall", "worst_misses", "sample"):
        assert (untrained / f"{name}-train.png").is_file()
    assert (untrained / "evaluation.json").read_bytes() == before


@pytest.fixture(scope="module")
def exported(untrained: Path) -> Path:
    from petbox.export import exporter
    from petbox.export.signatures import Settings

    return exporter.export(runs.read(untrained), untrained.with_name("model") / "1", Settings())


def test_an_exported_model_is_as_good_as_its_checkpoint(
    evaluated: Any, untrained: Path, exported: Path, folder: Path, run: Any
) -> None:
    before = contents(exported)
    done = run("train/evaluate.py", "--model", exported.parent, "--records", folder / "records")
    assert done.returncode == 0, done.stderr
    results = exported.with_name("1-evaluation")
    assert {path.name for path in results.iterdir()} == {
        *("evaluation.json", "predictions.json", "truth.json"),
        *("precision_recall.png", "confusion.png", "worst_misses.png", "sample.png"),
    }
    assert contents(exported) == before, "a finished model is not changed"
    theirs, ours = (
        json.loads((at / "evaluation.json").read_text(encoding="utf-8"))
        for at in (untrained, results)
    )
    assert theirs["mAP"] > 0, "some detections match by chance, or the test compares zeros"
    for name in ("mAP", "mAP@0.5", "mAP@0.75", "AR@100"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-3)
    animals = [[one["animals"] for one in result["classes"].values()] for result in (theirs, ours)]
    assert animals[0] == animals[1], "crowds are crowds in both"


def test_a_model_gets_its_own_input_type(untrained: Path, folder: Path) -> None:
    from petbox.evaluation import predictions
    from petbox.export import model_folder
    from petbox.tf import tf

    def found(pixels: Any) -> dict[str, Any]:
        size = tf.cast(tf.shape(pixels)[1:3], tf.float32)
        return {
            "detection_boxes": tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            "detection_classes": tf.constant([[2.0]]),
            "detection_scores": tf.reshape(size[0] / size[1], [1, 1]),
            "num_detections": tf.constant([1.0]),
        }

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)])
    def of_pixels(input_tensor: Any) -> dict[str, Any]:
        return found(input_tensor)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def of_examples(inputs: Any) -> dict[str, Any]:
        feature = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
        file = tf.io.parse_single_example(inputs[0], feature)["image/encoded"]
        return found(tf.io.decode_image(file, 3, expand_animations=False)[None])

    for name, function in (("of_pixels", of_pixels), ("tf_example", of_examples)):
        model = untrained.with_name(name)
        tf.saved_model.save(tf.Module(), str(model), signatures=function)
        if name == "tf_example":
            (model / "assets.extra").mkdir()
            report = {"settings": {"input_type": name}}
            (model / "assets.extra" / "export.json").write_text(json.dumps(report))
        (model / "assets").mkdir(exist_ok=True)
        labels.write(model / "assets" / labels.FILE_NAME, NAMES)
        found_model = model_folder.read(model)
        images = list(predictions.of_model(found_model, folder / "records", "test"))
        assert len(images) == 11
        for one in images:
            (pet,) = one.detections
            assert (pet.label, pet.box) == (2, (0, 0, 1, 1))
            assert pet.score == pytest.approx(one.height / one.width)
        assert sum(truth.crowd for one in images for truth in one.truth) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--run", "{run}", "--model", "{run}"), "--run or --model: give one of them, not 2"),
        ((), "--run or --model: give one of them, not 0"),
        (("--model", "{run}"), "{run}: no model; found:"),
        (("--model", "{bare}"), "{bare}: has no assets/label_map.pbtxt; pass --label-map"),
        (("--model", "{other}"), "{other}: has no signature serving_default, but predict; export"),
    ],
)
def test_what_cannot_be_evaluated_is_reported_in_one_line(
    words: tuple[str, ...], message: str, untrained: Path, tmp_path: Path, folder: Path, run: Any
) -> None:
    (tmp_path / "saved_model.pb").touch()
    other = tmp_path / "other"
    (other / "assets").mkdir(parents=True)
    labels.write(other / "assets" / labels.FILE_NAME, NAMES)
    # A protobuf of one meta graph with one signature.
    (other / "saved_model.pb").write_bytes(b"\x12\x0b\x2a\x09\x0a\x07predict")
    places = {"run": str(untrained), "bare": str(tmp_path), "other": str(other)}
    words = tuple(word.format(**places) for word in words)
    done = run("train/evaluate.py", "--records", folder / "records", *words)
    assert done.returncode == 1
    assert message.format(**places) in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_split_without_images_is_rejected(
    untrained: Path, folder: Path, tmp_path: Path, run: Any
) -> None:
    info = records.read_info(folder / "records")
    labels.write(tmp_path / labels.FILE_NAME, NAMES)
    none = replace(info, pictures={"train": 12, "test": 0}, shards={"train": 0, "test": 0})
    records.write_info(tmp_path, none)
    done = run("train/evaluate.py", "--run", untrained, "--records", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {tmp_path}: has no images in its test split; make records that have some, or "
        "choose another --split\n"
    )


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
