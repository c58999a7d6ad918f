"""The weights a training begins with: found or fetched, and a Model Garden's checkpoint restored.

A place is a path or an address: of a checkpoint of the Model Garden (its prefix, a folder with it
or, by HTTP, an archive) or of Keras' MobileNetV2 weights (`.h5`, put in by
`keras_mobilenet.py`). Finding needs no TensorFlow, so missing files are reported at once.

After a restore every variable is compared with the tensor that the checkpoint's own object graph
has at its place. TensorFlow's restore would be content with less: it says nothing of tensors that
found no place. Never reads checkpoints of the Object Detection API: they are of other networks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from petbox import outputs
from petbox.cli.program import say
from petbox.data.fetch import archives
from petbox.data.fetch.download import fetch, is_url
from petbox.errors import ModelError, PetboxError
from petbox.training import runs

KERAS = ".h5"
HDF5 = b"\x89HDF\r\n\x1a\n"
ARCHIVES = (".tar.gz", ".tgz", ".tar")
PIECES = (".index", ".data-00000-of-00001")  # of a checkpoint, as the Model Garden writes it
WANTED = "wanted is a checkpoint of the Model Garden, a folder with one, or Keras' weights (.h5)"
OF_ANOTHER = "of another network; take one trained with the same network, or another --preset"
OTHERS = ("_feature_extractor", "FeatureExtractor")  # the Object Detection API's, of TF 2 and TF 1
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


# Finding


def found(place: str, downloads: Path) -> Path:
    """The `.h5` file or checkpoint's prefix at `place`; what is fetched stays in `downloads`."""
    path = _fetched(place, downloads) if is_url(place) else Path(place).expanduser()
    if path.suffix == KERAS:
        if not path.is_file():
            raise ModelError(f"{place}: is not there; {WANTED}")
        _refuse_other_than_hdf5(place, path)
    elif path.is_dir():
        path = _in_folder(path)
    elif not Path(f"{path}.index").is_file():
        if path.exists():
            raise ModelError(f"{place}: is no checkpoint; {WANTED}")
        raise ModelError(f"{place}: is not there; {WANTED}")
    return path.resolve()


def _refuse_other_than_hdf5(place: str, path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            raise ModelError(f"{place}: is no HDF5 file, whatever its name says; get it again")


def _in_folder(folder: Path) -> Path:
    """The prefix of the checkpoint that a folder, as of a run or out of an archive, means."""
    if newest := runs.newest_checkpoint(folder / runs.BEST) or runs.newest_checkpoint(folder):
        return newest
    prefixes = sorted(path.with_suffix("") for path in folder.rglob("*.index"))
    if len(prefixes) == 1:
        return prefixes[0]
    names = ", ".join(str(prefix.relative_to(folder)) for prefix in prefixes[:4])
    trouble = f"has several checkpoints ({names}); name one" if prefixes else "has no checkpoint"
    raise ModelError(f"{folder}: {trouble}; {WANTED}")


# Fetching


def _fetched(url: str, downloads: Path) -> Path:
    """What is at `url`, fetched once: a file, an unpacked archive, or a checkpoint's two pieces."""
    name = url.partition("?")[0].rstrip("/").rpartition("/")[2]
    # Addresses differ where names do not: every checkpoint is called ckpt-something.
    kept = downloads / hashlib.sha256(url.encode()).hexdigest()[:12] / name
    with _alone(kept.parent):
        if name.endswith(KERAS):
            _fetch(url, kept)
            with _or_nothing(kept):
                _refuse_other_than_hdf5(url, kept)
        elif ending := next((e for e in ARCHIVES if name.endswith(e)), None):
            folder = kept.with_name(name.removesuffix(ending))
            if not folder.is_dir():
                _fetch(url, kept)
                with _or_nothing(kept), outputs.product(folder) as partial:
                    archives.unpack(kept, partial)
                kept.unlink()
            return folder
        else:
            before, mark, query = url.partition("?")
            for piece in PIECES:
                _fetch(f"{before}{piece}{mark}{query}", kept.with_name(name + piece))
    return kept


def _fetch(url: str, path: Path) -> None:
    if not path.exists():
        fetch(url, path)


@contextmanager
def _or_nothing(path: Path) -> Iterator[None]:
    """Removes a download that turns out to be useless, so that the next try fetches it anew."""
    try:
        yield
    except PetboxError:
        path.unlink()
        raise


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps `folder` to this process; workers of one machine come one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


# Restoring


class Place(NamedTuple):
    """A variable of the detector, and the name of its tensor in the checkpoint."""

    path: str  # as the object graph has it: backbone/layer_with_weights-0/kernel
    variable: Any
    tensor: str


def load(parts: Mapping[str, Any], prefix: Path) -> None:
    """Gives every variable of `parts`, as {"backbone": ...}, its tensor, and checks them all."""
    from petbox.training.tfvision import tf

    reader, graph = _opened(prefix)
    pairs = list(places(parts, graph, prefix))
    shapes = reader.get_variable_to_shape_map()
    for path, variable, tensor in pairs:
        if (shape := shapes.get(tensor)) != variable.shape.as_list():
            ours = variable.shape.as_list()
            raise ModelError(f"{prefix}: its {path} is {shape}, not {ours}: {OF_ANOTHER}")
    try:
        status = tf.train.Checkpoint(**parts).read(str(prefix))
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        why = str(error).splitlines()[0]
        raise ModelError(
            f"{prefix}: cannot be restored ({why}); remove it and get it again"
        ) from error
    check(parts, prefix)
    others = set(graph.parts) - set(parts)
    also = f"; it also has {', '.join(sorted(others))}" if others else ""
    say(f"{prefix}: took {' and '.join(parts)}, {len(pairs)} tensors, each checked{also}")


def check(parts: Mapping[str, Any], prefix: Path) -> None:
    """Refuses `parts` of which any variable is not what the checkpoint has at its place."""
    import numpy as np

    from petbox.training.tfvision import tf

    reader, graph = _opened(prefix)
    strategy = tf.distribute.get_strategy()
    for path, variable, tensor in places(parts, graph, prefix):
        # On several devices all have the same; to ask for their mean would take every worker.
        here = strategy.experimental_local_results(variable)[0].numpy()
        if not np.array_equal(here, reader.get_tensor(tensor), equal_nan=True):
            raise ModelError(
                f"{prefix}: the detector's {path} is not the checkpoint's; a tensor is in the "
                "wrong place"
            )


class Graph:
    """A checkpoint's own account of its objects: which has which, and where their tensors are."""

    def __init__(self, nodes: Any) -> None:
        self._nodes = nodes

    @property
    def parts(self) -> list[str]:
        """The root's children that hold parts of a detector."""
        known = ("backbone", "decoder", "rpn_head", "detection_head")
        return [name for name in known if name in self.children(0)]

    def children(self, node: int) -> dict[str, int]:
        return {child.local_name: child.node_id for child in self._nodes[node].children}

    def tensor(self, node: int) -> str | None:
        """The name of a variable's tensor."""
        attributes = self._nodes[node].attributes
        return next((str(a.checkpoint_key) for a in attributes if a.name == "VARIABLE_VALUE"), None)

    def tensors(self, node: int) -> dict[int, str]:
        """Every node below `node` that has a tensor, with a path to it."""
        paths, waiting = {node: ""}, [node]
        while waiting:
            above = waiting.pop()
            for name, below in self.children(above).items():
                if below not in paths:
                    paths[below] = f"{paths[above]}/{name}"
                    waiting.append(below)
        return {below: path for below, path in paths.items() if self.tensor(below)}


def _opened(prefix: Path) -> tuple[Any, Graph]:
    from petbox.training.tfvision import TrackableObjectGraph, tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        names = reader.get_variable_to_shape_map()
        text = reader.get_tensor(GRAPH) if GRAPH in names else b""
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        why = str(error).splitlines()[0]
        raise ModelError(f"{prefix}: cannot be read ({why}); remove it and get it again") from error
    if any(other in name for name in names for other in OTHERS):
        raise ModelError(
            f"{prefix}: a checkpoint of the Object Detection API, whose Faster R-CNN is another "
            "network than the Model Garden's; give --init one of the Model Garden, or take "
            "fine_tune_checkpoint out of the pipeline.config"
        )
    if not text:
        raise ModelError(f"{prefix}: a checkpoint of TensorFlow 1, without objects; {WANTED}")
    return reader, Graph(TrackableObjectGraph.FromString(text).nodes)


def places(parts: Mapping[str, Any], graph: Graph, prefix: Path) -> Iterator[Place]:
    """Each variable of `parts` with its tensor; refuses what has no counterpart, either way."""
    for part, root in parts.items():
        node = graph.children(0).get(part)
        if node is None:
            has = ", ".join(graph.parts or sorted(graph.children(0)))
            raise ModelError(f"{prefix}: has no {part}, only {has}; name another checkpoint")
        left = graph.tensors(node)
        for path, variable, at in _variables(part, root, node, graph):
            if at not in left:
                raise ModelError(f"{prefix}: has no {path}: {OF_ANOTHER}")
            left.pop(at)
            yield Place(path, variable, str(graph.tensor(at)))
        if left:
            surplus = part + next(iter(left.values()))
            raise ModelError(f"{prefix}: there is no place for its {surplus}: {OF_ANOTHER}")


def _variables(part: str, root: Any, node: int, graph: Graph) -> Iterator[tuple[str, Any, int]]:
    """Each variable below `root`, its path, and the node there in the checkpoint, or -1."""
    from petbox.training.tfvision import tf

    seen, waiting = {id(root)}, [(part, root, node)]
    while waiting:
        path, ours, at = waiting.pop(0)  # the first layers first
        if isinstance(ours, tf.Variable):
            yield path, ours, at
            continue
        theirs = graph.children(at) if at >= 0 else {}
        for name, below in tf.train.TrackableView.children(ours).items():
            if id(below) not in seen:
                seen.add(id(below))
                waiting.append((f"{path}/{name}", below, theirs.get(name, -1)))
