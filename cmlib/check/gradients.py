"""Whether an answer can be learned through: its gradients, compared with those of the reference."""

from __future__ import annotations

import torch

from cmlib.check.raised import AnswerRaised, Failed


def compare(exercise, one, got, want, args, theirs) -> None:
    """Raise `Failed` where a gradient of the answer's result ``got`` is not that of ``want``.

    args, theirs : what the reference and the answer were given, with gradients wanted at ``exercise.grad``
    """
    if not isinstance(got, torch.Tensor) or not got.requires_grad:
        raise Failed("The values are right, but no gradient flows through them: did you use .item(), "
                     ".detach() or float()?")
    names = exercise.argument_names(len(args))
    weight = torch.linspace(1, 2, want.numel(), dtype=want.dtype).reshape(want.shape)
    for position in exercise.grad:
        expected = torch.autograd.grad(
            (want * weight).sum(), args[position], retain_graph=True, allow_unused=True
        )[0]
        try:
            found = torch.autograd.grad(
                (got * weight).sum(), theirs[position], retain_graph=True, allow_unused=True
            )[0]
        except AnswerRaised as error:
            raise Failed(
                f"The values are right, but going backwards your code {error} for {one.about}."
            ) from None
        except Exception as error:
            raise Failed(f"The values are right, but going backwards raises {type(error).__name__} for "
                         f"{one.about}: is a tensor changed in place after it was used?") from None
        name = names[position].strip("`")
        expected = torch.zeros_like(args[position]) if expected is None else expected
        found = torch.zeros_like(args[position]) if found is None else found
        if not found.isfinite().all():
            raise Failed(f"The values are right, but the gradient with respect to {name} is not finite for "
                         f"{one.about}.")
        if not torch.allclose(found, expected, rtol=1e-5, atol=1e-8):
            raise Failed(f"The values are right, but the gradient with respect to {name} is wrong for "
                         f"{one.about}: is a part of the computation detached or done in NumPy?")
