"""`--init coco`: what a detector takes from one of COCO, which has other levels and classes."""

from __future__ import annotations

import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("petbox.training.tfvision", exc_type=Exception)  # the extra `train`

from petbox.training import coco_classes, command, initial_weights, named_weights, runs
from petbox.training import config as training_config
from petbox.training.options import TrainOptions
from petbox.training.tfvision import tf

ARCHIVE = "/retinanet-small.tar.gz"


def detector(
    preset: str, classes: int, last_level: int, options: TrainOptions | None = None
) -> Any:
    """A small detector with these levels, and its task."""
    config = training_config.experiment(preset)
    if options:
        command.adjust(config, options, None)
    config.task.model.num_classes = classes + 1
    config.task.model.max_level = last_level
    task = training_config.task(config, options.out if options else None)
    return task, task.build_model()


def layers(decoder: Any) -> dict[str, list[Any]]:
    return {layer.name: layer.get_weights() for layer in decoder.layers if layer.weights}


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str, list[Any]]]:
    """A RetinaNet like the public one, its address, and the ranges that were requested."""
    _, model = detector("toy_retinanet", coco_classes.COUNT - 1, last_level=7)
    for number, variable in enumerate(model.variables):
        variable.assign(tf.random.stateless_uniform(variable.shape, [number, 1]))
    folder, ranges = tmp_path_factory.mktemp("coco"), []
    tf.train.Checkpoint(model=model, **model.checkpoint_items).write(str(folder / "small/ckpt-9"))
    with tarfile.open(folder / "small.tar.gz", "w:gz") as archive:
        archive.add(folder / "small", "small")
    content = (folder / "small.tar.gz").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """The first response breaks off in its middle."""
            ranges.append(asked := self.headers["Range"])
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.send_header("ETag", '"one"')
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:] if start else content[: len(content) // 2])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield model, f"http://127.0.0.1:{server.server_port}{ARCHIVE}", ranges
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def started(
    coco: tuple[Any, str, list[Any]],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Starts a detector of cats, gnus and dogs as `petbox train --init coco` does."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "coco-cache"))

    def started(preset: str, last_level: int) -> Any:
        monkeypatch.setitem(named_weights.ADDRESSES, preset, {"coco": coco[1]})
        out = tmp_path_factory.mktemp(preset)
        items = "".join(
            f"item {{ id: {at} name: '{name}' }}\n"
            for at, name in enumerate(("cat", "gnu", "dog"), 1)
        )
        (out / runs.LABEL_MAP).write_text(items)
        options = TrainOptions(out=out, preset=preset, init="coco")
        weights = command.first_weights(options, None, out)
        task, model = detector(preset, 3, last_level, options)
        task.task_config.init_checkpoint = weights
        task.initialize(model)
        initial_weights.check({"backbone": model.backbone}, Path(str(weights)))
        return model

    return started


def test_a_pyramid_of_fewer_levels_gets_each_layer_of_its_name(
    coco: tuple[Any, str, list[Any]], started: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = started("toy", last_level=6)
    ours, theirs = layers(model.decoder), layers(coco[0].decoder)
    assert theirs.keys() - ours.keys() == {"coarser_7", "norm_7"}
    for name, weights in ours.items():
        for one, other in zip(weights, theirs[name], strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)
    said = capsys.readouterr().err
    assert re.search(
        r"loaded backbone (\d+) of \1, decoder (\d+) of \2, rpn_head 0 of \d+ \(fresh: all\), "
        r"detection_head 0 of \d+ \(fresh: all\)\n",
        said,
    )
    assert "is of a RetinaNet, so the heads of the Faster R-CNN start fresh\n" in said
    assert coco[2][0] is None and coco[2][1].startswith("bytes="), "resumed"


def test_a_pyramid_of_more_levels_starts_the_others_fresh(
    coco: tuple[Any, str, list[Any]], started: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = started("toy", last_level=8)
    ours, theirs = layers(model.decoder), layers(coco[0].decoder)
    for name, weights in theirs.items():
        np.testing.assert_array_equal(ours[name][0], weights[0], err_msg=name)
    assert "(fresh: coarser_8, norm_8)" in capsys.readouterr().err


def test_a_retinanet_keeps_the_head_and_the_classes_of_coco(
    coco: tuple[Any, str, list[Any]], started: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = started("toy_retinanet", last_level=7)
    said = capsys.readouterr().err
    assert re.search(r"backbone (\d+) of \1, decoder (\d+) of \2, head (\d+) of \3\n", said)
    assert said.endswith("classes with trained weights: cat, dog; fresh: gnu\n")
    now, then = (
        kernel.numpy().reshape(*kernel.shape[:-1], 2, -1)  # two sizes of anchors
        for kernel in (model.head._classifier.kernel, coco[0].head._classifier.kernel)
    )
    np.testing.assert_array_equal(now[..., [0, 1, 3]], then[..., [0, 17, 18]])
    np.testing.assert_array_equal(
        model.head._box_regressor.kernel, coco[0].head._box_regressor.kernel
    )
