"""Keep a whole model in a folder, and have it back: weights as safetensors, everything else as JSON.

``model.safetensors``, ``tokenizer/`` and, written last, ``model.json``: the card with the classes, the sizes,
the architecture of each part and the SHA-256 of every file. Nothing in them can run code when it is read, as
a pickle can.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch import nn

import cmlib
from cmlib.data.device import settle
from cmlib.data.files import sha256
from cmlib.encoders import text
from cmlib.encoders.image import image_encoder
from cmlib.encoders.weights import load
from cmlib.fusion.concat import Concat
from cmlib.models.fusion_model import FusionModel

FORMAT, CARD, WEIGHTS, WORDS = 1, "model.json", "model.safetensors", "tokenizer"
WORD_MODELS = {"BagOfWords": text.BagOfWords, "Lstm": text.Lstm}


def save_model(model: FusionModel, folder: str | Path) -> Path:
    """Write the model into a folder, which is made; → the folder. Its classes are ``model.class_names``.

    TypeError for a model of other parts than cmlib makes by name: torch.save(model.state_dict(), …) keeps
    its weights.
    """
    from safetensors.torch import save_file

    card, folder = _describe(model), Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give save_model a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)  # a card that can be seen belongs to files that are whole
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "part")
    os.replace(folder / "part", folder / WEIGHTS)
    model.tokenizer.save_pretrained(folder / WORDS)
    files = [folder / WEIGHTS, *sorted(file for file in (folder / WORDS).iterdir() if file.is_file())]
    card["sha256"] = {file.relative_to(folder).as_posix(): sha256(file) for file in files}
    (folder / "part").write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(folder / "part", folder / CARD)
    return folder


def load_model(folder: str | Path) -> FusionModel:
    """The model that ``save_model`` wrote, at home and in eval mode, with its ``class_names``.

    FileNotFoundError or ValueError, one sentence each: no such folder, a file that is missing or was changed,
    a card of another version.
    """
    folder = Path(folder).expanduser()
    if not (folder / CARD).is_file():
        raise FileNotFoundError(f"There is no {CARD} in {folder}: give the folder that save_model wrote, "
                                "whole.")
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        version, hashes = card["format"], dict(card["sha256"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{folder / CARD} is no card of a model: it was cut or changed; save it again."
        ) from None
    if version != FORMAT:
        raise ValueError(f"{folder / CARD} has format {version!r} and this cmlib reads {FORMAT}: use the "
                         f"cmlib that wrote it ({card.get('cmlib')}).")
    names, most = card.get("class_names"), card.get("n_classes")
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(names) > (most or 0):
        raise ValueError(f"{folder / CARD} names {names!r} for {most} classes: it was changed; copy the "
                         "folder again.")
    present = {f"{WORDS}/{file.name}" for file in (folder / WORDS).glob("*")}
    present |= {file.name for file in folder.glob(WEIGHTS)}
    if odd := sorted(present ^ hashes.keys()):
        raise ValueError(f"{folder / odd[0]} is missing, or is not on the card: copy the folder whole.")
    for name, expected in hashes.items():
        file = folder / name
        found = sha256(file)
        if found != expected:
            raise ValueError(f"{file} has SHA-256 {found[:12]}… and its card says {str(expected)[:12]}…: it "
                             "was damaged or changed; copy the folder again.")
    return load(_build(card, folder), folder / WEIGHTS).eval()


def _describe(model) -> dict:
    if type(model) is not FusionModel or type(model.head) is not Concat:
        what = type(model).__name__ + (
            f" with the head {type(model.head).__name__}" if hasattr(model, "head") else ""
        )
        raise TypeError(f"save_model keeps a FusionModel with a Concat head, and this is a {what}: keep its "
                        "weights with torch.save(model.state_dict(), path), and build it again to load them.")
    image, words, head = model.image_encoder, model.text_encoder, model.head
    if image.made is None:
        raise TypeError(f"The image encoder {type(image).__name__} was not made by image_encoder(name), so "
                        "that a card cannot say how to build it: keep torch.save(model.state_dict(), path).")
    name, settings = image.made
    settings = {key: value for key, value in settings.items() if key not in ("pretrained", "weights")}
    mlp = isinstance(head.head, nn.Sequential)
    names = getattr(model, "class_names", None)
    return {
        "format": FORMAT,
        "cmlib": cmlib.__version__,
        "class_names": [] if names is None else list(map(str, names)),
        "n_classes": model.n_classes,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "image": {"name": name, **settings, "image_size": image.image_size},
        "text": _describe_text(words),
        "head": {
            "head": "mlp" if mlp else "linear",
            "normalize": any(isinstance(module, nn.LayerNorm) for module in head.normalize.values()),
            "use": list(head.use),
            **({"hidden_size": head.head[0].out_features, "dropout": head.head[2].p} if mlp else {}),
        },
    }


def _describe_text(encoder) -> dict:
    facts = {"kind": type(encoder).__name__, "hidden_size": encoder.hidden_size}
    facts["max_tokens"] = getattr(encoder.tokenizer, "max_tokens", None)
    if type(encoder) is text.Bert:
        facts |= {"pooling": encoder.pooling, "config": encoder.model.config.to_dict()}
        facts["pooler"] = getattr(encoder.model, "pooler", None) is not None
    elif facts["kind"] not in WORD_MODELS:
        raise TypeError(f"The text encoder {facts['kind']} was not made by text_encoder(name), so that a "
                        "card cannot say how to build it: keep torch.save(model.state_dict(), path).")
    return facts


def _build(card: dict, folder: Path) -> FusionModel:
    try:
        settings = dict(card["image"])
        name = settings.pop("name")
        fresh = {} if name == "cnn" else {"pretrained": False}
        image = image_encoder(name, **settings, **fresh)
        words = settle(_build_text(card["text"], folder / WORDS))
        head = Concat(image.hidden_size, words.hidden_size, card["n_classes"], **card["head"])
        model = FusionModel(image, words, card["n_classes"], head)
    except (KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{folder / CARD} lacks a part of the model: it was changed; copy the folder again."
        ) from None
    if card["class_names"]:
        model.class_names = tuple(card["class_names"])
    return model


def _build_text(facts: dict, folder: Path):
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if facts["max_tokens"]:
        tokenizer.max_tokens = facts["max_tokens"]
    if facts["kind"] in WORD_MODELS:
        return WORD_MODELS[facts["kind"]](tokenizer, facts["hidden_size"])
    config = dict(facts["config"])
    kind = config.pop("model_type")
    config = AutoConfig.for_model(kind, **config)
    model = AutoModel.from_config(config, trust_remote_code=False, dtype=torch.float32)
    if not facts["pooler"] and hasattr(model, "pooler"):
        model.pooler = None
    return text.Bert(model, tokenizer, facts["pooling"])
