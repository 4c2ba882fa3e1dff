"""What all tools of the benchmark train: one model, one order of rows, one schedule.

A driver has ``train(task, turn)``; what is equal for all tools is here and in reading.py, so that a driver
holds only what its tool wants.
"""

from __future__ import annotations

import csv
import math
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from reading import Files, Order, Table, TunedFiles, TunedTable
from torch import nn
from torch.nn.functional import cross_entropy

from cmlib.data.batch import Batch, ImageBatch, TextBatch
from cmlib.data.pairs import Pairs
from cmlib.data.rows import Rows
from cmlib.data.tokens import tokenise
from cmlib.datasets.threads import cores
from cmlib.encoders import image_encoder
from cmlib.encoders.text import Bert
from cmlib.encoders.tokenizer import mini_tokenizer
from cmlib.models.fusion_model import FusionModel
from cmlib.training.optim import groups, rate
from cmlib.training.precision import choose

SEED, WARMUP, CLIP, CLASSES = 0, 0.1, 1.0, ("keep", "refund")


@dataclass(frozen=True)
class Size:
    """tokens : texts are filled up to this many, 0 for as they come; pixels : side of a picture as the model
    sees it.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int
    image: str
    pixels: int
    tokens: int
    batch: int
    rows: int
    epochs: int
    precision: str
    rate: float

    @property
    def steps(self) -> int:
        return self.epochs * math.ceil(self.rows / self.batch)

    def __str__(self):
        return (
            f"BERT {self.layers} x {self.width} + {self.image} at {self.pixels} px, batch {self.batch}, "
            f"{self.precision}, {self.epochs} epochs of {self.rows} pairs a turn"
        )


SIZES = {"small": Size(2, 128, 4, 1_500, "resnet18", 48, 0, 16, 80, 3, "fp32", 5e-4),
         "full": Size(12, 768, 12, 30_522, "resnet50", 224, 64, 256, 2_048, 6, "bf16", 1e-4)}
# whether the code runs, nothing else
SMOKE = {"layers": 1, "pixels": 32, "batch": 8, "rows": 40, "epochs": 2}
# 20 steps, of which the losses are compared
CHECK = {"batch": 4, "rows": 40, "epochs": 2, "precision": "fp32", "rate": 1e-5}

MODES = {"check": CHECK, "warm": {"epochs": 1}, "short": {"epochs": 2}, "time": {}}


def size_of(scale: str, smoke: bool) -> Size:
    return replace(SIZES[scale], **SMOKE) if smoke else SIZES[scale]


def build(size: Size, channels_last: bool) -> FusionModel:
    """Fresh weights, without dropout: random masks would make the losses of two tools incomparable."""
    from transformers import BertConfig, BertModel

    tokenizer = mini_tokenizer()
    torch.manual_seed(SEED)
    bert = BertModel(
        BertConfig(
            vocab_size=max(size.vocabulary, len(tokenizer)),
            hidden_size=size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=4 * size.width,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        add_pooling_layer=False,
    )
    image = image_encoder(size.image, pretrained=False, image_size=size.pixels, channels_last=channels_last)
    return FusionModel(image, Bert(bert, tokenizer), len(CLASSES))


class Plain(nn.Module):
    """The same model for tools whose batches are dictionaries; its loss is read by nobody until the turn is
    over.
    """

    def __init__(self, task: Task):
        super().__init__()
        self.model, self.task = task.model, task

    def forward(self, pixels, input_ids, attention_mask, labels):
        logits = self.task.call(Batch(ImageBatch(pixels), TextBatch(input_ids, attention_mask), labels))
        return {"loss": self.task.loss(logits, labels), "logits": logits}


class Task:
    """One per process. tuned : as a good engineer sets this tool up; else as who writes the obvious and
    nothing else.
    """

    def __init__(self, folder: str, scale: str, smoke: bool, device: str, tuned: bool, compile: bool):
        self.folder, self.size, self.device = Path(folder), size_of(scale, smoke), torch.device(device)
        self.tuned, self.compile, self.gpu = tuned, compile and tuned, device.startswith("cuda")
        # channels last: on a CPU it costs a fifth, at this size
        self.model = build(self.size, channels_last=tuned and self.gpu).to(self.device)
        self.call = torch.compile(self.model) if self.compile else self.model
        self.tokenizer, self.whole = self.model.tokenizer, self.size
        self.start = torch.load(self.folder / "weights.pt", weights_only=True)
        if not self.compile:  # it would break the compiled graph in two
            self.model.head.register_forward_pre_hook(self._see)

    def begin(self, mode: str) -> None:
        """mode : "time"; "short" and "warm", two epochs and one of it; or "check". The check is in float64,
        with small steps: the last bits of two kernels differ, and in float32 that grows within 20 steps to
        differences in which a wrong learning rate would hide.
        """
        self.checking, self.format = mode == "check", None
        self.size = replace(self.whole, **MODES[mode])
        self.precision = choose(self.size.precision, self.device)
        self.csv = self.folder / ("check.csv" if self.checking else "data.csv")
        self.model.to(torch.float64 if self.checking else torch.float32).load_state_dict(self.start)
        self.model.train()
        self.model.zero_grad()
        self.losses, self.stamps = [], []
        if self.gpu:
            torch.cuda.reset_peak_memory_stats()

    def _see(self, _head, features):
        self.format = str(features[0].image.dtype)  # bfloat16 under autocast

    def now(self):
        if not self.gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # on a GPU the clock of the host runs ahead of the work
        event.record()
        return event

    def loss(self, logits, labels):
        value = cross_entropy(logits if self.checking else logits.float(), labels)
        self.losses.append(value.detach())
        self.stamps.append(self.now())
        return value

    def optimizer(self, fused: bool | None = None):
        """AdamW over the same groups as cmlib's, and the same learning rates at every step."""
        optimizer = torch.optim.AdamW(groups(self.model, self.size.rate), fused=fused)
        steps = self.size.steps
        return optimizer, torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate(step, steps, round(WARMUP * steps))
        )

    def rows(self, tier: int) -> Rows:
        """Tier 1: tensors on the device. Tier 2: uint8 pixels in a mapped file, texts as ids; in the memory
        of the host.
        """
        return (self._checked if self.checking else self._rows)[tier]

    @cached_property
    def _rows(self):
        pixels = np.load(self.folder / "pixels.npy", mmap_mode="c")[: self.size.rows]
        _, texts, labels = zip(*self.table(), strict=True)
        mapped, resident = (
            Rows(Pairs(torch.from_numpy(array), texts, torch.tensor(labels), CLASSES), self.tokenizer)
            for array in (pixels, pixels.copy())
        )
        return {1: resident.to(self.device), 2: mapped}

    _checked = cached_property(_rows.func)  # of the first rows

    def table(self) -> list[tuple[Path, str, int]]:
        with self.csv.open() as file:
            return [
                (self.folder / row["image"], row["text"], CLASSES.index(row["label"]))
                for row in csv.DictReader(file)
            ]

    def token_ids(self) -> list[list[int]]:
        return tokenise([text for _, text, _ in self.table()], self.tokenizer)

    def order(self) -> Order:
        return Order(self, SEED)

    def dataset(self, tier: int) -> torch.utils.data.Dataset:
        if tier == 3:
            return (TunedFiles if self.tuned else Files)(self)
        return (TunedTable if self.tuned else Table)(self, tier)

    def loader(self, tier: int) -> dict:
        """What a DataLoader of torch is told; Trainer has the same names with a prefix."""
        if not self.tuned:
            return {"num_workers": 0, "pin_memory": False}
        # gathering a batch from tensors costs less than sending it here
        workers = cores() if tier == 3 else 0
        return {
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": self.gpu and tier > 1,
        }
