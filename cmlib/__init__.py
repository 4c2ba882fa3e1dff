"""cmlib: the library behind the cross-modal learning course.

``import cmlib`` is light (no torch); every name below is loaded when it is first used.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "setup": "cmlib.scale",
    "progress": "cmlib.check",
    "report": "cmlib.check.page",
    "submit": "cmlib.grade.submit",
}
_MODULES = {"accumulate", "augment", "batch", "batching", "check", "checkpoints", "datasets", "encoders", "fusion", "joint", "losses",
            "memory", "metrics", "models", "optim", "pairs", "plots", "precision", "scale", "train", "worlds"}

__all__ = sorted([*_HOMES, *_MODULES, "missing_packages"])


def missing_packages() -> list[str]:
    """Packages the lessons import that are not installed here (Colab has the large ones, but not all)."""
    from importlib.util import find_spec

    return [name for name in ("safetensors", "ipywidgets") if find_spec(name) is None]


def __getattr__(name):
    if name in _MODULES:
        return import_module(f"cmlib.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"cmlib has no {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return __all__
