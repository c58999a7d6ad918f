"""The library's own export compared with ours: the same weights, alternating.

    python bench/export_speed.py                                     everything, half an hour
    python bench/export_speed.py --only r50-640 --requests 5         a first look

Both are loaded as by a model server, each in its own process, and called alternately, so that the
load of the machine affects both. The weights are random: this measures speed, not accuracy. The
library's export has the library's default proposals and non-maximum suppression; ours has the
preset's.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import report
from flops import products

OUT = report.CHECKOUT / "build" / "bench-export-speed"
NETWORKS = {  # a preset, and the edge of its canvas
    "r50-640": ("faster_rcnn_resnet50_pets", 640),
    "r101-640": ("faster_rcnn_resnet101_pets", 640),
    "r50-1024": ("faster_rcnn_resnet50_pets", 1024),
}
MODELS = ("library", "ours", "ours, --whole-canvas")
SIDEWAYS = "1920x1080 sideways"
SHAPES = {
    "4:3": (500, 375),
    "square": (500, 500),
    "12 megapixels": (4032, 3024),
    SIDEWAYS: (1920, 1080),
}
BARRED = "r50-640"
BARS = {"4:3": 2.5, "square": 1.9}  # times the library's
# The stage of a node by its name; the first match counts.
STAGES = {
    "NMS": "combined_non_max_suppression(?!.*level)|generate_detections",
    "proposals": "propose_rois|roi_generator",
    "heads": "rpn_head|detection_head|crop_and_resize|roi_aligner|detection_generator",
    "decoder": "fpn",
    "backbone": "res_net|mobile",
    "decode": "map|[Dd]ecode|[Rr]esize",
}
STARTS = 3  # of each model in turns, of the network that has a bar
SCORES_STD = 2.0  # of the logits: about one pair of proposal and class in a hundred is above 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--only", nargs="+", choices=[*NETWORKS, "decode"], help="parts to run")
    parser.add_argument(
        "--requests", type=int, default=15, help="of each model and shape, a third without bars"
    )
    parser.add_argument("--again", action="store_true", help="ask the models of the last time")
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)  # of a process of ours
    options = parser.parse_args()
    if options.task:
        name, *words = options.task
        TASKS[name](*words)
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    rows: list[list[str]] = []
    for name in options.only or [*NETWORKS, "decode"]:
        if name == "decode":
            rows += decoding(options.requests)
        else:
            rows += network(name, options.requests, options.again)
    typed = " ".join(["python bench/export_speed.py", *sys.argv[1:]])
    head = ["", *MODELS, "ratios", "bar"]
    print(report.write_table("export-speed", typed, head, rows))


def network(name: str, requests: int, again: bool) -> Iterator[list[str]]:
    """The rows of one network."""
    folder = OUT / name
    made = made_models(name, again)
    shapes, exports = made["shapes"], made["exports"]
    barred = name == BARRED
    folders = [folder / str(at) for at in range(len(MODELS))]
    starts = [[started(one) for one in folders] for _ in range(STARTS if barred else 1)]
    ready = [statistics.median(times) for times in zip(*starts, strict=True)]
    with ExitStack() as stack:
        servers = [stack.enter_context(server(one)) for one in folders]
        for ask in servers:
            ask("load")
        steady = {}
        for shape in ("4:3", "square"):
            calls = [partial(ask, "answer", photo(shape)) for ask in servers]
            times = in_turns(calls, requests if barred else -(-requests // 3))
            steady[shape] = times
            p50 = [1000 * one for one in times]
            yield row(f"{name}, {shape}, p50, ms", p50, ".0f", faster=BARS[shape] * barred)
        stages = [ask("stages", photo("4:3")) for ask in servers]
    limit = task("limit", given=shapes)
    share = limit["seconds"] / steady["square"][1]
    text = f"{share:.2f} ({limit['flops'] / 1e9:.0f} GFLOP, {limit['seconds'] * 1000:.0f} ms)"
    bar = report.at_least(share, 0.75) if barred else ""
    yield [f"{name}, share of the float32 limit, square", "", text, "", "", bar]
    bars = {"most": 6, "unit": " s", "faster": 10} if barred else {}
    yield row(f"{name}, load and first request, s", ready, ".1f", **bars)
    sizes = [(one / "saved_model.pb").stat().st_size / 1e6 for one in folders]
    yield row(f"{name}, saved_model.pb, MB", sizes, ".2f", 3 * barred, " MB")
    yield row(f"{name}, export, s", exports, ".1f", 25 * barred, " s")
    for stage in (*STAGES, "other"):
        shares = [f"{one.get(stage, 0):.1%}" for one in stages]
        yield [f"{name}, share of {stage}", *shares, "", ""]


def started(model: Path) -> float:
    """The seconds until its first response, with no other model in memory."""
    with server(model) as ask:
        loaded: float = ask("load")["seconds"]
        answered: float = ask("answer", photo("square"))["seconds"]
        return loaded + answered


def made_models(name: str, again: bool) -> Any:
    """The models of one network: its products, and the seconds of each export."""
    folder = OUT / name
    told = folder / "made.json"
    if not (again and told.exists()):
        shutil.rmtree(folder, ignore_errors=True)
        shapes = task("run", folder / "run", *NETWORKS[name])
        exports = [export(folder / "run", folder / str(at), one) for at, one in enumerate(MODELS)]
        told.write_text(json.dumps({"shapes": shapes, "exports": exports}))
    return json.loads(told.read_text())


def decoding(requests: int) -> Iterator[list[str]]:
    """A large photo decoded and resized, in the library's order and in ours."""
    network = OUT / BARRED / "1"
    if not network.is_dir():
        raise SystemExit(f"{network}: not here; type: python bench/export_speed.py --only {BARRED}")
    with server(OUT) as ask, server(network) as detect:
        calls = [partial(ask, name, photo("12 megapixels")) for name in ("library", "ours")]
        times = [1000 * one for one in in_turns(calls, requests)]
        detect("load")
        calls = [partial(ask, "ours", photo(SIDEWAYS)), partial(detect, "answer", photo("4:3"))]
        turned, whole = in_turns(calls, requests)
    yield row("12 megapixels decoded and resized, p50, ms", times, ".0f", faster=3.5)
    share = turned / whole
    title, cell = f"{SIDEWAYS} decoded, turned and resized, p50, ms", f"{1000 * turned:.0f}"
    bar = report.at_most(100 * share, 5, f" % of {BARRED}, 4:3")
    yield [title, "", cell, "", f"{share:.1%} of {1000 * whole:.0f}", bar]


def row(
    name: str,
    values: Sequence[float],
    form: str,
    most: float = 0,
    unit: str = "",
    faster: float = 0,
) -> list[str]:
    """A row of the table: the time of each, and the speedup over the first. Bars are of the second:
    its value at most, and how much faster than the first it is.
    """
    bars = [report.at_most(values[1], most, unit)] if most else []
    bars += [report.at_least(values[0] / values[1], faster, "x")] if faster else []
    ratios = ", ".join(f"{values[0] / value:.2f}x" for value in values[1:])
    cells = [format(value, form) for value in values] + [""] * (len(MODELS) - len(values))
    return [name, *cells, ratios, ", ".join(bars)]


def in_turns(calls: Sequence[Callable[[], Any]], requests: int) -> list[float]:
    """p50 of each, in seconds."""
    taken: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()  # the first of a shape sets things up
    for _ in range(requests):
        for call, times in zip(calls, taken, strict=True):
            times.append(call()["seconds"])
    return [statistics.median(times) for times in taken]


def photo(shape: str) -> str:
    """A JPEG of soft noise."""
    path = OUT / f"{shape.replace(':', 'x').replace(' ', '_')}.jpg"
    if not path.exists():
        import numpy as np
        from PIL import Image

        width, height = SHAPES[shape]
        blots = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6 if shape == SIDEWAYS else 1
        Image.fromarray(blots).resize((width, height)).save(path, quality=90, exif=exif)
    return str(path)


# Processes


def command(name: str, *words: object) -> list[str]:
    return [sys.executable, __file__, "--task", name, *map(str, words)]


def task(name: str, *words: object, given: Any = None) -> Any:
    """The JSON that a process prints at the end."""
    done = subprocess.run(
        command(name, *words), input=json.dumps(given), stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"{name} failed")
    return json.loads(done.stdout.splitlines()[-1])


def export(run: Path, out: Path, model: str) -> float:
    """Makes the SavedModel; returns the seconds, without the verification of ours."""
    if model == "library":
        seconds: float = task("library", run, out)["seconds"]
        return seconds
    flags = model.split()[1:]
    program = report.CHECKOUT / "export" / "exporter_savedmodel.py"
    made = out.with_name(f"{out.name}-versions") / "1"  # its name must be a number, as OUT's is
    words = [sys.executable, program, "--run", run, "--out", made, *flags]
    subprocess.run(list(map(str, words)), check=True, stdout=subprocess.DEVNULL)
    made.rename(out)
    told = json.loads((out / "assets.extra" / "export.json").read_text())
    written: float = told["seconds"]["written"]
    return written


@contextmanager
def server(model: Path) -> Iterator[Callable[..., Any]]:
    """A process that loads `model`; yields a function of (what to do, an image)."""
    process = subprocess.Popen(
        command("serve", model), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    questions, answers = process.stdin, process.stdout

    def ask(*words: str) -> Any:
        print(json.dumps(words), file=questions, flush=True)
        for line in answers:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{model}: its server ended")

    try:
        yield ask
    finally:
        questions.close()
        process.wait()


# Runs in a process of its own


def make_run(folder: str, preset: str, edge: str) -> None:
    """Makes a run with random weights; prints the shapes of its convolutions."""
    from petbox.data import labels
    from petbox.training import config as training_config
    from petbox.training.tfvision import tf

    run = Path(folder)
    config = training_config.experiment(preset)
    config.task.model.input_size = [int(edge), int(edge), 3]
    names = {label: f"breed {label}" for label in range(1, 38)}
    training_config.on_records(config, ["gone.record"], ["gone.record"], names)
    tf.keras.utils.set_random_seed(3)
    model = training_config.task(config).build_model()
    for one in model.weights:
        # As if trained: all normalizations differ, so none is removed or shared.
        if re.search("gamma|beta|moving_mean|moving_variance", one.name):
            one.assign(one + tf.random.normal(one.shape, stddev=0.02))

    @tf.function
    def call(images: Any) -> Any:
        shape = tf.constant([config.task.model.input_size[:2]], tf.float32)
        return model(images, image_shape=shape, training=False)["cls_outputs"]

    pixels = tf.random.normal([1, *config.task.model.input_size])
    logits = call(pixels)
    (kernel,) = (
        one
        for one in model.detection_head.trainable_variables
        if "detection-scores/kernel" in one.name
    )
    kernel.assign(kernel * SCORES_STD / tf.math.reduce_std(logits))
    run.mkdir(parents=True)
    training_config.save_config(config, run)
    labels.write(run / labels.FILE_NAME, names)
    tf.train.Checkpoint(model=model, global_step=tf.Variable(0, dtype=tf.int64)).save(
        str(run / "ckpt")
    )
    graph = call.get_concrete_function(pixels).graph
    print(json.dumps(list(products(graph))))


def export_by_library(run: str, out: str) -> None:
    """Exports like the Model Garden's export_saved_model.py, with its default detector settings."""
    from petbox.training import config as training_config
    from petbox.training import runs
    from petbox.training.tfvision import exp_factory, tf

    from official.vision.serving import export_saved_model_lib  # isort: skip

    config = training_config.load_config(runs.read(Path(run)))
    default = exp_factory.get_exp_config("fasterrcnn_resnetfpn_coco").task.model
    config.task.model.roi_generator = default.roi_generator
    config.task.model.detection_generator = default.detection_generator
    begin = time.perf_counter()
    export_saved_model_lib.export_inference_graph(
        input_type="image_bytes",
        batch_size=None,
        input_image_size=config.task.model.input_size[:2],
        params=config,
        checkpoint_path=tf.train.latest_checkpoint(run),
        export_dir=out,
    )
    print(json.dumps({"seconds": time.perf_counter() - begin}))


def limit() -> None:
    """The time of a network's products alone, the best of each."""
    import numpy as np

    from petbox.tf import tf

    counts = Counter(json.dumps(one) for one in json.load(sys.stdin))
    seconds = flops = 0.0
    for text, count in counts.items():
        one = json.loads(text)
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            taken = tf.compat.v1.placeholder(tf.float32, one["taken"])
            kernel = np.random.default_rng(0).normal(size=one["kernel"]).astype(np.float32)
            made = {
                "Conv2D": lambda: tf.nn.conv2d(taken, kernel, one["strides"], one["padding"]),  # noqa: B023
                "MatMul": lambda: tf.matmul(taken, kernel),  # noqa: B023
            }[one["type"]]()
            call = session.make_callable(made.op, [taken])
            image = np.ones(one["taken"], np.float32)
            call(image)
            seconds += count * min(timed(lambda: call(image)) for _ in range(5))  # noqa: B023
            flops += count * one["flops"]
    print(json.dumps({"seconds": seconds, "flops": flops}))


def serve(model: str) -> None:
    """Executes commands from stdin, one per line."""
    from petbox.tf import tf

    calls: dict[str, Callable[..., Any]] = {}
    v1 = tf.compat.v1
    session = v1.Session(graph=tf.Graph())
    for line in sys.stdin:
        what, *pictures = json.loads(line)
        given = [[Path(one).read_bytes()] for one in pictures]
        begin, cpu = time.perf_counter(), time.process_time()
        if what == "load":
            with session.graph.as_default():
                meta = v1.saved_model.load(session, ["serve"], model)
            signature = meta.signature_def["serving_default"]
            taken = signature.inputs["inputs"].name
            outputs = {key: info.name for key, info in signature.outputs.items()}
            calls["answer"] = session.make_callable(outputs, [taken])
        elif what == "stages":
            told = stages(tf, session, outputs, {taken: given[0]}, original_names(Path(model)))
            print(json.dumps(told), flush=True)
            continue
        else:
            if what not in calls:
                calls[what] = preparing(ours=what == "ours")
                begin, cpu = time.perf_counter(), time.process_time()
            calls[what](*given)
        spent = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu}
        print(json.dumps(spent), flush=True)


def original_names(model: Path) -> list[str]:
    """The original names of the nodes n0, n1, ... of our model; none for another model."""
    told = model / "assets.extra" / "node_names.txt"
    return told.read_text().splitlines() if told.exists() else []


def stages(
    tf: Any, session: Any, outputs: Any, given: Any, names: Sequence[str]
) -> dict[str, float]:
    """The share of the ops' time that each stage takes."""
    metadata = tf.compat.v1.RunMetadata()
    full = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
    session.run(outputs, given, full, metadata)
    micros: Counter[str] = Counter()
    for device in metadata.step_stats.dev_stats:
        for node in device.node_stats:
            called = re.sub(r"\bn(\d+)\b", lambda short: names[int(short[1])], node.node_name)
            if re.search(r"PartitionedCall(_\d+)?$", called):
                continue  # what it calls is there as well
            found = (stage for stage, name in STAGES.items() if re.search(name, called))
            micros[next(found, "other")] += node.op_end_rel_micros - node.op_start_rel_micros
    return {stage: time / micros.total() for stage, time in micros.items()}


def preparing(ours: bool) -> Callable[..., Any]:
    """Decodes and resizes image files like our models, or like those of the library."""
    from petbox.export.decode.files import stored
    from petbox.export.trained import scaled
    from petbox.images.limits import MOST_PIXELS
    from petbox.training import config as training_config
    from petbox.training.tfvision import tf

    from official.vision.serving.detection import DetectionModule  # isort: skip

    canvas = [640, 640]
    library = DetectionModule(
        params=training_config.experiment("faster_rcnn_resnet50_pets"),
        batch_size=None,
        input_image_size=canvas,
        model=tf.keras.Sequential(),  # it is not asked
    )

    def by_library(files: Any) -> Any:
        pixels = tf.TensorSpec([None, None, 3], tf.uint8)
        images = tf.map_fn(
            library._decode_image, files, parallel_iterations=32, fn_output_signature=pixels
        )
        return library.preprocess(images)[0]

    def by_us(files: Any) -> Any:
        def one(item: tuple[Any, Any]) -> Any:
            pixels, orientation = stored(*item, MOST_PIXELS)
            return scaled(tf.ensure_shape(pixels, [None, None, 3]), orientation, canvas, canvas)

        ready = (tf.TensorSpec([*canvas, 3]), tf.TensorSpec([4]))
        items = (tf.range(tf.shape(files)[0]), files)
        return tf.map_fn(one, items, 4, fn_output_signature=ready)[0]

    call = tf.function(by_us if ours else by_library, [tf.TensorSpec([None], tf.string)])
    return lambda files: call(files).numpy()


def timed(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


TASKS: dict[str, Callable[..., None]] = {
    "run": make_run,
    "library": export_by_library,
    "limit": limit,
    "serve": serve,
}

if __name__ == "__main__":
    main()
