"""docs/petbox.ipynb from top to bottom, in a kernel of its own, with small numbers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from support.ports import free_port
from support.serving import CHECKOUT
from support.warm_python import PYTHON

nbformat = pytest.importorskip("nbformat", reason="pip install nbclient ipykernel")
nbclient = pytest.importorskip("nbclient", reason="pip install nbclient ipykernel")

NOTEBOOK = CHECKOUT / "docs" / "petbox.ipynb"


def parameters(notebook: Any) -> Any:
    (cell,) = (one for one in notebook.cells if "parameters" in one.metadata.get("tags", ()))
    return cell


def images(cell: Any) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def test_the_notebook_goes_from_data_to_plotted_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    small = {"TRAIN_IMAGES": 8, "TEST_IMAGES": 4, "STEPS": 2, "PORT": free_port(), "MIN_SCORE": 0.0}
    cell = parameters(notebook)
    assert all(name in cell.source for name in small)
    cell.source += "\n" + "\n".join(f"{name} = {value}" for name, value in small.items())
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "petbox").write_text(f'#!/bin/sh\nexec "{PYTHON}" -m petbox "$@"\n')
    (programs / "petbox").chmod(0o755)
    path = (programs, Path(sys.executable).parent, os.environ["PATH"], "/usr/sbin")
    monkeypatch.setenv("PATH", ":".join(map(str, path)))
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.setenv("CI", "1")
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    cells = {one.source: one for one in notebook.cells}
    assert images(next(cells[source] for source in cells if source.endswith("\nfound")))
    assert images(next(cells[source] for source in cells if "imshow" in source))
    (last,) = notebook.cells[-1].outputs
    assert last["data"]["text/plain"] == "0", "the server has stopped, and well"
    assert (tmp_path / "petbox-notebook/model/toy/1/saved_model.pb").is_file()


def test_the_notebook_is_committed_without_bulky_outputs() -> None:
    assert NOTEBOOK.stat().st_size < 200_000
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(one.get("execution_count") for one in notebook.cells)
    assert not [output for one in notebook.cells for output in one.get("outputs", ())]
