"""Models: two encoders and a head, the one-modality baselines, and what to do with frozen parts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from functools import partial

import torch
from torch import nn

from cmlib.batch import Batch, Features, ImageBatch, TextBatch, pad, tokenise
from cmlib.fusion import MODALITIES, Concat
from cmlib.memory import out_of_memory_says
from cmlib.pairs import Pairs, _describe


class FusionModel(nn.Module):
    """Image encoder + text encoder + head: forward(Batch) → logits (batch, n_classes).

    head : "linear", "mlp", or any module that maps Features to logits
    use  : ("image",) or ("text",) makes the one-modality baseline; the other encoder is then never run by ``forward``
    """

    def __init__(self, image_encoder: nn.Module, text_encoder: nn.Module, n_classes: int, head: str | nn.Module = "mlp",
                 normalize: bool = True, use: tuple[str, ...] = MODALITIES):
        super().__init__()
        if not hasattr(image_encoder, "image_size") or not hasattr(text_encoder, "tokenizer"):
            raise TypeError(f"FusionModel takes an image encoder, then a text encoder; got {type(image_encoder).__name__}, "
                            f"then {type(text_encoder).__name__}. Are they swapped?")
        self.image_encoder, self.text_encoder, self.n_classes = image_encoder, text_encoder, n_classes
        if not isinstance(head, nn.Module):
            head = Concat(image_encoder.hidden_size, text_encoder.hidden_size, n_classes, head, normalize, use=use)
        self.head, self.use = head, getattr(head, "use", MODALITIES)

    @property
    def tokenizer(self):
        return self.text_encoder.tokenizer

    def encode(self, batch: Batch, use: Sequence[str] = MODALITIES) -> Features:
        """Batch → Features; a half that is not in ``use`` stays empty, (batch, 0)."""
        if not isinstance(batch, Batch):
            raise TypeError(f"FusionModel reads a Batch; got {_describe(batch)}. cmlib.batch.collate makes one from Pairs.")
        nothing = batch.labels.new_empty(len(batch), 0, dtype=torch.float32)
        image = self.image_encoder(batch.image) if "image" in use else nothing  # (batch, image_size)
        text = self.text_encoder(batch.text) if "text" in use else nothing  # (batch, text_size)
        return Features(image, text, batch.labels)

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.head(self.encode(batch, self.use))  # (batch, n_classes)


class ImageOnly(Concat):
    """The image half of Features → logits: what the picture alone can do. Same arguments as Concat."""

    def __init__(self, image_size: int, text_size: int, n_classes: int, head: str = "mlp", **settings):
        super().__init__(image_size, text_size, n_classes, head, use=("image",), **settings)


class TextOnly(Concat):
    """The text half of Features → logits: what the words alone can do. Same arguments as Concat."""

    def __init__(self, image_size: int, text_size: int, n_classes: int, head: str = "mlp", **settings):
        super().__init__(image_size, text_size, n_classes, head, use=("text",), **settings)


class Majority(nn.Module):
    """Log of the class shares in the training labels, whatever the input: the floor under every other number."""

    def __init__(self, labels: torch.Tensor, n_classes: int):
        super().__init__()
        shares = torch.bincount(labels, minlength=n_classes).float() / len(labels)
        self.register_buffer("log_shares", shares.clamp(min=1e-9).log())  # finite for a class that never occurs
        self.n_classes = n_classes

    def forward(self, batch: Batch | Features) -> torch.Tensor:
        return self.log_shares.expand(len(batch.labels), -1)  # (batch, n_classes)


def freeze(module: nn.Module, frozen: bool = True) -> nn.Module:
    """Stop (or, with ``frozen=False``, resume) the training of a module: no gradients, and always in eval mode.

    ``model.train()`` would otherwise put a frozen BatchNorm or Dropout back to work and change features nobody is training.
    """
    for part in module.modules():
        if not hasattr(part, "frozen"):
            part.register_forward_pre_hook(_stay_in_eval)
        part.frozen = frozen
        part.training = part.training and not frozen
    return module.requires_grad_(not frozen)


def _stay_in_eval(part: nn.Module, _inputs) -> None:
    if part.frozen:
        part.training = False


def checkpoint_gradients(model: nn.Module) -> nn.Module:
    """Keep only the inputs of layers and stages, and compute their insides again in the backward pass (Chen et al. 2016).

    Same gradients and running statistics; about a third more time for a fraction of the activations. For the layers of a
    model of transformers and the stages of a ResNet; ValueError where there are neither.
    """
    from torch.utils.checkpoint import checkpoint

    def again(stage, forward, x):
        if not (stage.training and torch.is_grad_enabled()):
            return forward(x)
        return checkpoint(forward, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_at_rest(stage)))

    found = 0
    for part in model.modules():
        if hasattr(part, "gradient_checkpointing_enable"):  # a model of transformers; the method has two names, by version
            enable = getattr(part, "activation_checkpointing_enable", part.gradient_checkpointing_enable)
            part.config.use_cache = False  # it would be switched off with a warning
            enable()
            found += 1
        for stage in getattr(part, "trunk", nn.Module()).children():
            if isinstance(stage, nn.Sequential):
                stage.forward = partial(again, stage, stage.forward)
                found += 1
    if not found:
        raise ValueError(f"{type(model).__name__} has no layers of transformers and no ResNet stages to compute again.")
    return model


@contextmanager
def _statistics_at_rest(module):
    """BatchNorm normalises with the batch, but does not count it a second time."""
    norms = [(part, part.momentum, part.num_batches_tracked) for part in module.modules()
             if getattr(part, "track_running_stats", False)]
    for norm, _, _ in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, counter in norms:
            norm.momentum, norm.num_batches_tracked = momentum, counter


class Rows:
    """Data ready for steps: ``rows[index]`` is a Batch. The words of Pairs are tokenised once, here, not once per epoch.

    lengths : int64 (rows,), tokens of each row · to(device) : the same rows there, if they fit: no copies while training
    """

    def __init__(self, pairs: Pairs, tokenizer):
        self.images, self.labels = pairs.images, pairs.labels
        ids = tokenise(pairs.texts, tokenizer)
        self.lengths = torch.tensor([len(row) for row in ids])
        self.ids = pad(ids, tokenizer.pad_token_id).input_ids  # (rows, longest)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index: torch.Tensor) -> Batch:
        lengths = self.lengths[index]
        longest = int(lengths.max())  # of this batch: dynamic padding
        mask = (torch.arange(longest) < lengths[:, None]).long().to(self.ids.device)  # (batch, longest)
        return Batch(ImageBatch(self.images[index]), TextBatch(self.ids[index, :longest], mask), self.labels[index])

    def to(self, device) -> Rows:
        moved = copy(self)
        moved.images, moved.ids, moved.labels = (t.to(device) for t in (self.images, self.ids, self.labels))
        return moved


def prepare(model: nn.Module, data: Pairs | Features | Rows) -> Features | Rows:
    """What ``model`` can index into steps: Features and Rows as they are, Pairs tokenised with the model's tokenizer."""
    if not isinstance(data, Pairs | Features | Rows):
        raise TypeError(f"The data must be Pairs or Features; got {_describe(data)}.")
    if len(data) == 0:
        raise ValueError("The data has no rows.")
    if not isinstance(data, Pairs):
        return data
    if not hasattr(model, "tokenizer"):
        raise TypeError(f"{type(model).__name__} has no tokenizer, so it cannot read Pairs; "
                        "give it extract(model, pairs), or wrap it in a FusionModel.")
    return Rows(data, model.tokenizer)


def device_of(model: nn.Module) -> torch.device:
    """Where the model lives; the data follows it there."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))


@torch.no_grad()
def predict(model: nn.Module, data: Pairs | Features | Rows, batch_size: int = 256,
            index: torch.Tensor | None = None) -> torch.Tensor:
    """Logits (rows, n_classes) on the CPU, in the order of the rows, in eval mode (the mode is restored).

    index : int64, the rows that are wanted, in this order (default: all)
    """
    return torch.cat(_in_eval(model, model, data, batch_size, index))


@torch.no_grad()
def extract(model: FusionModel, pairs: Pairs, batch_size: int = 256) -> Features:
    """The features of every row, without gradients: encode once, then train heads on them in seconds."""
    parts = _in_eval(model, model.encode, pairs, batch_size)
    return Features(*(torch.cat([getattr(part, name) for part in parts]) for name in ("image", "text", "labels")))


def _in_eval(model, call, data, batch_size, index=None):
    rows, device, was_training = prepare(model, data), device_of(model), model.training
    model.eval()
    try:
        with out_of_memory_says(device, batch_size):
            index = torch.arange(len(rows)) if index is None else index
            return [call(rows[part].to(device)).to("cpu") for part in index.split(batch_size)]
    finally:
        model.train(was_training)
