"""Models: modules only, one a file."""

from importlib import import_module

from cmlib._old_names import MODELS
from cmlib.models.fusion_model import FusionModel
from cmlib.models.majority import Majority
from cmlib.models.saving import load_model, save_model
from cmlib.models.two_towers import TwoTowers

__all__ = ["FusionModel", "Majority", "TwoTowers", "load_model", "save_model"]


def __getattr__(name):
    if name in MODELS:
        return getattr(import_module(f"cmlib.{MODELS[name]}"), name)
    raise AttributeError(f"cmlib.models has no {name!r}; it has {', '.join(__all__)}")
