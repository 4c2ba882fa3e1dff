"""The task of the text encoder: to fill in hidden words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cmlib.data.batch import Batch
from cmlib.encoders.text import mini_bert_config
from cmlib.tasks import Task


class Reader(nn.Module):
    """Texts with hidden words → logits of those words alone: most of the work would go into the others."""

    def __init__(self, tokenizer):
        super().__init__()
        from transformers import BertForMaskedLM

        self.tokenizer, self.bert = tokenizer, BertForMaskedLM(mini_bert_config(len(tokenizer)))

    def forward(self, batch: Batch, chosen: Tensor) -> Tensor:
        states = self.bert.bert(batch.text.input_ids, batch.text.attention_mask).last_hidden_state
        return self.bert.cls(states[chosen])  # (hidden words, vocab_size)


class MaskedWords(Task):
    """The masked language model of Devlin et al. 2019, section 3.1, with other words hidden at every step.

    Score: the accuracy over the hidden words. The objective sums over the hidden words of a text, and is so a
    mean of terms of one row each.
    """

    def __init__(self, vocab_size: int, mask_id: int, share: float = 0.2):
        self.vocab_size, self.mask_id, self.share = vocab_size, mask_id, share

    def forward(self, call: Callable, batch: Batch) -> dict[str, Tensor]:
        ids = batch.text.input_ids
        shown, chosen = self.hide(ids)
        # (hidden words, vocab_size)
        logits = call(replace(batch, text=replace(batch.text, input_ids=shown)), chosen)
        return {"logits": logits, "words": ids[chosen], "rows": chosen.nonzero()[:, 0]}

    def hide(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(ids, which are to be foretold): 80 % of those become [MASK], 10 % another word, 10 % stay."""
        word = ids > self.mask_id  # the last of the special pieces: [PAD] [UNK] [CLS] [SEP] [MASK]
        chosen = word & (torch.rand(ids.shape, device=ids.device) < self.share)
        how = torch.rand(ids.shape, device=ids.device)
        other = torch.randint_like(ids, self.mask_id + 1, self.vocab_size)
        shown = torch.where(chosen & (how < 0.8), self.mask_id, ids)
        return torch.where(chosen & (how >= 0.9), other, shown), chosen

    def objective(self, outputs: dict[str, Tensor], batch) -> Tensor:
        return cross_entropy(outputs["logits"], outputs["words"], reduction="sum") / len(batch)

    def keep(self, outputs: dict[str, Tensor], batch) -> dict[str, Tensor]:
        logits, words = outputs["logits"], outputs["words"]
        found = {
            "loss": cross_entropy(logits, words, reduction="none"),
            "right": (logits.argmax(1) == words).float(),
            "hidden": torch.ones(len(words), device=words.device),
        }
        empty = torch.zeros(len(batch), device=words.device)
        return {name: empty.index_add(0, outputs["rows"], values) for name, values in found.items()}

    def score(self, kept: dict[str, Tensor], rows) -> dict[str, float]:
        total = {name: values.double().sum().item() for name, values in kept.items()}
        return {
            "loss": total["loss"] / total["hidden"],
            "hidden words": total["right"] / total["hidden"],
        }
