"""export_model: a trained model as one file of torch.export, which runs where there is no cmlib."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from cmlib.data.batch import Features, ImageBatch, TextBatch
from cmlib.data.device import device_of
from cmlib.encoders.text import Lstm
from cmlib.models.fusion_model import FusionModel

CARD = "card.json"  # inside the file


def export_model(model: FusionModel, path: str | Path, image_size: int | None = None) -> Path:
    """Write ``path`` (.pt2); → the path. Of the model only tensors and operations are kept, no Python of
    ours.

    model : FusionModel; TypeError for another, and for an LSTM, which stops at the last word of each row and
        so has no fixed list of operations
    image_size : of the pixels that it will be given; by default what its image encoder works at
    Read it anywhere with ``torch.export.load(path, extra_files=…).module()``, and call it with pixels uint8
    (batch, 3, size, size), input_ids and attention_mask int64 (batch, tokens): any batch, 2 to ``max_tokens``
    tokens. The extra file "card.json" has the classes, the sizes and the names of the inputs.
    """
    if not isinstance(model, FusionModel):
        raise TypeError(f"export_model takes a FusionModel; got {type(model).__name__}: wrap it in one.")
    if isinstance(model.text_encoder, Lstm) and "text" in model.use:
        raise TypeError("An LSTM stops at the last word of each row, which no fixed list of operations does: "
                        "export a model with another text encoder, such as 'mini'.")
    size = image_size or model.image_encoder.image_size
    most = getattr(model.tokenizer, "max_tokens", 128)
    model = copy.deepcopy(model).eval()
    for tensor in (*model.parameters(), *model.buffers()):  # torch warns of any other layout
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    wrapped, device = _Plain(model), device_of(model)
    pixels = torch.zeros(3, 3, size, size, dtype=torch.uint8, device=device)
    ids = torch.ones(3, 5, dtype=torch.int64, device=device)
    mask = torch.ones_like(ids)  # never the same tensor: export would take them for one input
    batch, tokens = torch.export.Dim("batch", max=1 << 16), torch.export.Dim("tokens", min=2, max=most)
    shapes = {
        "pixels": {0: batch},
        "input_ids": {0: batch, 1: tokens},
        "attention_mask": {0: batch, 1: tokens},
    }
    with torch.no_grad():
        program = torch.export.export(wrapped, (pixels, ids, mask), dynamic_shapes=shapes, strict=False)
    card = {
        "inputs": {"pixels": f"uint8 (batch, 3, {size}, {size})", "input_ids": "int64 (batch, tokens)",
                   "attention_mask": "int64 (batch, tokens)"},
        "class_names": list(getattr(model, "class_names", ())),
        "max_tokens": most,
        "pad_token_id": model.tokenizer.pad_token_id,
    }
    torch.export.save(program, path, extra_files={CARD: json.dumps(card, ensure_ascii=False)})
    return Path(path)


class _Plain(nn.Module):
    """The model as a function of tensors. Batches and features are put together unchecked: a check that
    counts rows or reads values would fix them in the file.
    """

    def __init__(self, model: FusionModel):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        image = text = None
        if "image" in self.model.use:
            image = self.model.image_encoder(_unchecked(ImageBatch, pixels=pixels, rows=None))
        if "text" in self.model.use:
            words = _unchecked(TextBatch, input_ids=input_ids, attention_mask=attention_mask)
            text = self.model.text_encoder(words)
        return self.model.head(_unchecked(Features, image=image, text=text, labels=None, targets={}))


def _unchecked(kind: type, **parts):
    made = object.__new__(kind)
    for name, value in parts.items():
        object.__setattr__(made, name, value)
    return made
