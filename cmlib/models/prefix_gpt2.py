"""A GPT-2 that writes about a picture: the cells stand before the words, translated into its own space."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from cmlib.data.device import follow, settle
from cmlib.data.vocabulary import END, Vocabulary
from cmlib.models.captioner import Writer


class PrefixGPT2(Writer):
    """One linear map from cells to GPT-2's word vectors (after Mokady et al. 2021, ClipCap, whose map is a
    network), then transformers' own GPT2LMHeadModel over cells and words; it is causal by itself.

    gpt2 : a GPT2LMHeadModel over ``n_words`` words, such as ``small_gpt2`` or ``trained_gpt2`` makes
    """

    def __init__(self, image_size: int, gpt2: nn.Module):
        super().__init__()
        self.map = nn.Sequential(nn.LayerNorm(image_size), nn.Linear(image_size, gpt2.config.n_embd))
        self.gpt2 = gpt2
        settle(self)

    def memory(self, cells: Tensor) -> Tensor:
        return self.map(follow(cells, self))  # (batch, cells, n_embd)

    def logits(self, memory: Tensor, words: Tensor) -> Tensor:
        both = torch.cat([memory, self.gpt2.transformer.wte(words)], 1)
        return self.gpt2(inputs_embeds=both, use_cache=False).logits[:, memory.shape[1] :]


def small_gpt2(n_words: int, hidden_size: int = 128, n_layers: int = 2, n_heads: int = 4) -> nn.Module:
    """A GPT-2 of random weights and any size, without dropout; 768, 12, 12 is that of the smallest one that
    was published.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(
        vocab_size=n_words, n_embd=hidden_size, n_layer=n_layers, n_head=n_heads, n_positions=512,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None,
    ))


def trained_gpt2(vocabulary: Vocabulary, name: str = "gpt2") -> nn.Module:
    """A GPT-2 of the hub, or of a folder, that reads and writes only the words of a vocabulary: the vector of
    each is the mean of GPT-2's own pieces of it, those of the marks the one of its end of text.
    ConnectionError if it is not on this computer and the hub cannot be reached.
    """
    from transformers import AutoTokenizer, GPT2LMHeadModel

    from cmlib.encoders.hub import snapshot

    folder = Path(name) if Path(name).is_dir() else snapshot(name)
    gpt2, tokenizer = GPT2LMHeadModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    old = gpt2.transformer.wte.weight.detach()
    pieces = [[tokenizer.eos_token_id] if k <= END else tokenizer(f" {word}")["input_ids"]
              for k, word in enumerate(vocabulary.words)]
    gpt2.resize_token_embeddings(len(vocabulary))
    with torch.no_grad():
        gpt2.transformer.wte.weight.copy_(torch.stack([old[ids].mean(0) for ids in pieces]))
    return gpt2
