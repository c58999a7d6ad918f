"""The presets, and the flags that change them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("petbox.training.tfvision", exc_type=Exception)  # the extra `train`

from petbox.errors import DataError
from petbox.training import families
from petbox.training.config import check
from petbox.training.overrides import apply, fields, put
from petbox.training.presets import PRESETS, cosine_learning_rate, peak_at, train_for
from petbox.training.tfvision import exp_factory


def configured(preset: str) -> Any:
    config = exp_factory.get_exp_config(PRESETS[preset].family.experiment)
    PRESETS[preset].configure(config)
    return config


@pytest.fixture
def toy() -> Any:
    return configured("toy")


@pytest.fixture
def rate(toy: Any) -> Any:
    return toy.trainer.optimizer_config.learning_rate


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_consistent(preset: str) -> None:
    config = configured(preset)
    model = config.task.model
    assert all(side % 2**model.max_level == 0 for side in model.input_size[:2])
    assert families.of(model) == PRESETS[preset].family
    if PRESETS[preset].family == families.FASTER_RCNN:
        # The Model Garden fails when it is to draw more regions than there are.
        assert model.roi_sampler.num_sampled_rois <= model.roi_generator.num_proposals
    rate = config.trainer.optimizer_config.learning_rate
    assert rate.type == "cosine"
    assert rate.cosine.decay_steps == config.trainer.train_steps
    assert config.task.train_data.global_batch_size >= 8


@pytest.mark.parametrize(("preset", "layers"), [("resnet101", 101), ("resnet50", 50)])
def test_the_resnets_are_those_of_the_tutorial(preset: str, layers: int) -> None:
    model = configured(f"faster_rcnn_{preset}_pets").task.model
    assert (model.backbone.type, model.backbone.resnet.model_id) == ("resnet", layers)
    levels = range(model.min_level, model.max_level + 1)
    assert [model.anchor.anchor_size * 2**level for level in levels] == [64, 128, 256, 512]
    assert model.anchor.aspect_ratios == [0.5, 1.0, 2.0]
    assert model.roi_generator.test_num_proposals == 300


def test_fast_presets_have_the_head_of_two_dense_layers() -> None:
    full, fast, light = (
        configured(f"faster_rcnn_resnet50_{name}pets").task.model
        for name in ("", "fast_", "light_")
    )
    assert (full.detection_head.num_convs, full.detection_head.num_fcs) == (4, 1)
    for model in (fast, light):
        assert (model.detection_head.num_convs, model.detection_head.num_fcs) == (0, 2)
        assert model.roi_generator.test_num_proposals < full.roi_generator.test_num_proposals
        assert model.backbone.resnet.model_id == full.backbone.resnet.model_id  # for its weights
    channels = [
        (model.decoder.fpn.num_filters, model.rpn_head.num_filters) for model in (fast, light)
    ]
    assert channels == [(256, 256), (128, 128)]


@pytest.mark.parametrize("kind", ["faster_rcnn", "retinanet"])
def test_the_small_ones_are_mobilenets(kind: str) -> None:
    backbone = configured(f"{kind}_mobilenet_v2_pets").task.model.backbone
    assert (backbone.type, backbone.mobilenet.model_id) == ("mobilenet", "MobileNetV2")


@pytest.mark.parametrize("kind", ["mobilenet_v2", "resnet50"])
def test_both_families_have_the_same_backbone_and_canvas(kind: str) -> None:
    one, other = (configured(f"{name}_{kind}_pets").task for name in ("faster_rcnn", "retinanet"))
    assert one.model.backbone.as_dict() == other.model.backbone.as_dict()
    assert one.model.input_size == other.model.input_size
    assert one.train_data.global_batch_size == other.train_data.global_batch_size


def test_each_family_has_input_fields_of_its_own(toy: Any) -> None:
    one_stage, name = configured("toy_retinanet"), "task.train_data.parser.match_threshold"
    apply(one_stage, [f"{name}=0.6"])
    assert one_stage.task.train_data.parser.match_threshold == 0.6
    for config, other in ((toy, "match_threshold"), (one_stage, "rpn_match_threshold")):
        with pytest.raises(DataError, match="petbox's input pipeline does not use it") as error:
            apply(config, [f"task.train_data.parser.{other}=0.6"])
        assert f" parser.{other}" not in str(error.value)


@pytest.mark.parametrize(("steps", "warmup"), [(2, 1), (100, 10), (5000, 40)])
def test_a_cosine_ends_with_the_last_step(toy: Any, rate: Any, steps: int, warmup: int) -> None:
    train_for(toy, steps)
    assert (toy.trainer.train_steps, rate.cosine.decay_steps) == (steps, steps)
    assert toy.trainer.optimizer_config.warmup.linear.warmup_steps == warmup


def test_a_cosine_that_starts_after_its_warmup_ends_with_the_last_step(toy: Any, rate: Any) -> None:
    rate.cosine.offset, rate.cosine.decay_steps = 40, 560
    train_for(toy, 100)
    assert (rate.cosine.offset, rate.cosine.decay_steps) == (10, 90)


def test_another_schedule_keeps_its_steps(toy: Any, rate: Any) -> None:
    rate.type = "stepwise"
    rate.stepwise.boundaries, rate.stepwise.values = [900], [0.3, 0.03]
    train_for(toy, 100)
    assert toy.trainer.train_steps == 100
    assert rate.stepwise.boundaries == [900]
    rate.type, rate.cosine.decay_steps = "cosine", 1000  # longer than the training
    train_for(toy, 200)
    assert rate.cosine.decay_steps == 1000


def test_a_peak_moves_the_whole_schedule(toy: Any, rate: Any) -> None:
    toy.trainer.optimizer_config.warmup.linear.warmup_learning_rate = 0.01
    peak_at(toy, 0.06)
    assert rate.cosine.initial_learning_rate == 0.06
    warmup = toy.trainer.optimizer_config.warmup.linear
    assert warmup.warmup_learning_rate == pytest.approx(0.02)
    rate.type = "stepwise"
    rate.stepwise.boundaries, rate.stepwise.values = [900], [0.3, 0.03]
    peak_at(toy, 0.1)
    assert rate.stepwise.values == pytest.approx([0.1, 0.01])
    rate.type = "constant"
    peak_at(toy, 0.5)
    assert rate.constant.learning_rate == 0.5


def test_a_long_warmup_is_kept(toy: Any) -> None:
    toy.trainer.train_steps = 10_000
    cosine_learning_rate(toy, 0.01, warmup=500)
    assert toy.trainer.optimizer_config.warmup.linear.warmup_steps == 500


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("task.model.roi_generator.num_proposals=50", 50),
        ("task.model.roi_generator.nms_iou_threshold=1", 1.0),
        ("task.model.roi_generator.use_batched_nms=false", False),
        ("task.model.anchor.aspect_ratios=[1, 2.5]", [1, 2.5]),
        ("task.model.detection_generator.soft_nms_sigma=none", None),
        ("task.model.detection_generator.soft_nms_sigma=0.5", 0.5),
        ("task.model.backbone.type=mobilenet", "mobilenet"),
        ("task.model.backbone.mobilenet.filter_size_scale=0.5", 0.5),
        ("task.train_data.parser.aug_scale_max=1.5", 1.5),
        ("task.init_checkpoint_modules=backbone", "backbone"),
        ('task.init_checkpoint_modules=["backbone", "decoder"]', ["backbone", "decoder"]),
        ("trainer.optimizer_config.ema.average_decay=0.99", 0.99),  # a group that was not there
    ],
)
def test_a_field_is_set(toy: Any, assignment: str, value: Any) -> None:
    apply(toy, [assignment])
    found = toy
    for name in assignment.split("=")[0].split("."):
        found = getattr(found, name)
    assert found == value and type(found) is type(value)


def test_the_last_of_two_settings_wins(toy: Any) -> None:
    name = "task.model.roi_generator.num_proposals"
    apply(toy, [f"{name}=50", f"{name}=60"])
    assert toy.task.model.roi_generator.num_proposals == 60


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("num_proposals=300", "did you mean task.model.roi_generator.num_proposals?"),
        (
            "task.model.roi_generator.num_proposal=3",
            "did you mean task.model.roi_generator.num_prop",
        ),
        (
            "task.model.roi_generatr.num_proposals=3",
            "did you mean task.model.roi_generator.num_prop",
        ),
        ("task.model.input_size.height=3", "no such field"),
        ("xyzzy=3", "no such field; a run's params.yaml"),
        ("=3", "no such field"),
        ("task.model.roi_generator.num_proposals", "write it as field=value"),
        ("task.model.roi_generator.num_proposals=3.5", "'3.5' is not a whole number"),
        ("task.model.roi_generator.num_proposals=true", "'true' is not a whole number"),
        ("task.model.roi_generator.use_batched_nms=1", "'1' is not true or false"),
        ("task.model.anchor.anchor_size=big", "'big' is not a number"),
        ("task.model.anchor.aspect_ratios=1", "'1' is not a list, each a number"),
        ("task.model.anchor.aspect_ratios=[1, x]", "is not a list, such as"),
        ('task.model.anchor.aspect_ratios=["a"]', "is not a list, each a number"),
        ("task.model.backbone=resnet", "this is a group; name one of its fields: type, resnet"),
        ("task.model.backbone.type=vgg", "choose one of resnet, "),
        ("trainer.train_steps=3", "use --steps instead"),
        ("runtime.enable_xla=true", "petbox does not use it, because the Model Garden's"),
        ("task.train_data.cache=true", "petbox's input pipeline does not use it"),
    ],
)
def test_a_wrong_setting_is_rejected_by_name(toy: Any, assignment: str, says: str) -> None:
    before = toy.as_dict()
    with pytest.raises(DataError) as error:
        apply(toy, [assignment])
    assert str(error.value).startswith(f"--set {assignment}: ")
    assert says in str(error.value)
    assert toy.as_dict() == before


def test_more_sampled_proposals_than_there_are_is_rejected(toy: Any) -> None:
    toy.task.train_data.parser.max_num_instances = 3
    apply(toy, ["task.model.roi_generator.num_proposals=29"])
    check(toy)
    apply(toy, ["task.model.roi_generator.num_proposals=28"])
    with pytest.raises(DataError, match=r"rois=32: more than an image's 28 proposals .* 3 objects"):
        check(toy)
    check(configured("toy_retinanet"))


def test_every_field_can_be_set_to_what_it_is(toy: Any) -> None:
    before = toy.as_dict()
    names = list(fields(toy))
    assert len(names) > 200
    for name in names:
        value = toy
        for part in name.split("."):
            value = getattr(value, part)
        put(toy, name, value)
    assert toy.as_dict() == before
