"""What the numbers of the labels mean: compared wherever two sets, or a model and a set, meet."""

from __future__ import annotations

from torch import nn

from cmlib.datasets.wording import listed


def require_same_classes(what: str, names, other: str, others) -> None:
    """ValueError where one number means two classes. names : in the order of the labels, of ``what``; others
    : of ``other``; where one of them goes on after the other, or has no names, nothing is contradicted.
    """
    names, others = tuple(names or ()), tuple(others or ())
    torn = [i for i, (one, two) in enumerate(zip(names, others, strict=False)) if one != two]
    if not torn:
        return
    i = torn[0]
    raise ValueError(
        f"{what} and {other} number their classes differently: {i} is {names[i]!r} in {what} "
        f"({listed(names, 6)}) and {others[i]!r} in {other} ({listed(others, 6)}); read both with the same "
        "class_names, or correct the one that is meant otherwise."
    )


def learn_classes(model: nn.Module, train, valid=None) -> None:
    """Compare the classes of the training data with those of the validation data and of the model, which then
    knows them: ``model.class_names``. train, valid : Pairs, Rows or Features.
    """
    names = tuple(getattr(train, "class_names", ()))
    if valid is not None:
        require_same_classes(
            "the training data", names, "the validation data", getattr(valid, "class_names", ())
        )
    known = getattr(model, "class_names", ())
    require_same_classes("the model", known, "the training data", names)
    if len(names) > len(known or ()):
        model.class_names = names
