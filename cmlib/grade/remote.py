"""A learner's function as the judge calls it: arguments go into the box, arrays come back, gradients flow
through.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from cmlib.check.engine import AnswerRaised
from cmlib.check.inplace import spoil
from cmlib.grade import frames
from cmlib.grade.session import Session


class Remote:
    """The learner's function, as the trusted side calls it: arguments go in, arrays come back, gradients flow
    through.

    session : returns the living session of the answer, at every call
    """

    def __init__(self, session: Callable[[], Session]):
        self.session = session

    def __call__(self, *args, **kwargs):
        session = self.session()
        reply, value = session.ask({"do": "call"}, (args, kwargs))
        changed = reply.get("changed")
        for position, argument in enumerate((*args, *kwargs.values())):
            if isinstance(changed, list) and position in changed:
                spoil(argument)  # the check then sees that the answer changed it
        sources = [a for a in args if isinstance(a, torch.Tensor) and a.requires_grad]
        leaves: list[torch.Tensor] = []
        frames.encode(value, leaves)
        leaves = [t for t in leaves if t.requires_grad]
        if not (sources and leaves and type(reply.get("call")) is int):
            return _replace(value, {id(t): t.detach() for t in leaves})
        attached = _Attach.apply(
            session, reply["call"], len(sources), *sources, *(t.detach() for t in leaves)
        )
        return _replace(value, {id(old): new for old, new in zip(leaves, attached, strict=True)})


def _replace(value, by):
    if isinstance(value, torch.Tensor):
        return by.get(id(value), value)
    if isinstance(value, (list, tuple)):
        return type(value)(_replace(v, by) for v in value)
    if isinstance(value, dict):
        return {_replace(k, by): _replace(v, by) for k, v in value.items()}
    return Unseen(value) if type(value) is str else value


class Unseen(str):
    """A learner's text: compared as it is, never printed, since an answer could return what it was given."""

    def __str__(self):
        return "…"

    __repr__ = __str__

    def __format__(self, _):
        return "…"


class _Attach(torch.autograd.Function):
    """The outputs of an answer whose graph lives in the box: going back asks the box for the vector-Jacobian
    product.
    """

    @staticmethod
    def forward(ctx, session, call, count, *tensors):
        ctx.session, ctx.call, ctx.sources = session, call, [(t.shape, t.dtype) for t in tensors[:count]]
        return tuple(t.clone() for t in tensors[count:])

    @staticmethod
    def backward(ctx, *cotangents):
        _, gradients = ctx.session.ask({"do": "back", "call": ctx.call}, [c.contiguous() for c in cotangents])
        fit = isinstance(gradients, list) and len(gradients) == len(ctx.sources) and all(
            g is None or (isinstance(g, torch.Tensor) and (g.shape, g.dtype) == wanted)
            for g, wanted in zip(gradients, ctx.sources, strict=True))
        if not fit:
            raise AnswerRaised("returns gradients of another shape or type")
        return (
            None,
            None,
            None,
            *(g if g is None else g.detach() for g in gradients),
            *(None for _ in cotangents),
        )
