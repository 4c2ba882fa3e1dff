"""cmlib: the library behind the cross-modal learning course.

``import cmlib`` is light (no torch); every name below is loaded when it is first used.
"""

import sys
from importlib import import_module

from cmlib._old_names import MOVED, Finder

__version__ = "0.2.0"

_HOMES = {  # what a lesson needs
    "setup": "cmlib.course.setup",
    "text_encoder": "cmlib.encoders",
    "image_encoder": "cmlib.encoders",
    "FusionModel": "cmlib.models",
    "freeze": "cmlib.training.freeze",
    "fit": "cmlib.training.fit",
    "Recipe": "cmlib.training.recipe",
    "predict": "cmlib.training.predict",
    "extract": "cmlib.training.predict",
    "evaluate": "cmlib.evaluation",
    "progress": "cmlib.check",
    "report": "cmlib.check.page",
    "certificate": "cmlib.check.page",
    "quiz": "cmlib.check.quiz",
    "submit": "cmlib.grade.submit",
}
_PARTS = {
    "check": "cmlib.check",
    "course": "cmlib.course",
    "data": "cmlib.data",
    "datasets": "cmlib.datasets",
    "delivery": "cmlib.delivery",
    "encoders": "cmlib.encoders",
    "evaluation": "cmlib.evaluation",
    "fusion": "cmlib.fusion",
    "layers": "cmlib.layers",
    "losses": "cmlib.losses",
    "models": "cmlib.models",
    "tasks": "cmlib.tasks",
    "plots": "cmlib.course.plots",
    "training": "cmlib.training",
    "worlds": "cmlib.worlds",
}

__all__ = sorted([*_HOMES, *_PARTS, "missing_packages"])
sys.meta_path.append(Finder)


def missing_packages() -> list[str]:
    """Packages the lessons import that are not installed here (Colab has the large ones, but not all)."""
    from importlib.util import find_spec

    return [name for name in ("safetensors", "ipywidgets") if find_spec(name) is None]


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _PARTS:
        return import_module(_PARTS[name])
    if name in MOVED:
        return import_module(f"cmlib.{name}")
    raise AttributeError(f"cmlib has no {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return __all__
