"""Stand-ins: encoders of the true size with random weights, where the real weights cannot be fetched.

They let a benchmark or ``make gpu`` run a lesson at full scale without a network. What they compute means
nothing, and ``encoder.pretrained`` says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import nn

_makers: dict[str, tuple[Callable[..., nn.Module], bool]] = {}  # name: (make, fresh)


def stand_in(name: str, make: Callable[..., nn.Module] | None, fresh: bool = False) -> None:
    """From now on ``make`` gives the encoder called ``name``; None brings the real one back.

    name : as in ``text_encoder(name)`` or ``image_encoder(name)``; asked for with ``pretrained=False`` it is
        still made by the library, unless ``fresh``
    make : called with the settings of the call, returns a TextEncoder or an ImageEncoder
    fresh : also in the place of ``pretrained=False``, as loading a saved model asks for it: for stand-ins of
        another size than the real one's
    """
    if make is None:
        _makers.pop(name, None)
    else:
        _makers[name] = make, fresh


def build(kind: str, name: str, make: Callable[..., nn.Module], settings: dict, *more: str) -> nn.Module:
    """``make(**settings)``, or what stands in for it; TypeError for a setting that ``make`` does not have.

    kind : "image" or "text", for the sentence; more : settings that the caller sees to itself
    """
    allowed = [*inspect.signature(make).parameters, *more]
    wrong = [key for key in settings if key not in allowed]
    if wrong:
        raise TypeError(
            f"The {kind} encoder {name!r} has no setting {wrong[0]!r}; it has {', '.join(allowed)}."
        )
    return (maker(name, settings) or make)(**settings)


def maker(name: str, settings: dict) -> Callable[..., nn.Module] | None:
    """What stands in for this encoder, or None: as a rule only real weights need a stand-in."""
    make, fresh = _makers.get(name, (None, False))
    return make if fresh or settings.get("pretrained", True) else None
