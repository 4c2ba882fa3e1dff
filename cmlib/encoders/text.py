"""Text encoders: words → one feature vector. Bag of words, LSTM, the mini BERT of this course, or any BERT on
the hub.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cmlib.data.batch import TextBatch
from cmlib.data.device import follow, settle
from cmlib.data.pairs import describe
from cmlib.encoders.hub import load_pretrained
from cmlib.encoders.stand_ins import build
from cmlib.encoders.tokenizer import mini_tokenizer
from cmlib.encoders.weights import load_shipped, unknown
from cmlib.layers import masked_mean

MINI_BERT = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512,
             "max_position_embeddings": 128, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


class TextEncoder(nn.Module):
    """forward(TextBatch) → (batch, hidden_size): the mean of the states of the tokens that are not padding.

    states(TextBatch) → (batch, tokens, hidden_size) · tokenizer : callable as those of transformers are
    pretrained : whether real weights were loaded; what is claimed of them holds only then
    A batch that is on another device is brought to where the encoder is.
    """

    pretrained = False

    def __init__(self, tokenizer, hidden_size: int):
        super().__init__()
        self.tokenizer, self.hidden_size = tokenizer, hidden_size

    def states(self, batch: TextBatch) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, batch: TextBatch) -> torch.Tensor:
        batch = _read(batch, self)
        return masked_mean(self.states(batch), batch.attention_mask)  # (batch, hidden_size)


class BagOfWords(TextEncoder):
    """The mean of the word embeddings: no order, no context, and often hard to beat."""

    def __init__(self, tokenizer, hidden_size: int = 128):
        super().__init__(tokenizer, hidden_size)
        self.embedding = nn.Embedding(len(tokenizer), hidden_size, padding_idx=tokenizer.pad_token_id)

    def states(self, batch: TextBatch) -> torch.Tensor:
        return self.embedding(_read(batch, self).input_ids)


class Lstm(TextEncoder):
    """Embeddings read from left to right (Hochreiter & Schmidhuber 1997); the feature is the state after the
    last word.
    """

    def __init__(self, tokenizer, hidden_size: int = 128):
        super().__init__(tokenizer, hidden_size)
        self.embedding = nn.Embedding(len(tokenizer), hidden_size, padding_idx=tokenizer.pad_token_id)
        self.lstm = nn.LSTM(hidden_size, hidden_size, batch_first=True)

    def _run(self, batch):
        batch = _read(batch, self)
        lengths = batch.attention_mask.sum(1).clamp(min=1).cpu()
        words = self.embedding(batch.input_ids)  # (batch, tokens, hidden_size)
        # Packed, so that the LSTM stops at the last word of each row instead of reading on through the
        # padding.
        return self.lstm(pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False))

    def states(self, batch: TextBatch) -> torch.Tensor:
        # (batch, tokens, hidden_size), as long as the batch is and not only as its longest row
        return pad_packed_sequence(
            self._run(batch)[0], batch_first=True, total_length=batch.input_ids.shape[1]
        )[0]

    def forward(self, batch: TextBatch) -> torch.Tensor:
        return self._run(batch)[1][0][-1]  # (batch, hidden_size)


class Bert(TextEncoder):
    """A transformer encoder of ``transformers``. pooling : "mean" over the words (default) or "cls", the
    first state.

    revision : the commit on the hub that the weights are from, to pin it: ``text_encoder(name,
        revision=encoder.revision)``
    """

    revision: str | None = None

    def __init__(self, model: nn.Module, tokenizer, pooling: str = "mean"):
        super().__init__(tokenizer, model.config.hidden_size)
        if pooling not in ("mean", "cls"):
            raise ValueError(f"pooling={pooling!r} must be 'mean' or 'cls'.")
        self.model, self.pooling = model, pooling

    def states(self, batch: TextBatch) -> torch.Tensor:
        batch = _read(batch, self)
        return self.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state

    def forward(self, batch: TextBatch) -> torch.Tensor:
        return self.states(batch)[:, 0] if self.pooling == "cls" else super().forward(batch)


def mini_bert_config(vocab_size: int):
    """The shape of the mini BERT: 2 layers × 128, 4 heads, at most 128 tokens."""
    from transformers import BertConfig

    return BertConfig(vocab_size=vocab_size, **MINI_BERT)


def _mini(pretrained: bool = True, pooling: str = "mean"):
    from transformers import BertModel

    tokenizer = mini_tokenizer()
    model = BertModel(mini_bert_config(len(tokenizer)), add_pooling_layer=False)
    encoder = Bert(load_shipped(model, "mini-bert") if pretrained else model, tokenizer, pooling)
    encoder.pretrained = pretrained
    return encoder


def _bag(hidden_size: int = 128):
    return BagOfWords(mini_tokenizer(), hidden_size)


def _lstm(hidden_size: int = 128):
    return Lstm(mini_tokenizer(), hidden_size)


def _hub(name: str, pretrained: bool = True, pooling: str = "mean", revision: str | None = None):
    model, tokenizer, commit = load_pretrained(name, revision, pretrained)
    encoder = Bert(model, tokenizer, pooling)
    encoder.revision, encoder.pretrained = commit, pretrained
    return encoder


_MADE_HERE = {"bag": _bag, "lstm": _lstm, "mini": _mini}
KNOWN = (*_MADE_HERE, "bert-base-uncased", "distilbert-base-uncased", "roberta-base")


def text_encoder(name: str, **settings) -> TextEncoder:
    """The text encoder of that name, at home: "bag", "lstm", "mini", a model on the Hugging Face hub, or a
    local folder.

    pretrained : False for the same architecture with fresh weights ("mini" and hub names)
    pooling    : "mean" or "cls" ("mini" and hub names); hidden_size : width ("bag" and "lstm")
    max_tokens : longer texts are cut there (128 unless it is given)
    revision   : a branch, a tag or (best) a commit hash of the model on the hub; what is once fetched works
        offline
    """
    on_hub = "/" in str(name) or "-" in str(name) or Path(str(name)).is_dir()
    if name not in _MADE_HERE and not on_hub:
        raise unknown("text", name, KNOWN)
    max_tokens = settings.pop("max_tokens", None)
    make = _MADE_HERE.get(name) or partial(_hub, str(name))
    encoder = build("text", str(name), make, settings, "max_tokens")
    if max_tokens is not None:
        encoder.tokenizer.max_tokens = _checked(max_tokens, encoder)
    return settle(encoder)


def _checked(max_tokens, encoder: TextEncoder) -> int:
    """That many tokens of each text; ValueError for more than the encoder has positions."""
    config = getattr(getattr(encoder, "model", None), "config", None)
    most = getattr(config, "max_position_embeddings", 1 << 20)
    if getattr(config, "model_type", None) == "roberta":
        most -= 2  # its positions begin behind the padding
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or not 3 <= max_tokens <= most:
        raise ValueError(f"max_tokens={max_tokens!r} must be a whole number from 3 to {most}, the positions "
                         "that this encoder has.")
    return max_tokens


def _read(batch, encoder: TextEncoder) -> TextBatch:
    """The batch where the encoder is; TypeError if it is none of words."""
    if not isinstance(batch, TextBatch):
        raise TypeError(f"A text encoder reads a TextBatch; got {describe(batch)}. Are image and text "
                        "swapped?")
    return follow(batch, encoder)
