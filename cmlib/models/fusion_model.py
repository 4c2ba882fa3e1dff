"""Two encoders and a head, and the one-modality baselines."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from cmlib.data.batch import Batch, Features
from cmlib.data.device import device_of, follow
from cmlib.data.pairs import describe
from cmlib.fusion.concat import MODALITIES, Concat


class FusionModel(nn.Module):
    """Image encoder + text encoder + head: forward(Batch) → logits (batch, n_classes).

    head : "linear", "mlp", or any module that maps Features to logits
    use  : ("image",) or ("text",) makes the one-modality baseline; the other encoder is then never run by
        ``forward``
    class_names : what each logit stands for, () until ``fit`` has learned it from the data
    The head follows its encoders to their device, and so does every batch.
    """

    class_names: tuple[str, ...] = ()

    def __init__(
        self,
        image_encoder: nn.Module,
        text_encoder: nn.Module,
        n_classes: int,
        head: str | nn.Module = "mlp",
        normalize: bool = True,
        use: tuple[str, ...] = MODALITIES,
    ):
        super().__init__()
        if not hasattr(image_encoder, "image_size") or not hasattr(text_encoder, "tokenizer"):
            raise TypeError("FusionModel takes an image encoder, then a text encoder; got "
                            f"{type(image_encoder).__name__}, "
                            f"then {type(text_encoder).__name__}. Are they swapped?")
        self.image_encoder, self.text_encoder, self.n_classes = image_encoder, text_encoder, n_classes
        if not isinstance(head, nn.Module):
            head = Concat(
                image_encoder.hidden_size, text_encoder.hidden_size, n_classes, head, normalize, use=use
            )
        self.head, self.use = head.to(device_of(self)), getattr(head, "use", MODALITIES)

    def branches(self) -> dict[str, nn.Module]:
        """The parts that may learn at rates of their own (cmlib.training.optim), by name."""
        return {"text": self.text_encoder, "image": self.image_encoder, "head": self.head}

    @property
    def tokenizer(self):
        return self.text_encoder.tokenizer

    @property
    def pretrained(self) -> bool:
        """Whether both encoders have real weights: what a lesson claims of them holds only then."""
        encoders = self.image_encoder, self.text_encoder
        return all(getattr(encoder, "pretrained", False) for encoder in encoders)

    def encode(self, batch: Batch, use: Sequence[str] = MODALITIES) -> Features:
        """Batch → Features; a half that is not in ``use``, or not there, stays empty, (batch, 0)."""
        if not isinstance(batch, Batch):
            raise TypeError(f"FusionModel reads a Batch; got {describe(batch)}. cmlib.data.tokens.collate "
                            "makes one from Pairs.")
        batch = follow(batch, self)
        nothing = torch.empty(len(batch), 0, device=device_of(self))
        sees = "image" in use and batch.image is not None
        reads = "text" in use and batch.text is not None
        image = self.image_encoder(batch.image) if sees else nothing  # (batch, image_size)
        text = self.text_encoder(batch.text) if reads else nothing  # (batch, text_size)
        return Features(image, text, batch.labels, batch.targets)

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.head(self.encode(batch, self.use))  # (batch, n_classes)
