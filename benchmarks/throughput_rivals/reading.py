"""What the rivals read: the rows of each tier as torch's Dataset, as the tutorials have it and tuned."""

from __future__ import annotations

import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence

from cmlib.data.loader import batches
from cmlib.datasets.pictures import fit as fit_picture
from cmlib.datasets.pictures import read_picture


class Order(torch.utils.data.Sampler):
    """The rows in the order of cmlib.training.fit.fit: another one in each epoch."""

    def __init__(self, task, seed: int):
        self.size, self.generator = task.size, torch.Generator().manual_seed(seed)

    def __len__(self):
        return self.size.rows

    def __iter__(self):
        return iter(torch.cat(batches(self.size.rows, self.size.batch, self.generator)).tolist())


class Table(torch.utils.data.Dataset):
    """Tensors, row by row, as the tutorials have it."""

    def __init__(self, task, tier: int):
        rows = task.rows(tier)
        self.pixels, self.labels = rows.images, rows.labels
        self.ids = [torch.tensor(ids, device=self.labels.device) for ids in task.token_ids()]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return {"pixels": self.pixels[i], "ids": self.ids[i], "labels": self.labels[i]}

    @staticmethod
    def collate(rows):
        ids = [row["ids"] for row in rows]
        return {
            "pixels": torch.stack([row["pixels"] for row in rows]),
            "input_ids": pad_sequence(ids, batch_first=True),
            "attention_mask": pad_sequence([torch.ones_like(i) for i in ids], batch_first=True),
            "labels": torch.stack([row["labels"] for row in rows]),
        }


class TunedTable(torch.utils.data.Dataset):
    """The whole batch in one gather, which DataLoader allows through __getitems__."""

    def __init__(self, task, tier: int):
        self.rows = task.rows(tier)

    def __len__(self):
        return len(self.rows)

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
        self.ids = [torch.tensor(ids) for ids in task.token_ids()]

    def picture(self, path):
        if self.exact:
            return super().picture(path)
        with Image.open(path) as picture:
            picture.draft("RGB", (2 * self.pixels, 2 * self.pixels))
            return fit_picture(picture.convert("RGB"), self.pixels)

    def __getitem__(self, i):
        path, _, label = self.table[i]
        pixels = torch.from_numpy(self.picture(path).copy()).permute(2, 0, 1)
        return {"pixels": pixels, "ids": self.ids[i], "labels": torch.tensor(label)}

    def collate(self, rows):
        return Table.collate(rows)
