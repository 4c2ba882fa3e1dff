"""What all tools of the benchmark train: one model, one order of rows, one schedule; and how a driver
answers, turn by turn.

A driver has ``train(task, turn)``; everything that is equal for all tools is here, so that a driver holds
only what its tool wants.
"""

from __future__ import annotations

import csv
import gc
import json
import math
import os
import resource
import sys
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from cmlib.data.batch import Batch, ImageBatch, TextBatch
from cmlib.data.loader import batches
from cmlib.data.pairs import Pairs
from cmlib.data.rows import Rows
from cmlib.datasets.pictures import fit as fit_picture
from cmlib.datasets.pictures import read_picture
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


SIZES = {"small": Size(2, 128, 4, 1_500, "resnet18", 48, 0, 16, 80, 3, "fp32", 5e-4),
         "full": Size(12, 768, 12, 30_522, "resnet50", 224, 64, 256, 2_048, 6, "bf16", 1e-4)}
# whether the code runs, nothing else
SMOKE = {"layers": 1, "pixels": 64, "batch": 8, "rows": 48, "epochs": 3}
# 20 steps, of which the losses are compared
CHECK = {"batch": 4, "rows": 40, "epochs": 2, "precision": "fp32", "rate": 1e-5}


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
        # on a CPU it costs a fifth, at this size
        self.model = build(self.size, channels_last=tuned and self.gpu).to(self.device)
        self.call = torch.compile(self.model) if self.compile else self.model
        self.tokenizer, self.start = (
            self.model.tokenizer,
            torch.load(self.folder / "weights.pt", weights_only=True),
        )
        self.whole = self.size
        self.model.head.register_forward_pre_hook(self._see)

    def begin(self, mode: str) -> None:
        """mode : "time"; "warm", one epoch of it; or "check". The check is in float64, with small steps: the
        last bits of two kernels differ, and in float32 that grows within 20 steps to differences in which a
        wrong learning rate would hide."""
        self.checking, self.format = mode == "check", None
        self.size = replace(self.whole, **{"check": CHECK, "warm": {"epochs": 1}, "time": {}}[mode])
        self.precision = choose(self.size.precision, self.device)
        self.csv = self.folder / ("check.csv" if self.checking else "data.csv")
        self.model.to(torch.float64 if self.checking else torch.float32).load_state_dict(self.start)
        self.model.train()
        self.model.zero_grad()
        self.losses, self.stamps = [], []

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
        pixels = np.load(self.folder / "pixels.npy", mmap_mode="c")[:self.size.rows]
        _, texts, labels = zip(*self.table(), strict=True)
        mapped = Rows(Pairs(torch.from_numpy(pixels), texts, torch.tensor(labels), CLASSES), self.tokenizer)
        resident = Rows(
            Pairs(torch.from_numpy(pixels.copy()), texts, torch.tensor(labels), CLASSES), self.tokenizer
        )
        return {1: resident.to(self.device), 2: mapped}

    _checked = cached_property(_rows.func)  # of the first rows

    def table(self) -> list[tuple[Path, str, int]]:
        with self.csv.open() as file:
            return [
                (self.folder / row["image"], row["text"], CLASSES.index(row["label"]))
                for row in csv.DictReader(file)
            ]

    def dataset(self, tier: int) -> torch.utils.data.Dataset:
        if tier == 3:
            return (TunedFiles if self.tuned else Files)(self)
        return (TunedTable if self.tuned else Table)(self.rows(tier))

    def loader(self, tier: int) -> dict:
        """What a DataLoader of torch is told; Trainer has the same names with a prefix."""
        if not self.tuned:
            return {"num_workers": 0, "pin_memory": False}
        # gathering a batch from tensors costs less than sending it here
        workers = os.cpu_count() if tier == 3 else 0
        return {
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": self.gpu and tier > 1,
        }


class Order(torch.utils.data.Sampler):
    """The rows in the order of cmlib.training.fit.fit: another one in each epoch."""

    def __init__(self, task: Task):
        self.size, self.generator = task.size, torch.Generator().manual_seed(SEED)

    def __len__(self):
        return self.size.rows

    def __iter__(self):
        return iter(torch.cat(batches(self.size.rows, self.size.batch, self.generator)).tolist())


class Table(torch.utils.data.Dataset):
    """Rows one by one, as the tutorials have it."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        rows = self.rows
        return {"pixels": rows.images[i], "ids": rows.ids[i, :rows.lengths[i]], "labels": rows.labels[i]}

    @staticmethod
    def collate(rows):
        ids = [row["ids"] for row in rows]
        return {
            "pixels": torch.stack([row["pixels"] for row in rows]),
            "input_ids": pad_sequence(ids, batch_first=True),
            "attention_mask": pad_sequence([torch.ones_like(i) for i in ids], batch_first=True),
            "labels": torch.stack([row["labels"] for row in rows]),
        }


class TunedTable(Table):
    """The whole batch in one gather, which DataLoader allows through __getitems__."""

    def __getitems__(self, index):
        batch = self.rows[torch.as_tensor(index)]
        return {
            "pixels": batch.image.pixels,
            "input_ids": batch.text.input_ids,
            "attention_mask": batch.text.attention_mask,
            "labels": batch.labels,
        }

    @staticmethod
    def collate(batch):
        return batch


class Files(torch.utils.data.Dataset):
    """Pictures decoded when they are asked for, texts tokenised batch by batch."""

    def __init__(self, task):
        self.table, self.pixels, self.tokenizer = task.table(), task.size.pixels, task.tokenizer

    def __len__(self):
        return len(self.table)

    def picture(self, path):
        return fit_picture(read_picture(path), self.pixels)

    def __getitem__(self, i):
        path, text, label = self.table[i]
        return torch.from_numpy(self.picture(path).copy()).permute(2, 0, 1), text, label

    def collate(self, rows):
        pictures, texts, labels = zip(*rows, strict=True)
        text = self.tokenizer(list(texts), padding=True, truncation=True, max_length=128, return_tensors="pt")
        return {
            "pixels": torch.stack(pictures),
            "input_ids": text["input_ids"],
            "attention_mask": text["attention_mask"],
            "labels": torch.tensor(labels),
        }


class TunedFiles(Files):
    """Tokenised once; JPEGs unpacked at the smallest scale that is twice as large as needed, which the format
    has built in.
    """

    def __init__(self, task):
        super().__init__(task)
        # the shortcut below changes pixels by about 1 in 255, and losses in the third digit
        self.exact = task.checking
        self.ids = [
            torch.tensor(row) for row in self.tokenizer([text for _, text, _ in self.table])["input_ids"]
        ]

    def picture(self, path):
        if self.exact:
            return super().picture(path)
        with Image.open(path) as picture:
            picture.draft("RGB", (2 * self.pixels, 2 * self.pixels))
            return fit_picture(picture.convert("RGB"), self.pixels)

    def __getitem__(self, i):
        path, _, label = self.table[i]
        return {
            "pixels": torch.from_numpy(self.picture(path).copy()).permute(2, 0, 1),
            "ids": self.ids[i],
            "labels": torch.tensor(label),
        }

    def collate(self, rows):
        return Table.collate(rows)


def cpu_seconds() -> float:
    """Of this process and of its workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def serve(train) -> None:
    """Answer each turn on standard input: {"tier": 1, "mode": "time", "cache": folder}. A tool's own talk
    goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    task = Task(**json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        turn = json.loads(line)
        task.begin(turn["mode"])
        if turn["tier"] < 3:
            task.rows(turn["tier"])  # read before the clock starts: these tiers begin with them
        begin, started, cpu = task.now(), time.perf_counter(), cpu_seconds()
        train(task, turn)
        gc.collect()  # ends the workers of this turn, so that their seconds are known
        if task.gpu:
            torch.cuda.synchronize()
        seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
        times = [(begin.elapsed_time(stamp) / 1000 if task.gpu else stamp - begin) for stamp in task.stamps]
        peak = {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        peak |= {"gpu_memory": torch.cuda.max_memory_allocated() / 2**20} if task.gpu else {}
        print(
            json.dumps(
                {
                    "losses": torch.stack(task.losses).tolist(),
                    "times": times,
                    "seconds": seconds,
                    "cpu": cpu,
                    "until": time.time(),
                    "format": task.format,
                }
                | peak
            ),
            file=answers,
            flush=True,
        )
