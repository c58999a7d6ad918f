"""The Object Detection API's configurations, converted to ours or rejected."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from petbox.data import text_proto
from petbox.errors import DataError
from petbox.training.pipeline_config.mapping import (
    NO_SUCH,
    PipelineConfig,
    check_classes,
    inputs,
    parse,
    read,
    table,
)
from petbox.training.pipeline_config.network import pyramid

MAPPED = {
    "faster_rcnn_resnet101_pets.config": 101,
    "tf_models_2017_datitran_copy/faster_rcnn_resnet101_pets.config": 101,
    "tf_models_2017_datitran_copy/faster_rcnn_resnet152_pets.config": 152,
    "tf_models_2017_datitran_copy/faster_rcnn_resnet50_pets.config": 50,
    "tf_models_2020_picsell_copy/faster_rcnn_resnet152_pets.config": 152,
    "tf_models_2020_picsell_copy/faster_rcnn_resnet50_pets.config": 50,
}
REJECTED = {
    "tf_models_2017_datitran_copy/faster_rcnn_inception_resnet_v2_atrous_pets.config": "inception",
    "tf_models_2017_datitran_copy/rfcn_resnet101_pets.config": "R-FCN",
    "tf_models_2017_datitran_copy/ssd_inception_v2_pets.config": "SSD (ssd_inception_v2)",
    "tf_models_2017_datitran_copy/ssd_mobilenet_v1_pets.config": "SSD (ssd_mobilenet_v1)",
    "tf_models_2020_picsell_copy/faster_rcnn_inception_resnet_v2_atrous_pets.config": "inception",
    "tf_models_2020_picsell_copy/faster_rcnn_inception_v2_pets.config": "faster_rcnn_inception_v2:",
    "tf_models_2020_picsell_copy/mask_rcnn_resnet101_pets.config": "Mask R-CNN",
    "tf_models_2020_picsell_copy/rfcn_resnet101_pets.config": "R-FCN",
    "tf_models_2020_picsell_copy/ssd_inception_v2_pets.config": "SSD (ssd_inception_v2)",
    "tf_models_2020_picsell_copy/ssd_inception_v3_pets.config": "SSD (ssd_inception_v3)",
    "tf_models_2020_picsell_copy/ssd_mobilenet_v1_0.75_depth_quantized_300x300_pets_sync.config": (
        "SSD (ssd_mobilenet_v1)"
    ),
    "tf_models_2020_picsell_copy/ssd_mobilenet_v1_focal_loss_pets.config": "SSD (ssd_mobilenet_v1)",
    "tf_models_2020_picsell_copy/ssd_mobilenet_v1_focal_loss_pets_inference.config": (
        "SSD (ssd_mobilenet_v1)"
    ),
    "tf_models_2020_picsell_copy/ssd_mobilenet_v1_pets.config": "SSD (ssd_mobilenet_v1)",
    "tf_models_2020_picsell_copy/ssd_mobilenet_v2_pets_keras.config": (
        "SSD (ssd_mobilenet_v2_keras)"
    ),
}

# What a field of theirs must have become, as in the file's own text.
NUMBERS = {
    "batch_size": "task.train_data.global_batch_size",
    "num_steps": "trainer.train_steps",
    "gradient_clipping_by_norm": "trainer.optimizer_config.optimizer.sgd.global_clipnorm",
    "momentum_optimizer_value": "trainer.optimizer_config.optimizer.sgd.momentum",
    "first_stage_max_proposals": "task.model.roi_generator.test_num_proposals",
    "first_stage_nms_iou_threshold": "task.model.roi_generator.nms_iou_threshold",
    "first_stage_nms_score_threshold": "task.model.roi_generator.pre_nms_score_threshold",
    "first_stage_localization_loss_weight": "task.losses.rpn_box_weight",
    "second_stage_classification_loss_weight": "task.losses.frcnn_class_weight",
    "max_total_detections": "task.model.detection_generator.max_num_detections",
    "score_threshold": "task.model.detection_generator.pre_nms_score_threshold",
    "iou_threshold": "task.model.detection_generator.nms_iou_threshold",
    "max_number_of_boxes": "task.train_data.parser.max_num_instances",
}


@pytest.fixture(scope="module")
def reference(data: Path) -> Path:
    return data / "reference"


def network(inside: str = "", *, train: str = "", more: str = "") -> str:
    return f"""
model {{ faster_rcnn {{
  num_classes: 37
  feature_extractor {{ type: 'faster_rcnn_resnet50' }}
  {inside}
}} }}
train_config {{ {train} }}
{more}"""


def mapped(inside: str = "", *, train: str = "", more: str = "") -> PipelineConfig:
    return parse(network(inside, train=train, more=more), "my.config")


def momentum(rate: str) -> str:
    return f"optimizer {{ momentum_optimizer {{ learning_rate {{ {rate} }} }} }}"


def schedule(rate: str) -> dict[str, Any]:
    """The result of a learning rate, under short names."""
    changes = mapped(train=momentum(rate)).changes
    ours = "trainer.optimizer_config."
    kinds = ("learning_rate.", "warmup.")
    short = {name.removeprefix(ours): value for name, value in changes.items()}
    return {name: value for name, value in short.items() if name.startswith(kinds)}


def test_every_reference_has_its_test(reference: Path) -> None:
    files = {str(path.relative_to(reference)) for path in reference.rglob("*.config")}
    assert {name for name in files if "LOCALLY_EDITED" not in name} == {*MAPPED, *REJECTED}


@pytest.mark.parametrize("name", MAPPED)
def test_a_reference_is_mapped_by_its_own_numbers(reference: Path, name: str) -> None:
    text = (reference / name).read_text()
    changes = read(reference / name).changes
    for field, ours in NUMBERS.items():
        stated = re.search(rf"^ *{field}: *([\d.]+)$", text, re.MULTILINE)
        assert (changes.get(ours) is None) == (stated is None), field
        assert stated is None or changes[ours] == float(stated[1]), field
    assert changes["task.model.num_classes"] == 37 + 1  # the background counts
    assert changes["task.model.backbone.resnet.model_id"] == MAPPED[name]
    assert changes["task.train_data.parser.aug_rand_hflip"] is True
    assert changes["trainer.optimizer_config.learning_rate.stepwise.boundaries"] == [
        900000,
        1200000,
    ]
    rates = changes["trainer.optimizer_config.learning_rate.stepwise.values"]
    assert rates == [0.0003, 0.00003, 0.000003]
    levels = range(changes["task.model.min_level"], changes["task.model.max_level"] + 1)
    size = changes["task.model.anchor.anchor_size"]
    assert [size * 2**level for level in levels] == [256 * s for s in (0.25, 0.5, 1.0, 2.0)]
    assert changes["task.model.input_size"] == [832, 832, 3]  # 800 in multiples of 64
    assert changes["task.model.roi_aligner.crop_size"] == 14 // 2


@pytest.mark.parametrize("name", MAPPED)
def test_every_field_of_a_reference_is_converted_or_skipped_for_a_reason(
    reference: Path, name: str
) -> None:
    done = read(reference / name)
    assert not [row for row in done.skipped if row.why == NO_SUCH]
    shown = table(done)
    for field in re.findall(
        r"^ *(\w+):? *[\d'\"\[.A-Z]", (reference / name).read_text(), re.MULTILINE
    ):
        known = {"step": "from steps", "learning_rate": "manual_step", "weight": "l2_regularizer"}
        known |= {"initial_learning_rate": "manual_step", "maxpool_kernel_size": "maxpool"}
        known |= {"maxpool_stride": "maxpool"}
        assert known.get(field, field) in shown, field


@pytest.mark.parametrize("name", REJECTED)
def test_a_reference_of_another_network_is_rejected_by_name(reference: Path, name: str) -> None:
    with pytest.raises(DataError) as error:
        read(reference / name)
    shown = str(error.value)
    assert shown.startswith(f"{reference / name}: line ")
    assert REJECTED[name] in shown and "take a faster_rcnn_resnet*.config" in shown


def test_paths_that_are_not_configured_are_reported(reference: Path) -> None:
    done = read(reference / "faster_rcnn_resnet101_pets.config")
    assert (done.train_records, done.validation_records, done.label_map) == ((), (), None)
    unconfigured = {
        row.theirs: row.why for row in done.skipped if "PATH_TO_BE_CONFIGURED" in row.theirs
    }
    assert len(unconfigured) == 4
    assert all("not configured" in why for why in unconfigured.values())
    assert "task.init_checkpoint" not in done.changes
    assert "task.model.backbone.resnet.bn_trainable" not in done.changes


def test_paths_are_converted(reference: Path) -> None:
    text = (reference / "faster_rcnn_resnet101_pets.config").read_text()
    done = parse(text.replace("PATH_TO_BE_CONFIGURED", "/data"), "my.config")
    assert done.train_records == ("/data/pet_faces_train.record-?????-of-00010",)
    assert done.validation_records == ("/data/pet_faces_val.record-?????-of-00010",)
    assert done.label_map == "/data/pet_label_map.pbtxt"
    assert not [name for name in done.changes if name.endswith("input_path")]  # --records may win
    assert done.changes["task.init_checkpoint"] == "/data/model.ckpt"
    assert done.changes["task.init_checkpoint_modules"] == ["backbone", "decoder"]
    assert done.changes["task.model.backbone.resnet.bn_trainable"] is False


def test_the_records_of_a_file_are_found(reference: Path, tmp_path: Path) -> None:
    text = (reference / "faster_rcnn_resnet101_pets.config").read_text()
    done = parse(text.replace("PATH_TO_BE_CONFIGURED", str(tmp_path)), "my.config")
    with pytest.raises(DataError, match=r"my.config: no such file: .*pet_faces_train"):
        inputs(done)
    for split in ("train", "val"):
        (tmp_path / f"pet_faces_{split}.record-00000-of-00010").touch()
    with pytest.raises(DataError, match="no label map can be read here"):
        inputs(done)
    (tmp_path / "pet_label_map.pbtxt").write_text("item { id: 1 name: 'cat' }")
    found = inputs(done)
    assert found.names == {1: "cat"}
    assert found.label_map == tmp_path / "pet_label_map.pbtxt"
    assert (found.train, found.validation) == (done.train_records, done.validation_records)


def test_records_that_are_not_configured_must_be_given(reference: Path) -> None:
    with pytest.raises(
        DataError, match=r"does not name records to train and evaluate on .*pass --records"
    ):
        inputs(read(reference / "faster_rcnn_resnet101_pets.config"))


def test_a_classification_checkpoint_is_for_the_backbone() -> None:
    given = 'fine_tune_checkpoint: "a.ckpt" fine_tune_checkpoint_type: "classification"'
    changes = mapped(train=given).changes
    assert changes["task.init_checkpoint_modules"] == ["backbone"]


def test_two_label_maps_are_rejected() -> None:
    readers = 'train_input_reader { label_map_path: "a" } eval_input_reader { label_map_path: "b" }'
    with pytest.raises(DataError, match="two label maps"):
        mapped(more=readers)


def test_the_table_shows_both_sides() -> None:
    done = mapped("first_stage_max_proposals: 55  frobnicate: 3", train="batch_size: 2")
    lines = [" ".join(line.split()) for line in table(done).splitlines()]
    assert "num_classes: 37 -> task.model.num_classes = 38" in lines
    assert "first_stage_max_proposals: 55 -> task.model.roi_generator.num_proposals = 55" in lines
    assert "task.model.roi_generator.test_num_proposals = 55" in lines
    assert lines.index("frobnicate: 3") == lines.index(f"{NO_SUCH}:") + 1
    assert lines.index(f"{NO_SUCH}:") > lines.index("my.config: no counterpart")


def test_an_unknown_group_is_not_lost() -> None:
    skipped = mapped(
        "frobs { a { b: 1 } c {} }", train="batch_size: 1", more="rewriter { a: 8 }"
    ).skipped
    assert [row.theirs for row in skipped if row.why == NO_SUCH] == [
        "frobs.a.b: 1",
        "frobs.c { }",
        "rewriter.a: 8",
    ]


@pytest.mark.parametrize(
    ("rate", "ours"),
    [
        (
            "constant_learning_rate { learning_rate: 0.01 }",
            {
                "learning_rate.type": "constant",
                "learning_rate.constant.learning_rate": 0.01,
                "warmup.type": None,
            },
        ),
        (
            "manual_step_learning_rate { initial_learning_rate: .1 schedule { step: 0 "
            "learning_rate: .2 } schedule { step: 9 learning_rate: .3 } }",
            {
                "learning_rate.type": "stepwise",
                "learning_rate.stepwise.boundaries": [9],
                "learning_rate.stepwise.values": [0.2, 0.3],
                "warmup.type": None,
            },
        ),
        (
            "manual_step_learning_rate { initial_learning_rate: .1 warmup: true schedule { step: 5 "
            "learning_rate: .2 } schedule { step: 9 learning_rate: .3 } }",
            {
                "learning_rate.type": "stepwise",
                "learning_rate.stepwise.boundaries": [9],
                "learning_rate.stepwise.values": [0.2, 0.3],
                "warmup.type": "linear",
                "warmup.linear.warmup_steps": 5,
                "warmup.linear.warmup_learning_rate": 0.1,
            },
        ),
        (
            "manual_step_learning_rate { initial_learning_rate: .1 }",
            {
                "learning_rate.type": "constant",
                "learning_rate.constant.learning_rate": 0.1,
                "warmup.type": None,
            },
        ),
        (
            "exponential_decay_learning_rate { initial_learning_rate: 0.004 decay_steps: 800720 "
            "decay_factor: 0.95 }",
            {
                "learning_rate.type": "exponential",
                "learning_rate.exponential.initial_learning_rate": 0.004,
                "learning_rate.exponential.decay_steps": 800720,
                "learning_rate.exponential.decay_rate": 0.95,
                "learning_rate.exponential.staircase": True,
                "warmup.type": None,
            },
        ),
        (
            "cosine_decay_learning_rate { learning_rate_base: 0.2 total_steps: 2000 "
            "warmup_learning_rate: 0.02 warmup_steps: 100 }",
            {
                "learning_rate.type": "cosine",
                "learning_rate.cosine.initial_learning_rate": 0.2,
                "learning_rate.cosine.decay_steps": 1900,
                "learning_rate.cosine.offset": 100,
                "warmup.type": "linear",
                "warmup.linear.warmup_steps": 100,
                "warmup.linear.warmup_learning_rate": 0.02,
            },
        ),
    ],
    ids=["constant", "from step 0", "warmed up", "without steps", "exponential", "cosine"],
)
def test_a_learning_rate_is_carried_over(rate: str, ours: dict[str, Any]) -> None:
    assert schedule(rate) == ours


def test_other_optimizers_are_carried_over() -> None:
    ours = "trainer.optimizer_config.optimizer."
    rms = "optimizer { rms_prop_optimizer { decay: 0.8 } } gradient_clipping_by_norm: 5"
    changes = mapped(train=rms).changes
    assert changes[ours + "type"] == "rmsprop"
    fields = ("rho", "momentum", "epsilon", "global_clipnorm")
    assert [changes[f"{ours}rmsprop.{name}"] for name in fields] == [0.8, 0.9, 1.0, 5.0]
    changes = mapped(train="optimizer { adam_optimizer { epsilon: 1e-7 } }").changes
    assert (changes[ours + "type"], changes[ours + "adam.epsilon"]) == ("adam", 1e-7)


def test_averaged_weights_have_no_counterpart() -> None:
    skipped = [row.theirs for row in mapped(train=momentum("")).skipped]
    assert "use_moving_average: true (their default)" in skipped


def test_augmentation_is_what_is_listed_and_no_more() -> None:
    parser = "task.train_data.parser."
    names = ("aug_rand_hflip", "aug_scale_min", "aug_scale_max")
    options = (
        "data_augmentation_options { random_image_scale { min_scale_ratio: 0.7 } } "
        "data_augmentation_options { random_crop_image { min_area: 0.5 } } "
        "data_augmentation_options { random_adjust_hue { max_delta: 0.1 } }"
    )
    done = mapped(train=options)
    assert [done.changes[parser + name] for name in names] == [False, 0.7, 2.0]
    assert any("random_adjust_hue" in row.theirs for row in done.skipped)
    plain = mapped()
    assert [plain.changes[parser + name] for name in names] == [False, 1.0, 1.0]
    cropped = mapped(train="data_augmentation_options { random_crop_image { min_area: 0.5 } }")
    assert cropped.changes[parser + "aug_scale_max"] == 1.41


@pytest.mark.parametrize(
    ("resizer", "canvas"),
    [
        ("keep_aspect_ratio_resizer { min_dimension: 300 max_dimension: 512 }", [448, 448, 3]),
        ("keep_aspect_ratio_resizer { min_dimension: 800 max_dimension: 800 }", [832, 832, 3]),
        ("keep_aspect_ratio_resizer { }", [832, 832, 3]),
        ("fixed_shape_resizer { height: 320 width: 500 }", [320, 512, 3]),
    ],
)
def test_a_resizer_becomes_a_canvas(resizer: str, canvas: list[int]) -> None:
    assert mapped(f"image_resizer {{ {resizer} }}").changes["task.model.input_size"] == canvas


def test_another_resizer_leaves_the_canvas() -> None:
    done = mapped("image_resizer { identity_resizer {} }")
    assert "task.model.input_size" not in done.changes
    assert any("identity_resizer" in row.theirs for row in done.skipped)


@pytest.mark.parametrize(
    ("sizes", "levels"),
    [
        ([64, 128, 256, 512], (3, 6, 1, 8.0)),
        ([16, 32, 64], (2, 4, 1, 4.0)),
        ([64, 90.5, 128, 181], (3, 4, 2, 8.0)),
        ([64, 128, 200], None),  # no even steps
        ([64, 256], None),  # a level without anchors between them
        ([64], None),
        ([0, 0], None),
        ([8 * 2**n for n in range(9)], None),  # coarser than any level
    ],
)
def test_anchor_sizes_become_levels(sizes: list[float], levels: tuple[Any, ...] | None) -> None:
    assert pyramid(sizes) == levels


def test_anchors_that_fit_no_pyramid_are_skipped() -> None:
    anchors = "grid_anchor_generator { scales: [0.25, 1.0] aspect_ratios: [1.0] }"
    done = mapped(f"first_stage_anchor_generator {{ {anchors} }}")
    assert "task.model.anchor.anchor_size" not in done.changes
    assert done.changes["task.model.anchor.aspect_ratios"] == [1.0]
    assert any(row.theirs.startswith("scales: [0.25, 1.0]") for row in done.skipped)


def test_pyramid_anchors_are_converted() -> None:
    anchors = "multiscale_anchor_generator { min_level: 2 max_level: 6 anchor_scale: 8.0 }"
    changes = mapped(f"first_stage_anchor_generator {{ {anchors} }}").changes
    names = ("min_level", "max_level", "anchor.anchor_size", "anchor.num_scales")
    assert [changes[f"task.model.{name}"] for name in names] == [2, 6, 8.0, 2]


def test_no_more_regions_are_drawn_than_proposed() -> None:
    done = mapped("first_stage_max_proposals: 20 second_stage_batch_size: 64")
    assert done.changes["task.model.roi_sampler.num_sampled_rois"] == 20


def test_sigmoid_scores_are_carried_over() -> None:
    changes = mapped(
        "second_stage_post_processing { score_converter: SIGMOID } "
        "second_stage_classification_loss { weighted_sigmoid {} }"
    ).changes
    assert changes["task.model.detection_generator.use_sigmoid_probability"] is True
    assert changes["task.losses.frcnn_class_use_binary_cross_entropy"] is True


def test_two_weight_decays_are_skipped() -> None:
    decay = "hyperparams {{ regularizer {{ l2_regularizer {{ weight: {} }} }} }}".format
    first = "first_stage_box_predictor_conv_" + decay("0.1")
    second = "fc_" + decay("0.2")
    done = mapped(
        f"{first} second_stage_box_predictor {{ mask_rcnn_box_predictor {{ {second} }} }}"
    )
    assert "task.losses.l2_weight_decay" not in done.changes
    assert len([row for row in done.skipped if "l2_regularizer" in row.theirs]) == 2


def test_training_without_an_end_needs_one(reference: Path) -> None:
    done = read(reference / "tf_models_2017_datitran_copy/faster_rcnn_resnet101_pets.config")
    assert "trainer.train_steps" not in done.changes
    assert any("num_steps" in row.theirs and "--steps" in row.why for row in done.skipped)


def test_more_classes_than_the_file_knows_are_rejected() -> None:
    done = mapped()
    check_classes(done, {1: "cat", 37: "dog"})
    with pytest.raises(DataError, match=r"my.config: num_classes is 37.*class 38 \(fox\)"):
        check_classes(done, {1: "cat", 38: "fox"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no model"),
        ("item { id: 1 }", "has no model"),
        ("model { center_net { num_classes: 1 } }", "line 1: center_net is another kind"),
        (
            "model { ssd { feature_extractor { type: 'ssd_resnet50_v1_fpn_keras' } } }",
            "line 1: SSD (ssd_resnet50_v1_fpn_keras) is a RetinaNet, for which there is --preset "
            "retinanet_resnet50_pets; petbox trains Faster R-CNN on ResNet-50",
        ),
        ("model { faster_rcnn { num_classes: 1 } }", "line 1: no feature_extractor"),
        (network("number_of_stages: 1"), "line 2: number_of_stages: 1"),
        (network().replace("num_classes: 37", ""), "has no num_classes"),
        (network("num_classes: 38"), "line 5: model.faster_rcnn.num_classes is given twice"),
        (network().replace("37", "many"), "line 3: num_classes: many is not a whole number"),
        (network().replace("37", "'37'"), 'line 3: num_classes: "37" is not a whole number'),
        (network(train="batch_size: 0"), "line 7: train_config.batch_size must be 1 or more"),
        (network(train="batch_size: -1"), "line 7: batch_size: -1 is not a whole number"),
        (network("first_stage_nms_iou_threshold: nan"), "line 5: first_stage_nms_iou_threshold"),
        (
            network(train=momentum("cosine_decay_learning_rate { total_steps: 50 }")),
            "line 7: cosine_decay_learning_rate warms up for 10000 of its 50 steps",
        ),
        (
            network(
                train=momentum(
                    "manual_step_learning_rate { schedule {step: 9} schedule {step: 3} }"
                )
            ),
            "line 7: the steps of manual_step_learning_rate do not increase",
        ),
        ("model { faster_rcnn {", "line 1: this { is never closed"),
        ("model {\n a: 1\n]\n}", "line 3: ']' stands where a field's name should be"),
        ("model {\n a 1 }", "line 2: a has no value; put ':' or '{' after the name"),
        ("model {\n a: }", "line 2: a has no value, but '}'"),
        ("model {\n a: [1 2] }", "line 2: the list of a needs ',' or ']'"),
        ("model {\n a: 'x }", 'line 2: cannot be read at "\'x }"'),
        ("model {\n a: 1 } }", "line 2: '}' stands where"),
        ("a {" * 100, "nested more than 60 levels"),
        ("a:", "line 1: a has no value, but the end of the file"),
    ],
)
def test_a_file_that_is_wrong_is_rejected_with_its_line(text: str, says: str) -> None:
    with pytest.raises(DataError) as error:
        parse(text, "my.config")
    assert str(error.value).startswith("my.config: ") and says in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.config: cannot be read \(No such file"):
        read(tmp_path / "gone.config")
    (tmp_path / "x.config").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"x.config: not a text file"):
        read(tmp_path / "x.config")


def test_the_text_format_is_read_in_all_its_forms() -> None:
    text = r"""
    # a remark
    a: 1, b: -2.5e-3; c: "x" 'y'   # two strings are one
    d { e: true } f: { } g < h: [1, 2,
      3] >
    i: [ { j: 1 }, { j: 2 } ] k: [] [my.own/name]: ENUM l: "caf\303\251 \x41\n\""
    m: - 4
    """
    fields = text_proto.parse(text, "x")
    assert [str(field) for field in fields] == [
        "a: 1",
        "b: -2.5e-3",
        'c: "xy"',
        "d { e: true }",
        "f { }",
        "g { h: 1 h: 2 h: 3 }",
        "i { j: 1 }",
        "i { j: 2 }",
        "[my.own/name]: ENUM",
        'l: "café A\n""',
        "m: -4",
    ]
    assert [field.line for field in fields[:6]] == [3, 3, 3, 4, 4, 4]


@pytest.fixture(scope="module")
def garden() -> Any:
    """Imports TensorFlow only for the tests that need it."""
    return pytest.importorskip("petbox.training.tfvision", exc_type=Exception)  # the extra `train`


def applied(garden: Any, path: Path) -> Any:
    from petbox.training.pipeline_config import mapping as pipeline_config_mapping
    from petbox.training.presets import PRESETS

    done = read(path)
    config = garden.exp_factory.get_exp_config("fasterrcnn_resnetfpn_coco")
    PRESETS[done.preset].configure(config)
    pipeline_config_mapping.apply(config, done)
    return config


@pytest.mark.parametrize("name", MAPPED)
def test_a_mapped_reference_is_a_configuration(garden: Any, reference: Path, name: str) -> None:
    config = applied(garden, reference / name)
    assert config.task.model.backbone.resnet.model_id == MAPPED[name]
    # What a run's folder keeps can be read back.
    again = garden.exp_factory.get_exp_config("fasterrcnn_resnetfpn_coco")
    again.override(config.as_dict(), is_strict=True)
    assert again.as_dict() == config.as_dict()


def test_a_mapped_schedule_is_the_one_of_the_file(garden: Any, reference: Path) -> None:
    from official.modeling.optimization import OptimizerFactory

    config = applied(garden, reference / "faster_rcnn_resnet101_pets.config")
    factory = OptimizerFactory(config.trainer.optimizer_config)
    rate = factory.build_learning_rate()
    steps = (0, 200_000, 900_001, 1_200_001)
    assert [float(rate(step)) for step in steps] == pytest.approx([3e-4, 3e-4, 3e-5, 3e-6])
    optimizer = factory.build_optimizer(rate)
    assert optimizer.global_clipnorm == 10.0
    assert float(optimizer.momentum) == pytest.approx(0.9)


def test_a_mapped_reference_is_a_model(garden: Any, reference: Path) -> None:
    from petbox.tf import as_written

    config = applied(
        garden, reference / "tf_models_2020_picsell_copy/faster_rcnn_resnet50_pets.config"
    )
    config.task.model.input_size = [128, 128, 3]
    config.task.model.backbone.resnet.model_id = 10  # as deep as it need be here
    config.task.model.roi_generator.num_proposals = 10
    model = as_written(garden.MaskRCNNTask(config.task).build_model)()
    (head,) = model.detection_head
    assert head.get_config()["num_classes"] == 38
    assert model.detection_generator.get_config()["max_num_detections"] == 300
