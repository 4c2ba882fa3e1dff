"""Where the modules of version 0.1 are now, so that a lesson saved with it still runs. To be deleted with
version 0.3.
"""

from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader

MOVED = {  # old module: the new ones that hold its names
    "accumulate": ("training.accumulate",),
    "augment": ("data.augment",),
    "author": ("authoring.notebooks",),
    "batch": ("data.batch", "data.tokens"),
    "batching": ("data.loader",),
    "checkpoints": ("training.checkpoint",),
    "distributed": ("training.distributed",),
    "guards": ("training.guards",),
    "joint": ("losses.joint", "losses.contrastive"),
    "logs": ("training.curves",),
    "memory": ("training.memory",),
    "metrics": ("evaluation.classification", "training.predict"),
    "optim": ("training.optim",),
    "pairs": ("data.pairs",),
    "plots": ("course.plots",),
    "precision": ("training.precision",),
    "run": ("training.run",),
    "scale": ("course.setup",),
    "train": ("training.fit", "training.run"),
}
MODELS = {  # names that stood in cmlib.models, which is a package of other modules now
    "Rows": "data.rows",
    "checkpoint_gradients": "training.freeze",
    "device_of": "data.device",
    "extract": "training.predict",
    "freeze": "training.freeze",
    "predict": "training.predict",
    "prepare": "training.predict",
}


class Finder:
    """``sys.meta_path`` asks it for ``cmlib.train`` after every other finder has said that there is no such
    module.
    """

    @staticmethod
    def find_spec(name: str, path=None, target=None) -> ModuleSpec | None:
        moved = name.startswith("cmlib.") and name.removeprefix("cmlib.") in MOVED
        return spec_from_loader(name, Finder) if moved else None

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module) -> None:
        homes = MOVED[module.__name__.removeprefix("cmlib.")]

        def find(name):
            for home in homes:
                found = import_module(f"cmlib.{home}")
                if hasattr(found, name):
                    return getattr(found, name)
            raise AttributeError(f"{module.__name__} has moved to cmlib.{homes[0]}, where there is no "
                                 f"{name!r}")

        module.__getattr__ = find
