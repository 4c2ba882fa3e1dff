"""Models: modules only, one a file."""

from importlib import import_module

from cmlib._old_names import MODELS
from cmlib.models.fusion_model import FusionModel
from cmlib.models.majority import Majority

__all__ = ["FusionModel", "Majority"]


def __getattr__(name):
    if name in MODELS:
        return getattr(import_module(f"cmlib.{MODELS[name]}"), name)
    raise AttributeError(f"cmlib.models has no {name!r}; it has {', '.join(__all__)}")
