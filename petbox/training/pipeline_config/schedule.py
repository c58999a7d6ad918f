"""The `train_config` of a `pipeline.config`: optimizer, schedule, augmentation, first weights."""

from __future__ import annotations

import math
from typing import Any

from petbox.data.text_proto import Field
from petbox.training.pipeline_config.ledger import NETWORK, Ledger

PLACEHOLDER = "PATH_TO_BE_CONFIGURED"
TRAIN = "train_config."
OPTIMIZER, RATE = "trainer.optimizer_config.optimizer.", "trainer.optimizer_config.learning_rate."
WARMUP, PARSER = "trainer.optimizer_config.warmup.", "task.train_data.parser."
TRAINABLE = "task.model.backbone.resnet.bn_trainable"

# Their optimizers: our name, and for each field our name and their default.
OPTIMIZERS = {
    "momentum_optimizer": ("sgd", {"momentum_optimizer_value": ("momentum", 0.9)}),
    "rms_prop_optimizer": (
        "rmsprop",
        {
            "momentum_optimizer_value": ("momentum", 0.9),
            "decay": ("rho", 0.9),
            "epsilon": ("epsilon", 1.0),
        },
    ),
    "adam_optimizer": ("adam", {"epsilon": ("epsilon", 1e-8)}),
}


def steps(ledger: Ledger) -> None:
    if number := ledger.one(TRAIN + "num_steps", int):
        ledger.convert(f"{TRAIN}num_steps: {number}", {"trainer.train_steps": number})
    else:
        why = "theirs trains until stopped; --steps or the preset sets the number"
        ledger.skip(f"{TRAIN}num_steps: {'none' if number is None else number}", why)


def optimizer(ledger: Ledger) -> None:
    for group in ledger.groups(TRAIN + "optimizer.", list(OPTIMIZERS)):
        kind, fields = OPTIMIZERS[group.name]
        values = {
            name: ledger.either(name, default, group) for name, (_, default) in fields.items()
        }
        theirs = ", ".join(f"{name}: {value}" for name, value in values.items())
        ours = {f"{OPTIMIZER}{kind}.{fields[name][0]}": value for name, value in values.items()}
        ledger.convert(f"{group.name} {{ {theirs} }}", {OPTIMIZER + "type": kind, **ours})
        if norm := ledger.one(TRAIN + "gradient_clipping_by_norm", float):
            ours = {f"{OPTIMIZER}{kind}.global_clipnorm": norm}
            ledger.convert(f"{TRAIN}gradient_clipping_by_norm: {norm}", ours)
        for name, schedule in SCHEDULES.items():
            for rate in ledger.all("learning_rate." + name, group):
                schedule(ledger, rate)
        _averages(ledger)


def _averages(ledger: Ledger) -> None:
    averaged = ledger.one(TRAIN + "optimizer.use_moving_average", bool)
    if averaged is False:
        ledger.convert("use_moving_average: false", {"trainer.optimizer_config.ema": None})
    else:
        default = " (their default)" if averaged is None else ""
        why = "the weights are kept, not their averages"
        ledger.skip(f"use_moving_average: true{default}", why)


def _constant(ledger: Ledger, rate: Field) -> None:
    value = ledger.either("learning_rate", 0.002, rate)
    ours = {RATE + "type": "constant", RATE + "constant.learning_rate": value}
    ledger.convert(f"{rate.name} {{ {value} }}", {**ours, WARMUP + "type": None})


def _manual_steps(ledger: Ledger, rate: Field) -> None:
    """A rate for each range of steps. A schedule that begins at 0 never uses the initial rate."""
    values, boundaries = [ledger.either("initial_learning_rate", 0.002, rate)], []
    for part in ledger.all("schedule", rate):
        boundaries.append(ledger.either("step", 0, part))
        values.append(ledger.either("learning_rate", 0.002, part))
    if sorted(set(boundaries)) != boundaries:
        raise ledger.wrong(rate, f"the steps of {rate.name} do not increase: {boundaries}")
    warm = ledger.either("warmup", False, rate) and bool(boundaries)
    warmup = _warmed_up(boundaries[0] if warm else 0, values[0])
    if boundaries and (warm or boundaries[0] == 0):
        values, boundaries = values[1:], boundaries[1:]
    theirs = f"{rate.name} {{ {' '.join(map(str, values))}, from steps {boundaries} }}"
    ours: dict[str, Any] = {RATE + "type": "stepwise" if boundaries else "constant"}
    if boundaries:
        ours |= {RATE + "stepwise.boundaries": boundaries, RATE + "stepwise.values": values}
    else:
        ours |= {RATE + "constant.learning_rate": values[0]}
    ledger.convert(theirs, ours | warmup)


def _exponential(ledger: Ledger, rate: Field) -> None:
    first = ledger.either("initial_learning_rate", 0.002, rate)
    every = ledger.either("decay_steps", 4_000_000, rate)
    factor = ledger.either("decay_factor", 0.95, rate)
    stairs = ledger.either("staircase", True, rate)
    ours = {
        RATE + "type": "exponential",
        RATE + "exponential.initial_learning_rate": first,
        RATE + "exponential.decay_steps": every,
        RATE + "exponential.decay_rate": factor,
        RATE + "exponential.staircase": stairs,
        WARMUP + "type": None,
    }
    ledger.convert(f"{rate.name} {{ {first}, times {factor} every {every} steps }}", ours)


def _cosine(ledger: Ledger, rate: Field) -> None:
    base = ledger.either("learning_rate_base", 0.002, rate)
    total = ledger.either("total_steps", 4_000_000, rate)
    start = ledger.either("warmup_learning_rate", 0.0002, rate)
    warm = ledger.either("warmup_steps", 10_000, rate)
    if total <= warm:
        raise ledger.wrong(rate, f"{rate.name} warms up for {warm} of its {total} steps")
    ours = {
        RATE + "type": "cosine",
        RATE + "cosine.initial_learning_rate": base,
        RATE + "cosine.decay_steps": total - warm,
        RATE + "cosine.offset": warm,
        **_warmed_up(warm, start),
    }
    theirs = f"{rate.name} {{ {start} up to {base} in {warm} steps, zero at {total} }}"
    ledger.convert(theirs, ours)


def _warmed_up(steps: int, rate: float) -> dict[str, Any]:
    if not steps:
        return {WARMUP + "type": None}
    return {
        WARMUP + "type": "linear",
        WARMUP + "linear.warmup_steps": steps,
        WARMUP + "linear.warmup_learning_rate": rate,
    }


SCHEDULES = {
    "constant_learning_rate": _constant,
    "manual_step_learning_rate": _manual_steps,
    "exponential_decay_learning_rate": _exponential,
    "cosine_decay_learning_rate": _cosine,
}


def augmentation(ledger: Ledger) -> None:
    """Their list is complete: what is not in it is not applied."""
    options = TRAIN + "data_augmentation_options."
    flips = list(ledger.groups(options, ["random_horizontal_flip"]))
    theirs = "random_horizontal_flip" if flips else "no random_horizontal_flip"
    ledger.convert(theirs, {PARSER + "aug_rand_hflip": bool(flips)})
    low, high, done, remark = 1.0, 1.0, [], ""
    for scaled in ledger.groups(options, ["random_image_scale"]):
        low = ledger.either("min_scale_ratio", 0.5, scaled)
        high = ledger.either("max_scale_ratio", 2.0, scaled)
        done.append(f"random_image_scale {{ {low} to {high} }}")
    for cropped in ledger.groups(options, ["random_crop_image"]):
        area = ledger.either("min_area", 0.1, cropped)
        # A tenth of an image would be enlarged more than three times; twice is enough.
        high = max(high, min(2.0, round(1 / math.sqrt(max(area, 0.01)), 2)))
        done.append(f"random_crop_image {{ min_area: {area} }}")
        remark = "images enlarged beyond the canvas are cropped to it"
    ours = {PARSER + "aug_scale_min": low, PARSER + "aug_scale_max": high}
    ledger.convert(", ".join(done) or "no scaling, no cropping", ours, remark)


def first_weights(ledger: Ledger) -> None:
    name, norm = TRAIN + "fine_tune_checkpoint", NETWORK + "feature_extractor.batch_norm_trainable"
    path, trainable = ledger.one(name, str), ledger.one(norm, bool)
    configured = bool(path) and PLACEHOLDER not in str(path)
    if configured:
        kind = ledger.one(name + "_type", str)
        detection = ledger.one(TRAIN + "from_detection_checkpoint", bool)
        whole = kind in ("detection", "full") or (kind is None and bool(detection))
        parts = ["backbone", "decoder"] if whole else ["backbone"]
        ours = {"task.init_checkpoint": path, "task.init_checkpoint_modules": parts}
        remark = "must be a Model Garden checkpoint: theirs are of a network without a pyramid"
        ledger.convert(f"{name}: {path}", ours, remark)
    else:
        ledger.skip(f"{name}: {path or 'none'}", "not configured; pass weights with --init")
    default = " (their default)" if trainable is None else ""
    theirs = f"batch_norm_trainable: {str(bool(trainable)).lower()}{default}"
    if configured or trainable:
        ledger.convert(theirs, {TRAINABLE: bool(trainable)})
    else:  # untrained statistics would be kept forever
        ledger.skip(theirs, f"only with weights; with --init, pass --set {TRAINABLE}=false")
