"""A function given by its text, as an input of an exercise. It runs inside the box of a grader too."""

from __future__ import annotations

import torch


class Formula:
    """``Formula("-logsigmoid(a + b)", "a", "b")`` is ``lambda a, b: -logsigmoid(a + b)``, in a form that can
    be sent elsewhere.

    Only exercises make one, never a learner; the text may use the parameters and what ``torch`` and
    ``torch.nn.functional`` offer.
    """

    def __init__(self, text: str, *parameters: str):
        self.text, self.parameters = text, parameters
        offered = {**vars(torch), **vars(torch.nn.functional), "__builtins__": {}}
        self._function = eval(f"lambda {', '.join(parameters)}: {text}", offered)

    def __call__(self, *args):
        return self._function(*args)
