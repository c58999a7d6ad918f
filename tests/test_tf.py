"""What `petbox.tf` keeps out of TensorFlow's import, and that it still works when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import CHECKOUT

from petbox.tf import light_import

HEAVY = (
    "googleapiclient",
    "keras",
    "matplotlib",
    "pandas",
    "scipy.ndimage",
    "scipy.sparse",
    "tensorflow_datasets",
    "tensorflow_text",
)
SCRIPT = f"""
import sys
import petbox.evaluation.predictions, petbox.export.exporter, petbox.training.trainer
print(*(name for name in {HEAVY} if name in sys.modules))
from official.vision.tasks import maskrcnn
print(maskrcnn.visualization_utils.visualize_outputs.__module__, "matplotlib" in sys.modules)
"""


def test_training_imports_what_it_uses_and_the_rest_on_demand() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=CHECKOUT, capture_output=True, text=True, timeout=120
    )
    drawn = "official.vision.utils.object_detection.visualization_utils"
    assert (done.stdout, done.returncode) == (f"\n{drawn} True\n", 0), done.stderr


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that nothing has imported, and that is gone after the test."""
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    return "colorsys"


def test_a_module_for_later_is_imported_when_something_of_it_is_used(forgotten: str) -> None:
    with light_import((), (forgotten,)):
        import colorsys
    assert forgotten not in sys.modules
    assert colorsys.hsv_to_rgb(0, 0, 1) == (1, 1, 1)
    assert sys.modules[forgotten] is not colorsys
    with pytest.raises(AttributeError):
        colorsys.cmyk_to_rgb  # noqa: B018


def test_a_module_for_later_may_be_used_during_the_import(forgotten: str) -> None:
    with light_import((), (forgotten,)):
        from colorsys import hsv_to_rgb
    assert hsv_to_rgb(0, 0, 1) == (1, 1, 1)
    assert forgotten in sys.modules, "it is the real one"


def test_a_package_to_do_without_is_missing_during_the_import_only(forgotten: str) -> None:
    with light_import((forgotten, "sys"), ()):
        import sys as present  # noqa: F401  # what is there stays

        with pytest.raises(ImportError):
            import colorsys
    import colorsys

    assert colorsys.hsv_to_rgb
