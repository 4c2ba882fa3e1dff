"""Recipe: how a run trains, apart from what it trains for and for how long."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from cmlib.training.precision import Precision


@dataclass(frozen=True)
class Recipe:
    """Settings of ``fit`` that one line of a lesson seldom names; ``Recipe(accumulate=4)`` changes one.

    weight_decay : decoupled (AdamW, Loshchilov & Hutter 2019), of matrices only
    warmup       : share of all steps in which the learning rate rises, before it falls as a cosine to 0
    clip         : largest norm of the whole gradient (Pascanu et al. 2013)
    accumulate   : compute each batch in this many parts: less memory, the same gradient
    precision    : "fp32", "bf16", "fp16", "auto" or a Precision (cmlib.training.precision)
    layer_decay  : lower layers of an encoder learn at this factor of the rate of the layer above (1 is off)
    ema          : 0.999, say: validate and keep the moving average of the weights (None is off)
    compile      : run the model through torch.compile
    bucketed     : rows with texts of like length share a batch: less padding is computed
    head_first   : in so many epochs at the start only the head learns, then everything, by a schedule that
        begins anew: a head of random weights sends its encoders noise (Kumar et al. 2022)
    every        : steps between two checkpoints
    sampler      : sampler(rows, batch_size, generator) → the int64 rows of each batch of an epoch, ceil(rows
        / batch_size) of them, in the place of random ones (cmlib.data.sampler.PK)
    """

    weight_decay: float = 0.01
    warmup: float = 0.1
    clip: float = 1.0
    accumulate: int = 1
    precision: str | Precision = "fp32"
    layer_decay: float = 1.0
    ema: float | None = None
    compile: bool = False
    bucketed: bool = False
    head_first: int = 0
    every: int = 500
    sampler: Callable | None = None

    def __post_init__(self):
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup={self.warmup!r} is the share of steps in which the rate rises, 0 to 1.")
        if not self.clip > 0:
            raise ValueError(f"clip={self.clip!r} is the largest norm of the gradient: above 0, or math.inf.")

    def changed(self, settings: dict, beside: Sequence[str] = ()) -> Recipe:
        """The recipe with these settings; TypeError, with the nearest name, for one that it does not have.

        beside : names of settings that are no part of a recipe, but may be meant
        """
        names = [field.name for field in fields(self)]
        for name in settings:
            if name not in names:
                near = difflib.get_close_matches(name, [*names, *beside], 1, 0)[0]
                raise TypeError(f"fit has no setting {name!r}; did you mean {near!r}? A Recipe has "
                                f"{', '.join(names)}.")
        return replace(self, **settings) if settings else self

    def facts(self) -> dict:
        """What two runs must have in common for one to go on with the checkpoint of the other."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found["precision"] = getattr(self.precision, "name", self.precision)
        return {name: value for name, value in found.items() if name not in ("compile", "every", "sampler")}
