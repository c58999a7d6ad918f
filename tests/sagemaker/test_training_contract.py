"""The training image's entrypoint, run for real against an /opt/ml of the test's own."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import CHECKOUT
from support.aws import Aws, moto
from support.training_runs import SMALL
from support.warm_python import PYTHON

import petbox
from petbox.aws import s3 as aws_s3
from petbox.data import labels, records
from petbox.errors import DataError, ServiceError
from petbox.sagemaker.training_container import contract
from petbox.sagemaker.training_container import hosts as training_container_hosts
from petbox.sagemaker.training_container.channels import photos
from petbox.sagemaker.training_container.job import JobOptions, Training
from petbox.training.options import TrainOptions

TRAIN = CHECKOUT / "container/train"
BUCKET = "photos"


@pytest.fixture
def ml(tmp_path: Path) -> Path:
    (tmp_path / "ml/input/config").mkdir(parents=True)
    return tmp_path / "ml"


@pytest.fixture
def aws() -> Iterator[Aws]:
    with moto() as server:
        server.client("s3").create_bucket(Bucket=BUCKET)
        yield server
        emptied = server.client("s3")
        for key in keys(server):
            emptied.delete_object(Bucket=BUCKET, Key=key)


def keys(aws: Aws) -> list[str]:
    found = aws.client("s3").list_objects_v2(Bucket=BUCKET)
    return [item["Key"] for item in found.get("Contents", ())]


def config(ml: Path, name: str, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (ml / f"input/config/{name}.json").write_text(text)


def channel(ml: Path, name: str, *files: str) -> Path:
    folder = ml / "input/data" / name
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("{}")
    return folder


def started(ml: Path, *flags: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    scratch = ml.parent / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)  # as in a new container
    scratch.mkdir()
    settings = {**os.environ, "PETBOX_ML": str(ml), "TMPDIR": str(scratch), **(env or {})}
    return subprocess.Popen(
        [PYTHON, TRAIN, "train", *flags],
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rejected(ml: Path, *flags: str, env: dict[str, str] | None = None) -> str:
    """Why the job failed: for SageMaker, and in the log's last line."""
    process = started(ml, *flags, env=env)
    log = process.communicate(timeout=120)[1]
    assert process.returncode == 1, log
    reason = (ml / "output/failure").read_text()
    assert reason and "\n" not in reason
    assert log.splitlines()[-1].startswith(f"error: {reason[:200]}")
    return reason


# Hyperparameters


def words(**hyperparameters: str) -> list[str]:
    return contract.arguments(hyperparameters, JobOptions, Training)


def test_every_option_of_training_is_a_hyperparameter() -> None:
    done = subprocess.run(
        [sys.executable, CHECKOUT / "train/train.py", "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    flags = set(re.findall(r"^  (?:-h, |-o \S+, )?--([a-z-]+)", done.stdout, re.M))
    names = {field.name.rstrip("_") for field in dataclasses.fields(TrainOptions)}
    assert flags - {"help"} == {name.replace("_", "-") for name in names}


@pytest.mark.parametrize("text", ["toy", '"toy"'])
def test_a_hyperparameter_is_taken_bare_and_as_the_sdk_writes_it(text: str) -> None:
    assert words(preset=text) == ["--preset=toy"]


@pytest.mark.parametrize(
    ("hyperparameters", "flags"),
    [
        ({"steps": "600", "learning_rate": "1e-3"}, ["--steps=600", "--learning-rate=1e-3"]),
        ({"steps": '"600"'}, ["--steps=600"]),
        ({"batch-size": "8"}, ["--batch-size=8"]),
        ({"leave_out_broken": "true"}, ["--leave-out-broken"]),
        ({"leave_out_broken": "False"}, []),
        ({"evaluate_every": "null"}, []),
        ({"set": "a.b=1 c=x,y"}, ["--set=a.b=1", "--set=c=x,y"]),
        ({"set": "a.b=1,c=2"}, ["--set=a.b=1", "--set=c=2"]),
        ({"set": '["a=1", "b=2"]'}, ["--set=a=1", "--set=b=2"]),
        ({"sagemaker_program": '"train.py"', "sagemaker_region": '"eu"', "model_dir": "null"}, []),
    ],
)
def test_hyperparameters_are_the_flags(hyperparameters: dict[str, str], flags: list[str]) -> None:
    assert words(**hyperparameters) == flags


def test_an_unknown_hyperparameter_is_rejected_listing_the_known_ones(ml: Path) -> None:
    config(ml, "hyperparameters", {"stepz": "600"})
    reason = rejected(ml)
    assert reason.startswith("hyperparameter stepz: unknown; known are ")
    assert {"steps", "set", "min_score", "classes"} <= set(re.findall(r"\w+", reason))
    assert not {"out", "records"} & set(re.findall(r"\w+", reason)), "the contract sets those"


@pytest.mark.parametrize(
    ("hyperparameters", "reason"),
    [
        ({"steps": "many"}, "argument --steps: invalid int value: 'many'"),
        (
            {"leave_out_broken": "perhaps"},
            "hyperparameter leave_out_broken: 'perhaps' is neither true nor false",
        ),
        ({"classes": "race"}, "argument --classes: invalid choice: 'race'"),
    ],
)
def test_an_invalid_value_is_rejected_naming_the_hyperparameter(
    ml: Path, hyperparameters: dict[str, str], reason: str
) -> None:
    config(ml, "hyperparameters", hyperparameters)
    assert rejected(ml).startswith(reason)


def test_a_flag_wins_over_a_hyperparameter(ml: Path, tmp_path: Path) -> None:
    config(ml, "hyperparameters", {"training": str(tmp_path / "one")})
    assert str(tmp_path / "two") in rejected(ml, "--training", str(tmp_path / "two"))


def test_configuration_that_is_not_json_is_rejected_naming_the_file(ml: Path) -> None:
    config(ml, "hyperparameters", "{steps: 600}")
    assert "hyperparameters.json: not JSON" in rejected(ml)


# Channels


def test_a_missing_channel_is_rejected_listing_those_found(ml: Path) -> None:
    channel(ml, "trianing", "records.json")
    assert "no channel `training`; found: trianing; name one so" in rejected(ml)


def test_an_unknown_layout_is_rejected_listing_the_known_ones(ml: Path) -> None:
    channel(ml, "train", "photos/cat.jpg", "cat.txt")
    reason = rejected(ml)
    assert "/train: nothing to train on; found: cat.txt, photos/cat.jpg; expected: rec" in reason


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"TrainingInputMode": "Pipe"}, "channel training: is in Pipe mode"),
        ({"S3DistributionType": "ShardedByS3Key"}, "channel training: ShardedByS3Key"),
        ({"RecordWrapperType": "RecordIO"}, "channel training: RecordIO is not supported"),
    ],
)
def test_an_unsupported_channel_mode_is_rejected(
    ml: Path, stated: dict[str, str], reason: str
) -> None:
    config(ml, "inputdataconfig", {"training": stated})
    assert rejected(ml).startswith(reason)


def test_two_channels_of_one_meaning_are_rejected(ml: Path) -> None:
    channel(ml, "train", "records.json")
    channel(ml, "training", "records.json")
    assert rejected(ml).startswith("channels training and train mean the same")


def test_channels_are_splits(ml: Path) -> None:
    names = ("training", "validation", "test")
    training, validation, test = (channel(ml, name, "annotations.json") for name in names)
    flags = [f"--coco={folder / 'annotations.json'}" for folder in (training, validation, test)]
    assert photos(training, validation, test) == flags
    assert photos(training, None, test) == [flags[0], flags[2]]


def test_a_channel_to_hold_out_goes_with_annotations_only(ml: Path) -> None:
    channel(ml, "training", "Annotations/a.xml")
    channel(ml, "validation", "Annotations/b.xml")
    assert "goes with images/ and annotations.json, or with TFRecord files, only" in rejected(ml)


def test_records_of_other_tools_are_taken_with_their_channels(ml: Path) -> None:
    training = channel(ml, "training", "pets/pet_train.record-00000-of-00010", "map.pbtxt")
    test = channel(ml, "test", "pets.tfrecord")
    assert photos(training, None, None) == [f"--tfrecords={training}"]
    assert photos(training, None, test) == [f"--tfrecords={training}", f"--tfrecords={test}"]


def test_a_stages_error_is_the_reason(ml: Path) -> None:
    channel(ml, "training", "annotations.json")
    reason = rejected(ml)
    assert reason.startswith("make_records.py: ")
    assert "annotations.json" in reason


@pytest.fixture
def at_training(ml: Path) -> Path:
    """A job whose channel is fit, so that train/train.py has the next word."""
    folder = channel(ml, "training")
    folder.mkdir(parents=True)
    counted: dict[str, object] = {name: {} for name in ("pictures", "shards", "animals", "remarks")}
    (folder / "records.json").write_text(json.dumps({"source": "x", "seed": 1, **counted}))
    (folder / "label_map.pbtxt").write_text('item { id: 1 name: "cat" }')
    return ml


def test_hyperparameters_get_to_training(at_training: Path) -> None:
    config(at_training, "hyperparameters", {"steps": "0", "sagemaker_job_name": '"x"'})
    assert rejected(at_training) == "train.py: --steps 0: must be 1 or more"


def test_a_configuration_may_lie_in_a_channel(at_training: Path) -> None:
    inside = channel(at_training, "config", "pipeline.config") / "pipeline.config"
    config(at_training, "hyperparameters", {"pipeline_config": "config/pipeline.config"})
    assert rejected(at_training).startswith(f"train.py: {inside}")


@pytest.mark.parametrize("name", ["init", "model"])
def test_one_file_in_its_channel_is_what_training_begins_with(at_training: Path, name: str) -> None:
    file = channel(at_training, name, "weights.h5") / "weights.h5"
    assert rejected(at_training).startswith(f"train.py: {file}")


def test_weights_that_are_several_files_are_shown(at_training: Path) -> None:
    channel(at_training, "init", "a.h5", "b.h5")
    assert "/init: not weights; found: a.h5, b.h5; expected: one file" in rejected(at_training)


def test_records_are_not_made_of_records(at_training: Path) -> None:
    assert rejected(at_training, "--classes", "species").startswith("classes: ")


def test_several_hosts_do_not_send_to_one_address(ml: Path) -> None:
    config(ml, "resourceconfig", {"current_host": "a", "hosts": ["a", "b"]})
    output = f"s3://{BUCKET}/out"
    assert rejected(ml, "--output", output).startswith(f"output {output}: is for one host")


def test_a_model_that_is_there_is_not_overwritten(ml: Path) -> None:
    (ml / "model/1").mkdir(parents=True)
    assert f"{ml}/model/1: exists already" in rejected(ml)


def test_a_job_is_not_resumed_with_other_hyperparameters(ml: Path) -> None:
    channel(ml, "training", "records.json")
    (ml / "checkpoints").mkdir()
    noted = {"steps": "600", "seed": "1"}
    (ml / "checkpoints/job.json").write_text(json.dumps(noted))
    assert "holds a job with seed 1, not 2" in rejected(ml, "--steps", "600", "--seed", "2")
    assert "holds a job with steps 600, not None" in rejected(ml)


def test_a_finished_job_goes_on_with_more_steps(at_training: Path) -> None:
    run = at_training / "checkpoints/run"
    run.mkdir(parents=True)
    (run / "checkpoint").write_text('model_checkpoint_path: "ckpt-9"')
    (run / "ckpt-9.index").touch()
    (run.parent / "job.json").write_text(json.dumps({"steps": "9"}))
    assert rejected(at_training, "--steps=8").endswith(
        "job with steps 9, not 8; set the same, or keep the new job's checkpoints elsewhere"
    )
    assert "exporter" in rejected(at_training, "--steps=9"), "the stage after the training"
    assert rejected(at_training, "--steps=20").startswith(f"train.py: {run}: exists already")


# Hosts


def hosts(me: str, *names: str) -> training_container_hosts.Hosts:
    return training_container_hosts.read(
        {"current_host": me, "hosts": [*names], "network_interface_name": "eth0"}
    )


def test_every_host_has_the_same_order() -> None:
    variables = [hosts(me, "algo-2", "algo-1").environment() for me in ("algo-1", "algo-2")]
    configs = [json.loads(env["TF_CONFIG"]) for env in variables]
    assert configs[0]["cluster"] == configs[1]["cluster"]
    assert configs[0]["cluster"]["worker"] == ["algo-1:2222", "algo-2:2222"]
    assert [c["task"] for c in configs] == [{"type": "worker", "index": at} for at in (0, 1)]
    assert variables[0]["NCCL_SOCKET_IFNAME"] == "eth0"
    assert hosts("algo-1", "algo-2", "algo-1").leads


def test_a_single_host_sets_no_variables() -> None:
    assert hosts("algo-1", "algo-1").environment() == {}
    assert training_container_hosts.read(None).leads


def test_a_host_that_never_appears_is_named() -> None:
    with pytest.raises(ServiceError, match=r"host nowhere\.invalid: its name cannot be looked up"):
        hosts("localhost", "localhost", "nowhere.invalid").wait(0.0)


def test_hosts_without_this_one_are_rejected(ml: Path) -> None:
    config(ml, "resourceconfig", {"current_host": "algo-3", "hosts": ["algo-1"]})
    assert "resourceconfig.json: " in rejected(ml)


# S3


def test_an_address_without_objects_is_rejected(ml: Path, aws: Aws) -> None:
    reason = rejected(ml, "--training", f"s3://{BUCKET}/nothing", env=aws.env)
    assert reason.startswith(f"s3://{BUCKET}/nothing: no objects; name a prefix")


@pytest.mark.parametrize("flag", ["--training", "--output"])
def test_an_invalid_address_is_rejected(ml: Path, flag: str) -> None:
    channel(ml, "training", "records.json")
    assert "is not an S3 address" in rejected(ml, flag, "s3://Not_A_Bucket/x")


@pytest.fixture
def at_moto(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    return aws


def test_what_was_sent_is_fetched(at_moto: Aws, tmp_path: Path) -> None:
    there = tmp_path / "there"
    channel(tmp_path, "x")
    for name in ("a.txt", "deep/er/b.txt"):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_text(name)
    target = aws_s3.folder_at(f"s3://{BUCKET}/job/") / "output"
    aws_s3.send(there, target)
    assert keys(at_moto) == ["job/output/a.txt", "job/output/deep/er/b.txt"]
    assert aws_s3.fetch(target, tmp_path / "back") == 2
    assert (tmp_path / "back/deep/er/b.txt").read_text() == "deep/er/b.txt"
    one = aws_s3.folder_at(f"s3://{BUCKET}/job/output/a.txt")
    assert aws_s3.fetch(one, tmp_path / "one") == 1
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["a.txt"]


def test_a_key_outside_its_folder_is_rejected(at_moto: Aws, tmp_path: Path) -> None:
    s3 = at_moto.client("s3")
    s3.put_object(Bucket=BUCKET, Key="job/../../escaped", Body=b"x")
    with pytest.raises(DataError, match="leaves its folder"):
        aws_s3.fetch(aws_s3.folder_at(f"s3://{BUCKET}/job"), tmp_path / "here")


def test_a_mirror_follows_its_folder_and_leaves_others_alone(at_moto: Aws, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    run = folder / "run"
    run.mkdir(parents=True)
    mirror = aws_s3.Mirror(folder, aws_s3.folder_at(f"s3://{BUCKET}/job"))
    at_moto.client("s3").put_object(Bucket=BUCKET, Key="job/run/theirs", Body=b"x")
    for name in ("ckpt-1.index", "checkpoint"):
        (run / name).write_text("1")
    (run / "params.yaml.partial-7").write_text("half")
    mirror.update()
    assert keys(at_moto) == ["job/run/checkpoint", "job/run/ckpt-1.index", "job/run/theirs"]
    (run / "ckpt-1.index").rename(run / "ckpt-2.index")
    (run / "checkpoint").write_text("22")
    mirror.update()
    assert keys(at_moto) == ["job/run/checkpoint", "job/run/ckpt-2.index", "job/run/theirs"]
    body = at_moto.client("s3").get_object(Bucket=BUCKET, Key="job/run/checkpoint")["Body"]
    assert body.read() == b"22"


def test_a_run_that_ends_before_the_first_poll_leaves_no_temporary_name(
    at_moto: Aws, tmp_path: Path
) -> None:
    for name in ("checkpoint", "ckpt-1.index"):
        at_moto.client("s3").put_object(Bucket=BUCKET, Key=f"job/run.unfinished/{name}", Body=b"1")
    target = aws_s3.folder_at(f"s3://{BUCKET}/job")
    aws_s3.fetch(target, tmp_path)
    with aws_s3.mirrored(tmp_path, target):
        (tmp_path / "run.unfinished").rename(tmp_path / "run")
    assert keys(at_moto) == ["job/run/checkpoint", "job/run/ckpt-1.index"]


def test_a_stopped_task_with_records_of_the_object_detection_api_resumes_elsewhere(
    aws: Aws, data: Path, tmp_path: Path
) -> None:
    s3, env = aws.client("s3"), aws.env
    written, names = data / "reference/pets_examples.record", data / "reference/pet_label_map.pbtxt"
    for key, file in {"train.record": written, "val.record": written, names.name: names}.items():
        s3.upload_file(str(file), BUCKET, f"in/{key}")
    flags = ("--training", f"s3://{BUCKET}/in", "--output", f"s3://{BUCKET}/out")
    flags += ("--preset=toy", SMALL, "--steps=12", "--report-every=1", "--checkpoint-every=1")
    flags += ("--min-score=0", "--set=task.model.detection_generator.pre_nms_score_threshold=0")
    first = started(tmp_path / "first", *flags, env=env)
    while not any(key.endswith("/checkpoint") for key in keys(aws)):
        with suppress(subprocess.TimeoutExpired):
            first.wait(0.2)
            raise AssertionError(first.communicate()[1])
    first.send_signal(signal.SIGTERM)
    heard = first.communicate(timeout=120)[1]
    assert first.returncode == 143, heard
    assert not (tmp_path / "first/output/failure").exists()
    assert any(key.startswith("out/checkpoints/run.unfinished/ckpt-") for key in keys(aws))

    second = started(tmp_path / "second", *flags, env=env)
    output = second.communicate(timeout=400)
    assert second.returncode == 0, output
    assert output[0].strip() == str(tmp_path / "second/model/1")
    assert "run.unfinished" in output[1] and "continuing " in output[1]
    sent = keys(aws)
    assert {"out/model/1/saved_model.pb", "out/model/1/assets/label_map.pbtxt"} <= set(sent)
    assert "out/output/evaluation.json" in sent
    assert "out/checkpoints/run/checkpoint" in sent
    assert not any("run.unfinished" in key for key in sent)
    photo = next(records.read(written))
    found = petbox.Detector(model=tmp_path / "second/model/1").detect(photo.encoded, min_score=0)
    assert photo.name == "chihuahua_153.jpg" and found
    assert {one.name for one in found} <= set(labels.read(names).values())
