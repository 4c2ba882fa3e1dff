"""States of rows that share pictures and questions: each picture and each text is encoded once."""

from __future__ import annotations

from dataclasses import replace

import torch

from cmlib.data.pairs import Pairs
from cmlib.data.shared import SharedStates
from cmlib.data.states import States
from cmlib.datasets.vqa import check_questions
from cmlib.training.predict import extract_states


def words_alone(states: States) -> States:
    """The same States, with the first and the last token of each text ([CLS] and [SEP]) masked: they are no
    words, and what they say is about the whole text.
    """
    mask = states.masks["text"].clone()
    mask[:, 0] = False
    mask &= mask.flip(1).cumsum(1).flip(1) > 1  # the last one that is left has no other behind it
    return replace(states, masks=states.masks | {"text": mask})


def extract_shared(model, pairs: Pairs, pictures: torch.Tensor | None = None) -> SharedStates:
    """What frozen encoders make of questions about pictures, for ``fit`` and ``predict`` as States are.

    model : as for ``extract_states``; pairs : with texts, and ``picture``, which image each asks about
    pictures : (pictures, cells, size), the cells of the images, where they are encoded already
    ValueError for an empty question or one that is longer than the encoder takes.
    """
    check_questions(pairs.texts, model.tokenizer)
    if pictures is None:
        pictures = extract_states(model, Pairs(pairs.images, None)).states["image"]
    place = {text: number for number, text in enumerate(dict.fromkeys(pairs.texts))}
    texts = words_alone(extract_states(model, Pairs(None, list(place))))
    which = torch.arange(len(pairs)) if pairs.picture is None else pairs.picture
    rows = {"image": which, "text": torch.tensor([place[text] for text in pairs.texts])}
    return SharedStates({"image": pictures, "text": texts.states["text"]}, texts.masks, pairs.labels,
                        class_names=pairs.class_names, rows=rows)
