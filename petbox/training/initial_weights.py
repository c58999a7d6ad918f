"""The initial weights of a training: finds or downloads them, and restores a checkpoint.

The source is a path or a URL of a checkpoint of the Model Garden (its prefix, a folder with it or,
by HTTP, an archive) or of Keras' MobileNetV2 weights (`.h5`, loaded by `keras_mobilenet.py`).
Finding needs no TensorFlow, so missing files are reported at once.

After a restore every variable is compared with its tensor in the checkpoint's own object graph,
because TensorFlow ignores tensors without a variable. Checkpoints of the Object Detection API are
rejected: they are of other networks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from petbox import outputs
from petbox.cli.program import say
from petbox.data.fetch import archives
from petbox.data.fetch.checksum import ANY, Fingerprint, of_file
from petbox.data.fetch.download import fetch, is_url
from petbox.errors import ModelError, PetboxError
from petbox.training import families, runs

KERAS = ".h5"
HDF5 = b"\x89HDF\r\n\x1a\n"
PIECES = (".index", ".data-00000-of-00001")  # of a checkpoint, as the Model Garden writes it
EXPECTED = "expected a Model Garden checkpoint, a folder with one, or Keras' weights (.h5)"
OTHER_NETWORK = (
    "of another network; take one trained with the same network, another --preset, or only what "
    "fits, with --init-parts fit"
)
# In names of the Object Detection API, of TensorFlow 2 and 1.
UNSUPPORTED = ("_feature_extractor", "FeatureExtractor")
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


# Finding


def found(source: str, downloads: Path) -> Path:
    """The `.h5` file or checkpoint prefix at `source`; downloads are kept in `downloads`."""
    path = _downloaded(source, downloads) if is_url(source) else Path(source).expanduser()
    if path.suffix == KERAS:
        if not path.is_file():
            raise ModelError(f"{source}: no such file; {EXPECTED}")
        _check_hdf5(source, path)
    elif path.is_dir():
        path = _in_folder(path)
    elif not Path(f"{path}.index").is_file():
        problem = "not a checkpoint" if path.exists() else "no such file"
        raise ModelError(f"{source}: {problem}; {EXPECTED}")
    return path.resolve()


def _check_hdf5(source: str, path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            raise ModelError(f"{source}: not an HDF5 file; download it again")


def _in_folder(folder: Path) -> Path:
    """The prefix of the checkpoint in a folder, such as a run or an unpacked archive."""
    if preferred := runs.preferred_checkpoint(folder):
        return preferred
    prefixes = sorted(path.with_suffix("") for path in folder.rglob("*.index"))
    named = [one for one in prefixes if runs.newest_checkpoint(one.parent) == one]
    prefixes = named if len(named) == 1 else prefixes
    if len(prefixes) == 1:
        return prefixes[0]
    names = ", ".join(str(prefix.relative_to(folder)) for prefix in prefixes[:4])
    problem = f"has several checkpoints ({names}); name one" if prefixes else "has no checkpoint"
    raise ModelError(f"{folder}: {problem}; {EXPECTED}")


# Downloading


def _downloaded(url: str, downloads: Path) -> Path:
    """The download of `url`: a file, an unpacked archive, or the prefix of a checkpoint."""
    name = url.partition("?")[0].rstrip("/").rpartition("/")[2]
    # Names may be the same for different URLs: every checkpoint is called ckpt-something.
    kept = downloads / hashlib.sha256(url.encode()).hexdigest()[:12] / name
    with outputs.locked(kept.parent):  # workers on one machine take turns
        if name.endswith(KERAS):
            _fetch(url, kept)
            with _removed_on_error(kept):
                _check_hdf5(url, kept)
        elif ending := next((e for e in archives.ENDINGS if name.endswith(e)), None):
            folder = kept.with_name(name.removesuffix(ending))
            if not folder.is_dir():
                _fetch(url, kept)
                with _removed_on_error(kept), outputs.product(folder) as partial:
                    archives.unpack(kept, partial)
                kept.unlink()
            return folder
        else:
            before, mark, query = url.partition("?")
            for piece in PIECES:
                _fetch(f"{before}{piece}{mark}{query}", kept.with_name(name + piece))
    return kept


def _fetch(url: str, path: Path) -> None:
    """Downloads `url`, whose SHA-256 is recorded at the first time and compared later."""
    if path.exists():
        return
    record = path.with_name(f"{path.name}.sha256")
    known = record.read_text(encoding="utf-8").strip() if record.is_file() else ANY
    otherwise = f"if the publisher replaced it, remove {record} and repeat the command"
    fetch(url, path, Fingerprint(known, otherwise=otherwise))
    if known == ANY:
        sha256 = of_file(path)
        record.write_text(f"{sha256}\n", encoding="utf-8")
        say(f"{path.name}: SHA-256 {sha256}, recorded for later downloads")


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    """Removes a useless download, so that the next attempt repeats it."""
    try:
        yield
    except PetboxError:
        path.unlink()
        path.with_name(f"{path.name}.sha256").unlink()
        raise


# Restoring


def load(parts: Mapping[str, Any], prefix: Path) -> None:
    """Loads and checks every variable of `parts`, such as {"backbone": ...}."""
    from petbox.training.tfvision import tf

    reader, graph = opened(prefix)
    pairs = list(tensors(parts, graph, prefix))
    shapes = reader.get_variable_to_shape_map()
    for path, variable, tensor in pairs:
        if (shape := shapes.get(tensor)) != (ours := variable.shape.as_list()):
            raise ModelError(f"{prefix}: its {path} is {shape}, not {ours}: {OTHER_NETWORK}")
    try:
        status = tf.train.Checkpoint(**parts).read(str(prefix))
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise _damaged(prefix, error) from error
    check(parts, prefix)
    others = set(graph.parts) - set(parts)
    also = f"; it also has {', '.join(sorted(others))}" if others else ""
    say(f"{prefix}: loaded {' and '.join(parts)}, {len(pairs)} tensors, each checked{also}")


def check(parts: Mapping[str, Any], prefix: Path) -> None:
    """Rejects `parts` if any variable differs from its tensor in the checkpoint."""
    import numpy as np

    from petbox.training.tfvision import tf

    reader, graph = opened(prefix)
    strategy = tf.distribute.get_strategy()
    for path, variable, tensor in tensors(parts, graph, prefix):
        # All devices have the same value; computing their mean would need every worker.
        local = strategy.experimental_local_results(variable)[0].numpy()
        if not np.array_equal(local, reader.get_tensor(tensor), equal_nan=True):
            raise ModelError(
                f"{prefix}: the detector's {path} differs from the checkpoint's; a tensor is in "
                "the wrong place"
            )


class Graph:
    def __init__(self, nodes: Any) -> None:
        self._nodes = nodes

    @property
    def parts(self) -> list[str]:
        """The root's children that are parts of a detector."""
        known = dict.fromkeys(part for family in families.ALL for part in family.parts)
        return [name for name in known if name in self.children(0)]

    def children(self, node: int) -> dict[str, int]:
        """By their names; none of -1, which is no node."""
        children = self._nodes[node].children if node >= 0 else ()
        return {child.local_name: child.node_id for child in children}

    def tensor(self, node: int) -> str | None:
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


def opened(prefix: Path) -> tuple[Any, Graph]:
    from petbox.training.tfvision import TrackableObjectGraph, tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        names = reader.get_variable_to_shape_map()
        text = reader.get_tensor(GRAPH) if GRAPH in names else b""
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise _damaged(prefix, error) from error
    if any(other in name for name in names for other in UNSUPPORTED):
        raise ModelError(
            f"{prefix}: a checkpoint of the Object Detection API, whose Faster R-CNN is another "
            "network than the Model Garden's; pass a Model Garden checkpoint as --init, or remove "
            "fine_tune_checkpoint from the pipeline.config"
        )
    if not text:
        raise ModelError(f"{prefix}: a checkpoint of TensorFlow 1, without objects; {EXPECTED}")
    return reader, Graph(TrackableObjectGraph.FromString(text).nodes)


def _damaged(prefix: Path, error: Exception) -> ModelError:
    cause = str(error).splitlines()[0]
    return ModelError(f"{prefix}: cannot be read ({cause}); remove it and download it again")


def tensors(parts: Mapping[str, Any], graph: Graph, prefix: Path) -> Iterator[tuple[str, Any, str]]:
    """Each variable's path, the variable and its tensor's name; rejects one without the other."""
    for part, root in parts.items():
        node = graph.children(0).get(part)
        if node is None:
            has = ", ".join(graph.parts or sorted(graph.children(0)))
            raise ModelError(f"{prefix}: has no {part}, only {has}; name another checkpoint")
        unused = graph.tensors(node)
        for path, variable, at in variables(part, root, node, graph):
            if at not in unused:
                raise ModelError(f"{prefix}: has no {path}: {OTHER_NETWORK}")
            unused.pop(at)
            yield path, variable, str(graph.tensor(at))
        if unused:
            surplus = part + next(iter(unused.values()))
            raise ModelError(f"{prefix}: no variable for its {surplus}: {OTHER_NETWORK}")


def variables(
    part: str,
    root: Any,
    node: int,
    graph: Graph,
    places: Mapping[int, tuple[str, int]] = MappingProxyType({}),
) -> Iterator[tuple[str, Any, int]]:
    """Each variable below `root`, its path, and the node there in the checkpoint, or -1.

    Objects in `places`, by their ids, have a name and a node of their own.
    """
    from petbox.training.tfvision import tf

    seen, waiting = {id(root)}, [(part, root, node)]
    while waiting:
        path, ours, at = waiting.pop(0)  # the first layers first
        if isinstance(ours, tf.Variable):
            yield path, ours, at
            continue
        theirs = graph.children(at)
        for name, below in tf.train.TrackableView.children(ours).items():
            if id(below) not in seen:
                seen.add(id(below))
                called, there = places.get(id(below), (name, theirs.get(name, -1)))
                waiting.append((f"{path}/{called}", below, there))
