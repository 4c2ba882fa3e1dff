"""Pictures and phrases about them as what frozen encoders make of both: encode once, train finders on it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from cmlib.data.pairs import Pairs
from cmlib.data.states import States
from cmlib.training.predict import extract_states


def extract_scenes(model: nn.Module, pairs: Pairs, told: Sequence[Sequence]) -> States:
    """States with "image" (rows, cells, image size) and "phrases" (rows, phrases, tokens · text size), zeros
    where a phrase has ended; targets "boxes" (rows, things, 4), in parts of the picture's side, and "hits"
    bool (rows, phrases, things), where pairs have boxes.

    model : as for ``extract_states``; told : of each row as many phrases, with ``words`` and ``hits`` as
        ``cmlib.worlds.phrases`` has them. ValueError for an empty phrase.
    """
    for row, phrases in enumerate(told):
        for number, phrase in enumerate(phrases):
            if not phrase.words.strip():
                raise ValueError(
                    f"Phrase {number} of row {row} is {phrase.words!r}: it has no words, so there is nothing "
                    "to look for; write one, such as 'the red car', or leave it out."
                )
    every = sorted({phrase.words for phrases in told for phrase in phrases})
    read = extract_states(model, Pairs(None, every))
    words = (read.states["text"] * read.masks["text"][..., None]).flatten(1)  # (different phrases, …)
    number = {text: place for place, text in enumerate(every)}
    index = torch.tensor([[number[phrase.words] for phrase in phrases] for phrases in told])
    image = extract_states(model, Pairs(pairs.images, None)).states["image"]
    targets = {}
    if "boxes" in pairs.extras:
        targets["boxes"] = pairs.extras["boxes"].float() / pairs.images.shape[-1]
        things = range(targets["boxes"].shape[1])
        targets["hits"] = torch.tensor([[[thing in phrase.hits for thing in things] for phrase in phrases]
                                        for phrases in told])
    return States({"image": image, "phrases": words[index]}, targets=targets)
