"""export_model: a trained model as one file, of torch.export or ONNX, which runs where there is no cmlib."""

from __future__ import annotations

import copy
import json
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from cmlib.data.batch import Features, ImageBatch, TextBatch
from cmlib.data.device import device_of
from cmlib.data.tokens import most_tokens
from cmlib.datasets.pictures import require_size
from cmlib.encoders.text import Lstm
from cmlib.models.fusion_model import FusionModel

CARD = "card.json"  # inside the file


def export_model(model: FusionModel, path: str | Path, image_size: int | None = None) -> Path:
    """Write ``path`` (.pt2, or .onnx); → the path. Of the model only tensors and operations are kept, no
    Python of ours.

    model : FusionModel; TypeError for another, and for an LSTM, which stops at the last word of each row and
        so has no fixed list of operations
    image_size : of the pixels that it will be given; by default what its image encoder works at
    Its inputs are pixels uint8 (batch, 3, size, size), input_ids and attention_mask int64 (batch, tokens):
    any batch, 2 to ``max_tokens`` tokens. A card has the classes, the sizes and the names of the inputs.

    Read a .pt2 anywhere with ``torch.export.load(path, extra_files=…).module()``, its card as the extra file
    "card.json"; a .onnx with ``onnxruntime.InferenceSession(path)``, its card under the same name among
    ``get_modelmeta().custom_metadata_map``. ImportError where what writes the latter is not installed.
    """
    path = Path(path)
    if path.suffix not in (".pt2", ".onnx"):
        raise ValueError(f"{path}: a model is exported to a .pt2 or an .onnx file.")
    if path.suffix == ".onnx":
        _require_onnx()
    if not isinstance(model, FusionModel):
        raise TypeError(f"export_model takes a FusionModel; got {type(model).__name__}: wrap it in one.")
    if isinstance(model.text_encoder, Lstm) and "text" in model.use:
        raise TypeError("An LSTM stops at the last word of each row, which no fixed list of operations does: "
                        "export a model with another text encoder, such as 'mini'.")
    size = model.image_encoder.image_size if image_size is None else image_size
    require_size(size)
    path.parent.mkdir(parents=True, exist_ok=True)
    most = most_tokens(model.tokenizer)
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
    card = json.dumps(card, ensure_ascii=False)
    if path.suffix == ".onnx":
        made = torch.onnx.export(program, dynamo=True, verbose=False)
        made.model.metadata_props[CARD] = card
        made.save(path)
    else:
        torch.export.save(program, path, extra_files={CARD: card})
    return path


def _require_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ImportError(f"A .onnx file is written by {missing[0]}, which is not installed here: "
                          'pip install -e ".[more]", or export to a .pt2 file.')


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
